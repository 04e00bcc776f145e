//! Things that go wrong for ever: files without an end, memory that nobody gives back, askers that
//! are gone. The shim answers everybody else meanwhile, and ends what has to end.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use runtime::cgroup::Cgroup;
use runtime::shim::protocol::{LogSpec, Request, Response, Stdio, Streams};
use runtime::shim::{Client, ClientError};
use runtime::spec::{Hook, Hooks, Memory};
use support::{Sandbox, shell, shell_process};

const SLEEP: &str = "exec sleep 1000";

/// How long what is to be quick may take on a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

/// Asks, and takes no answer for one after a while.
#[track_caller]
fn ask_soon(sandbox: &Sandbox, request: &Request) -> Result<Response, ClientError> {
    let mut client = sandbox.client();
    client.set_timeout(Some(SOON)).expect("set a time-out");
    client.ask(request)
}

/// A container whose root has `passwd` in place of `/etc/passwd`.
fn with_passwd(sandbox: &Sandbox, id: &str, passwd: impl FnOnce(&Path)) -> Request {
    let mut spec = shell("echo $HOME");
    // Only where the environment has no home is one looked for.
    spec.process.as_mut().expect("a process").env.retain(|variable| !variable.starts_with("HOME="));
    let request = sandbox.create_request(id, spec, Stdio::default());
    let file = sandbox.dir.path().join(id).join("rootfs/etc/passwd");
    let _ = std::fs::remove_file(&file);
    passwd(&file);
    request
}

fn exec(name: &str, command: &str, limit: Option<u64>) -> Request {
    Request::Exec {
        container: "c1".to_owned(),
        exec: name.to_owned(),
        process: shell_process(command),
        stdio: Stdio::default(),
        attach: Some(Streams { stdin: false, stdout: true, stderr: true }),
        limit,
    }
}

#[test]
fn a_user_database_without_an_end_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let make_pipe = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    };
    let zero = with_passwd(&sandbox, "zero", |path| symlink("/dev/zero", path).expect("a link"));
    let pipe = with_passwd(&sandbox, "pipe", make_pipe);
    let huge = with_passwd(&sandbox, "huge", |path| {
        std::fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    });
    for (id, request) in [("zero", zero), ("pipe", pipe), ("huge", huge)] {
        ask_soon(&sandbox, &request).unwrap_or_else(|error| panic!("{id}: {error}"));
        let connection = sandbox.attach(id);
        sandbox.start(id);
        assert_eq!(support::outcome(connection).expect(0).stdout, "/\n", "{id}");
    }
}

/// A container whose memory is used up and whose out-of-memory killer is off, where there is such
/// a thing.
fn out_of_memory(sandbox: &Sandbox) -> Option<u32> {
    // Memory that the program itself touches: for what the kernel writes it gives an error instead.
    let mut spec = shell("x=0123456789; while :; do x=$x$x; done");
    let linux = spec.linux.as_mut().expect("the default has a part for Linux");
    linux.resources.as_mut().expect("the default has some").memory = Some(Memory {
        limit: Some(16 << 20),
        swap: Some(16 << 20),
        disable_oom_killer: Some(true),
        ..Memory::default()
    });
    let (id, cgroup) = ("c1", sandbox.cgroup.join("c1"));
    let hierarchies = runtime::cgroup::Hierarchies::detect().expect("cgroups");
    if hierarchies.version() == runtime::cgroup::Version::V2 {
        return None;
    }
    let pid = sandbox.create(id, spec, Stdio::default());
    sandbox.start(id);
    let memory = Cgroup::at(&cgroup).expect("a good path").controller("memory").expect("a directory");
    let control = memory.join("memory.oom_control");
    // What is used says nothing: once it waits, what was charged ahead for other processors may be given back.
    testkit::wait_until("a process to wait for memory", || {
        let said = std::fs::read_to_string(&control).expect("read");
        if said.lines().any(|line| line == "under_oom 1") { Ok(()) } else { Err(said) }
    });
    Some(pid)
}

#[test]
fn a_process_that_finds_no_memory_is_given_up_and_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let Some(pid) = out_of_memory(&sandbox) else { return };
    // One may still find the memory that it needs, as what is charged is counted in pages by processor; the others are
    // given up, or have died of what the kernel refused them.
    let refused = (0..50).any(|attempt| {
        let mut waiting = sandbox.client();
        waiting.send(&exec(&format!("e{attempt}"), "true", Some(1_500))).expect("send");
        // Whoever asks meanwhile is answered.
        let state = ask_soon(&sandbox, &Request::State).expect("a state");
        assert!(matches!(state, Response::Sandbox(_)), "{state:?}");
        match waiting.answer() {
            Ok(_) => false,
            Err(ClientError::Refused(_)) => true,
            Err(other) => panic!("{other}"),
        }
    });
    assert!(refused, "no process needed more memory than there was");
    delete_soon(&sandbox, pid);
}

#[test]
fn a_process_that_stands_still_is_given_up_and_its_container_can_be_removed() {
    let sandbox = Sandbox::new();
    let pid = sandbox.create("c1", shell(SLEEP), Stdio::default());
    sandbox.start("c1");
    // Behind the shim's back, as a container with cgroups of its own can do.
    Cgroup::at(&sandbox.cgroup.join("c1")).expect("a good path").freeze().expect("frozen");
    let mut waiting = sandbox.client();
    waiting.send(&exec("e1", "true", Some(1_500))).expect("send");
    ask_soon(&sandbox, &Request::State).expect("a state");
    match waiting.answer() {
        Err(ClientError::Refused(failure)) => assert!(failure.message.contains("1.5 s"), "{failure}"),
        other => panic!("a process that stands still was started: {other:?}"),
    }
    delete_soon(&sandbox, pid);
}

#[track_caller]
fn delete_soon(sandbox: &Sandbox, pid: u32) {
    let delete = Request::Delete { container: "c1".to_owned(), exec: None, force: true };
    let gone = ask_soon(sandbox, &delete).expect("removed");
    assert!(matches!(gone, Response::Exit(Some(ref status)) if status.code == 137), "{gone:?}");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!Cgroup::at(&sandbox.cgroup.join("c1")).expect("a good path").exists());
}

#[test]
fn a_container_is_killed_and_removed_while_a_process_is_on_its_way_into_it() {
    let sandbox = Sandbox::new();
    let Some(_) = out_of_memory(&sandbox) else { return };
    let mut waiting = sandbox.client();
    waiting.send(&exec("e1", "true", None)).expect("send");
    let kill = Request::Kill { container: "c1".to_owned(), exec: None, signal: 9, all: false };
    ask_soon(&sandbox, &kill).expect("killed");
    let delete = Request::Delete { container: "c1".to_owned(), exec: None, force: true };
    ask_soon(&sandbox, &delete).expect("removed");
    // Whoever waited is told, whichever of the two came first; the process may have found the memory that it needs.
    match waiting.answer() {
        Ok(_) | Err(ClientError::Refused(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_process_whose_asker_has_gone_does_not_come_to_be() {
    let sandbox = Sandbox::new();
    let Some(_) = out_of_memory(&sandbox) else { return };
    let cgroup = Cgroup::at(&sandbox.cgroup.join("c1")).expect("a good path");
    let count = || cgroup.pids().expect("processes").len();
    // One may still find the memory that it needs, or be refused it at once.
    let stands = (0..50).find_map(|attempt| {
        let mut waiting = sandbox.client();
        waiting.send(&exec(&format!("e{attempt}"), "true", None)).expect("send");
        let stands = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            count() == 2
        });
        stands.then_some(waiting)
    });
    drop(stands.expect("a process that waits for memory"));
    testkit::wait_until("the process to be gone", || match count() {
        1 => Ok(()),
        others => Err(others),
    });
}

#[test]
fn a_hook_that_never_ends_holds_nobody_up_and_ends_with_its_container() {
    let sandbox = Sandbox::new();
    let mark = sandbox.dir.path().join("hook");
    let hook = |command: String| Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".to_owned(), "-c".to_owned(), command],
        env: Vec::new(),
        timeout: None,
    };
    let mut spec = shell(SLEEP);
    spec.hooks = Some(Hooks {
        poststart: vec![hook(format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", mark.display()))],
        ..Hooks::default()
    });
    sandbox.create("c1", spec, Stdio::default());
    let mut waiting = sandbox.client();
    waiting.send(&Request::StartContainer { container: "c1".to_owned(), limit: None }).expect("send");
    testkit::wait_until("the hook", || if mark.exists() { Ok(()) } else { Err("not begun") });
    ask_soon(&sandbox, &Request::State).expect("a state");
    ask_soon(&sandbox, &Request::Delete { container: "c1".to_owned(), exec: None, force: true })
        .expect("removed");
    assert!(matches!(waiting.answer(), Err(ClientError::Refused(_))));
    let pid = std::fs::read_to_string(&mark).expect("read");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn one_asker_gets_its_answers_in_order() {
    let sandbox = Sandbox::new();
    let mut client: Client = sandbox.client();
    client.send(&sandbox.create_request("c1", shell("exit 3"), Stdio::default())).expect("send");
    client.send(&Request::StartContainer { container: "c1".to_owned(), limit: None }).expect("send");
    client.send(&Request::Wait { container: "c1".to_owned(), exec: None }).expect("send");
    client.send(&Request::State).expect("send");
    assert!(matches!(client.answer(), Ok(Response::Pid(_))));
    assert!(matches!(client.answer(), Ok(Response::Pid(_))));
    assert!(matches!(client.answer(), Ok(Response::Exit(Some(status))) if status.code == 3));
    assert!(matches!(client.answer(), Ok(Response::Sandbox(_))));
}

#[test]
fn many_processes_are_killed_at_once() {
    let sandbox = Sandbox::new();
    sandbox.create(
        "c1",
        shell("i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; wait"),
        Stdio::default(),
    );
    sandbox.start("c1");
    let cgroup = Cgroup::at(&sandbox.cgroup.join("c1")).expect("a good path");
    testkit::wait_until("all of them", || {
        let pids = cgroup.pids().expect("processes");
        if pids.len() > 400 { Ok(()) } else { Err(pids.len()) }
    });
    ask_soon(&sandbox, &Request::Kill { container: "c1".to_owned(), exec: None, signal: 9, all: true })
        .expect("killed");
    testkit::wait_until("their end", || {
        let pids = cgroup.pids().expect("processes");
        if pids.is_empty() { Ok(()) } else { Err(pids.len()) }
    });
}

#[test]
fn a_full_log_disk_stops_no_output_and_fills_nothing_else() {
    let sandbox = Sandbox::new();
    let line = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; echo end";
    let ids = ["a", "b", "c"];
    // Whatever is written there finds no space.
    let log = LogSpec { path: "/dev/full".into(), max_size: 0, max_files: 0, json: false };
    let connections = ids.map(|id| {
        sandbox.create(id, shell(line), Stdio { log: Some(log.clone()), ..Stdio::default() });
        sandbox.attach(id)
    });
    ids.iter().for_each(|id| sandbox.start(id));
    for connection in connections {
        let stdout = support::outcome(connection).expect(0).stdout;
        assert_eq!((stdout.lines().count(), stdout.lines().last()), (3001, Some("end")));
    }
    let said = sandbox.log();
    assert!(said.contains("write the log of a") && said.contains("No space left"), "{said}");
    // Each container's trouble once, and at its tenfold.
    assert!(said.lines().count() <= 3 * 6, "{said}");
}
