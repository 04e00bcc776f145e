//! Netlink: the kernel's own protocol for links, addresses, routes and packet filtering.
//!
//! Synchronous on purpose: an exchange takes tens of microseconds and runs on a blocking thread,
//! and a socket opened inside a namespace stays in it whatever thread uses it later.

mod message;
mod socket;

pub(crate) use message::{Attributes, Message, attribute_text, attribute_u32};
pub(crate) use socket::{Family, Reply, Socket, fuzz};
