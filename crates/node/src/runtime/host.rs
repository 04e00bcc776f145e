//! What a kubelet does by itself on its machine, beside its runtime.

use super::{Answer, GroupUsage, Resources};

/// The machine that a node is on.
pub trait Host: Send + Sync + 'static {
    /// What it is.
    fn facts(&self) -> HostFacts;

    /// Makes a control group, below which sandboxes have theirs, and limits it.
    fn limit_group<'a>(&'a self, group: &'a str, resources: Resources) -> Answer<'a, ()>;

    /// What a control group uses that [`Host::limit_group`] made, or, by an absolute path, any other.
    fn group_stats<'a>(&'a self, group: &'a str) -> Answer<'a, GroupUsage>;
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
