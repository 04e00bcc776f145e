//! Being told when memory runs out.
use std::os::fd::OwnedFd;
/// Becomes readable when a control group runs out of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}
