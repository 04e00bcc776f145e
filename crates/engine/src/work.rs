//! How the engine's work is done: on threads where it blocks, and as tasks of its own where it must not be
//! left half done or where nobody waits for it.
//!
//! | what | how |
//! | --- | --- |
//! | blocks on the engine's own files or the kernel | `blocking`, `in_place` where it is short |
//! | blocks on files that others chose | [`foreign`] |
//! | moves an archive between a file and a client | [`transfer`] |
//! | must be finished though its caller goes away | `Engine::detached` |
//! | goes on beside all requests | `Engine::spawn`, `Engine::spawn_lasting` where somebody must always do it |

mod tasks;
mod threads;

pub(crate) use offload::{Removals, in_place};
pub(crate) use tasks::AFTER_PANIC;
pub use threads::{Transfer, Upload, foreign, transfer};
pub(crate) use threads::{blocking, removals};
