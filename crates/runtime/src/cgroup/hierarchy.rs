//! The hierarchies of this host: which controllers, mounted where.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::CgroupError;

/// How this host arranges its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One unified hierarchy.
    V2,
    /// One hierarchy per controller; `hybrid` if an additional unified one is there.
    V1 {
        /// Whether a unified hierarchy without the main controllers is mounted too.
        hybrid: bool,
    },
}

/// The hierarchies of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1: mount point and the controllers (or `name=…`) of each.
    pub(super) v1: Vec<V1Hierarchy>,
    /// Mount point of the unified hierarchy.
    pub(super) unified: Option<PathBuf>,
    /// Whether a cgroup namespace there is a border: nobody inside changes the limits of its root.
    pub(super) delegates: bool,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V1Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Its controllers, or its name as `name=…`.
    pub(crate) controllers: Vec<String>,
}

impl Hierarchies {
    /// The hierarchies that were mounted here when this process first looked: the table of mounts is
    /// as long as there are containers, and is not read for each of them.
    pub fn detect() -> Result<Self, CgroupError> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::look()?;
        if found.v1.is_empty() && found.unified.is_none() {
            return Ok(found);
        }
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn look() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read_to_string(path).map_err(|source| CgroupError::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::parse(&text))
    }

    /// Whether the real-time processor time of groups can be limited: on v1, where the kernel was
    /// built so.
    pub fn has_real_time(&self) -> bool {
        let has = |hierarchy: &V1Hierarchy| hierarchy.mount.join("cpu.rt_runtime_us").exists();
        self.v1.iter().any(has)
    }

    /// How the host arranges them.
    pub fn version(&self) -> Version {
        if self.v1.is_empty() { Version::V2 } else { Version::V1 { hybrid: self.unified.is_some() } }
    }

    /// The unified hierarchy alone, as a host without v1 has it; `None` if it is not mounted.
    pub fn unified_alone(self) -> Option<Self> {
        self.unified.is_some().then(|| Self { v1: Vec::new(), ..self })
    }

    /// Whether a cgroup namespace is a border in the unified hierarchy (`nsdelegate`): nobody inside
    /// changes the limits of its root.
    pub fn delegates(&self) -> bool {
        self.delegates
    }

    /// Where the unified hierarchy is mounted.
    pub(crate) fn unified_mount(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    pub(crate) fn v1(&self) -> &[V1Hierarchy] {
        &self.v1
    }

    /// Reads `/proc/<pid>/mountinfo`. The first mount of a hierarchy counts, others are ignored,
    /// and so are mounts that show only a part of one.
    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: Vec::new(), unified: None, delegates: false };
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let mut before = before.split(' ');
            let (Some(root), Some(mount)) = (before.nth(3), before.next()) else { continue };
            let mut after = after.split(' ');
            let (Some(kind), Some(options)) = (after.next(), after.nth(1)) else { continue };
            if root != "/" && !root.starts_with("/..") {
                continue;
            }
            let mount = PathBuf::from(mount);
            match kind {
                "cgroup2" if found.unified.is_none() => {
                    found.unified = Some(mount);
                    found.delegates = options.split(',').any(|option| option == "nsdelegate");
                }
                "cgroup" => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| {
                            !NOT_CONTROLLERS.contains(option) && !option.contains("release_agent=")
                        })
                        .map(ToOwned::to_owned)
                        .collect();
                    if !found.v1.iter().any(|hierarchy| hierarchy.controllers == controllers) {
                        found.v1.push(V1Hierarchy { mount, controllers });
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Options of a v1 mount that are not names of controllers.
const NOT_CONTROLLERS: [&str; 8] =
    ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods", "none"];

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/systemd,name=systemd
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
30 1 0:24 /docker/x /mnt/part rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_has_its_controllers_by_mount_and_parts_are_ignored() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.version(), Version::V1 { hybrid: true });
        let names: Vec<_> = found.v1.iter().map(|hierarchy| hierarchy.controllers.join("+")).collect();
        assert_eq!(names, ["cpu+cpuacct", "memory", "name=systemd"]);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_host_with_only_the_unified_hierarchy_is_v2() {
        let found =
            Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(found.version(), Version::V2);
        assert!(found.delegates() && !Hierarchies::parse(HYBRID).delegates());
    }
}
