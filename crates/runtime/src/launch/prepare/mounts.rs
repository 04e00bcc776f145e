//! The configuration's mounts.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::super::plan::{MountPlan, MountSource};
use super::super::{Container, ProcessError, idmap};
use super::options::{self, MountOptions};
use super::{c_string, cgroup_mounts, host, paths};
use crate::spec::{Linux, Mount};
use crate::sys::mount::{MountAttr, attr, set_attributes};

const PROC_MAGIC: u64 = 0x9fa0;

/// Files of procfs that something else may be mounted over: they only inform. Any other place
/// there would let a container fool the runtime or other programs (CVE-2019-16884).
const PROC_TARGETS: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// File systems that ignore words which they do not know, and those that they know.
const LENIENT: [(&str, &[&str]); 5] = [
    ("bpf", &["uid", "gid", "mode", "delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs"]),
    ("debugfs", &["uid", "gid", "mode"]),
    ("devtmpfs", &["mode", "size", "nr_blocks", "nr_inodes"]),
    ("ramfs", &["mode"]),
    ("tracefs", &["uid", "gid", "mode"]),
];

pub(super) fn prepare(
    container: &mut Container<'_>,
    linux: &Linux,
    mapped: Option<&OwnedFd>,
) -> Result<Vec<MountPlan>, ProcessError> {
    let spec = container.spec;
    let mut plans = Vec::with_capacity(spec.mounts.len());
    for (place, mount) in spec.mounts.iter().enumerate() {
        let options = options::parse(&mount.options);
        let kind = mount.kind.as_deref().unwrap_or("bind");
        refuse_what_would_be_lost(mount, &options)?;
        if options.bind.is_some() || kind == "bind" {
            let source = source(container, place, mount)?;
            plans.push(bind(mount, &options, source, container.bundle, mapped)?);
        } else if kind == "cgroup" || kind == "cgroup2" {
            cgroup_mounts::prepare(mount, &options, container.cgroup, linux, &mut plans)?;
        } else {
            plans.push(filesystem(mount, kind, &options)?);
        }
    }
    Ok(plans)
}

/// A plan for a file system of this kind; also for those that the cgroup mounts need.
pub(super) fn filesystem(
    mount: &Mount,
    kind: &str,
    options: &MountOptions,
) -> Result<MountPlan, ProcessError> {
    let target = paths::inside(&mount.destination)?;
    refuse_root(mount, &target.text)?;
    let proc_or_sys = kind == "proc" || kind == "sysfs";
    if kind == "proc" && target.text != "/proc" && target.text.starts_with("/proc/") {
        return Err(ProcessError::invalid(format!("`{}` is part of procfs", target.text)));
    }
    let mut parameters = Vec::with_capacity(options.rest.len() + 1);
    if let Some(source) = mount.source.as_deref().filter(|source| !source.as_os_str().is_empty()) {
        parameters.push((c_string("source")?, Some(c_string(source)?)));
    }
    for (key, value) in &options.rest {
        let value = value.as_ref().map(c_string).transpose()?;
        parameters.push((c_string(key)?, value));
    }
    let attributes = options.alone().set;
    let on_proc = may_cover(&target.text, kind == "proc");
    Ok(MountPlan {
        source: MountSource::Filesystem { kind: c_string(kind)?, options: parameters, attributes },
        target,
        directory: true,
        no_symlinks: proc_or_sys,
        on_proc,
        propagation: options.propagation,
        // What is made read-only from the start could not be filled (devices, links, old content).
        seal: kind == "tmpfs" && attributes & attr::RDONLY != 0,
        copy_up: options.copy_up && kind == "tmpfs",
        links: Vec::new(),
    })
}

/// A plan for a clone of a part of the host's tree.
pub(super) fn tree(destination: &Path, tree: OwnedFd, directory: bool) -> Result<MountPlan, ProcessError> {
    Ok(MountPlan {
        source: MountSource::Tree(tree),
        target: paths::inside(destination)?,
        directory,
        no_symlinks: false,
        on_proc: false,
        propagation: None,
        seal: false,
        copy_up: false,
        links: Vec::new(),
    })
}

/// Whether a mount shows a part of the host's tree.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    let flagged = mount.options.iter().any(|option| option == "bind" || option == "rbind");
    flagged || mount.kind.as_deref().unwrap_or("bind") == "bind"
}

/// What a bind mount shows: what was handed over, or for a caller that hands nothing over what is
/// at its path.
fn source(container: &mut Container<'_>, place: usize, mount: &Mount) -> Result<OwnedFd, ProcessError> {
    let destination = mount.destination.display();
    if let Some(given) = &mut container.given {
        return given.take_mount(place).ok_or_else(|| {
            ProcessError::invalid(format!("what is mounted on `{destination}` was not handed over"))
        });
    }
    let source = mount
        .source
        .as_deref()
        .ok_or_else(|| ProcessError::invalid(format!("bind mount on `{destination}` has no source")))?;
    let source = container.bundle.join(source);
    openat(CWD, &source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| host("open source of a bind mount", &source, error))
}

fn bind(
    mount: &Mount,
    options: &MountOptions,
    fd: OwnedFd,
    bundle: &Path,
    mapped: Option<&OwnedFd>,
) -> Result<MountPlan, ProcessError> {
    let destination = &mount.destination;
    // The path is for errors only.
    let source = bundle.join(mount.source.as_deref().unwrap_or(Path::new("")));
    let stat = rustix::fs::fstat(&fd).map_err(|error| host("look at", &source, error))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let is_proc = rustix::fs::fstatfs(&fd).is_ok_and(|stat| stat.f_type as u64 == PROC_MAGIC);
    let recursive = options.bind.unwrap_or(false);
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let clone = open_tree(&fd, c"", flags).map_err(|error| host("clone", &source, error))?;
    give_attributes(&clone, options, recursive, &source)?;
    if options.idmap.is_some() || !mount.uid_mappings.is_empty() {
        let own = if mount.uid_mappings.is_empty() {
            None
        } else {
            Some(idmap::namespace(&mount.uid_mappings, &mount.gid_mappings)?)
        };
        let namespace = own
            .as_ref()
            .or(mapped)
            .ok_or_else(|| ProcessError::invalid("an idmapped mount needs mappings of users and groups"))?;
        map_ids(&clone, namespace, options.idmap == Some(true), &source)?;
    }
    let mut plan = tree(destination, clone, directory)?;
    refuse_root(mount, &plan.target.text)?;
    plan.on_proc = may_cover(&plan.target.text, is_proc);
    if plan.target.text == "/proc" && !is_proc {
        return Err(ProcessError::invalid("only a procfs may be mounted on `/proc`"));
    }
    Ok(plan)
}

/// Whether a mount is idmapped as its container is.
pub(super) fn takes_maps_of_container(mount: &Mount) -> bool {
    let asked = mount.options.iter().any(|option| option == "idmap" || option == "ridmap");
    asked && mount.uid_mappings.is_empty() && is_bind(mount)
}

/// Lets a clone that is attached nowhere show files as belonging to whom they say inside of a user
/// namespace.
pub(super) fn map_ids(
    clone: &OwnedFd,
    namespace: &OwnedFd,
    recursive: bool,
    source: &Path,
) -> Result<(), ProcessError> {
    let userns_fd = namespace.as_raw_fd() as u64;
    let attributes = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
    set_attributes(clone, recursive, attributes).map_err(|error| {
        let why = match error.raw_os_error() {
            Some(libc::EINVAL) => " (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
            _ => "",
        };
        let what = format!("failed to set MOUNT_ATTR_IDMAP on {}{why}", source.display());
        ProcessError::Host { what, source: error }
    })
}

fn give_attributes(
    clone: &OwnedFd,
    options: &MountOptions,
    recursive: bool,
    source: &Path,
) -> Result<(), ProcessError> {
    let failed = |error| host("set the attributes of", source, error);
    // Whatever is asked for, mounts made inside must not go out to the host first.
    let (propagation, deep) = options.propagation.unwrap_or((options::SLAVE, true));
    if propagation != options::SHARED {
        set_attributes(clone, deep && recursive, MountAttr { propagation, ..MountAttr::default() })
            .map_err(failed)?;
    } else {
        set_attributes(clone, deep, MountAttr { propagation, ..MountAttr::default() }).map_err(failed)?;
    }
    if !options.attributes.is_empty() {
        let attributes = MountAttr {
            set: options.attributes.set,
            clear: options.attributes.clear,
            ..MountAttr::default()
        };
        set_attributes(clone, false, attributes).map_err(failed)?;
    }
    // Last, so that a word for the mount alone takes nothing back of what holds for all.
    if !options.recursive.is_empty() {
        let attributes =
            MountAttr { set: options.recursive.set, clear: options.recursive.clear, ..MountAttr::default() };
        set_attributes(clone, true, attributes).map_err(failed)?;
    }
    Ok(())
}

/// Refuses options that this kind of mount does not have. Whoever misspells `ro` must hear so: the
/// kernel ignores words that it does not know of a bind mount, and so do some file systems.
fn refuse_what_would_be_lost(mount: &Mount, options: &MountOptions) -> Result<(), ProcessError> {
    let kind = mount.kind.as_deref().unwrap_or("bind");
    let bind = is_bind(mount);
    let refuse = |problem: String| {
        let destination = mount.destination.display();
        Err(ProcessError::invalid(format!("mount on `{destination}`: {problem}")))
    };
    if options.remount {
        return refuse("`remount` is not supported: give the options to the mount itself".to_owned());
    }
    if options.copy_up && (bind || kind != "tmpfs") {
        return refuse("`tmpcopyup` is an option of a tmpfs".to_owned());
    }
    let maps = (!mount.uid_mappings.is_empty(), !mount.gid_mappings.is_empty());
    if !bind && (options.idmap.is_some() || maps != (false, false)) {
        return refuse("ids can be mapped for a bind mount only".to_owned());
    }
    if maps.0 != maps.1 {
        return refuse("an idmapped mount needs mappings of users and of groups".to_owned());
    }
    let known = |word: &str| match kind {
        _ if bind => false,
        "cgroup" | "cgroup2" => false,
        kind => LENIENT.iter().find(|(name, _)| *name == kind).is_none_or(|(_, words)| words.contains(&word)),
    };
    match options.rest.iter().find(|(word, _)| !known(word)) {
        Some((word, _)) if bind => refuse(format!(
            "`{word}` is no option of a bind mount (options of a file system cannot be changed by one)"
        )),
        Some((word, _)) => refuse(format!("`{word}` is no option of a {kind}")),
        None => Ok(()),
    }
}

fn refuse_root(mount: &Mount, text: &str) -> Result<(), ProcessError> {
    if text == "/" {
        let written = mount.destination.display();
        return Err(ProcessError::invalid(format!(
            "mount on `{written}`, which is the root file system itself"
        )));
    }
    Ok(())
}

/// Whether a mount may lie on procfs.
fn may_cover(target: &str, is_proc: bool) -> bool {
    (target == "/proc" && is_proc) || PROC_TARGETS.contains(&target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_informing_files_of_procfs_may_be_covered() {
        assert!(may_cover("/proc/meminfo", false));
        assert!(may_cover("/proc", true));
        assert!(!may_cover("/proc", false));
        assert!(!may_cover("/proc/self/attr", false));
        assert!(!may_cover("/proc/sys", true));
    }

    #[test]
    fn a_read_only_tmpfs_is_sealed_only_after_it_is_filled() {
        let mount = Mount::filesystem("tmpfs", "/dev", &["ro", "mode=755"]);
        let plan = filesystem(&mount, "tmpfs", &options::parse(&mount.options)).expect("good mount");
        assert!(plan.seal);
    }
}
