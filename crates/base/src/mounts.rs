//! What is mounted where, as this thread sees it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// Takes away whatever is mounted at `place` and below it, the latest first: also what came there by
/// propagation out of a container. Whoever uses it keeps it. What cannot be unmounted stays, and
/// [`crate::tree::remove`] goes around it.
pub fn take_away(place: &Path) -> io::Result<()> {
    let place = match without_links(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        place => place?,
    };
    let table = std::fs::read("/proc/thread-self/mounts")?;
    let places =
        table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
    let below: Vec<PathBuf> = places.map(unescape).filter(|mount| mount.starts_with(&place)).collect();
    for mount in below.iter().rev() {
        // One that hung below another went with it.
        let _ = unmount(mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    Ok(())
}

/// The path as the kernel's table has it. What is mounted at its end may never answer, and is not asked.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) if std::fs::read_link(path).is_err() => {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            Ok(std::fs::canonicalize(above)?.join(name))
        }
        _ => std::fs::canonicalize(path),
    }
}

/// A path as the kernel's tables have it: blanks and the like are three octal digits after a backslash.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn paths_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(br"/a\040b\134\011c"), Path::new("/a b\\\tc"));
        assert_eq!(unescape(br"/plain\04"), Path::new(r"/plain\04"));
        assert_eq!(unescape("/é".as_bytes()).as_os_str().as_bytes(), "/é".as_bytes());
    }
}
