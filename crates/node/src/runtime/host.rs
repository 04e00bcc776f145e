//! What a kubelet does by itself on its machine, beside its runtime.

use std::path::{Path, PathBuf};

use super::{Answer, DiskUsage, GroupUsage, Resources};

/// The machine that a node is on.
pub trait Host: Send + Sync + 'static {
    /// What it is.
    fn facts(&self) -> HostFacts;

    /// Makes a control group, below which sandboxes have theirs, and limits it.
    fn limit_group<'a>(&'a self, group: &'a str, resources: Resources) -> Answer<'a, ()>;

    /// What a control group uses that [`Host::limit_group`] made, or, by an absolute path, any other.
    fn group_stats<'a>(&'a self, group: &'a str) -> Answer<'a, GroupUsage>;

    /// Limits what is written below a directory that is empty; gives what the limit is known by, nothing where its
    /// file system cannot.
    fn limit_directory<'a>(&'a self, directory: &'a Path, bytes: u64) -> Answer<'a, Option<u32>>;

    /// Changes such a limit, while what is below the directory is used.
    fn change_limit(&self, limit: u32, bytes: u64) -> Answer<'_, ()>;

    /// Takes such a limit away when the directory is gone.
    fn release_limit(&self, limit: u32) -> Answer<'_, ()>;

    /// What is used of such a limit; nothing where the file system does not say.
    fn limit_usage(&self, limit: u32) -> Answer<'_, Option<DiskUsage>>;

    /// The block device that stands for a file: the one that does already, or another.
    fn attach_file<'a>(&'a self, file: &'a Path) -> Answer<'a, PathBuf>;

    /// Tells the device that stands for a file, if there is one, that the file is longer now.
    fn file_lengthened<'a>(&'a self, file: &'a Path) -> Answer<'a, ()>;

    /// The names of the containers that are not over and have what is at a path or below it, or the device that stands
    /// for the file there: whoever may see the whole host does not count.
    fn users_of<'a>(&'a self, path: &'a Path) -> Answer<'a, Vec<String>>;

    /// Takes away the device that stands for a file, if there is one: at once, or when whoever has it open closes it.
    fn detach_file<'a>(&'a self, file: &'a Path) -> Answer<'a, ()>;
}

/// What a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Kernel release.
    pub kernel: String,
    /// The distribution's name.
    pub operating_system: String,
    /// `linux`.
    pub os: String,
    /// As OCI names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}
