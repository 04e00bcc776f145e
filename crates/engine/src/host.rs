//! Facts about the host and its use.

use std::path::PathBuf;
use std::sync::Arc;

use crate::container::{Container, ContainerSize};
use crate::engine::Engine;
use crate::error::Result;
use crate::image::Image;
use crate::volume::Volume;

/// What the host is and can do.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// A name for this engine that survives restarts.
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Kernel version text.
    pub kernel_build: String,
    /// The distribution's name.
    pub operating_system: String,
    /// The distribution's version.
    pub os_version: String,
    /// `linux`.
    pub os: String,
    /// As OCI names it: `amd64`, `arm64`.
    pub architecture: String,
    /// As the kernel names it: `x86_64`, `aarch64`.
    pub machine: String,
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Containers that run.
    pub running: usize,
    /// Containers that are paused.
    pub paused: usize,
    /// Containers that are neither.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Whether the kernel can limit these.
    pub limits: HostLimits,
    /// Where the engine keeps its state.
    pub root: PathBuf,
    /// Security features (`seccomp`, `apparmor`).
    pub security: Vec<String>,
    /// Default address pools, routes and so on that the user should know are missing.
    pub warnings: Vec<String>,
    /// When the daemon was opened.
    pub started: Option<base::Timestamp>,
}

/// Which limits the kernel can enforce.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostLimits {
    /// Memory.
    pub memory: bool,
    /// Swap.
    pub swap: bool,
    /// Processor quota.
    pub cpu_quota: bool,
    /// Processor weight.
    pub cpu_shares: bool,
    /// Choice of processors.
    pub cpuset: bool,
    /// Number of processes.
    pub pids: bool,
    /// Not killing at the memory limit.
    pub oom_kill_disable: bool,
    /// IPv4 forwarding is on.
    pub ipv4_forwarding: bool,
}

/// What takes how much disk.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Images.
    pub images: Vec<Image>,
    /// Bytes of all layers, each counted once.
    pub layers: u64,
    /// Containers.
    pub containers: Vec<(Arc<Container>, ContainerSize)>,
    /// Volumes, with their use.
    pub volumes: Vec<Volume>,
}

impl Engine {
    /// What the host is and can do.
    pub fn host_facts(&self) -> HostFacts {
        todo!()
    }

    /// What takes how much disk: walks files, so it is slow.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        todo!()
    }
}
