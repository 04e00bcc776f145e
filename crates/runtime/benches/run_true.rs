//! `run /bin/true` by this runtime and by runc and crun, side by side in one run.
//!
//! `cargo bench -p runtime` as root. The runtimes take turns, so that whatever else the machine does
//! concerns all of them alike; the minima say most. On a host with hybrid cgroups crun refuses to
//! use them at all and runs without: it has less to do there.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runtime::spec::{NamespaceKind, Spec};

const ROUNDS: usize = 100;

struct Runtime {
    name: &'static str,
    command: Vec<String>,
    bundle: std::path::PathBuf,
    times: Vec<Duration>,
}

fn main() {
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let rootfs = dir.path().join("rootfs");
    testkit::rootfs::busybox(&rootfs);
    let program = env!("CARGO_BIN_EXE_gantry-runtime");
    let mut runtimes = vec![
        runtime(dir.path(), "gantry", &[program, "runtime"], true),
        runtime(dir.path(), "runc", &["runc"], true),
        runtime(dir.path(), "crun", &["crun", "--cgroup-manager=disabled"], false),
    ];
    runtimes.retain(|runtime| {
        let works = run(runtime, 0).is_some();
        if !works {
            println!("{:8} does not run here", runtime.name);
        }
        works
    });
    for round in 1..=ROUNDS {
        for runtime in &mut runtimes {
            let time = run(runtime, round).expect("it ran before");
            runtime.times.push(time);
        }
    }
    let own = runtimes.first().map(|runtime| median(&runtime.times)).unwrap_or_default();
    println!("{:8} {:>10} {:>10} {:>7}", "", "median ms", "min ms", "ratio");
    for runtime in &runtimes {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let least = runtime.times.iter().min().copied().unwrap_or_default();
        let middle = median(&runtime.times);
        let ratio = middle.as_secs_f64() / own.as_secs_f64();
        println!("{:8} {:10.2} {:10.2} {ratio:7.2}", runtime.name, milliseconds(middle), milliseconds(least));
    }
}

fn runtime(dir: &Path, name: &'static str, command: &[&str], cgroups: bool) -> Runtime {
    let bundle = dir.join(name);
    std::fs::create_dir(&bundle).expect("make a bundle");
    let mut spec: Spec = runtime::defaults::spec();
    // What Debian's crun understands.
    spec.oci_version = "1.0.2".to_owned();
    spec.root.as_mut().expect("the default has a root").path = dir.join("rootfs");
    spec.process.as_mut().expect("the default has a process").args = vec!["/bin/true".to_owned()];
    let linux = spec.linux.as_mut().expect("the default is for Linux");
    linux.cgroups_path = Some(Path::new("/gantry-bench").join(name));
    spec.mounts.retain(|mount| mount.kind.as_deref() != Some("cgroup"));
    if !cgroups {
        linux.resources = None;
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Cgroup);
    }
    spec.save(&bundle.join("config.json")).expect("write the configuration");
    let mut command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
    command.extend(["--root".to_owned(), dir.join(format!("{name}-state")).display().to_string()]);
    Runtime { name, command, bundle, times: Vec::new() }
}

/// One run; `None` if it did not work.
fn run(runtime: &Runtime, round: usize) -> Option<Duration> {
    let (program, args) = runtime.command.split_first().expect("a command has a program");
    let begin = Instant::now();
    let status = Command::new(program)
        .args(args)
        .args(["run", &format!("bench-{round}")])
        .current_dir(&runtime.bundle)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let time = begin.elapsed();
    status.is_ok_and(|status| status.success()).then_some(time)
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
