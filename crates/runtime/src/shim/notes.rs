//! What a shim has to say, in a file that must not grow for ever.
//!
//! The file is on the host's memory and lives as long as the shim: years. The same words come once
//! and then only as a count, and a file that has grown too long is begun anew.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::io::Write;

/// How long the file may become, bytes.
const LONGEST: u64 = 256 << 10;

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(Last { text: String::new(), repeated: 0 }) };
}

struct Last {
    text: String,
    repeated: u64,
}

/// Writes a line for whoever looks into the matter.
macro_rules! note {
    ($($words:tt)*) => { $crate::shim::notes::write(format_args!($($words)*)) };
}
pub(super) use note;

/// Writes a line, unless it says what the one before said.
pub(super) fn write(words: Arguments<'_>) {
    let text = words.to_string();
    LAST.with_borrow_mut(|last| {
        if last.text == text {
            last.repeated += 1;
            // Said again when it has become ten times as many: a trace that it goes on.
            if !is_power_of_ten(last.repeated) {
                return;
            }
        } else {
            last.repeated = 0;
        }
        make_room();
        // On a full disk there is nobody left to tell.
        let _ = match last.repeated {
            0 => writeln!(std::io::stderr(), "gantry shim: {text}"),
            times => writeln!(std::io::stderr(), "gantry shim: {text} (again, {times} times)"),
        };
        last.text = text;
    });
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
