//! Writing what comes from outside without filling the file system.
//!
//! An archive of a few megabytes unpacks to as much as its maker likes. Whoever writes it asks before
//! each piece, and is refused while there is still room for the state of everything else: a full disk
//! stops the store of the cluster, the logs and every container that writes.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::fstatvfs;

/// Kept free of the file system: so much of its size, in percent…
const RESERVE_PERCENT: u64 = 2;
/// …and not more than this many bytes, which are enough to go on and to clear up.
const RESERVE_MAX: u64 = 1 << 30;
/// How much may be written between two looks, if there is that much.
const LOOK_EVERY: u64 = 16 << 20;
/// What a file or directory is counted as besides its content.
const ENTRY: u64 = 4 << 10;

/// The file system that something from outside is written to.
#[derive(Debug)]
pub struct Space {
    place: OwnedFd,
    /// Bytes until the next look.
    left: u64,
    percent: u64,
    most: u64,
}

/// Writes within the space that there is.
#[derive(Debug)]
pub struct Within<W> {
    out: W,
    space: Space,
}

impl<W: AsFd> Within<W> {
    /// What is written to `out`, which is a file.
    pub fn new(out: W) -> io::Result<Self> {
        let space = Space::at(&out)?;
        Ok(Self { out, space })
    }
}

impl<W: Write> Write for Within<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.space.take(bytes.len() as u64)?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Space {
    /// The file system that `place` is on.
    pub fn at(place: impl AsFd) -> io::Result<Self> {
        let place = place.as_fd().try_clone_to_owned()?;
        Ok(Self { place, left: 0, percent: RESERVE_PERCENT, most: RESERVE_MAX })
    }

    /// Says that so many bytes are going to be written.
    ///
    /// Fails with [`io::ErrorKind::StorageFull`] if only the reserve is left.
    pub fn take(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(left) = self.left.checked_sub(bytes) {
            self.left = left;
            return Ok(());
        }
        let (total, free) = self.look()?;
        let reserve = (total / 100 * self.percent).min(self.most);
        if total == 0 {
            // It does not say its size, so there is nothing to hold against.
            return Ok(());
        }
        let Some(room) = free.checked_sub(bytes).and_then(|free| free.checked_sub(reserve)) else {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "No space left on device: the last {} MiB of the file system are kept free",
                    reserve >> 20
                ),
            ));
        };
        // Others write too.
        self.left = (room / 2).min(LOOK_EVERY);
        Ok(())
    }

    /// Says that a file, a directory or the like is going to be made.
    pub fn take_entry(&mut self) -> io::Result<()> {
        self.take(ENTRY)
    }

    /// How many bytes the file system has, free or not; none where it does not say.
    pub fn total(&self) -> io::Result<u64> {
        Ok(self.look()?.0)
    }

    fn look(&self) -> io::Result<(u64, u64)> {
        let found = fstatvfs(&self.place)?;
        Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_into_the_reserve() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let place = std::fs::File::open(directory.path()).expect("open");
        let mut space = Space::at(&place).expect("a file system");
        space.take(1).expect("there is some");
        let error = space.take(u64::MAX).expect_err("more than there is");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("are kept free"), "{error}");
        let mut full = Space::at(&place).expect("a file system");
        (full.percent, full.most) = (101, u64::MAX);
        assert_eq!(full.take_entry().expect_err("it is full").kind(), io::ErrorKind::StorageFull);
    }
}
