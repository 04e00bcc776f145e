//! Processes by number, told apart by when they started; and this one, closed to others.

use std::ffi::CString;
use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps every other process from tracing this one, and from its memory and descriptors
/// (CVE-2016-9962): only who has `CAP_SYS_PTRACE` on the host may still do so.
///
/// Processes that are cloned from this one inherit it. The next exec undoes it, and where
/// `fs.suid_dumpable` is 1 so does each change of user, group or user namespace: those who change
/// them call this again. The files below `/proc/<pid>` belong to the host's root meanwhile. Does
/// not allocate.
pub(crate) fn forbid_tracing() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Names this process in lists of processes: its arguments, and as much as fits as its short name.
pub(crate) fn set_title(title: &str) -> io::Result<()> {
    let name = CString::new(title.get(..15).unwrap_or(title)).map_err(io::Error::other)?;
    rustix::thread::set_name(&name)?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (start, end) = parse_arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let room = end.saturating_sub(start);
    let length = title.len().min(room.saturating_sub(1));
    // SAFETY: between these addresses the kernel has put the arguments of this program, in memory that
    // is the program's own and may be written to. Whoever reads them later finds strings that end
    // with null: the last byte is one, and so are all after the title.
    unsafe {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
        std::ptr::write_bytes(place, 0, room);
        std::ptr::copy_nonoverlapping(title.as_ptr(), place, length);
    }
    Ok(())
}

/// Where the arguments of the process are, and where they end.
fn parse_arguments(stat: &str) -> Option<(usize, usize)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split_whitespace().skip(45).map(str::parse);
    let (start, end) = (words.next()?.ok()?, words.next()?.ok()?);
    (0 < start && start < end).then_some((start, end))
}

/// When process `pid` started, in clock ticks since boot; `None` if there is none.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether process `pid` has ended and only waits for its parent to notice.
pub(crate) fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// When the process started whose `stat` this is.
pub(crate) fn parse_start_time(stat: &str) -> Option<u64> {
    // The command may hold blanks and parentheses; what follows the last one is regular.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// The parent of the process whose `stat` this is.
pub(crate) fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_can_be_forbidden() {
        // SAFETY: the child only makes system calls and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let forbidden = forbid_tracing().is_ok()
                && rustix::process::dumpable_behavior() == Ok(DumpableBehavior::NotDumpable);
            crate::sys::clone::exit_now(i32::from(!forbidden));
        }
        let mut status = 0;
        // SAFETY: the child is ours, and the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    #[test]
    fn the_start_time_is_found_behind_any_command_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
