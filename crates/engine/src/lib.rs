//! Containers, sandboxes, volumes, networks, exec, logs, events: one API under Docker and Kubernetes alike.
//!
//! [`Engine`] is a cheap handle to everything; its methods begin with the noun they act on
//! (`container_start`, `volume_list`), and each lives in a file of its own. The engine has never
//! heard of Docker's JSON nor of pods: a *container* belongs to a *sandbox* (the shim process,
//! the network, the namespaces that its containers share), and a container created without one
//! gets its own. Labels mark who owns what.
//!
//! Containers outlive the engine: each sandbox's shim holds them, and [`Engine::open`] finds the
//! shims again by their sockets, learns what ended meanwhile, and restarts nothing that runs.
#![forbid(unsafe_code)]

pub mod config;
pub mod container;
pub mod engine;
pub mod error;
pub mod event;
pub mod exec;
pub mod host;
pub mod id;
pub mod image;
pub mod network;
pub mod sandbox;
pub mod stream;
pub mod volume;
pub mod work;

mod apparmor;
mod bridge;
mod cgroup;
mod etc;
mod filter;
mod flushes;
mod id_blocks;
mod places;
mod registry;
mod rootfs;
mod shim;
mod signal;
mod spec;
mod state;
mod storage;
mod trouble;
mod users;

pub use config::Config;
pub use container::{Container, ContainerSpec};
pub use engine::Engine;
pub use error::{Error, Fact, Kind, Operation, Result};
pub use id::{ContainerId, ExecId, NetworkId, SandboxId};
pub use id_blocks::IdRange;
pub use state::Claim;
pub use stream::{Attached, ByteStream, ExitStatus, OutputKind, TerminalSize};
