//! Printing an error together with everything that caused it.

use std::borrow::Cow;
use std::error::Error;
use std::{fmt, io};

/// Prints `error` and all its sources, joined by `: `, outermost first.
///
/// Errors in this project never repeat their source's text, so the chain reads as one sentence. What the kernel
/// said is in it in words alone ([`plain`]).
///
/// ```
/// let source = std::io::Error::other("disk full");
/// assert_eq!(base::error::chain(&source).to_string(), "disk full");
/// ```
pub fn chain(error: &dyn Error) -> Chain<'_> {
    Chain(error)
}

/// What [`chain`] returns: displays the whole chain.
#[derive(Debug)]
pub struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.0.to_string()))?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {}", plain(&error.to_string()))?;
            source = error.source();
        }
        Ok(())
    }
}

/// What an error number of the kernel means, in the words that programs print and look for:
/// `no such file or directory`.
pub fn meaning(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let words = text.strip_suffix(&number(errno)).unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// `text` with what the kernel said in words alone: Rust's standard library adds the number, and begins with a
/// capital letter.
///
/// ```
/// let text = "open `a`: No such file or directory (os error 2)";
/// assert_eq!(base::error::plain(text), "open `a`: no such file or directory");
/// ```
pub fn plain(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    let mut from = 0;
    while let Some(at) = plain[from..].find(BEGIN).map(|at| from + at) {
        from = at + BEGIN.len();
        let digits: String = plain[from..].chars().take_while(char::is_ascii_digit).collect();
        let Ok(errno) = digits.parse() else { continue };
        let said = io::Error::from_raw_os_error(errno).to_string();
        let end = at + number(errno).len();
        let Some(start) = end.checked_sub(said.len()).filter(|&start| plain.get(start..end) == Some(&said))
        else {
            continue;
        };
        let words = meaning(errno);
        from = start + words.len();
        plain.to_mut().replace_range(start..end, &words);
    }
    plain
}

/// What begins the number behind what the kernel said.
const BEGIN: &str = " (os error ";

fn number(errno: i32) -> String {
    format!("{BEGIN}{errno})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_said_is_in_a_chain_in_words_alone() {
        let source = io::Error::from_raw_os_error(13);
        assert_eq!(chain(&source).to_string(), "permission denied");
        let twice = format!("a: {source}: b: {source}");
        assert_eq!(plain(&twice), "a: permission denied: b: permission denied");
        for kept in ["", "(os error", "a (os error x)", "changed (os error 13)"] {
            assert_eq!(plain(kept), kept);
        }
        assert_eq!(meaning(5), "input/output error");
    }
}
