//! Finds a field in JSON text that this program wrote itself, without reading what it holds. Of other text it gives
//! nothing, or some part of it, but never fails.

use std::ops::Range;

/// Where the field of this name is, its name included, in the object whose fields begin at `at`. Between names, values
/// and commas there are no blanks.
pub(super) fn field(text: &[u8], mut at: usize, name: &[u8]) -> Option<Range<usize>> {
    loop {
        let begin = at;
        let end = string(text, begin)?;
        at = value(text, end + 1)?;
        if &text[begin + 1..end - 1] == name {
            return Some(begin..at);
        }
        if *text.get(at)? != b',' {
            return None;
        }
        at += 1;
    }
}

/// Behind the value that begins here.
fn value(text: &[u8], begin: usize) -> Option<usize> {
    let (mut at, mut depth) = (begin, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            // The end of a number or a word, and what parts values inside.
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the string that begins here.
fn string(text: &[u8], begin: usize) -> Option<usize> {
    if text.get(begin) != Some(&b'"') {
        return None;
    }
    let mut at = begin + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
