//! How much a container may write into its root file system, and containers into a volume.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use runtime::quota::Projects;

use crate::container::{ContainerFilter, ContainerSpec, MountPoint};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::id::ContainerId;

/// What is said where the file system cannot limit, in the words that users know and look for.
const UNSUPPORTED: &str = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";

/// The same of a volume.
const UNSUPPORTED_VOLUME: &str = "quota size requested but no quota support";

/// What is said where a filter lets through what changes projects, or there is none.
const LIFTED: &str = "The limits of storage (size) of this container and of its volumes can be lifted from inside: \
     it is privileged, or its seccomp profile lets programs change the project of a file (ioctl \
     FS_IOC_FSSETXATTR and FS_IOC_SETFLAGS, file_setattr, quotactl).";

/// The quotas of the file system that root file systems are on, looked for when they are first needed;
/// whether there are any does not change while the daemon runs.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<Option<Option<Projects>>>);

/// The bytes that the options of a root file system's storage limit it to.
pub(crate) fn limit(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let mut limit = None;
    for (key, value) in options {
        match key.to_ascii_lowercase().as_str() {
            "size" => {
                limit = Some(bytes(value).ok_or_else(|| Error::invalid(format!("invalid size: '{value}'")))?)
            }
            key => return Err(Error::invalid(format!("Unknown option {key}"))),
        }
    }
    Ok(limit.filter(|&bytes| bytes > 0))
}

/// The bytes that a volume's options limit it to.
fn volume_limit(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some(value) = options.get("size") else { return Ok(None) };
    let limit = bytes(value).ok_or_else(|| Error::invalid(format!("invalid size: '{value}'")))?;
    if limit > 0 && options.get("device").is_some_and(|device| !device.is_empty()) {
        return Err(Error::invalid("size quota requested for a volume that is mounted from a device"));
    }
    Ok((limit > 0).then_some(limit))
}

/// Reads `10G`, `1.5 gb`, `512MiB`, `1024`.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite())?;
    let unit = text[end..].strip_prefix(' ').unwrap_or(&text[end..]).to_ascii_lowercase();
    let letter = unit.strip_suffix('b').unwrap_or(&unit);
    let letter = letter.strip_suffix('i').filter(|_| unit.ends_with('b')).unwrap_or(letter);
    let scale = match letter {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    Some((number * scale as f64) as u64)
}

impl Engine {
    /// Whether the option `size` of a root file system's storage can be had here.
    pub fn can_limit_storage(&self) -> bool {
        self.with_quotas(UNSUPPORTED, |_| Ok(())).is_ok()
    }

    /// Refuses a limit that cannot be enforced here.
    pub(crate) fn check_storage(&self, spec: &ContainerSpec) -> Result<()> {
        match limit(&spec.storage_options)? {
            Some(_) => self.with_quotas(UNSUPPORTED, |_| Ok(())),
            None => Ok(()),
        }
    }

    /// Limits what is written below the directories of a new root file system, which are empty; gives
    /// what [`Engine::release_storage`] takes.
    pub(crate) fn limit_storage(&self, spec: &ContainerSpec, directories: &[&Path]) -> Result<Option<u32>> {
        let Some(bytes) = limit(&spec.storage_options)? else { return Ok(None) };
        self.with_quotas(UNSUPPORTED, |projects| {
            let limited = projects.limit(directories, bytes);
            limited.map(Some).context(|| "limit the container's root file system".to_owned())
        })
    }

    /// As [`Engine::limit_storage`], for a volume with these options, whose directory this is.
    pub(crate) fn limit_volume(
        &self,
        options: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Option<u32>> {
        let Some(bytes) = volume_limit(options)? else { return Ok(None) };
        self.with_quotas(UNSUPPORTED_VOLUME, |projects| {
            let limited = projects.limit(&[directory], bytes);
            limited.map(Some).context(|| format!("limit the volume `{}`", directory.display()))
        })
    }

    /// What is to be said of a container that can lift its limits, or fill those of others: whoever can
    /// change the projects of files can.
    pub(crate) fn storage_warning(&self, spec: &ContainerSpec, mounts: &[MountPoint]) -> Option<String> {
        let is_limited = !spec.storage_options.is_empty() || {
            let known = |name: &String| self.volume_inspect(name).ok();
            let mut volumes = mounts.iter().filter_map(|mount| mount.volume.as_ref()).filter_map(known);
            volumes.any(|volume| volume.options.contains_key("size"))
        };
        (is_limited && !crate::spec::guards_quotas(&spec.security)).then(|| LIFTED.to_owned())
    }

    /// Whether the programs of a container have to leave limits as they are: those of what it is given by its path
    /// ([`Engine::storage_limit`]) too, of which nothing is said when it is made.
    pub fn container_keeps_limits(&self, id: &ContainerId) -> Result<bool> {
        Ok(crate::spec::guards_quotas(&self.container_inspect(id)?.spec.security))
    }

    /// Takes a limit away when the root file system that had it is gone.
    pub(crate) fn release_storage(&self, limit: u32) {
        let released = self.with_quotas(UNSUPPORTED, |projects| {
            projects.release(limit).context(|| format!("give back the disk quota of project {limit}"))
        });
        if let Err(error) = released {
            tracing::warn!(error = %base::error::chain(&error), "a container's limit of storage stays");
        }
    }

    /// Limits what is written below a directory that is empty; gives what the limit is known by. Nothing where the
    /// file system that root file systems are on has no quotas for projects, or the directory is on another.
    pub fn storage_limit(&self, directory: &Path, bytes: u64) -> Result<Option<u32>> {
        if !self.can_limit_storage() {
            return Ok(None);
        }
        self.with_quotas(UNSUPPORTED_VOLUME, |projects| {
            let what = || format!("limit what is written below `{}`", directory.display());
            if !projects.are_of(directory).context(what)? {
                return Ok(None);
            }
            projects.limit(&[directory], bytes).map(Some).context(what)
        })
    }

    /// Changes a limit of [`Engine::storage_limit`]; what is there already may be more.
    pub fn storage_limit_change(&self, limit: u32, bytes: u64) -> Result<()> {
        self.with_quotas(UNSUPPORTED_VOLUME, |projects| {
            projects.change(limit, bytes).context(|| format!("change the disk quota of project {limit}"))
        })
    }

    /// Takes a limit of [`Engine::storage_limit`] away.
    pub fn storage_limit_release(&self, limit: u32) -> Result<()> {
        if !self.can_limit_storage() {
            return Ok(());
        }
        self.with_quotas(UNSUPPORTED_VOLUME, |projects| {
            projects.release(limit).context(|| format!("give back the disk quota of project {limit}"))
        })
    }

    /// Bytes and files that a limit of [`Engine::storage_limit`] counts; nothing where they are not counted now.
    pub fn storage_limit_usage(&self, limit: u32) -> Result<Option<(u64, u64)>> {
        if !self.can_limit_storage() {
            return Ok(None);
        }
        self.with_quotas(UNSUPPORTED_VOLUME, |projects| {
            let used = projects.used(limit);
            used.map(Some).context(|| format!("ask for the disk quota of project {limit}"))
        })
    }

    /// The block device that stands for a file: the one that does already, or another. It is there until it is
    /// [detached](Engine::file_detach), or the machine's end.
    pub fn file_attach(&self, file: &Path) -> Result<PathBuf> {
        runtime::loops::attach(file).context(|| format!("make `{}` a block device", file.display()))
    }

    /// Tells the device that stands for a file, if there is one, that the file is longer now.
    pub fn file_lengthened(&self, file: &Path) -> Result<()> {
        runtime::loops::lengthened(file).context(|| format!("lengthen the device of `{}`", file.display()))
    }

    /// The names of the containers that are not over and have been given what is at a path or below it, or the device
    /// that stands for the file there.
    pub fn path_users(&self, path: &Path) -> Result<Vec<String>> {
        let device = runtime::loops::device_of(path);
        let device = device.context(|| format!("look for the device of `{}`", path.display()))?;
        let all = self.container_list(&ContainerFilter { all: true, ..ContainerFilter::default() })?;
        let users = all.iter().filter(|container| {
            use crate::container::Status::{Created, Paused, Restarting, Running};
            let sources = container.mounts.iter().map(|mount| mount.source.as_path());
            let devices = container.spec.resources.devices.iter().map(|device| Path::new(&device.host_path));
            matches!(container.state.status, Created | Running | Paused | Restarting)
                && has(sources, devices, path, device.as_deref())
        });
        Ok(users.map(|container| container.name.clone()).collect())
    }

    /// Takes away the device that stands for a file, if there is one: at once, or when whoever has it open closes it.
    pub fn file_detach(&self, file: &Path) -> Result<()> {
        runtime::loops::detach(file).context(|| format!("take away the device of `{}`", file.display()))
    }

    fn with_quotas<T>(&self, unsupported: &str, run: impl FnOnce(&mut Projects) -> Result<T>) -> Result<T> {
        let mut known = self.inner.quotas.0.lock();
        if known.is_none() {
            let root = &self.inner.config.root;
            *known = Some(Projects::open(root).context(|| format!("look at `{}`", root.display()))?);
        }
        match known.as_mut().and_then(Option::as_mut) {
            Some(projects) => run(projects),
            None => Err(Error::invalid(unsupported)),
        }
    }
}

/// Whether one of these mounts is of `path` or below, or one of these devices is `device`.
fn has<'a>(
    mut sources: impl Iterator<Item = &'a Path>,
    mut devices: impl Iterator<Item = &'a Path>,
    path: &Path,
    device: Option<&Path>,
) -> bool {
    let is_device = |asked: &Path| {
        device.is_some_and(|device| {
            asked == device || std::fs::canonicalize(asked).is_ok_and(|found| found == device)
        })
    };
    sources.any(|source| source.starts_with(path)) || devices.any(is_device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, value: &str, expected: Result<Option<u64>, &str>) {
        let found = limit(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(
            found.map_err(|error| error.full_message()),
            expected.map_err(str::to_owned),
            "{key}={value}"
        );
    }

    #[test]
    fn sizes_are_read_and_other_options_are_refused() {
        check("size", "10G", Ok(Some(10 << 30)));
        check("size", "1.5 gb", Ok(Some(3 << 29)));
        check("Size", "512MiB", Ok(Some(512 << 20)));
        check("size", "1024", Ok(Some(1024)));
        check("size", "0", Ok(None));
        for bad in ["big", "", "1x", "-1", "1i", "1.2.3", "G"] {
            check("size", bad, Err(&format!("invalid size: '{bad}'")));
        }
        check("dm.basesize", "10G", Err("Unknown option dm.basesize"));
    }

    #[test]
    fn who_has_a_path_or_its_device_is_a_user_of_it() {
        let of = |mounts: &[&str], devices: &[&str], device: Option<&str>| {
            let (mounts, devices) = (mounts.iter().map(Path::new), devices.iter().map(Path::new));
            has(mounts, devices, Path::new("/volumes/v/data"), device.map(Path::new))
        };
        assert!(of(&["", "/volumes/v/data"], &[], None) && of(&["/volumes/v/data/below"], &[], None));
        assert!(!of(&["/volumes/v/data2", "/volumes/v", ""], &[], None));
        assert!(of(&[], &["/dev/null", "/dev/loop7"], Some("/dev/loop7")));
        assert!(!of(&[], &["/dev/loop7"], Some("/dev/loop70")) && !of(&[], &["/dev/loop7"], None));
    }

    #[test]
    fn a_volume_has_a_size_of_its_own_or_is_mounted() {
        let of = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            volume_limit(&options).map_err(|error| error.full_message())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("size", "10M")]), Ok(Some(10 << 20)));
        assert_eq!(of(&[("size", "big")]), Err("invalid size: 'big'".to_owned()));
        assert!(of(&[("size", "1M"), ("device", "/dev/sda"), ("type", "ext4")]).is_err());
    }
}
