//! As whom a single thread goes about in file systems.

use std::io;

/// Makes files of this thread, and of no other, belong to `user` and `group`. Takes away the thread's
/// rights over files of others if it was root so far.
pub(crate) fn set_fs_ids(user: u32, group: u32) -> io::Result<()> {
    // These calls give what was before and say nothing of failure; asked for somebody who cannot be,
    // they change nothing and give what is.
    let set = |call, id: u32| {
        // SAFETY: takes a number only.
        unsafe { libc::syscall(call, id) };
        // SAFETY: as above; nobody can be this one.
        let now = unsafe { libc::syscall(call, u32::MAX) };
        if now == i64::from(id) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
    };
    set(libc::SYS_setfsgid, group)?;
    set(libc::SYS_setfsuid, user)
}
