//! Giving memory back: shims are many and idle, and a daemon that has begun needs little of what it began with.

/// Gives free pages of the allocator back, and lets go of this program's code.
pub(crate) fn give_back() {
    // SAFETY: only returns free pages of the allocator.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let_go_of_code();
}

/// Lets go of this program's code: what is still needed comes back from the page cache, where all processes of the
/// program share it.
fn let_go_of_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: the range is a mapping of a file that cannot be written and was never written to
        // (it is executable), so the same bytes come back when they are next touched.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The range of a line of `/proc/self/maps` if it is code from a file. Read-only data is left
/// alone: a part of it was filled in when the program was loaded.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (inode, path) = (words.nth(2)?, words.next()?);
    if permissions != "r-xp" || inode == "0" || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_files_is_let_go() {
        let check = |line: &str, expected: Option<(usize, usize)>| assert_eq!(code(line), expected, "{line}");
        check("1000-3000 r-xp 00096000 fe:00 6587297   /bin/gantry", Some((0x1000, 0x3000)));
        check("3000-4000 r--p 002d5000 fe:00 6587297   /bin/gantry", None);
        check("4000-5000 rw-p 002d5000 fe:00 6587297   /bin/gantry", None);
        check("7000-8000 r-xp 00000000 00:00 0         [vdso]", None);
    }

    #[test]
    fn the_program_goes_on_after_giving_back() {
        give_back();
        assert!(std::fs::read_to_string("/proc/self/stat").is_ok());
    }
}
