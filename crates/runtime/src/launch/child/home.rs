//! The home directory of a program whose environment has none.

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

/// Longest line of `/etc/passwd` that is understood.
const LINE: usize = 1024;

/// How much of `/etc/passwd` is read: it is the image's, and need not end.
const LONGEST: usize = 4 << 20;

/// Appends the home directory of `uid` according to the container's `/etc/passwd`, or `/`, and a
/// null byte. `home` has room for it.
pub(super) fn complete(home: &mut Vec<u8>, uid: u32) {
    let room = home.capacity() - home.len() - 1;
    let start = home.len();
    find(uid, &mut |directory| {
        if directory.len() <= room {
            home.extend_from_slice(directory);
        }
    });
    if home.len() == start {
        home.push(b'/');
    }
    home.push(0);
}

fn find(uid: u32, found: &mut dyn FnMut(&[u8])) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = openat(CWD, c"/etc/passwd", flags, Mode::empty()) else { return };
    // A pipe or device could keep this process waiting.
    if !rustix::fs::fstat(&file)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    {
        return;
    }
    let mut buffer = [0u8; LINE];
    let (mut filled, mut total) = (0, 0);
    while let Ok(count @ 1..) = rustix::io::read(&file, &mut buffer[filled..]) {
        (filled, total) = (filled + count, total + count);
        if total > LONGEST {
            return;
        }
        while let Some(end) = buffer[..filled].iter().position(|&byte| byte == b'\n') {
            if let Some(home) = home_of(&buffer[..end], uid) {
                return found(home);
            }
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        if filled == LINE {
            // Longer than any sensible line: what of it was read is left out.
            filled = 0;
        }
    }
    if let Some(home) = home_of(&buffer[..filled], uid) {
        found(home);
    }
}

fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&byte| byte == b':');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let home = fields.nth(2)?;
    (number.parse() == Ok(uid) && !home.is_empty()).then_some(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_belongs_to_the_user_of_that_number_only() {
        let line = b"web:x:33:33:www data:/var/www:/bin/false";
        assert_eq!(home_of(line, 33), Some(&b"/var/www"[..]));
        assert_eq!(home_of(line, 3), None);
        assert_eq!(home_of(b"broken", 0), None);
        assert_eq!(home_of(b"a:x:1:1::", 1), None);
    }
}
