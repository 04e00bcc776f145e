//! Replacing the program, and what is only needed just before.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

/// Strings in the form that `execve(2)` takes: an array of pointers that ends with null.
#[derive(Debug)]
pub(crate) struct StringVector {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringVector {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let mut vector = Self { pointers: Vec::with_capacity(strings.len() + 2), strings };
        vector.pointers.extend(vector.strings.iter().map(|string| string.as_ptr()));
        vector.pointers.push(ptr::null());
        vector
    }

    pub(crate) fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// The array with one more string, without allocating. `extra` must outlive the exec.
    pub(crate) fn push_borrowed(&mut self, extra: &CStr) {
        debug_assert!(self.pointers.len() < self.pointers.capacity(), "room for one was reserved");
        self.pointers.pop();
        self.pointers.push(extra.as_ptr());
        self.pointers.push(ptr::null());
    }
}

/// Replaces the program; returns only on failure. Does not allocate.
pub(crate) fn execve(program: &CStr, argv: &StringVector, envp: &StringVector) -> io::Error {
    // SAFETY: all three are strings and arrays of strings that end with null, alive in this frame.
    unsafe {
        libc::syscall(libc::SYS_execve, program.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr())
    };
    io::Error::last_os_error()
}

/// Closes every descriptor from `first` up.
///
/// # Safety
/// None of them may be owned by anything that uses or closes it later.
pub(crate) unsafe fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller's promise is the same.
    unsafe { close_all_but(first, &[]) }
}

/// Closes every descriptor from `first` up that is not in `kept`, which is sorted. Does not allocate.
///
/// # Safety
/// None of those that are closed may be owned by anything that uses or closes it later.
pub(crate) unsafe fn close_all_but(first: u32, kept: &[RawFd]) -> io::Result<()> {
    let close = |from: u32, to: u32| {
        // SAFETY: takes numbers only; that nobody misses the descriptors is the caller's promise.
        let result = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut from = first;
    for kept in kept.iter().filter_map(|&fd| u32::try_from(fd).ok()) {
        if kept > from {
            close(from, kept - 1)?;
        }
        from = from.max(kept + 1);
    }
    close(from, u32::MAX)
}

/// Leaves the caller's keys behind for a session keyring: the one of this name, made if there is
/// none, or a new one that has no name.
pub(crate) fn join_session_keyring(name: Option<&CStr>) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    let name = name.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the name is a string that lives through the call, or null, which the kernel knows.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the execution domain.
pub(crate) fn personality(domain: u64) -> io::Result<()> {
    // SAFETY: takes a number only.
    if unsafe { libc::syscall(libc::SYS_personality, domain) } >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The working directory as the kernel names it, into `buffer`; does not allocate.
///
/// A directory outside the process's root comes as `(unreachable)…`.
pub(crate) fn getcwd(buffer: &mut [u8]) -> io::Result<&[u8]> {
    // SAFETY: the kernel writes at most as many bytes as the buffer is said to have.
    let result = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    match usize::try_from(result) {
        // The count includes the final null byte.
        Ok(count) => Ok(&buffer[..count.saturating_sub(1)]),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
