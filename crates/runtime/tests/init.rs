//! Process 1 of a shared process namespace, and the shim's own end by a signal.

mod support;

use std::path::Path;

use runtime::cgroup::Cgroup;
use runtime::shim::EXIT_FILE;
use runtime::shim::protocol::{ExitStatus, Request, Response, Stdio, StopSpec};
use runtime::spec::{Namespace, NamespaceKind, Spec};
use rustix::process::{Pid, Signal, kill_process};
use support::{Sandbox, shell};

const SLEEP: &str = "exec sleep 1000";

fn with_init() -> Sandbox {
    Sandbox::with(|spec| spec.pid = true)
}

/// A container in the sandbox's process namespace, with further capabilities.
fn inside(sandbox: &Sandbox, command: &str, capabilities: &[&str]) -> Spec {
    let init = sandbox.handle.init_pid.expect("a shared process namespace has an init");
    let mut spec = shell(command);
    spec.linux.as_mut().expect("linux").namespaces = vec![
        Namespace::new(NamespaceKind::Mount),
        Namespace { kind: NamespaceKind::Pid, path: Some(format!("/proc/{init}/ns/pid").into()) },
    ];
    let own = spec.process.as_mut().and_then(|process| process.capabilities.as_mut()).expect("some");
    for set in [&mut own.bounding, &mut own.effective, &mut own.permitted] {
        set.extend(capabilities.iter().map(|&name| name.to_owned()));
    }
    spec
}

/// What a container says of process 1.
fn look(capabilities: &[&str], command: &str) -> String {
    let sandbox = with_init();
    let outcome = sandbox.run("c1", inside(&sandbox, command, capabilities));
    outcome.stdout + &outcome.stderr
}

#[test]
fn who_may_trace_everything_finds_nothing_in_process_1() {
    let tracer = ["CAP_SYS_PTRACE"];
    assert_eq!(
        look(&tracer, "ls -A /proc/1/root/ /proc/1/cwd/ && echo listed"),
        "/proc/1/cwd/:\n\n/proc/1/root/:\nlisted\n"
    );
    assert_eq!(look(&tracer, "ls -A /proc/1/fd && echo listed"), "listed\n");
    let written = look(&tracer, "echo x >/proc/1/root/x; echo x >/proc/1/cwd/x; mkdir /proc/1/root/d");
    assert_eq!(written.matches("Read-only file system").count(), 3, "{written}");
    // What leads upwards ends in the same empty place.
    assert_eq!(look(&tracer, "ls -A /proc/1/root/../../../ && echo listed"), "listed\n");
    assert!(look(&tracer, ": >/proc/1/exe").contains("Read-only file system"));
    assert_eq!(look(&tracer, "wc -l </proc/1/mountinfo"), "1\n");
}

#[test]
fn process_1_has_no_user_no_rights_and_a_filter() {
    let sandbox = with_init();
    let init = sandbox.handle.init_pid.expect("an init");
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).expect("read");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65534"; 4]);
    assert_eq!(field("Gid:"), ["65534"; 4]);
    assert!(field("Groups:").is_empty());
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec!["1".to_owned()], vec!["2".to_owned()]));
    assert_eq!(field("Name:")[0], "gantry-init", "{status}");
    assert_eq!(std::fs::read_dir(format!("/proc/{init}/fd")).expect("list").count(), 0);
}

#[test]
fn who_may_not_trace_cannot_even_look_at_process_1() {
    let looks = [
        "ls /proc/1/root/",
        "readlink /proc/1/exe",
        "readlink /proc/1/ns/mnt",
        "head -c 1 /proc/1/mem",
        "cat /proc/1/maps",
        "cat /proc/1/environ",
        ": >/proc/1/mem",
    ];
    for try_to in looks {
        assert_eq!(look(&[], &format!("sh -c '{try_to}' 2>/dev/null && echo done")), "", "{try_to}");
    }
    // The same user as process 1's is no better off.
    let sandbox = with_init();
    let mut spec = inside(&sandbox, "ls /proc/1/root/; ls /proc/1/fd; kill -KILL 1; kill -STOP 1", &[]);
    let user = &mut spec.process.as_mut().expect("a process").user;
    (user.uid, user.gid) = (65534, 65534);
    let outcome = sandbox.run("c1", spec);
    assert_eq!(outcome.stderr.matches("Permission denied").count(), 2, "{outcome:?}");
    sandbox.run("c2", inside(&sandbox, "true", &[])).expect(0);
}

#[test]
fn shims_and_their_inits_have_names() {
    let sandbox = Sandbox::with(|spec| {
        spec.id = "0123456789abcdef0123456789abcdef".to_owned();
        spec.pid = true;
    });
    let named = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("read");
        text.trim_end_matches('\0').to_owned()
    };
    assert_eq!(named(sandbox.handle.pid), "gantry-shim 0123456789ab");
    assert_eq!(named(sandbox.handle.init_pid.expect("an init")), "gantry-init 0123456789ab");
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", sandbox.handle.pid)).expect("read");
    assert_eq!(comm, "gantry-shim 012\n");
}

/// Tells the shim to end, as a machine that goes down does.
fn terminate(sandbox: &Sandbox) {
    let pid = i32::try_from(sandbox.handle.pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::TERM).expect("tell the shim");
}

fn is_gone(sandbox: &Sandbox) {
    testkit::wait_until("the shim to end", || if sandbox.handle.is_alive() { Err("alive") } else { Ok(()) });
}

/// How a container ended according to a file.
fn written(directory: &Path) -> ExitStatus {
    let bytes = std::fs::read(directory.join(EXIT_FILE)).expect("read how it ended");
    serde_json::from_slice(&bytes).expect("a status")
}

fn create_stopping(sandbox: &Sandbox, id: &str, spec: Spec, wanted: StopSpec) {
    let (mut request, with) = sandbox.create_with(id, spec, Stdio::default());
    if let Request::CreateContainer { stop, .. } = &mut request {
        *stop = Some(wanted);
    }
    sandbox.client().ask_with(&request, &with).expect("made");
    sandbox.start(id);
}

#[test]
fn a_shim_that_is_told_to_end_stops_its_containers_in_order() {
    let sandbox = Sandbox::with(|spec| spec.pid = true);
    let keep = sandbox.dir.path().join("keep");
    std::fs::create_dir(&keep).expect("make a directory");
    let ready = |id: &str| sandbox.dir.path().join(id).join("rootfs/ready");
    let loops = "echo >/ready; while :; do sleep 0.01; done";
    // One stops when it is asked to in its own way, one does not and is killed, one was never started.
    let polite = inside(&sandbox, &format!("trap 'exit 7' USR1; {loops}"), &[]);
    let stop = StopSpec { signal: Some(10), grace: Some(60_000), keep: Some(keep.clone()) };
    create_stopping(&sandbox, "polite", polite, stop);
    let stubborn = inside(&sandbox, &format!("trap '' TERM; {loops}"), &[]);
    create_stopping(&sandbox, "stubborn", stubborn, StopSpec { grace: Some(300), ..StopSpec::default() });
    sandbox.create("waiting", inside(&sandbox, SLEEP, &[]), Stdio::default());
    for id in ["polite", "stubborn"] {
        testkit::wait_until("it to be ready", || if ready(id).exists() { Ok(()) } else { Err(id) });
    }
    sandbox.ask(&Request::Pause { container: "polite".to_owned() });
    let mut events = sandbox.client().subscribe().expect("subscribe");
    terminate(&sandbox);
    is_gone(&sandbox);
    let state = sandbox.dir.path().join("state");
    assert_eq!((written(&state.join("polite")).code, written(&keep).code), (7, 7));
    assert_eq!(written(&state.join("stubborn")).code, 137);
    // Whoever listens hears of each end, and then nothing.
    let mut ends = 0;
    while let Ok(Some(event)) = events.event() {
        ends += usize::from(matches!(event, runtime::shim::protocol::Event::Exited { .. }));
    }
    assert!(ends >= 2, "{ends}");
    assert!(!sandbox.handle.socket.exists());
    let init = sandbox.handle.init_pid.expect("an init");
    testkit::wait_until("process 1 to end", || {
        if Path::new(&format!("/proc/{init}")).exists() { Err(init) } else { Ok(()) }
    });
    for id in ["polite", "stubborn", "waiting"] {
        let cgroup = Cgroup::at(&sandbox.cgroup.join(id)).expect("a good path");
        assert!(!cgroup.pids().is_ok_and(|pids| !pids.is_empty()), "{id}");
    }
}

#[test]
fn a_shim_that_holds_nothing_ends_at_once_when_it_is_told() {
    let sandbox = Sandbox::new();
    terminate(&sandbox);
    is_gone(&sandbox);
}

#[test]
fn nothing_is_begun_while_the_shim_ends() {
    let sandbox = Sandbox::new();
    let stubborn = shell("trap '' TERM; echo >/ready; while :; do sleep 0.01; done");
    create_stopping(&sandbox, "c1", stubborn, StopSpec { grace: Some(60_000), ..StopSpec::default() });
    let ready = sandbox.dir.path().join("c1/rootfs/ready");
    testkit::wait_until("it to be ready", || if ready.exists() { Ok(()) } else { Err("not yet") });
    terminate(&sandbox);
    testkit::wait_until("the shim to refuse", || {
        let request = sandbox.create_request("c2", shell(SLEEP), Stdio::default());
        match sandbox.client().ask(&request) {
            Err(error) => {
                assert!(error.to_string().contains("is being stopped"), "{error}");
                Ok(())
            }
            Ok(_) => {
                sandbox.ask(&Request::Delete { container: "c2".to_owned(), exec: None, force: true });
                Err("it made a container")
            }
        }
    });
    // Who cannot wait still has the last word.
    let ended = sandbox.ask(&Request::Delete { container: "c1".to_owned(), exec: None, force: true });
    assert!(matches!(ended, Response::Exit(Some(status)) if status.code == 137));
    is_gone(&sandbox);
}

#[test]
fn process_1_stays_while_somebody_is_there() {
    let sandbox = with_init();
    let init = sandbox.handle.init_pid.expect("an init");
    sandbox.create("c1", inside(&sandbox, SLEEP, &[]), Stdio::default());
    sandbox.start("c1");
    let pid = i32::try_from(init).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::TERM).expect("tell process 1");
    // It is not alone, and goes on reaping.
    sandbox.exec("c1", "e1", support::shell_process("(sleep 0.01 &); true")).expect(0);
    assert!(Path::new(&format!("/proc/{init}")).exists());
    sandbox.ask(&Request::Delete { container: "c1".to_owned(), exec: None, force: true });
    testkit::wait_until("process 1 to end when it is alone", || {
        let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
    });
}
