//! Patterns for names, as Go's `path.Match` has them.

/// A pattern: `*` stands for anything but slashes, `?` for one byte that is none, `[a-c]` and `[^a-c]` for one
/// of some, and a backslash takes the meaning from what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Star,
    Any,
    Byte(u8),
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Pattern {
    /// Reads a pattern; none where it is malformed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes().peekable();
        let mut pieces = Vec::new();
        while let Some(byte) = bytes.next() {
            pieces.push(match byte {
                b'*' => Piece::Star,
                b'?' => Piece::Any,
                b'\\' => Piece::Byte(bytes.next()?),
                b'[' => {
                    let negated = bytes.next_if_eq(&b'^').is_some();
                    let mut ranges = Vec::new();
                    while ranges.is_empty() || bytes.next_if_eq(&b']').is_none() {
                        let mut one = || match bytes.next()? {
                            b'\\' => bytes.next(),
                            b'-' | b']' => None,
                            byte => Some(byte),
                        };
                        let low = one()?;
                        let high = match bytes.next_if_eq(&b'-') {
                            None => low,
                            Some(_) => match bytes.next()? {
                                b'\\' => bytes.next()?,
                                b'-' | b']' => return None,
                                byte => byte,
                            },
                        };
                        ranges.push((low, high));
                    }
                    Piece::Class { negated, ranges }
                }
                byte => Piece::Byte(byte),
            });
        }
        Some(Self(pieces))
    }

    /// Whether a text is of this form.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (pieces, text) = (&self.0, text.as_bytes());
        let (mut at, mut read) = (0, 0);
        // The last star, and up to where it reaches. What an earlier one could do this one can too,
        // unless a slash lies between.
        let mut star: Option<(usize, usize)> = None;
        while read < text.len() || at < pieces.len() {
            match (pieces.get(at), text.get(read)) {
                (Some(Piece::Star), _) => {
                    star = Some((at + 1, read));
                    at += 1;
                }
                (Some(piece), Some(byte)) if piece.fits(*byte) => {
                    at += 1;
                    read += 1;
                }
                _ => match star {
                    Some((after, reach)) if text.get(reach).is_some_and(|byte| *byte != b'/') => {
                        star = Some((after, reach + 1));
                        (at, read) = (after, reach + 1);
                    }
                    _ => return false,
                },
            }
        }
        true
    }
}

impl Piece {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Piece::Star => false,
            Piece::Any => byte != b'/',
            Piece::Byte(wanted) => *wanted == byte,
            Piece::Class { negated, ranges } => {
                byte != b'/' && *negated != ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let parsed = Pattern::parse(pattern).expect(pattern);
        assert_eq!(parsed.matches(text), expected, "{pattern} for {text}");
    }

    #[test]
    fn patterns_stand_for_parts_of_names() {
        check("nginx", "nginx", true);
        check("ngin?", "nginx", true);
        check("n*:1*", "nginx:1.27", true);
        check("n*", "nginx/extra", false);
        check("*/extra", "nginx/extra", true);
        check("*i*x", "nginx", true);
        check("ng?*x", "ng/x", false);
        check("n*", "n", true);
        check("n*x", "n", false);
        check("[l-n]ginx", "nginx", true);
        check("[^l-n]ginx", "nginx", false);
        check("a[b\\]]c", "a]c", true);
        check("\\*", "*", true);
        check("\\*", "a", false);
        for malformed in ["[", "[]a]", "a[b-", "[-]", "\\"] {
            assert_eq!(Pattern::parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn stars_cost_what_they_are_long() {
        check(&format!("{}b", "*a".repeat(60)), &"a".repeat(128), false);
    }
}
