//! What is on a device, by what is written at its beginning and at its end.
//!
//! Source: the layouts of the file systems in the kernel's documentation; `linux/raid/md_p.h`; the UEFI specification
//! for tables of partitions; the headers of LUKS and LVM.

/// So much of the beginning is looked at: all signatures that are known are in it.
pub(super) const HEAD: usize = 128 << 10;
/// So much of the end: of tables of partitions there is a copy, of members of a RAID all there is.
pub(super) const TAIL: usize = 128 << 10;
const SECTOR: usize = 512;

/// What is on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// No byte that is looked at is set.
    Nothing,
    /// A file system, by the name that the kernel has for it.
    FileSystem(&'static str),
    /// Something else, which is said in words.
    Other(&'static str),
}

/// What begins with these bytes at this place is that.
const SIGNATURES: [(usize, &[u8], Content); 17] = [
    (0, b"LUKS\xba\xbe", Content::Other("an encrypted volume (LUKS)")),
    (512, b"LABELONE", Content::Other("a physical volume of LVM")),
    (0, b"LABELONE", Content::Other("a physical volume of LVM")),
    (4096, RAID, OF_RAID),
    (0, RAID, OF_RAID),
    (4086, b"SWAPSPACE2", Content::Other("swap space")),
    (0, b"XFSB", Content::FileSystem("xfs")),
    (0x1_0040, b"_BHRfS_M", Content::FileSystem("btrfs")),
    (1024, b"\x10\x20\xf5\xf2", Content::FileSystem("f2fs")),
    (1024, b"\xe2\xe1\xf5\xe0", Content::FileSystem("erofs")),
    (0, b"hsqs", Content::FileSystem("squashfs")),
    (32769, b"CD001", Content::FileSystem("iso9660")),
    (3, b"NTFS    ", Content::FileSystem("ntfs3")),
    (3, b"EXFAT   ", Content::FileSystem("exfat")),
    (82, b"FAT32   ", Content::FileSystem("vfat")),
    (54, b"FAT", Content::FileSystem("vfat")),
    (512, b"EFI PART", PARTITIONS),
];
const RAID: &[u8] = b"\xfc\x4e\x2b\xa9";
const OF_RAID: Content = Content::Other("a member of a RAID");
const PARTITIONS: Content = Content::Other("a table of partitions");

/// Where the superblock of ext2 and what came of it is, and in it its signature and its features.
const EXT: usize = 1024;
const EXT_MAGIC: (usize, [u8; 2]) = (EXT + 56, [0x53, 0xef]);
const EXT_FEATURES: usize = EXT + 92;
const HAS_JOURNAL: u32 = 0x4;
const IS_JOURNAL: u32 = 0x8;
/// What ext3 knows: of features that whoever reads has to know, and of those that whoever writes has to.
const OF_EXT3: (u32, u32) = (0x2 | 0x4 | 0x10, 0x1 | 0x2 | 0x4);

impl Content {
    /// What a device has on it that begins and ends so.
    pub(super) fn of(head: &[u8], tail: &[u8]) -> Self {
        let is_at = |place: usize, bytes: &[u8]| head.get(place..place + bytes.len()) == Some(bytes);
        if head.iter().chain(tail).all(|byte| *byte == 0) {
            return Self::Nothing;
        }
        // What it is a member of has the file system that it begins with.
        if tail.chunks(SECTOR).any(|sector| sector.starts_with(RAID)) {
            return OF_RAID;
        }
        if is_at(EXT_MAGIC.0, &EXT_MAGIC.1) {
            return ext(head);
        }
        let known = SIGNATURES.iter().find(|(place, bytes, _)| is_at(*place, bytes));
        known.map_or_else(
            || if is_at(510, b"\x55\xaa") { PARTITIONS } else { Self::Other("something unknown") },
            |(_, _, content)| *content,
        )
    }
}

/// Which of the three that have the same signature.
fn ext(head: &[u8]) -> Content {
    let word = |number: usize| {
        let place = EXT_FEATURES + 4 * number;
        let bytes = head.get(place..place + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (helpful, needed, needed_to_write) = (word(0), word(1), word(2));
    if needed & IS_JOURNAL != 0 {
        return Content::Other("a journal of another device's file system");
    }
    let is_later = needed & !OF_EXT3.0 != 0 || needed_to_write & !OF_EXT3.1 != 0;
    Content::FileSystem(match (is_later, helpful & HAS_JOURNAL != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with these bytes at these places.
    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (place, bytes) in parts {
            head[*place..place + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn a_device_is_known_by_its_signatures_and_one_without_a_byte_is_empty() {
        let check = |parts: &[(usize, &[u8])], expected| {
            assert_eq!(Content::of(&with(parts), &[0; TAIL]), expected, "{parts:?}");
        };
        let ext = |features: &[u8], expected| {
            check(&[(EXT_MAGIC.0, &EXT_MAGIC.1), (EXT_FEATURES, features)], Content::FileSystem(expected));
        };
        check(&[], Content::Nothing);
        ext(&[], "ext2");
        ext(&[4, 0, 0, 0, 2, 0, 0, 0, 3], "ext3");
        ext(&[0x3c, 0, 0, 0, 0xc2, 2, 0, 0, 0x6b, 4], "ext4");
        check(&[(0, b"XFSB")], Content::FileSystem("xfs"));
        check(&[(0x1_0040, b"_BHRfS_M")], Content::FileSystem("btrfs"));
        check(&[(510, b"\x55\xaa"), (82, b"FAT32   ")], Content::FileSystem("vfat"));
        check(&[(510, b"\x55\xaa")], PARTITIONS);
        check(&[(510, b"\x55\xaa"), (512, b"EFI PART")], PARTITIONS);
        check(&[(0, b"LUKS\xba\xbe\0\x02")], Content::Other("an encrypted volume (LUKS)"));
        check(&[(HEAD - 1, b"x")], Content::Other("something unknown"));
        let journal = [(EXT_MAGIC.0, &EXT_MAGIC.1[..]), (EXT_FEATURES + 4, &[8])];
        check(&journal, Content::Other("a journal of another device's file system"));
    }

    #[test]
    fn what_is_at_the_end_is_somebody_s_too_and_a_short_device_is_one() {
        let mut tail = [0; TAIL];
        tail[TAIL - 1] = 1;
        assert_eq!(Content::of(&with(&[]), &tail), Content::Other("something unknown"));
        tail[TAIL - 8192..TAIL - 8188].copy_from_slice(RAID);
        assert_eq!(Content::of(&with(&[(EXT_MAGIC.0, &EXT_MAGIC.1)]), &tail), OF_RAID);
        assert_eq!(Content::of(&[], &[]), Content::Nothing);
        assert_eq!(Content::of(&[0; 700], &[0; 700]), Content::Nothing);
        assert_eq!(Content::of(b"XFSB", b"XFSB"), Content::FileSystem("xfs"));
        let cut = with(&[(EXT_MAGIC.0, &EXT_MAGIC.1)]);
        assert_eq!(Content::of(&cut[..EXT_MAGIC.0 + 2], &[]), Content::FileSystem("ext2"));
    }
}
