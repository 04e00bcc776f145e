//! `gantry doctor`: what the kernel and the host lack, with the cure.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::output;
use crate::config::Config;
use crate::modules::{MODULES, Module, Modules, Presence};

mod shims;

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cure: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Notice,
    Problem,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Ok, message: message.into(), cure: String::new() }
    }

    fn notice(check: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, state: State::Notice, message: message.into(), cure: cure.into() }
    }

    fn problem(check: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, state: State::Problem, message: message.into(), cure: cure.into() }
    }
}

pub(super) fn run(config: &Config, arguments: output::Arguments) -> anyhow::Result<ExitCode> {
    let mut findings = vec![privileges(), kernel()];
    findings.extend(["tmpfs", "proc"].map(file_system));
    let modules = Modules::of_this_kernel();
    findings.extend(MODULES.iter().map(|module| kernel_module(&modules, module)));
    findings.push(cgroups());
    findings.extend(["net", "pid", "ipc", "uts", "mnt", "user", "cgroup"].map(namespace));
    findings.push(seccomp());
    findings.push(apparmor());
    findings.push(forwarding());
    findings.extend(networks(config)?);
    findings.push(disk(&config.root));
    findings.extend(records(&config.root));
    findings.extend(shims::check(&config.run));
    findings.extend(["docker", "kubectl"].map(client));
    findings.extend(without_effect());
    output::print(&arguments, &["CHECK", "STATE", "FOUND", "CURE"], &findings, |finding| {
        let state = match finding.state {
            State::Ok => "ok",
            State::Notice => "notice",
            State::Problem => "PROBLEM",
        };
        vec![finding.check.to_owned(), state.to_owned(), finding.message.clone(), finding.cure.clone()]
    })?;
    let broken = findings.iter().any(|finding| finding.state == State::Problem);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Kinds of Kubernetes objects that are stored before anything acts on them.
fn without_effect() -> Vec<Finding> {
    let kinds = kinds::all();
    let told = kinds.iter().filter_map(|kind| Some((kind.kind.as_str(), kind.without_effect?)));
    told.map(|(kind, what)| {
        let message = format!("{kind} is stored, but {what} yet");
        Finding::notice("kubernetes", message, "use nothing that depends on it")
    })
    .collect()
}

fn privileges() -> Finding {
    if rustix::process::geteuid().is_root() {
        Finding::ok("privileges", "root")
    } else {
        Finding::problem(
            "privileges",
            "not root",
            "run gantry as root: it makes namespaces, mounts and networks",
        )
    }
}

/// The oldest kernel with everything that the runtime uses: detached mounts whose attributes can
/// be set (5.12), and resolution of paths inside a root (5.6).
const OLDEST_KERNEL: (u32, u32) = (5, 12);

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL {
        Finding::ok("kernel", release)
    } else {
        Finding::problem(
            "kernel",
            release,
            format!("use Linux {}.{} or later", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
        )
    }
}

fn apparmor() -> Finding {
    match (engine::host::has_apparmor(), engine::host::applies_apparmor()) {
        (_, true) => Finding::ok("apparmor", "containers have the profile docker-default"),
        (true, false) => Finding::notice(
            "apparmor",
            "docker-default is not loaded and apparmor_parser is missing: containers have no profile unless they name one",
            "install the package apparmor and restart gantry",
        ),
        (false, false) => Finding::ok("apparmor", "not in force in this kernel"),
    }
}

fn file_system(name: &'static str) -> Finding {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.split_whitespace().any(|word| word == name) {
        return Finding::ok("file system", name);
    }
    Finding::problem("file system", format!("{name} is missing"), "use a kernel that has it")
}

fn kernel_module(modules: &Modules, module: &Module) -> Finding {
    let Module { name, purpose, option, needed } = *module;
    match modules.presence(module) {
        Presence::There => Finding::ok("kernel module", name),
        Presence::Loadable => Finding::ok("kernel module", format!("{name} (gantry up loads it)")),
        Presence::Unknown if unlisted_is_there(name) => Finding::ok("kernel module", name),
        Presence::Unknown => Finding::notice(
            "kernel module",
            format!("{name}: this kernel does not say whether it has it; it is for {purpose}"),
            format!("if gantry up complains, use a kernel with {option}"),
        ),
        Presence::Absent => {
            let found = format!("{name} is missing, which is for {purpose}");
            let cure = format!("install all of this kernel's modules, or use a kernel with {option}");
            if needed {
                Finding::problem("kernel module", found, cure)
            } else {
                Finding::notice("kernel module", found, cure)
            }
        }
    }
}

/// Whether what a module would bring is seen at work.
fn unlisted_is_there(name: &str) -> bool {
    let known = |word: &str| {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known.split_whitespace().any(|known| known == word)
    };
    known(name)
        || Path::new("/sys/module").join(name).exists()
        || (name.starts_with("nf") && Path::new("/proc/sys/net/netfilter").exists())
}

fn cgroups() -> Finding {
    const NEEDED: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];
    let (version, found): (&str, Vec<String>) =
        match std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
            Ok(controllers) => ("2", controllers.split_whitespace().map(str::to_owned).collect()),
            Err(_) => {
                let listed = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
                let lines = listed.lines().filter(|line| !line.starts_with('#') && line.ends_with('1'));
                let names = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
                ("1", names.filter(|name| Path::new("/sys/fs/cgroup").join(name).exists()).collect())
            }
        };
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !found.iter().any(|known| known == name)).collect();
    if missing.is_empty() {
        Finding::ok("cgroups", format!("version {version}: {}", found.join(" ")))
    } else {
        let cure =
            "mount /sys/fs/cgroup and enable the controllers; limits of these kinds do not hold until then";
        Finding::notice("cgroups", format!("version {version} without {}", missing.join(", ")), cure)
    }
}

fn namespace(name: &'static str) -> Finding {
    if Path::new("/proc/self/ns").join(name).exists() {
        Finding::ok("namespace", name)
    } else {
        Finding::problem("namespace", format!("{name} is missing"), "use a kernel with all namespaces")
    }
}

fn seccomp() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if status.contains("Seccomp_filters:") || status.contains("Seccomp:") {
        Finding::ok("seccomp", "filters work")
    } else {
        let cure = "use a kernel with CONFIG_SECCOMP_FILTER; containers need --security-opt seccomp=unconfined until then";
        Finding::problem("seccomp", "the kernel has no system call filters", cure)
    }
}

fn forwarding() -> Finding {
    let on = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    if on {
        Finding::ok("forwarding", "net.ipv4.ip_forward is on")
    } else {
        Finding::ok("forwarding", "net.ipv4.ip_forward is off; gantry up switches it on")
    }
}

/// What the networks say: rules of others, and what they do to containers' traffic.
fn networks(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let config = crate::serve::engine_config(config)?.network;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let found = runtime.block_on(net::examine(config));
    if found.is_empty() {
        return Ok(vec![Finding::ok("network", "nothing stands in the way of containers' traffic")]);
    }
    let finding = |finding: net::Finding| match finding.severity {
        net::Severity::Notice => Finding::notice("network", finding.message, finding.cure),
        net::Severity::Problem => Finding::problem("network", finding.message, finding.cure),
    };
    Ok(found.into_iter().map(finding).collect())
}

fn disk(root: &Path) -> Finding {
    const LEAST: u64 = 2 << 30;
    // The root may not exist yet: what counts is the disk that it will be on.
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(facts) = rustix::fs::statvfs(there) else {
        return Finding::problem(
            "disk",
            format!("cannot look at {}", there.display()),
            "give another --root",
        );
    };
    let free = facts.f_bavail * facts.f_frsize;
    let message = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), there.display());
    if free >= LEAST {
        Finding::ok("disk", message)
    } else {
        Finding::notice(
            "disk",
            message,
            "remove what is not needed (docker system prune), or give another --root",
        )
    }
}

/// What is kept below the root and cannot be taken up.
fn records(root: &Path) -> Vec<Finding> {
    let troubles = engine::Engine::examine(root);
    if troubles.is_empty() {
        return vec![Finding::ok("records", "all that is kept can be read")];
    }
    let cure = "repair it or move it away, then start the daemon again; until then it is left as it is";
    troubles.iter().map(|trouble| Finding::problem("records", trouble.to_string(), cure)).collect()
}

fn client(name: &'static str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
        Finding::ok("client", name)
    } else {
        Finding::notice(
            "client",
            format!("{name} is not installed"),
            format!("install {name} to drive gantry with it"),
        )
    }
}
