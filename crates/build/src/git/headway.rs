//! How far a program has come, with all that it started: what it moved, and how long it computed.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::Pid;

/// The kernel counts time in hundredths of a second for programs, whatever it has itself.
const TICKS_PER_SECOND: u32 = 100;

/// What the processes of a group did until the last look.
#[derive(Default)]
pub(super) struct Headway {
    known: HashMap<i32, Done>,
}

/// What was done between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Made {
    /// Bytes that were read and written, those between the processes too.
    pub(super) bytes: usize,
    pub(super) computed: Duration,
}

/// What a process did since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Done {
    bytes: u64,
    ticks: u64,
}

impl Headway {
    /// What the processes of a group did since the last look; none where this kernel does not say.
    ///
    /// It is asked of all of them: it is not git itself that talks with a server.
    pub(super) fn made(&mut self, leader: Pid) -> Option<Made> {
        let mut now = HashMap::new();
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
            let Some((group, ticks)) = read("stat").as_deref().and_then(stat) else { continue };
            if group != leader.as_raw_nonzero().get() {
                continue;
            }
            // One that has ended says nothing any more.
            let Some(bytes) = read("io").as_deref().and_then(io) else { continue };
            now.insert(pid, Done { bytes, ticks });
        }
        if now.is_empty() {
            return None;
        }
        let mut made = Made::default();
        for (pid, done) in &now {
            let before = self.known.get(pid).copied().unwrap_or_default();
            let bytes = done.bytes.saturating_sub(before.bytes);
            made.bytes = made.bytes.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
            let ticks = u32::try_from(done.ticks.saturating_sub(before.ticks)).unwrap_or(u32::MAX);
            made.computed += Duration::from_secs(1) / TICKS_PER_SECOND * ticks;
        }
        self.known = now;
        Some(made)
    }
}

/// The group of a process, and how long it has computed (proc_pid_stat(5)).
fn stat(text: &str) -> Option<(i32, u64)> {
    // The name comes before, and may have anything in it.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((fields.get(2)?.parse().ok()?, ticks(11)? + ticks(12)?))
}

/// Bytes that a process has read and written, from and to whatever it was (proc_pid_io(5)).
fn io(text: &str) -> Option<u64> {
    let number =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok();
    Some(number("rchar:")?.saturating_add(number("wchar:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_process_is_read() {
        let text = "42 (a ) S 1 2) S 1 40 40 0 -1 4194560 1 2 3 4 17 5 0 0 20 0 1 0 9 8 7 6\n";
        assert_eq!(stat(text), Some((40, 22)));
        let text = "rchar: 4292\nwchar: 8\nsyscr: 13\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n";
        assert_eq!(io(text), Some(4300));
        assert_eq!((stat(""), io("rchar: 1\n")), (None, None));
    }

    #[test]
    fn a_group_s_headway_is_what_it_did_since_the_last_look() {
        // The group of this very process.
        let leader = rustix::process::getpgrp();
        let mut headway = Headway::default();
        let first = headway.made(leader).expect("it is there");
        assert!(first.bytes > 0);
        let piece = vec![0; 1 << 20];
        std::fs::write("/dev/null", &piece).expect("write");
        assert!(headway.made(leader).expect("it is there").bytes >= piece.len());
    }
}
