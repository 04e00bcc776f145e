//! What a process table shows, read from procfs: see proc_pid_stat(5) for the fields.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use runtime::held::HeldProcess;

use crate::error::{Error, Result};

/// The kernel tells times to programs in hundredths of a second, on every machine.
const TICKS: u64 = 100;
/// How much is shown of what a process was called with, bytes; as much as the kernel itself once kept.
const ARGUMENTS: u64 = 4096;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Uid,
    User,
    Pid,
    Ppid,
    Cpu,
    CpuPercent,
    MemoryPercent,
    VirtualSize,
    ResidentSize,
    Terminal,
    State,
    Start,
    Time,
    Command,
    Program,
}

/// The columns that `ps` would show for `arguments`.
pub(super) fn chosen(arguments: &str) -> Result<Vec<Column>> {
    use Column::*;
    let full = vec![Uid, Pid, Ppid, Cpu, Start, Terminal, Time, Command];
    let mut words = arguments.split_whitespace();
    let mut columns = None;
    while let Some(word) = words.next() {
        let list = match word {
            "-o" | "-eo" | "-axo" | "axo" | "o" => words.next().unwrap_or_default(),
            _ => match word.strip_prefix("-o").or_else(|| word.strip_prefix("-eo")) {
                Some(list) => list,
                None if word.trim_start_matches('-').contains('u') && word.contains('a') => {
                    columns = Some(vec![
                        User,
                        Pid,
                        CpuPercent,
                        MemoryPercent,
                        VirtualSize,
                        ResidentSize,
                        Terminal,
                        State,
                        Start,
                        Time,
                        Command,
                    ]);
                    continue;
                }
                None if word.trim_start_matches('-').bytes().all(|byte| b"efAaxwl".contains(&byte)) => {
                    continue;
                }
                None => {
                    return Err(Error::invalid(format!("unsupported argument for a process table: {word}")));
                }
            },
        };
        let named: Result<Vec<Column>> = list.split(',').map(by_name).collect();
        columns.get_or_insert_with(Vec::new).extend(named?);
    }
    Ok(columns.unwrap_or(full))
}

fn by_name(name: &str) -> Result<Column> {
    use Column::*;
    Ok(match name.split('=').next().unwrap_or_default() {
        "uid" | "euid" => Uid,
        "user" | "euser" | "uname" => User,
        "pid" | "tgid" => Pid,
        "ppid" => Ppid,
        "c" => Cpu,
        "pcpu" | "%cpu" => CpuPercent,
        "pmem" | "%mem" => MemoryPercent,
        "vsz" | "vsize" => VirtualSize,
        "rss" | "rssize" => ResidentSize,
        "tty" | "tt" | "tname" => Terminal,
        "stat" | "state" | "s" => State,
        "stime" | "start" | "start_time" | "bsdstart" => Start,
        "time" | "cputime" | "bsdtime" => Time,
        "cmd" | "args" | "command" => Command,
        "comm" | "ucmd" => Program,
        _ => return Err(Error::invalid(format!("unknown column of a process table: {name}"))),
    })
}

/// What is known of the machine.
pub(super) struct Host {
    users: HashMap<u32, String>,
    uptime: f64,
    booted: i64,
    memory: u64,
}

impl Host {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let users = text("/etc/passwd")
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            })
            .collect();
        let uptime: f64 = text("/proc/uptime")
            .split(' ')
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or_default();
        let booted = text("/proc/stat")
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
            .unwrap_or_default();
        Self { users, uptime, booted, memory: crate::host::memory_total() }
    }
}

/// One process.
pub(super) struct Process {
    pid: u32,
    ppid: u32,
    uid: u32,
    state: String,
    terminal: u32,
    /// Processor time and start, in ticks.
    time: u64,
    start: u64,
    virtual_size: u64,
    resident: u64,
    program: String,
    command: String,
}

impl Process {
    /// Reads the process `pid`, if it is in the cgroup `group`: its number may have gone to another.
    pub(super) fn read(pid: u32, group: &Path) -> Option<Self> {
        let held = HeldProcess::in_group(pid, group).ok()?;
        let uid = held.user().ok()?;
        let stat = held.read("stat").ok()?;
        let arguments = held.arguments(ARGUMENTS).unwrap_or_default();
        let status = held.read("status").unwrap_or_default();
        let mut process = Self::parse(pid, uid, &stat, &arguments)?;
        process.resident = resident(&status);
        Some(process)
    }

    fn parse(pid: u32, uid: u32, stat: &str, arguments: &[u8]) -> Option<Self> {
        // The program's name may have spaces and parentheses in it.
        let (before, after) = stat.rsplit_once(')')?;
        let program = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number =
            |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        let command = String::from_utf8_lossy(arguments).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            uid,
            ppid: u32::try_from(number(1)).ok()?,
            state: (*fields.first()?).to_owned(),
            terminal: u32::try_from(number(4)).unwrap_or_default(),
            time: number(11) + number(12),
            start: number(19),
            virtual_size: number(20),
            resident: 0,
            command: if command.is_empty() { format!("[{program}]") } else { command },
            program,
        })
    }

    /// Hundredths of the processor, since its start.
    fn share(&self, host: &Host) -> f64 {
        let age = host.uptime - self.start as f64 / TICKS as f64;
        if age <= 0.0 { 0.0 } else { (self.time as f64 / TICKS as f64 / age * 100.0).min(999.0) }
    }
}

/// Bytes in memory, from `/proc/<pid>/status`.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

impl Column {
    pub(super) fn title(self) -> &'static str {
        match self {
            Column::Uid => "UID",
            Column::User => "USER",
            Column::Pid => "PID",
            Column::Ppid => "PPID",
            Column::Cpu => "C",
            Column::CpuPercent => "%CPU",
            Column::MemoryPercent => "%MEM",
            Column::VirtualSize => "VSZ",
            Column::ResidentSize => "RSS",
            Column::Terminal => "TTY",
            Column::State => "STAT",
            Column::Start => "STIME",
            Column::Time => "TIME",
            Column::Command => "CMD",
            Column::Program => "COMMAND",
        }
    }

    pub(super) fn text(self, process: &Process, host: &Host) -> String {
        match self {
            Column::Uid | Column::User => {
                host.users.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string())
            }
            Column::Pid => process.pid.to_string(),
            Column::Ppid => process.ppid.to_string(),
            Column::Cpu => format!("{:.0}", process.share(host)),
            Column::CpuPercent => format!("{:.1}", process.share(host)),
            Column::MemoryPercent => {
                format!("{:.1}", process.resident as f64 * 100.0 / host.memory.max(1) as f64)
            }
            Column::VirtualSize => (process.virtual_size / 1024).to_string(),
            Column::ResidentSize => (process.resident / 1024).to_string(),
            Column::Terminal => match (process.terminal >> 8 & 0xfff, process.terminal & 0xff) {
                (0, 0) => "?".to_owned(),
                (136..=143, minor) => format!("pts/{minor}"),
                (4, minor) => format!("tty{minor}"),
                _ => "?".to_owned(),
            },
            Column::State => process.state.clone(),
            Column::Start => {
                let second = host.booted + i64::try_from(process.start / TICKS).unwrap_or_default();
                let of_day = second.rem_euclid(86_400);
                format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
            }
            Column::Time => {
                let seconds = process.time / TICKS;
                format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            Column::Command => process.command.clone(),
            Column::Program => process.program.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_titles(arguments: &str, expected: &str) {
        let titles: Vec<&str> =
            chosen(arguments).expect("known arguments").iter().map(|column| column.title()).collect();
        assert_eq!(titles.join(" "), expected);
    }

    #[test]
    fn the_columns_are_those_that_ps_would_show() {
        check_titles("", "UID PID PPID C STIME TTY TIME CMD");
        check_titles("-ef", "UID PID PPID C STIME TTY TIME CMD");
        check_titles("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT STIME TIME CMD");
        check_titles("-o pid,comm", "PID COMMAND");
        assert!(chosen("-o nonsense").is_err());
        assert!(chosen("; rm").is_err());
    }

    #[test]
    fn a_process_is_read_whatever_its_program_is_called() {
        let stat = "7 (a) b (c)) S 1 7 7 34817 7 0 0 0 0 0 150 50 0 0 20 0 1 0 1000 4096 2 0";
        let process = Process::parse(7, 0, stat, b"sleep\x0010\0").expect("a process");
        let host = Host {
            users: HashMap::from([(0, "root".to_owned())]),
            uptime: 110.0,
            booted: 0,
            memory: 1 << 20,
        };
        let text = |column: Column| column.text(&process, &host);
        assert_eq!(text(Column::Program), "a) b (c)");
        assert_eq!(text(Column::Command), "sleep 10");
        assert_eq!(text(Column::Terminal), "pts/1");
        assert_eq!(text(Column::Time), "00:00:02");
        assert_eq!(text(Column::CpuPercent), "2.0");
        assert_eq!(text(Column::Start), "00:00");
        assert_eq!(text(Column::User), "root");
    }
}
