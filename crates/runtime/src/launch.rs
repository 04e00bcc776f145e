//! Starting processes in containers: the only place that clones.
//!
//! ```text
//!   runtime                               first process
//!   plan: strings, mounts, filter
//!   clone3 ─────────────────────────────▶ (in its new namespaces)
//!   maps, cgroup, limits
//!   Go ─────────────────────────────────▶ mounts, devices, terminal
//!     ◀───────────────────────── Hooks?   (only if there are hooks)
//!   HooksDone ──────────────────────────▶ pivot, identity, rights
//!     ◀──────────────────────── Created   waits
//!   Release ────────────────────────────▶ filter, exec
//!     ◀──────────── Executing, Closed     the program
//! ```
//!
//! Where namespaces are joined by path, or a process joins a container, another short-lived
//! process stands between: it enters them and clones a sibling of itself, so that the one whose
//! namespaces change is never the runtime (see `stage.rs`). Where others see the new process it is this
//! one that makes everything, in its place: what they see is what its program is to be.
//!
//! The first process of a new process namespace is seen by nobody but who is in those above it: the
//! runtime's own and those that this one is in, which are the host's.
//!
//! From the clone to the exec the new process has no descriptors but those that it needs, and may
//! not be traced.
//!
//! [`create`] and [`join`] wait for the new process. A shim, which holds others meanwhile, begins
//! with [`begin_create`] and [`begin_join`] and hears what comes of it when it comes ([`Making`]).

mod channel;
mod child;
mod hooks;
mod idmap;
mod limits;
mod making;
mod parent;
mod plan;
mod prepare;
mod ready;
mod stage;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::Rootfs;
use crate::cgroup::{Cgroup, CgroupError};
use crate::seccomp::{CompileError, Filter};
use crate::shim::descriptors::Descriptors;
use crate::spec::{Process, Spec};

pub(crate) use child::ask_for_procfs_from_inside;
pub(crate) use hooks::{HookRun, run_all as run_hooks};
pub(crate) use idmap::Holder;
pub(crate) use making::{Making, Progress};
pub(crate) use parent::{begin_create, begin_join, create, join};
pub(crate) use prepare::is_bind;

/// A container to be made.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    /// Its name, for hooks.
    pub(crate) id: &'a str,
    /// Its configuration.
    pub(crate) spec: &'a Spec,
    /// The directory that relative paths of the configuration start from, absolute.
    pub(crate) bundle: &'a Path,
    /// Its root file system, in place of the configuration's `root.path`.
    pub(crate) rootfs: &'a Rootfs,
    /// The configuration's system call filter, compiled.
    pub(crate) filter: Option<&'a Filter>,
    /// Its cgroup, made and limited.
    pub(crate) cgroup: &'a Cgroup,
    /// Its standard streams.
    pub(crate) stdio: Stdio,
    /// Namespaces that are not the host's though the configuration does not name them.
    pub(crate) inherited: Inherited,
    /// Whether the kernel kills it when the caller dies.
    pub(crate) die_with_parent: bool,
    /// Descriptors of the caller, from 3 on, that it gets.
    pub(crate) preserve_fds: u32,
    /// Leaves the old root by moving the new one over it, for roots that cannot be pivoted from.
    pub(crate) no_pivot: bool,
    /// Lets it share the caller's session keyring.
    pub(crate) no_new_keyring: bool,
    /// What its configuration names on the host, already open; then nothing is taken by its path.
    pub(crate) given: Option<Descriptors>,
    /// Starts its program when a byte can be read from here; without it, [`Making::release`] does.
    pub(crate) release: Option<OwnedFd>,
}

/// A process to join a container.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    /// What is run.
    pub(crate) process: &'a Process,
    /// The container's system call filter.
    pub(crate) filter: Option<&'a Filter>,
    /// The container's first process.
    pub(crate) target: BorrowedFd<'a>,
    /// The same, as the host counts; it must be alive, which holding `target` lets the callee check.
    pub(crate) target_pid: u32,
    /// The container's cgroup.
    pub(crate) cgroup: &'a Cgroup,
    /// Its standard streams.
    pub(crate) stdio: Stdio,
    /// Whether the kernel kills it when the caller dies.
    pub(crate) die_with_parent: bool,
    /// Descriptors of the caller, from 3 on, that it gets.
    pub(crate) preserve_fds: u32,
}

/// What a process's standard streams are.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// The caller's.
    Inherit,
    /// These three.
    Fds([OwnedFd; 3]),
    /// A new terminal.
    Terminal,
}

/// Namespaces of the caller that are not the host's, but belong to the container's sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// The network.
    pub(crate) network: bool,
    /// System V and POSIX IPC.
    pub(crate) ipc: bool,
    /// The host name.
    pub(crate) uts: bool,
}

/// A process that was started, or only waits to be.
#[derive(Debug)]
pub(crate) struct Started {
    /// The process, as the host counts.
    pub(crate) pid: u32,
    /// The process for good.
    pub(crate) pidfd: OwnedFd,
    /// When it started, in clock ticks since boot: with `pid`, names it for good.
    pub(crate) start_time: u64,
    /// The outer side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// What was asked for and could not be given here.
    pub(crate) warnings: Vec<String>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// The configuration makes no sense, or asks for what this runtime refuses.
    #[error("{0}")]
    Invalid(String),
    /// The runtime failed at something on the host.
    #[error("{what}")]
    Host {
        /// What was being tried on what.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The new process failed at something.
    #[error("{what}")]
    Child {
        /// What was being tried on what.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// There is no such program inside.
    #[error("{0}")]
    ProgramNotFound(String),
    /// There is such a program, but it cannot be executed.
    #[error("{0}")]
    ProgramNotExecutable(String),
    /// The new process ended without a word, for example killed for want of memory.
    #[error("the process ended before its program was started")]
    Died,
    /// Somebody else has spoken for the new process, which whoever may trace it can do.
    #[error("another process interfered with the new one")]
    Interfered,
    /// The root file system's layers.
    #[error("make the root file system")]
    Overlay(#[source] base::overlay::OverlayError),
    /// The filter.
    #[error("compile the system call filter")]
    Seccomp(#[source] CompileError),
    /// The cgroup.
    #[error("enter the container's cgroup")]
    Cgroup(#[source] CgroupError),
    /// A hook of the runtime.
    #[error("hook `{path}` {reason}")]
    Hook {
        /// The program.
        path: String,
        /// What became of it.
        reason: String,
    },
}

impl ProcessError {
    fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    fn host(what: &str, source: impl Into<io::Error>) -> Self {
        Self::Host { what: what.to_owned(), source: source.into() }
    }
}
