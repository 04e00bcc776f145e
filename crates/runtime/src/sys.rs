//! System calls that rustix does not have, and small readers of `/proc`.

pub(crate) mod mount;
pub(crate) mod process;
