//! What an entry is: Go's bits of kind and mode, and the kernel's.

use rustix::fs::{FileType, Timespec};

/// Go's bits beside the permissions (`io/fs`).
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_USER: u32 = 1 << 23;
const SET_GROUP: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;

/// The kind of file that `mode` tells; nothing if it tells several or one that nobody has.
pub(super) fn kind(mode: u32) -> Option<FileType> {
    match mode & (DIRECTORY | LINK | DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR) {
        0 => Some(FileType::RegularFile),
        DIRECTORY => Some(FileType::Directory),
        LINK => Some(FileType::Symlink),
        DEVICE => Some(FileType::BlockDevice),
        FIFO => Some(FileType::Fifo),
        SOCKET => Some(FileType::Socket),
        kind if kind == DEVICE | CHARACTER => Some(FileType::CharacterDevice),
        _ => None,
    }
}

/// The permissions that `mode` tells, as the kernel has them.
pub(super) fn permissions(mode: u32) -> u32 {
    let special = [(SET_USER, 0o4000), (SET_GROUP, 0o2000), (STICKY, 0o1000)];
    let bits = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, bit)| bit);
    bits.fold(mode & 0o777, |mode, bit| mode | bit)
}

/// The mode that tells the kernel's `raw` one.
pub(crate) fn mode(raw: u32) -> u32 {
    let kind = match FileType::from_raw_mode(raw) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => LINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHARACTER,
        FileType::Fifo => FIFO,
        FileType::Socket => SOCKET,
        _ => 0,
    };
    let special = [(SET_USER, 0o4000), (SET_GROUP, 0o2000), (STICKY, 0o1000)];
    let bits = special.iter().filter(|(_, bit)| raw & bit != 0).map(|(bit, _)| bit);
    bits.fold(kind | raw & 0o777, |mode, bit| mode | bit)
}

/// A time in nanoseconds since 1970.
pub(super) fn time(nanoseconds: i64) -> Timespec {
    Timespec { tv_sec: nanoseconds.div_euclid(1_000_000_000), tv_nsec: nanoseconds.rem_euclid(1_000_000_000) }
}

/// A time as nanoseconds since 1970.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_go_there_and_back() {
        for (go, raw) in [
            (0o644, 0o100644),
            (DIRECTORY | 0o755, 0o040755),
            (DIRECTORY | STICKY | 0o777, 0o041777),
            (SET_USER | SET_GROUP | 0o755, 0o106755),
            (LINK | 0o777, 0o120777),
            (DEVICE | 0o600, 0o060600),
            (DEVICE | CHARACTER | 0o600, 0o020600),
            (FIFO | 0o600, 0o010600),
            (SOCKET | 0o600, 0o140600),
        ] {
            assert_eq!(mode(raw), go, "{raw:o}");
            assert_eq!(kind(go), Some(FileType::from_raw_mode(raw)), "{raw:o}");
            assert_eq!(permissions(go), raw & 0o7777, "{raw:o}");
        }
        assert_eq!(kind(DIRECTORY | LINK), None);
        assert_eq!(kind(CHARACTER), None);
    }

    #[test]
    fn times_before_1970_are_times() {
        assert_eq!((time(-1).tv_sec, time(-1).tv_nsec), (-1, 999_999_999));
        assert_eq!(nanoseconds(-1, 999_999_999), -1);
    }
}
