//! The storm itself: what fails, what changes meanwhile, and how it ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use docker_tests::Daemon;
use rustix::fs::FallocateFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use super::workload::{self, Wanted};
use super::{Api, text};
use crate::Cluster;
use crate::load::Dice;

/// How long a fault lies in wait for a process that begins.
const AMBUSH: Duration = Duration::from_millis(1500);

/// A cluster in the storm.
pub(super) struct Storm {
    cluster: Cluster,
    api: Api,
    wanted: Wanted,
    begun: Instant,
    /// For how many more steps the disk stays full.
    full: u64,
    /// What makes the disk slow.
    slows: Option<Child>,
    /// Whether the disk has been full since the daemon began.
    was_full: bool,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Shim,
    /// Whatever runs in a container, be it its program or what is about to become it.
    Inside,
}

impl Storm {
    pub(super) fn new(cluster: Cluster, api: Api) -> Self {
        Self {
            cluster,
            api,
            wanted: Wanted::new(),
            begun: Instant::now(),
            full: 0,
            slows: None,
            was_full: false,
        }
    }

    /// Makes the workload; it has not begun to run when this is done.
    pub(super) fn begin(&self) {
        for (plural, object) in workload::objects(&self.wanted) {
            self.api.insist("POST", &workload::path(plural, ""), &object);
        }
    }

    /// One fault or one change, a moment after the one before.
    #[track_caller]
    pub(super) fn step(&mut self, dice: &mut Dice) {
        pause(dice, 700);
        if self.full > 0 {
            self.full -= 1;
            if self.full == 0 {
                self.free_disk();
            }
        }
        match dice.below(24) {
            0..4 => self.kill_daemon(dice),
            4..6 => self.kill(Victim::Shim, dice),
            6 => self.ambush(Victim::Shim, dice),
            7 => self.kill(Victim::Inside, dice),
            8..10 => self.ambush(Victim::Inside, dice),
            10..12 => self.fill_disk(1 + dice.below(4)),
            12..14 => self.slow_disk(dice),
            14..16 => self.scale_members(1 + dice.below(3)),
            16 => self.scale_webs(1 + dice.below(3)),
            17..20 => self.roll(dice.below(3) as usize),
            20..22 => self.delete_pod(dice),
            _ => self.next_job(dice),
        }
    }

    /// Everything heals, and the objects say what is wanted.
    #[track_caller]
    pub(super) fn settle(mut self) -> (Cluster, Api, Wanted) {
        if self.full > 0 {
            self.free_disk();
        }
        self.let_disk_be();
        if self.was_full {
            // For five minutes after it was short of something a node takes no pods; one that begins does not know.
            self.note("begins the daemon anew");
            self.cluster.daemon.stop();
            self.cluster.daemon.launch();
        }
        for (plural, name, change) in self.wanted.changes() {
            self.api.insist("PATCH", &workload::path(plural, name), &change);
        }
        self.api.insist("POST", &workload::path("jobs", ""), &self.wanted.job());
        (self.cluster, self.api, self.wanted)
    }

    fn note(&self, what: &str) {
        println!("{:>8.3?}: {what}", self.begun.elapsed());
    }

    /// Kills the daemon and starts it again, perhaps once more before it serves.
    #[track_caller]
    fn kill_daemon(&mut self, dice: &mut Dice) {
        self.note("kills the daemon");
        let daemon = &mut self.cluster.daemon;
        daemon.kill();
        pause(dice, 800);
        daemon.begin(&[]);
        if dice.below(3) == 0 {
            pause(dice, 1200);
            daemon.kill();
            daemon.begin(&[]);
        }
        daemon.wait_answering();
        self.was_full = self.full > 0;
        self.note("it answers again");
    }

    fn victims(&self, victim: Victim) -> Vec<Pid> {
        match victim {
            Victim::Shim => self.cluster.daemon.shims(),
            Victim::Inside => inside(&self.cluster.daemon),
        }
    }

    /// Kills one of those that are there.
    fn kill(&self, victim: Victim, dice: &mut Dice) {
        let all = self.victims(victim);
        let place = dice.below(u64::MAX);
        let Some(pid) = all.get(usize::try_from(place % all.len().max(1) as u64).expect("small")) else {
            return;
        };
        self.hit(*pid, victim);
    }

    /// Kills the next one that begins, shortly after it has.
    fn ambush(&self, victim: Victim, dice: &mut Dice) {
        let known: BTreeSet<i32> = self.victims(victim).into_iter().map(Pid::as_raw_pid).collect();
        let delay = Duration::from_micros(dice.below(20_000));
        let end = Instant::now() + AMBUSH;
        while Instant::now() < end {
            let new = self.victims(victim).into_iter().find(|pid| !known.contains(&pid.as_raw_pid()));
            if let Some(pid) = new {
                std::thread::sleep(delay);
                return self.hit(pid, victim);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills a process, if it still is what it was when it was found.
    fn hit(&self, pid: Pid, victim: Victim) {
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
        if self.victims(victim).contains(&pid) && pidfd_send_signal(held, Signal::KILL).is_ok() {
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            self.note(&format!("kills {} ({})", pid.as_raw_pid(), command.trim()));
        }
    }

    /// Takes every byte of the daemon's disk, for so many steps.
    #[track_caller]
    fn fill_disk(&mut self, steps: u64) {
        if self.full == 0 {
            self.note("fills the disk");
            self.was_full = true;
            let path = self.cluster.daemon.seen(&self.cluster.daemon.root().join("ballast"));
            let ballast = File::create(path).expect("there is room for a name");
            take_all(&ballast);
        }
        self.full = self.full.max(steps);
    }

    #[track_caller]
    fn free_disk(&mut self) {
        self.note("frees the disk");
        let path = self.cluster.daemon.seen(&self.cluster.daemon.root().join("ballast"));
        std::fs::remove_file(path).expect("free the disk");
        self.full = 0;
    }

    /// Lets nothing reach the disk for a while, or little for a longer one.
    fn slow_disk(&mut self, dice: &mut Dice) {
        self.let_disk_be();
        let (times, stands) =
            if dice.below(2) == 0 { (1, 300 + dice.below(2500)) } else { (15, 20 + dice.below(250)) };
        self.note(&format!("the disk stands still {times} times for {stands} ms"));
        let script = "for i in $(seq $1); do fsfreeze -f $0 && sleep $2; fsfreeze -u $0; sleep 0.05; done";
        let path = self.cluster.daemon.seen(&self.cluster.daemon.root());
        let seconds = format!("{}.{:03}", stands / 1000, stands % 1000);
        let child =
            Command::new("sh").args(["-c", script]).arg(path).arg(times.to_string()).arg(seconds).spawn();
        self.slows = Some(child.expect("run a shell"));
    }

    fn let_disk_be(&mut self) {
        if let Some(mut slows) = self.slows.take() {
            slows.wait().expect("the disk goes on");
        }
    }

    fn change(&self, number: usize) {
        let (plural, name, change) = &self.wanted.changes()[number];
        let told = self.api.attempt("PATCH", &workload::path(plural, name), change);
        self.note(&format!("{plural}/{name} to {change}: {:?}", told.map(|(code, _)| code)));
    }

    fn scale_members(&mut self, members: u64) {
        self.wanted.members = members;
        self.change(0);
    }

    fn scale_webs(&mut self, webs: u64) {
        self.wanted.webs = webs;
        self.change(1);
    }

    fn roll(&mut self, number: usize) {
        self.wanted.versions[number] += 1;
        self.change(number);
    }

    fn delete_pod(&self, dice: &mut Dice) {
        let place = dice.below(u64::MAX);
        let pods = self.api.attempt("GET", &workload::path("pods", ""), &Value::Null);
        let pods =
            pods.map(|(_, list)| list["items"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
        let Some(pod) = pods.get(usize::try_from(place % pods.len().max(1) as u64).expect("small")) else {
            return;
        };
        let name = text(pod, "/metadata/name");
        let told = self.api.attempt("DELETE", &workload::path("pods", name), &Value::Null);
        self.note(&format!("deletes pod {name}: {:?}", told.map(|(code, _)| code)));
    }

    /// Deletes the Job, whatever it has done, and makes another.
    fn next_job(&mut self, dice: &mut Dice) {
        let policy = ["Foreground", "Background"][dice.below(2) as usize];
        let path = workload::path("jobs", &self.wanted.job_name());
        let deleted = self.api.attempt("DELETE", &path, &json!({"propagationPolicy": policy}));
        self.wanted.job += 1;
        let made = self.api.attempt("POST", &workload::path("jobs", ""), &self.wanted.job());
        let codes = (deleted.map(|(code, _)| code), made.map(|(code, _)| code));
        self.note(&format!("{policy}: the next job: {codes:?}"));
    }
}

/// Waits for a moment that nobody has chosen.
fn pause(dice: &mut Dice, most_ms: u64) {
    std::thread::sleep(Duration::from_micros(dice.below(most_ms * 1000)));
}

/// Processes in the daemon's control groups that are not its shims.
fn inside(daemon: &Daemon) -> Vec<Pid> {
    let group = format!(":/{}/", daemon.instance());
    let shims = daemon.shims();
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let is_inside = |pid: &Pid| {
        let groups =
            std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())).unwrap_or_default();
        groups.contains(&group) && !shims.contains(pid)
    };
    pids.filter(is_inside).collect()
}

/// Lets a file take all the room that there is: large pieces first, then smaller ones.
fn take_all(file: &File) {
    let mut at = 0;
    let mut piece = 64 << 20;
    while piece >= 4096 {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), at, piece) {
            Ok(()) => at += piece,
            Err(_) => piece /= 2,
        }
    }
    // What was kept back for the file system's own sake is taken by writing.
    while file.write_at(&[1; 4096], at).is_ok_and(|written| written > 0) {
        at += 4096;
    }
}
