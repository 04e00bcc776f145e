//! Digests, references, and the image and distribution documents: parse and print only.
//!
//! Nothing here touches a disk or a network. The image documents are ours rather than those of
//! `oci-spec`: an image's id is the digest of its configuration's bytes, so maps must print in a
//! stable order, and Docker's superset (`Healthcheck`, `OnBuild`, `Shell`) must survive a round
//! trip. The runtime's documents are in the crate `runtime`.
#![forbid(unsafe_code)]

pub mod archive;
pub mod cache;
pub mod config;
pub mod digest;
pub mod distribution;
pub mod limits;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
mod serde_shapes;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, ReadConfigError, RootFs, Verbatim};
pub use digest::{Algorithm, Digest, Hasher};
pub use limits::TooMuch;
pub use manifest::{Descriptor, Document, Index, Manifest};
pub use platform::Platform;
pub use reference::Reference;
