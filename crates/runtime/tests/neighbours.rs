//! Containers that join a process namespace in which others live, of whom one may trace everything, and
//! processes that join containers under filters which forbid much.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio as Streams};

use runtime::seccomp::docker_default;
use runtime::shim::protocol::{Request, Stdio};
use runtime::spec::{
    Hook, Hooks, Namespace, NamespaceKind, Process, Rlimit, Scheduler, Seccomp, SeccompAction, SeccompRule,
    Spec,
};
use support::{ATTACKER, PROGRAM, PROGRAM_OF_OLD, Sandbox, shell, shell_process};

/// The rights of a container that asks for none.
const DEFAULT: &str = "00000000a80425fb";

/// The one right of who asks for a procfs from inside, over nothing: `CAP_SYS_ADMIN`.
const OVER_NOTHING: &str = "0000000000200000";

/// A sandbox whose containers share processes, held by the runtime's `program`.
fn sharing(program: &str) -> Sandbox {
    Sandbox::with(|spec| {
        spec.pid = true;
        spec.program = Some(program.into());
    })
}

/// A container in the sandbox's process namespace.
fn inside(sandbox: &Sandbox, command: &str) -> Spec {
    let init = sandbox.handle.init_pid.expect("a shared process namespace has an init");
    let mut spec = shell(command);
    spec.linux.as_mut().expect("linux").namespaces = vec![
        Namespace::new(NamespaceKind::Mount),
        Namespace { kind: NamespaceKind::Pid, path: Some(format!("/proc/{init}/ns/pid").into()) },
    ];
    spec
}

/// Starts the attacker in a container that may trace everything; what it says goes to a log.
fn attack(sandbox: &Sandbox, args: &[&str]) -> impl Fn() -> String + use<> {
    let mut spec = inside(sandbox, "");
    spec.linux.as_mut().expect("linux").seccomp = None;
    let process = spec.process.as_mut().expect("process");
    process.args = std::iter::once("/attacker").chain(args.iter().copied()).map(str::to_owned).collect();
    let capabilities = process.capabilities.as_mut().expect("the default has capabilities");
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.push("CAP_SYS_PTRACE".to_owned());
    }
    let log = sandbox.log_spec("finds");
    let stdio = Stdio { stdin: true, log: Some(log.clone()), ..Stdio::default() };
    let request = sandbox.create_with("attacker", spec, stdio);
    std::fs::copy(ATTACKER, sandbox.dir.path().join("attacker/rootfs/attacker")).expect("bring him in");
    sandbox.client().ask_with(&request.0, &request.1).expect("made");
    sandbox.start("attacker");
    let finds = move || std::fs::read_to_string(&log.path).unwrap_or_default();
    testkit::wait_until("the attacker to be ready", || {
        if finds().contains(" ready") { Ok(()) } else { Err(finds()) }
    });
    finds
}

/// What a tracer finds of the first processes of its neighbours, which wait to be started, and of who
/// helps to make them.
#[track_caller]
fn check_finds(program: &str, change: impl Fn(&mut Spec)) {
    let sandbox = sharing(program);
    let mark = sandbox.dir.path().join("of-the-host");
    std::fs::write(&mark, "").expect("write");
    let finds = attack(&sandbox, &["trace", mark.to_str().expect("text")]);
    let mut all = String::new();
    let mut filter = None;
    for number in 0..6 {
        let id = format!("c{number}");
        let mut spec = inside(&sandbox, "test -e /proc/self/status && ps | grep -c [a]ttacker");
        change(&mut spec);
        filter = Some(if spec.linux.as_ref().expect("linux").seccomp.is_some() { "2" } else { "0" });
        let before = finds().lines().count();
        sandbox.create(&id, spec, Stdio::default());
        testkit::wait_until("the tracer to see it", || {
            all = finds();
            let new = all.lines().skip(before).filter(|line| line.contains(" user=0 "));
            if new.count() > 0 { Ok(()) } else { Err(()) }
        });
        let connection = sandbox.attach(&id);
        sandbox.start(&id);
        assert_eq!(support::outcome(connection).expect(0).stdout, "1\n", "what it sees of the namespace");
    }
    for find in all.lines().filter(|line| line.contains("capabilities=")) {
        // Of one that has ended before he looked at the rest he knows nothing.
        if find.contains("capabilities=?") {
            continue;
        }
        let word = |name: &str| {
            find.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{find}"))
        };
        assert_eq!(word("host="), "false", "{find}");
        let sockets = |target: &str| target.is_empty() || target.starts_with("socket:");
        if word("user=") == "65534" {
            assert_eq!(word("capabilities="), OVER_NOTHING, "{find}");
            let known = |target: &str| sockets(target) || target.contains("[fscontext]");
            assert!(word("descriptors=").split(',').all(known), "{find}");
        } else {
            assert_eq!((word("user="), word("capabilities=")), ("0", DEFAULT), "{find}");
            assert_eq!(Some(word("filter=")), filter, "{find}");
            let harmless =
                |target: &str| sockets(target) || target == "/dev/null" || target.starts_with("pipe:");
            assert!(word("descriptors=").split(',').all(harmless), "{find}");
        }
    }
}

#[test]
fn cve_2016_9962_a_neighbour_who_may_trace_everything_finds_the_program_of_what_joins_and_nothing_else() {
    check_finds(PROGRAM, |_| {});
}

#[test]
fn nor_does_he_on_kernels_that_show_no_other_process_namespace() {
    check_finds(PROGRAM_OF_OLD, |_| {});
}

#[test]
fn nor_does_he_where_there_are_no_new_privileges_or_no_filter() {
    check_finds(PROGRAM, |spec| spec.process.as_mut().expect("process").no_new_privileges = true);
    check_finds(PROGRAM_OF_OLD, |spec| spec.linux.as_mut().expect("linux").seccomp = None);
}

/// A process of the host.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_speaks_for_a_process_that_joins_gets_hold_of_nobody_else_and_does_not_stop_the_shim() {
    for program in [PROGRAM, PROGRAM_OF_OLD] {
        let mut victim = Victim(Command::new("sleep").arg("1000").spawn().expect("start a process"));
        let sandbox = sharing(program);
        let said = attack(&sandbox, &["meddle", &victim.0.id().to_string()]);
        let spoke = || said().matches(" spoke").count();
        for number in 0..9 {
            let id = format!("c{number}");
            let before = spoke();
            let (request, with) =
                sandbox.create_with(&id, inside(&sandbox, "exec sleep 1000"), Stdio::default());
            if sandbox.client().ask_with(&request, &with).is_err() {
                continue;
            }
            // Half of them while they wait, the others as they go.
            if number % 2 == 0 {
                testkit::wait_until("him to speak", || if spoke() > before { Ok(()) } else { Err(()) });
            }
            let _ = sandbox.client().ask(&Request::StartContainer { container: id.clone(), limit: None });
            sandbox.ask(&Request::Delete { container: id, exec: None, force: true });
        }
        assert!(spoke() > 0, "he never got at anybody");
        assert_eq!(victim.0.try_wait().expect("look"), None, "a process of the host was ended");
        sandbox.ask(&Request::Delete { container: "attacker".to_owned(), exec: None, force: true });
        sandbox.run("last", inside(&sandbox, "true")).expect(0);
    }
}

#[test]
fn without_user_namespaces_an_older_kernel_shares_no_processes_and_says_why() {
    let sandbox = sharing(PROGRAM);
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut spec = inside(&sandbox, "true");
    spec.linux.as_mut().expect("linux").cgroups_path = Some(support::cgroup_path(dir.path()).join("c1"));
    support::bundle(dir.path(), &spec);
    let run = |args: &[&str], program: &str| {
        let mut words = args.iter().copied().chain([program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words).args(["runtime", "--root"]).arg(dir.path().join("state"));
        command.args(["run", "c1"]).current_dir(dir.path()).stdin(Streams::null());
        command.output().expect("run the runtime")
    };
    let without = [ATTACKER, "without-users"];
    let refused = run(&without, PROGRAM_OF_OLD);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("user.max_user_namespaces"), "{refused:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("state")).expect("list").count(), 0);
    // Who has users may, and newer kernels do not need them.
    assert!(run(&[], PROGRAM_OF_OLD).status.success());
    let newer = run(&without, PROGRAM);
    let text = String::from_utf8_lossy(&newer.stderr);
    assert!(newer.status.success() || text.contains("user.max_user_namespaces"), "{newer:?}");
}

/// The number in the state that a hook has written to a file, and the process namespace it ran in.
fn heard(path: &Path) -> (u32, String) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (state, namespace) = text.trim().rsplit_once(' ').expect("two words");
    let state: serde_json::Value = serde_json::from_str(state).expect("a state");
    (state["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a number"), namespace.to_owned())
}

#[test]
fn hooks_of_a_container_that_joins_others_are_told_a_process_that_is_there_and_are_not_seen_inside() {
    let sandbox = sharing(PROGRAM);
    let dir = tempfile::tempdir().expect("temporary directory");
    let own = dir.path().to_str().expect("text").to_owned();
    let hook = |name: &str, more: &str| Hook {
        path: "/bin/sh".into(),
        args: [
            "sh",
            "-c",
            &format!("read -r state; echo \"$state $(readlink /proc/self/ns/pid)\" >{own}/{name}; {more}"),
        ]
        .map(str::to_owned)
        .into(),
        env: vec!["PATH=/bin:/usr/bin".to_owned()],
        timeout: Some(10),
    };
    let mut spec = inside(&sandbox, "exec sleep 1000");
    spec.mounts.push(runtime::spec::Mount::bind(own.clone(), own.clone(), &[]));
    // The network of whom the hook is told is the container's, though it has no process of its own yet.
    spec.linux.as_mut().expect("linux").namespaces.push(Namespace::new(NamespaceKind::Uts));
    spec.hostname = Some("joiner".to_owned());
    let look = r#"pid=${state##*'"pid":'}; readlink /proc/${pid%%[,\}]*}/ns/uts"#;
    spec.hooks = Some(Hooks {
        create_runtime: vec![hook("runtime", &format!("{look} >{own}/uts"))],
        create_container: vec![hook("container", "")],
        start_container: vec![hook("start", "")],
        ..Hooks::default()
    });
    let pid = sandbox.create("c1", spec, Stdio::default());
    sandbox.start("c1");
    let link = |pid: u32, kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        std::fs::read_link(path).expect("a link").display().to_string()
    };
    assert_eq!(std::fs::read_to_string(dir.path().join("uts")).expect("read").trim(), link(pid, "uts"));
    let (runtime, container) = (heard(&dir.path().join("runtime")), heard(&dir.path().join("container")));
    let (host, shared) = (link(std::process::id(), "pid"), link(pid, "pid"));
    assert_eq!((runtime.0, &runtime.1), (container.0, &host));
    assert_eq!(container.1, host);
    assert_ne!(runtime.0, pid, "the process that joins was there before it was ready");
    assert_eq!(heard(&dir.path().join("start")), (pid, shared));
}

#[test]
fn what_joins_others_may_have_users_of_its_own_but_no_hooks_that_would_be_seen() {
    for program in [PROGRAM, PROGRAM_OF_OLD] {
        let sandbox = sharing(program);
        let mut spec = inside(&sandbox, "cat /proc/self/uid_map; ps | grep -c [g]antry-init");
        // The rest would be of namespaces that are the host's.
        spec.mounts.retain(|mount| ["/proc", "/dev"].map(Path::new).contains(&mount.destination.as_path()));
        let linux = spec.linux.as_mut().expect("linux");
        linux.namespaces.push(Namespace::new(NamespaceKind::User));
        let mapping = runtime::spec::IdMapping { container_id: 0, host_id: 200_000, size: 1000 };
        (linux.uid_mappings, linux.gid_mappings) = (vec![mapping], vec![mapping]);
        let (_, rootfs) = sandbox.bundle("c1", spec.clone());
        let runtime::Rootfs::Path(rootfs) = rootfs else { panic!("{rootfs:?}") };
        std::os::unix::fs::chown(&rootfs, Some(200_000), Some(200_000)).expect("give the root away");
        for directory in rootfs.ancestors().take(3) {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory, open).expect("open the way");
        }
        let stdout = sandbox.run("c1", spec.clone()).expect(0).stdout;
        assert_eq!(stdout.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "1000", "1"]);
        let hook = Hook { path: "/bin/true".into(), ..Hook::default() };
        spec.hooks = Some(Hooks { create_container: vec![hook], ..Hooks::default() });
        let refused = sandbox.try_create("c2", spec, Stdio::default()).expect_err("refused").to_string();
        assert!(refused.contains("`createContainer` hooks cannot go with"), "{refused}");
    }
}

#[test]
fn the_command_line_makes_and_starts_what_joins_others() {
    let sandbox = sharing(PROGRAM);
    for program in [PROGRAM, PROGRAM_OF_OLD] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut spec = inside(&sandbox, "readlink /proc/self/ns/pid >/seen; ps >>/seen; exec sleep 1000");
        spec.linux.as_mut().expect("linux").cgroups_path = Some(support::cgroup_path(dir.path()).join("c1"));
        support::bundle(dir.path(), &spec);
        let runtime = |args: &[&str]| {
            let mut command = Command::new(program);
            command.args(["runtime", "--root"]).arg(dir.path().join("state")).args(args);
            let log = std::fs::File::options().create(true).append(true).open(dir.path().join("log"));
            let log = log.expect("open a log");
            command.current_dir(dir.path()).stdin(Streams::null());
            command.stdout(log.try_clone().expect("clone")).stderr(log);
            let status = command.status().expect("run the runtime");
            let text = std::fs::read_to_string(dir.path().join("log")).expect("read");
            assert!(status.success(), "{args:?}: {text}");
            text
        };
        runtime(&["create", "--pid-file", "pid", "c1"]);
        let pid = std::fs::read_to_string(dir.path().join("pid")).expect("read");
        let state: serde_json::Value = serde_json::from_str(&runtime(&["state", "c1"])).expect("a state");
        assert_eq!((state["status"].as_str(), state["pid"].to_string()), (Some("created"), pid.clone()));
        runtime(&["start", "c1"]);
        let seen = dir.path().join("rootfs/seen");
        let text = testkit::wait_until("it to run", || {
            let text = std::fs::read_to_string(&seen).unwrap_or_default();
            if text.contains(" ps") { Ok(text) } else { Err(text) }
        });
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a link");
        assert!(text.starts_with(namespace.to_str().expect("text")), "{text}");
        assert!(text.contains("gantry-init"), "{text}");
        runtime(&["delete", "--force", "c1"]);
        let _ = runtime::cgroup::Cgroup::at(&support::cgroup_path(dir.path())).expect("good path").remove();
    }
}

#[test]
fn what_joins_others_has_its_terminal_clocks_limits_and_policy() {
    let sandbox = sharing(PROGRAM);
    let mut spec =
        inside(&sandbox, "tty; cut -c1-2 /proc/uptime; ulimit -n; ulimit -c; cut -d' ' -f19 /proc/self/stat");
    let linux = spec.linux.as_mut().expect("linux");
    linux.namespaces.push(Namespace::new(NamespaceKind::Time));
    let offset = runtime::spec::TimeOffset { secs: 1_000_000_000, nanosecs: 0 };
    linux.time_offsets.insert("boottime".to_owned(), offset);
    let limit = |kind: &str, value| Rlimit { kind: kind.to_owned(), soft: value, hard: value };
    // Of files the shell counts blocks.
    let rlimits = vec![limit("RLIMIT_NOFILE", 4), limit("RLIMIT_CORE", 4 * 512), limit("RLIMIT_NPROC", 40)];
    let scheduler = Scheduler { policy: "SCHED_BATCH".to_owned(), nice: 7, ..Scheduler::default() };
    let process = spec.process.as_mut().expect("process");
    process.rlimits.clone_from(&rlimits);
    process.scheduler = Some(scheduler.clone());
    process.terminal = true;
    sandbox.create("c1", spec, Stdio { terminal: true, ..Stdio::default() });
    let connection = sandbox.attach("c1");
    sandbox.start("c1");
    let outcome = support::outcome(connection).expect(0);
    assert_eq!(outcome.stdout, "/dev/pts/0\r\n10\r\n4\r\n4\r\n7\r\n");
    // The same for a further process.
    sandbox.create("c2", inside(&sandbox, "exec sleep 1000"), Stdio::default());
    sandbox.start("c2");
    let process = shell_process("ulimit -n; ulimit -c; cut -d' ' -f19 /proc/self/stat");
    let process = Process { rlimits, scheduler: Some(scheduler), ..process };
    assert_eq!(sandbox.exec("c2", "e1", process).expect(0).stdout, "4\n4\n7\n");
}

/// A container whose profile is Docker's, but for what is forbidden.
fn held(forbidden: &str, sandbox: &Sandbox) {
    let mut profile: Seccomp = docker_default(&[]);
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| name != forbidden);
    }
    let rule = SeccompRule {
        names: vec![forbidden.to_owned()],
        action: SeccompAction::Errno,
        errno_ret: None,
        args: Vec::new(),
    };
    profile.syscalls.push(rule);
    let mut spec = shell("exec sleep 1000");
    spec.linux.as_mut().expect("linux").seccomp = Some(profile);
    sandbox.create("held", spec, Stdio::default());
    sandbox.start("held");
}

#[test]
fn a_process_whose_filter_forbids_what_is_left_to_do_does_not_join_with_more_rights_than_its_program() {
    for forbidden in ["setsid", "capset", "prctl"] {
        let sandbox = Sandbox::new();
        // Its first process, alone in its namespace, is not held back by its filter.
        held(forbidden, &sandbox);
        let request = |process| Request::Exec {
            container: "held".to_owned(),
            exec: "e1".to_owned(),
            process,
            stdio: Stdio::default(),
            attach: None,
            limit: None,
        };
        let refused = sandbox.client().ask(&request(shell_process("true"))).expect_err("refused").to_string();
        assert!(refused.contains(&format!("forbids `{forbidden}`")), "{refused}");
        assert!(refused.contains("forbid new privileges"), "{refused}");
        // It does what it says.
        let process = Process { no_new_privileges: true, ..shell_process("grep Seccomp: /proc/self/status") };
        assert_eq!(sandbox.exec("held", "e2", process).expect(0).stdout, "Seccomp:\t2\n");
    }
}
