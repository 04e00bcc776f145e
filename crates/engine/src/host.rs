//! Facts about the host and its use.

mod facts;

use std::path::PathBuf;
use std::sync::Arc;

use crate::container::{Container, ContainerFilter, ContainerSize, Status};
use crate::engine::Engine;
use crate::error::Result;
use crate::image::{Image, ImageFilter};
use crate::volume::list::disk_use;
use crate::volume::{Volume, VolumeFilter, VolumeUsage};
use crate::work::{blocking, in_place};

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
    /// Security features that are applied (`seccomp`, `cgroupns`).
    pub security: Vec<String>,
    /// What is known of the disk that containers' files are on, in the words of Docker's overlay storage.
    pub storage: Vec<(&'static str, String)>,
    /// Whether sandboxes can have users of their own, volumes in memory included (Linux 6.3).
    pub has_own_users: bool,
    /// Whether the kernel has SELinux in force.
    pub has_selinux: bool,
    /// What could not be taken up, and what is not as it should be, in words. Limits that are missing are
    /// told in `limits`.
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
        in_place(|| self.look_at_host())
    }

    fn look_at_host(&self) -> HostFacts {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let (operating_system, os_version) = facts::distribution();
        let mut cells = self.inner.registry.all();
        cells.retain(|cell| !cell.is_hidden());
        let count =
            |wanted: &dyn Fn(Status) -> bool| cells.iter().filter(|cell| wanted(cell.status())).count();
        let running = count(&|status| status == Status::Running);
        let paused = count(&|status| status == Status::Paused);
        let (cgroup_version, limits) = facts::limits();
        let mut warnings: Vec<String> = self.troubles().iter().map(ToString::to_string).collect();
        let apparmor = crate::apparmor::Host::get();
        if apparmor.kernel && !apparmor.is_applied() {
            warnings.push(
                "AppArmor is in force, but docker-default is not loaded and apparmor_parser is missing: containers have no profile".to_owned(),
            );
        }
        HostFacts {
            id: self.inner.id.clone(),
            hostname: text(uname.nodename()),
            kernel: text(uname.release()),
            kernel_build: text(uname.version()),
            operating_system,
            os_version,
            os: "linux".to_owned(),
            architecture: oci::Platform::host().architecture,
            machine: text(uname.machine()),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory: memory_total(),
            running,
            paused,
            stopped: cells.len() - running - paused,
            images: self.inner.images.image_list().len(),
            cgroup_version,
            limits,
            root: self.inner.config.root.clone(),
            security: facts::security(),
            storage: facts::storage(&self.inner.config.root),
            has_own_users: facts::has_own_users(),
            has_selinux: facts::has_selinux(),
            warnings,
            started: Some(self.inner.started),
        }
    }

    /// What takes how much disk: walks files, so it is slow.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let all = ContainerFilter { all: true, ..ContainerFilter::default() };
        let mut containers = Vec::new();
        for container in self.container_list(&all)? {
            // One that is removed meanwhile takes nothing.
            let size = self.container_size(&container.id).await.unwrap_or_default();
            containers.push((container, size));
        }
        let engine = self.clone();
        blocking(move || {
            let volume = |volume: Arc<Volume>| Volume {
                usage: Some(VolumeUsage {
                    size: disk_use(&volume),
                    containers: engine.volume_users(&volume.name).len(),
                }),
                ..Volume::clone(&volume)
            };
            Ok(DiskUsage {
                images: engine.image_list(&ImageFilter::default())?,
                layers: engine.inner.images.disk_usage().layers,
                volumes: engine.volume_list(&VolumeFilter::default()).into_iter().map(volume).collect(),
                containers,
            })
        })
        .await
    }
}

/// The paths that cannot be read in a container, where nobody says otherwise.
pub fn masked_paths() -> Vec<String> {
    texts(runtime::defaults::masked_paths())
}

/// The paths that cannot be written in a container, where nobody says otherwise.
pub fn read_only_paths() -> Vec<String> {
    texts(runtime::defaults::readonly_paths())
}

fn texts(paths: Vec<PathBuf>) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// Whether this host's kernel has AppArmor in force.
pub fn has_apparmor() -> bool {
    crate::apparmor::Host::get().kernel
}

/// Whether containers have an AppArmor profile where nobody says otherwise: the kernel has it in force,
/// and the profile is loaded, or the host has the program that loads it.
pub fn applies_apparmor() -> bool {
    crate::apparmor::Host::get().is_applied()
}

/// What is shown as the AppArmor profile of a container: none on a host that has none to give.
pub fn apparmor_profile(security: &crate::container::Security) -> String {
    let host = crate::apparmor::Host::get();
    match host.profile(security) {
        Ok(Some(profile)) => profile.to_owned(),
        Ok(None) if host.kernel => "unconfined".to_owned(),
        Ok(None) | Err(_) => String::new(),
    }
}

/// The machine's memory in bytes.
pub(crate) fn memory_total() -> u64 {
    let sysinfo = rustix::system::sysinfo();
    sysinfo.totalram as u64 * u64::from(sysinfo.mem_unit)
}
