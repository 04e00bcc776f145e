//! What a process table can show, read from procfs: see proc_pid_stat(5) and proc_pid_status(5) for the fields, and
//! ps(1) for the columns.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use runtime::held::HeldProcess;

/// The kernel tells times to programs in hundredths of a second, on every machine.
const TICKS: u64 = 100;
/// How much is shown of what a process was called with, bytes; as much as the kernel itself once kept.
const ARGUMENTS: u64 = 4096;
/// Pages of memory, in KiB.
const PAGE: u64 = 4;
const DAY: u64 = 86_400;

/// A kind of column: the names that ask for it, its title, and what is in it.
pub(super) struct Spec {
    names: &'static [&'static str],
    title: &'static str,
    text: fn(&Process, &Host) -> String,
}

/// What is known of the machine.
pub(super) struct Host {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    uptime: f64,
    booted: i64,
    memory: u64,
}

/// One process.
#[derive(Default)]
pub(super) struct Process {
    pid: u32,
    state: String,
    /// The numbers of its `stat`, from the parent on.
    stat: Vec<i64>,
    /// Real, effective, saved, of the file system.
    uids: [u32; 4],
    gids: [u32; 4],
    /// KiB in memory.
    resident: u64,
    /// Sets of signals in hexadecimal: pending, blocked, ignored, caught.
    signals: [String; 4],
    waits_in: String,
    program: String,
    command: String,
}

/// Every column.
static SPECS: &[Spec] = &[
    // In a full listing the owner goes by the title of the number.
    Spec { names: &["owner"], title: "UID", text: |process, host| host.user(process.uids[1]) },
    Spec { names: &["pid", "tgid"], title: "PID", text: |process, _| process.pid.to_string() },
    Spec { names: &["lwp", "spid", "tid"], title: "LWP", text: |process, _| process.pid.to_string() },
    Spec { names: &["ppid"], title: "PPID", text: |process, _| process.number(1).to_string() },
    Spec { names: &["pgid"], title: "PGID", text: |process, _| process.number(2).to_string() },
    Spec { names: &["pgrp"], title: "PGRP", text: |process, _| process.number(2).to_string() },
    Spec { names: &["sid"], title: "SID", text: |process, _| process.number(3).to_string() },
    Spec { names: &["sess", "session"], title: "SESS", text: |process, _| process.number(3).to_string() },
    Spec { names: &["tpgid"], title: "TPGID", text: |process, _| process.number(5).to_string() },
    Spec { names: &["uid"], title: "UID", text: |process, _| process.uids[1].to_string() },
    Spec { names: &["euid"], title: "EUID", text: |process, _| process.uids[1].to_string() },
    Spec { names: &["ruid"], title: "RUID", text: |process, _| process.uids[0].to_string() },
    Spec { names: &["suid", "svuid"], title: "SUID", text: |process, _| process.uids[2].to_string() },
    Spec { names: &["fuid", "fsuid"], title: "FUID", text: |process, _| process.uids[3].to_string() },
    Spec { names: &["user", "uname"], title: "USER", text: |process, host| host.user(process.uids[1]) },
    Spec { names: &["euser"], title: "EUSER", text: |process, host| host.user(process.uids[1]) },
    Spec { names: &["ruser"], title: "RUSER", text: |process, host| host.user(process.uids[0]) },
    Spec { names: &["suser", "svuser"], title: "SUSER", text: |process, host| host.user(process.uids[2]) },
    Spec { names: &["gid"], title: "GID", text: |process, _| process.gids[1].to_string() },
    Spec { names: &["egid"], title: "EGID", text: |process, _| process.gids[1].to_string() },
    Spec { names: &["rgid"], title: "RGID", text: |process, _| process.gids[0].to_string() },
    Spec { names: &["sgid", "svgid"], title: "SGID", text: |process, _| process.gids[2].to_string() },
    Spec { names: &["group"], title: "GROUP", text: |process, host| host.group(process.gids[1]) },
    Spec { names: &["egroup"], title: "EGROUP", text: |process, host| host.group(process.gids[1]) },
    Spec { names: &["rgroup"], title: "RGROUP", text: |process, host| host.group(process.gids[0]) },
    Spec { names: &["c"], title: "C", text: |process, host| format!("{:.0}", process.share(host).min(99.0)) },
    Spec { names: &["cp"], title: "CP", text: |process, host| format!("{:.0}", process.share(host) * 10.0) },
    Spec {
        names: &["pcpu", "%cpu"],
        title: "%CPU",
        text: |process, host| format!("{:.1}", process.share(host)),
    },
    Spec {
        names: &["pmem", "%mem"],
        title: "%MEM",
        text: |process, host| {
            format!("{:.1}", process.resident as f64 * 102_400.0 / host.memory.max(1) as f64)
        },
    },
    Spec {
        names: &["vsz", "vsize"],
        title: "VSZ",
        text: |process, _| (process.virtual_size() / 1024).to_string(),
    },
    Spec { names: &["rss", "rssize"], title: "RSS", text: |process, _| process.resident.to_string() },
    Spec { names: &["rsz"], title: "RSZ", text: |process, _| process.resident.to_string() },
    Spec {
        names: &["sz"],
        title: "SZ",
        text: |process, _| (process.virtual_size() / 1024 / PAGE).to_string(),
    },
    Spec { names: &["trs"], title: "TRS", text: |_, _| "0".to_owned() },
    Spec { names: &["drs"], title: "DRS", text: |process, _| (process.virtual_size() / 1024).to_string() },
    Spec { names: &["nlwp"], title: "NLWP", text: |process, _| process.number(17).to_string() },
    Spec { names: &["thcount"], title: "THCNT", text: |process, _| process.number(17).to_string() },
    Spec { names: &["psr"], title: "PSR", text: |process, _| process.number(36).to_string() },
    Spec { names: &["pri"], title: "PRI", text: |process, _| (39 - process.number(15)).to_string() },
    Spec {
        names: &["opri", "intpri"],
        title: "PRI",
        text: |process, _| (60 + process.number(15)).to_string(),
    },
    Spec { names: &["priority"], title: "PRI", text: |process, _| process.number(15).to_string() },
    Spec { names: &["ni", "nice"], title: "NI", text: |process, _| process.number(16).to_string() },
    Spec { names: &["cls", "class"], title: "CLS", text: |process, _| process.class().to_owned() },
    Spec { names: &["policy", "pol"], title: "POL", text: |process, _| process.class().to_owned() },
    Spec {
        names: &["rtprio"],
        title: "RTPRIO",
        text: |process, _| match process.number(37) {
            0 => "-".to_owned(),
            number => number.to_string(),
        },
    },
    Spec {
        names: &["f", "flag", "flags"],
        title: "F",
        text: |process, _| (process.number(6) >> 6 & 7).to_string(),
    },
    Spec { names: &["s", "state"], title: "S", text: |process, _| process.state.clone() },
    Spec { names: &["stat"], title: "STAT", text: |process, _| process.states() },
    Spec { names: &["addr"], title: "ADDR", text: |_, _| "-".to_owned() },
    Spec { names: &["wchan"], title: "WCHAN", text: |process, _| process.waits_in.clone() },
    Spec { names: &["tname"], title: "TTY", text: |process, _| process.terminal() },
    Spec { names: &["tty", "tt"], title: "TT", text: |process, _| process.terminal() },
    Spec { names: &["stime"], title: "STIME", text: |process, host| process.begun(host) },
    Spec { names: &["start_time", "bsdstart"], title: "START", text: |process, host| process.begun(host) },
    Spec {
        names: &["start"],
        title: "STARTED",
        text: |process, host| {
            let pattern = if process.age(host) < DAY { "%H:%M:%S" } else { "%b %d" };
            process.begun_as(host, pattern)
        },
    },
    Spec {
        names: &["lstart"],
        title: "STARTED",
        text: |process, host| process.begun_as(host, "%a %b %e %H:%M:%S %Y"),
    },
    Spec { names: &["etime"], title: "ELAPSED", text: |process, host| elapsed(process.age(host)) },
    Spec { names: &["etimes"], title: "ELAPSED", text: |process, host| process.age(host).to_string() },
    Spec {
        names: &["time", "cputime"],
        title: "TIME",
        text: |process, _| {
            let seconds = process.ticks() / TICKS;
            let days = if seconds >= DAY { format!("{}-", seconds / DAY) } else { String::new() };
            format!("{days}{:02}:{:02}:{:02}", seconds % DAY / 3600, seconds / 60 % 60, seconds % 60)
        },
    },
    Spec {
        names: &["cputimes", "times"],
        title: "TIME",
        text: |process, _| (process.ticks() / TICKS).to_string(),
    },
    Spec {
        names: &["bsdtime"],
        title: "TIME",
        text: |process, _| {
            let seconds = process.ticks() / TICKS;
            format!("{}:{:02}", seconds / 60, seconds % 60)
        },
    },
    Spec { names: &["min_flt", "minflt"], title: "MINFLT", text: |process, _| process.number(7).to_string() },
    Spec { names: &["maj_flt", "majflt"], title: "MAJFL", text: |process, _| process.number(9).to_string() },
    Spec { names: &["pending", "sig"], title: "PENDING", text: |process, _| process.signals[0].clone() },
    Spec { names: &["blocked", "sigmask"], title: "BLOCKED", text: |process, _| process.signals[1].clone() },
    Spec {
        names: &["ignored", "sigignore"],
        title: "IGNORED",
        text: |process, _| process.signals[2].clone(),
    },
    Spec { names: &["caught", "sigcatch"], title: "CAUGHT", text: |process, _| process.signals[3].clone() },
    Spec { names: &["cmd"], title: "CMD", text: |process, _| process.command.clone() },
    Spec { names: &["args", "command"], title: "COMMAND", text: |process, _| process.command.clone() },
    Spec { names: &["comm", "ucomm"], title: "COMMAND", text: |process, _| process.program.clone() },
    Spec { names: &["ucmd"], title: "CMD", text: |process, _| process.program.clone() },
];

/// The kind of column that `name` asks for.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.names.contains(&name))
}

impl Spec {
    /// The title that this column has when it is asked for by `name`.
    pub(super) fn title_of(&self, name: &str) -> &'static str {
        match name {
            "tgid" => "TGID",
            "spid" => "SPID",
            "tid" => "TID",
            _ => self.title,
        }
    }

    pub(super) fn text(&self, process: &Process, host: &Host) -> String {
        (self.text)(process, host)
    }

    /// How two processes are to each other in this column: by number where both are numbers.
    pub(super) fn order(&self, one: &Process, other: &Process, host: &Host) -> Ordering {
        let (one, other) = (self.text(one, host), self.text(other, host));
        match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => one.total_cmp(&other),
            _ => one.cmp(&other),
        }
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.names[0])
    }
}

impl Host {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let names = |path: &str| {
            text(path)
                .lines()
                .filter_map(|line| {
                    let mut fields = line.split(':');
                    let name = fields.next()?.to_owned();
                    Some((fields.nth(1)?.parse().ok()?, name))
                })
                .collect()
        };
        let uptime: f64 = text("/proc/uptime")
            .split(' ')
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or_default();
        let booted = text("/proc/stat")
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
            .unwrap_or_default();
        Self {
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
            uptime,
            booted,
            memory: crate::host::memory_total(),
        }
    }

    fn user(&self, id: u32) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn group(&self, id: u32) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

impl Process {
    /// Reads the process `pid`, if it is in the cgroup `group`: its number may have gone to another.
    pub(super) fn read(pid: u32, group: &Path) -> Option<Self> {
        Self::of(pid, &HeldProcess::in_group(pid, group).ok()?)
    }

    /// Reads a process that is held.
    pub(super) fn of(pid: u32, held: &HeldProcess) -> Option<Self> {
        let stat = held.read("stat").ok()?;
        let arguments = held.arguments(ARGUMENTS).unwrap_or_default();
        let status = held.read("status").ok()?;
        let mut process = Self::parse(pid, &stat, &status, &arguments)?;
        process.waits_in = match held.read("wchan").unwrap_or_default().trim() {
            "" | "0" => "-".to_owned(),
            place => place.to_owned(),
        };
        Some(process)
    }

    fn parse(pid: u32, stat: &str, status: &str, arguments: &[u8]) -> Option<Self> {
        // The program's name may have spaces and parentheses in it.
        let (before, after) = stat.rsplit_once(')')?;
        let program = before.split_once('(')?.1.to_owned();
        let mut fields = after.split_whitespace();
        let state = fields.next()?.to_owned();
        // What does not fit is far off anyway: a limit without a limit.
        let stat = fields.map(|field| field.parse::<i64>().unwrap_or(i64::MAX)).collect();
        let line = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
                .trim()
        };
        let ids = |name: &str| {
            let mut ids = [0; 4];
            for (id, text) in ids.iter_mut().zip(line(name).split_whitespace()) {
                *id = text.parse().unwrap_or_default();
            }
            ids
        };
        let resident = line("VmRSS").split_whitespace().next().and_then(|number| number.parse().ok());
        let command = String::from_utf8_lossy(arguments).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            state,
            stat,
            uids: ids("Uid"),
            gids: ids("Gid"),
            resident: resident.unwrap_or_default(),
            signals: ["SigPnd", "SigBlk", "SigIgn", "SigCgt"].map(|name| line(name).to_owned()),
            waits_in: "-".to_owned(),
            command: if command.is_empty() { format!("[{program}]") } else { command },
            program,
        })
    }

    /// A number of its `stat`, counted from its state on.
    fn number(&self, index: usize) -> i64 {
        self.stat.get(index - 1).copied().unwrap_or_default()
    }

    fn positive(&self, index: usize) -> u64 {
        u64::try_from(self.number(index)).unwrap_or_default()
    }

    fn virtual_size(&self) -> u64 {
        self.positive(20)
    }

    /// Processor time.
    fn ticks(&self) -> u64 {
        self.positive(11) + self.positive(12)
    }

    /// Seconds since its start.
    fn age(&self, host: &Host) -> u64 {
        (host.uptime - self.positive(19) as f64 / TICKS as f64).max(0.0) as u64
    }

    /// Hundredths of the processor, since its start.
    fn share(&self, host: &Host) -> f64 {
        let age = host.uptime - self.positive(19) as f64 / TICKS as f64;
        if age <= 0.0 { 0.0 } else { (self.ticks() as f64 / TICKS as f64 / age * 100.0).min(999.0) }
    }

    /// The state with what else is remarkable.
    fn states(&self) -> String {
        let mut states = self.state.clone();
        match self.number(16) {
            ..0 => states.push('<'),
            1.. => states.push('N'),
            0 => {}
        }
        let pid = i64::from(self.pid);
        for (holds, letter) in [
            (self.number(3) == pid, 's'),
            (self.number(17) > 1, 'l'),
            (self.number(5) == self.number(2), '+'),
        ] {
            if holds {
                states.push(letter);
            }
        }
        states
    }

    fn class(&self) -> &'static str {
        match self.number(38) {
            0 => "TS",
            1 => "FF",
            2 => "RR",
            3 => "B",
            5 => "IDL",
            6 => "DLN",
            _ => "?",
        }
    }

    fn terminal(&self) -> String {
        let number = self.positive(4);
        match (number >> 8 & 0xfff, number & 0xff) {
            (136..=143, minor) => format!("pts/{minor}"),
            (4, minor) => format!("tty{minor}"),
            _ => "?".to_owned(),
        }
    }

    /// When it began: the time of day, or the day where that is longer ago.
    fn begun(&self, host: &Host) -> String {
        self.begun_as(host, if self.age(host) < DAY { "%H:%M" } else { "%b%d" })
    }

    fn begun_as(&self, host: &Host, pattern: &str) -> String {
        let second = host.booted + i64::try_from(self.positive(19) / TICKS).unwrap_or_default();
        base::Timestamp::from_second(second).unwrap_or_default().strftime(pattern).to_string()
    }
}

/// A span as `[[days-]hours:]minutes:seconds`.
fn elapsed(seconds: u64) -> String {
    let (days, hours) = (seconds / DAY, seconds % DAY / 3600);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_program_is_called() {
        let stat =
            "7 (a) b (c)) S 1 7 7 34817 7 0 0 0 0 0 150 50 0 0 20 0 1 0 1000 4096 2 18446744073709551615";
        let status =
            "Name:\ta\nUid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nVmRSS:\t 12 kB\nSigBlk:\t0000000000000010\n";
        let process = Process::parse(7, stat, status, b"sleep\x0010\0").expect("a process");
        let host = Host {
            users: HashMap::from([(0, "root".to_owned()), (1, "daemon".to_owned())]),
            groups: HashMap::from([(5, "tty".to_owned())]),
            uptime: 110.0,
            booted: 0,
            memory: 1 << 20,
        };
        let check = |name: &str, expected: &str| {
            assert_eq!(find(name).expect(name).text(&process, &host), expected, "{name}");
        };
        check("comm", "a) b (c)");
        check("args", "sleep 10");
        check("tname", "pts/1");
        check("time", "00:00:02");
        check("bsdtime", "0:02");
        check("%cpu", "2.0");
        check("stime", "00:00");
        check("etime", "01:40");
        check("user", "daemon");
        check("ruser", "root");
        check("group", "tty");
        check("rss", "12");
        check("%mem", "1.2");
        check("stat", "Ss+");
        check("pri", "19");
        check("blocked", "0000000000000010");
        assert_eq!(elapsed(90_061), "1-01:01:01");
    }

    #[test]
    fn no_name_asks_for_two_columns() {
        let mut all: Vec<&str> = SPECS.iter().flat_map(|spec| spec.names).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
