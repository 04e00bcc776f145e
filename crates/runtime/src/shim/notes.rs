//! What a shim has to say, in a file that must not grow for ever.
//!
//! The file is on the host's memory and lives as long as the shim: years. The same words come once
//! and then only as a count, and a file that has grown too long is begun anew.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::io::Write;

/// How long the file may become, bytes.
const LONGEST: u64 = 256 << 10;
/// How many different words are known again: several containers may have the same trouble by turns.
const KNOWN: usize = 32;

thread_local! {
    static SAID: RefCell<Said> = const { RefCell::new(Said(VecDeque::new())) };
}

/// What was said last, the oldest first, and how often since.
#[derive(Default)]
struct Said(VecDeque<(String, u64)>);

/// Writes a line for whoever looks into the matter.
macro_rules! note {
    ($($words:tt)*) => { $crate::shim::notes::write(format_args!($($words)*)) };
}
pub(super) use note;

/// Writes a line, unless it says what one of the last said.
pub(super) fn write(words: Arguments<'_>) {
    let text = words.to_string();
    let Some(repeated) = SAID.with_borrow_mut(|said| said.again(&text)) else { return };
    make_room();
    // On a full disk there is nobody left to tell.
    let _ = match repeated {
        0 => writeln!(std::io::stderr(), "gantry shim: {text}"),
        times => writeln!(std::io::stderr(), "gantry shim: {text} (again, {times} times)"),
    };
}

impl Said {
    /// How often it has been said before, if it is to be said now.
    fn again(&mut self, text: &str) -> Option<u64> {
        if let Some((_, repeated)) = self.0.iter_mut().find(|(known, _)| known == text) {
            *repeated += 1;
            // Said again when it has become ten times as many: a trace that it goes on.
            return is_power_of_ten(*repeated).then_some(*repeated);
        }
        if self.0.len() == KNOWN {
            self.0.pop_front();
        }
        self.0.push_back((text.to_owned(), 0));
        Some(0)
    }
}

fn is_power_of_ten(mut number: u64) -> bool {
    while number.is_multiple_of(10) && number > 0 {
        number /= 10;
    }
    number == 1
}

/// Begins the file anew where it is one and has become too long.
fn make_room() {
    let stderr = rustix::stdio::stderr();
    let Ok(stat) = rustix::fs::fstat(stderr) else { return };
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    if is_file && u64::try_from(stat.st_size).is_ok_and(|size| size > LONGEST) {
        let _ = rustix::fs::ftruncate(stderr, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_by_turns_are_told_once_and_then_as_counts() {
        let mut said = Said::default();
        let told = (0..10_000).map(|index| format!("write the log of c{}: no space", index % 20));
        let told = told.filter(|text| said.again(text).is_some()).count();
        // Each the first time, and when it was 1, 10 and 100 more.
        assert_eq!(told, 20 * 4);
        assert!((0..10_000).all(|index| said.again(&index.to_string()) == Some(0)));
        assert_eq!(said.0.len(), KNOWN);
    }
}
