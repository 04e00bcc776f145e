//! The few kinds of failure that a caller of this crate can act on.

use std::io;

/// What sort of failure an error is. Every error type of this crate has a `kind` method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// There is no such image, layer or snapshot, here or in the registry.
    NotFound,
    /// The thing is in use, or a name means several things.
    Conflict,
    /// The input is malformed, or is not what its digest says.
    Invalid,
    /// The registry refuses.
    Denied,
    /// The registry does not know who asks, or not by these credentials.
    Unauthorized,
    /// The registry cannot be reached or fails; trying again may help.
    Unavailable,
    /// The disk is full.
    NoSpace,
    /// Anything else.
    Internal,
}

impl Kind {
    /// The kind of an I/O error on the store's own disk.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            _ => Kind::Internal,
        }
    }
}
