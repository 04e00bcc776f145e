//! Names of entries: which there may be, and their order.

use std::cmp::Ordering;

/// How deep an entry may lie.
const DEEPEST: usize = 256;

/// Splits the path of an entry into its directory's and its name.
///
/// Nothing if it is not a way down from the top that is written in the one right manner: relative, without
/// empty parts, `.` and `..`, no longer and no deeper than what the kernel and others here take.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() || path.len() >= 4096 || path.contains(&0) {
        return None;
    }
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        depth += 1;
        if part.is_empty() || part == b"." || part == b".." || part.len() > 255 || depth > DEEPEST {
            return None;
        }
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => Some((&path[..at], &path[at + 1..])),
        None => Some((b"", path)),
    }
}

/// The order of paths: part by part, a directory right before what is in it.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    left.split(|byte| *byte == b'/').cmp(right.split(|byte| *byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ways_down_are_names() {
        for (path, expected) in [
            ("a", Some(("", "a"))),
            ("a/b/c", Some(("a/b", "c"))),
            ("..a/b..", Some(("..a", "b.."))),
            ("", None),
            ("/a", None),
            ("a/", None),
            ("a//b", None),
            (".", None),
            ("..", None),
            ("a/..", None),
            ("../a", None),
            ("a/./b", None),
            ("a\0b", None),
        ] {
            let expected = expected.map(|(above, name)| (above.as_bytes(), name.as_bytes()));
            assert_eq!(split(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(split(&[b'a'; 256]), None);
        assert_eq!(split("a/".repeat(256).as_bytes()), None);
        assert_eq!(split(format!("{}b", "a/".repeat(256)).as_bytes()), None);
        assert!(split(format!("{}b", "a/".repeat(255)).as_bytes()).is_some());
    }

    #[test]
    fn a_directory_stands_right_before_what_is_in_it() {
        let ordered = ["a", "a/b", "a/b/c", "a/c", "a.b", "a0", "b"];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
        }
    }
}
