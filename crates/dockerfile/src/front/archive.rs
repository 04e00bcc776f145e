//! Whether the beginning of a file is that of an archive.

/// How much of the file is looked at.
pub(super) const BEGINNING: u64 = 1024;

const MAGICS: [&[u8]; 4] =
    [b"BZh", &[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];

/// Whether it is compressed, or begins with the head of a tar entry.
pub(super) fn is_archive(beginning: &[u8]) -> bool {
    MAGICS.iter().any(|magic| beginning.starts_with(magic)) || beginning.get(..512).is_some_and(is_tar_head)
}

/// The head of an entry has a sum of its bytes in it, its own place counted as spaces.
fn is_tar_head(head: &[u8]) -> bool {
    let (before, field, after) = (&head[..148], &head[148..156], &head[156..]);
    let text = String::from_utf8_lossy(field);
    let Ok(written) = u32::from_str_radix(text.trim_matches([' ', '\0']), 8) else { return false };
    let sum = before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
    sum == written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_how_they_begin() {
        let mut head = [0; 512];
        head[..1].copy_from_slice(b"a");
        head[148..155].copy_from_slice(b"0000541");
        assert!(is_archive(&head));
        head[0] = b'b';
        assert!(!is_archive(&head));
        assert!(is_archive(&[0x1f, 0x8b, 8, 0]) && is_archive(b"BZh9"));
        assert!(!is_archive(b"FROM scratch\n") && !is_archive(&[]));
    }
}
