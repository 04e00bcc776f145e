//! A program that has only just been started: what it has not yet had time for.
//!
//! The kernel drops a signal that the first process of a process namespace neither catches nor blocks. A program
//! that means to catch it takes a moment to say so; another takes one for its first words. Who starts it and sends
//! the signal, or asks for its log, at once, as scripts and tests do, has always had that moment from slower engines.

use std::time::Duration;

use super::view::Status;
use crate::engine::Engine;
use crate::registry::ContainerCell;
use crate::work::blocking;

/// So long after its start a program may take to say what it does with signals…
const BEGINS: Duration = Duration::from_millis(500);
/// …or to say its first words…
const SPEAKS: Duration = Duration::from_millis(250);
/// …and is looked at so often…
const LOOK: Duration = Duration::from_millis(2);
/// …until it waits for something in so many looks on end: then it has said what it had to say.
const IDLE: u32 = 3;

/// Signals that a process which says nothing of them does not die of, and what cannot be caught.
const HARMLESS: [i32; 9] = [9, 17, 18, 19, 20, 21, 22, 23, 28];

impl Engine {
    /// Waits until a program that was just started would hear `signal`, or seems to want no more than it has said.
    pub(super) async fn awake(&self, cell: &ContainerCell, signal: i32) {
        if !HARMLESS.contains(&signal) {
            // One that is ending needs no signal any more.
            self.look(cell, BEGINS, false, move |status| seen(status, signal)).await;
        }
    }

    /// Waits until a program that was just started has ended, or waits for something: its first words are in its log.
    pub(super) async fn settled(&self, cell: &ContainerCell) {
        self.look(cell, SPEAKS, true, rests).await;
    }

    /// Looks at a program until it has done what `seen` looks for, or waits for something, or was started longer
    /// ago than `within`. What is too long is the program's own way. One that is ending is waited for if `to_end`,
    /// which whoever holds its lock must not.
    async fn look(
        &self,
        cell: &ContainerCell,
        within: Duration,
        to_end: bool,
        seen: impl Fn(&str) -> Option<Seen> + Copy + Send + 'static,
    ) {
        if cell.status() != Status::Running {
            return;
        }
        let Some(started) = cell.record().life.started_at else { return };
        // A clock that was set back says nothing.
        let Ok(age) = Duration::try_from(self.now().duration_since(started)) else { return };
        let Some(left) = within.checked_sub(age) else { return };
        let mut pulse = cell.pulse();
        let done = async {
            let Ok(Some(mut held)) = self.running_process(cell).await else { return };
            let mut idle = 0;
            loop {
                let looked = blocking(move || {
                    let seen = held.read("status").ok().and_then(|status| seen(&status));
                    Ok((held, seen))
                });
                let Ok((back, seen)) = looked.await else { return };
                held = back;
                match seen {
                    Some(Seen::Busy) => idle = 0,
                    Some(Seen::Idle) if idle + 1 < IDLE => idle += 1,
                    Some(Seen::Idle | Seen::Hears) => return,
                    // It is ending: what it has said is there when that is known.
                    None if !to_end => return,
                    None => {
                        let _ = pulse.wait_for(|pulse| !pulse.status.is_active()).await;
                        return;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(left, done).await;
    }
}

/// What a process is doing about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// It catches, ignores or blocks it, or dies of it: it is not lost.
    Hears,
    /// It has said nothing of it, and waits.
    Idle,
    /// It has said nothing of it so far.
    Busy,
}

/// A field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Whether a process waits for something; `None` where it is ending.
fn rests(status: &str) -> Option<Seen> {
    match field(status, "State")?.as_bytes().first()? {
        b'S' => Some(Seen::Idle),
        b'Z' | b'X' => None,
        _ => Some(Seen::Busy),
    }
}

/// What a process does about `signal`; `None` where it is ending.
fn seen(status: &str, signal: i32) -> Option<Seen> {
    let field = |name: &str| field(status, name);
    let numbers: Vec<&str> = field("NSpid")?.split_whitespace().collect();
    // In its maker's namespace no process is spared.
    if numbers.len() < 2 || numbers.last() != Some(&"1") {
        return Some(Seen::Hears);
    }
    let bit = 1_u64.checked_shl(u32::try_from(signal).ok()?.checked_sub(1)?)?;
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        if u64::from_str_radix(field(name)?, 16).ok()? & bit != 0 {
            return Some(Seen::Hears);
        }
    }
    rests(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_lost_on_a_first_process_that_says_nothing_of_it() {
        let status = |state: &str, numbers: &str, blocked: u64, ignored: u64, caught: u64| {
            format!(
                "Name:\tsh\nState:\t{state}\nNSpid:\t{numbers}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
            )
        };
        let term = 1 << 14;
        for (text, expected) in [
            (status("R (running)", "77\t1", 0, 0, 0), Some(Seen::Busy)),
            (status("D (disk sleep)", "77\t1", 0, 0, 1 << 15), Some(Seen::Busy)),
            (status("S (sleeping)", "77\t1", 0, 0, 0), Some(Seen::Idle)),
            (status("R (running)", "77\t1", 0, 0, term), Some(Seen::Hears)),
            (status("S (sleeping)", "77\t1", term, 0, 0), Some(Seen::Hears)),
            (status("S (sleeping)", "77\t1", 0, term, 0), Some(Seen::Hears)),
            (status("R (running)", "77", 0, 0, 0), Some(Seen::Hears)),
            (status("R (running)", "77\t5", 0, 0, 0), Some(Seen::Hears)),
            (status("Z (zombie)", "77\t1", 0, 0, 0), None),
            ("State:\tR (running)\n".to_owned(), None),
        ] {
            assert_eq!(seen(&text, 15), expected, "{text}");
        }
        let caught = status("R (running)", "77\t1", 0, 0, 1 << 63);
        assert_eq!(seen(&caught, 64), Some(Seen::Hears));
        assert_eq!((seen(&caught, 65), seen(&caught, 0)), (None, None));
    }
}
