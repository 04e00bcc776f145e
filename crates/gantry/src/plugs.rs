//! What joins the crates that do not know each other: calls inside the process where another
//! program would have connections.

mod api;
mod nodes;
mod outside;
mod signer;

pub(crate) use api::InProcess;
pub(crate) use nodes::LocalNode;
pub(crate) use outside::{OverHttps, authorities_of_system};
pub(crate) use signer::Signer;
