//! OCI runtime and shim: synchronous, single-threaded, no tokio.
//!
//! Three programs share this crate, and the binary picks one by its first argument before it does
//! anything else: [`cli`] is an OCI runtime as runc and crun are, [`shim`] holds the containers of
//! one sandbox, [`init`] is process 1 of a shared process namespace (there a fork of the shim).
//! Processes of containers are cloned in the module `launch` only.
//!
//! Nothing here may be called from a process with more than one thread, except
//! [`shim::launch`], [`shim::protocol`], [`spec`], [`defaults`], [`seccomp`], [`features`], [`signal`],
//! [`memory`], [`quota`] and [`cgroup`].

pub mod cgroup;
pub mod cli;
pub mod defaults;
pub mod features;
pub mod held;
pub mod init;
pub mod loops;
pub mod memory;
pub mod quota;
pub mod rootfs;
pub mod seccomp;
pub mod shim;
pub mod signal;
pub mod spec;

mod capability;
mod launch;
mod sealed;
mod sys;

pub use rootfs::Rootfs;

/// For tests: has this program make the procfs of a process namespace that is joined as it does on
/// kernels before 6.17, where only who is inside can ask for it.
#[doc(hidden)]
pub fn ask_for_procfs_from_inside() {
    launch::ask_for_procfs_from_inside();
}
