//! What a hostile image and a hostile process in a container try while processes are started.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio as Streams};

use runtime::cgroup::{Cgroup, Hierarchies, Version};
use runtime::shim::ClientError;
use runtime::shim::protocol::{FailureKind, Request, Stdio};
use runtime::spec::{Namespace, NamespaceKind, Process, Rlimit, Spec};
use support::{ATTACKER, PROGRAM, Sandbox, outcome, shell, shell_process};

/// How many descriptors of a shim are tried: more than it has open.
const OF_SHIM: u32 = 24;

/// How many of the command line, which has fewer.
const OF_COMMAND: u32 = 14;

/// A program of the host that an image reaches only by leaving its root.
struct Outside {
    program: PathBuf,
}

impl Outside {
    fn new(dir: &Path) -> Self {
        let program = dir.join("busybox-outside");
        std::fs::copy("/bin/busybox", &program).expect("copy a program");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("make it executable");
        Self { program }
    }

    /// Program and arguments that begin at an open directory and print if they get out.
    fn by(&self, descriptor: &str) -> Vec<String> {
        let path = format!("/proc/self/{descriptor}/../../../../../../../../..{}", self.program.display());
        vec![path, "echo".to_owned(), "out".to_owned()]
    }
}

/// Names of all directories that could be open, below `/proc/self`.
fn ways(descriptors: u32) -> impl Iterator<Item = String> {
    let fixed = ["cwd", "root", "task/../cwd"].into_iter().map(ToOwned::to_owned);
    (0..descriptors).map(|number| format!("fd/{number}")).chain(fixed)
}

#[test]
fn no_open_directory_of_the_host_leads_to_its_programs_in_create_and_exec() {
    let sandbox = Sandbox::new();
    let outside = Outside::new(sandbox.dir.path());
    sandbox.create("held", shell("exec sleep 1000"), Stdio::default());
    sandbox.start("held");
    for (number, way) in ways(OF_SHIM).enumerate() {
        let id = format!("c{number}");
        let mut spec = shell("");
        spec.process.as_mut().expect("process").args = outside.by(&way);
        let refused = |request: &Request, who: &str| match sandbox.client().ask(request) {
            Err(ClientError::Refused(failure)) => {
                let kinds = [FailureKind::ProgramNotFound, FailureKind::ProgramNotExecutable];
                assert!(kinds.contains(&failure.kind), "{who} at {way}: {failure:?}");
            }
            other => panic!("{who} began at {way}: {other:?}"),
        };
        refused(&sandbox.create_request(&id, spec, Stdio::default()), "a container");
        let process = Process { args: outside.by(&way), ..shell_process("") };
        let (container, exec) = ("held".to_owned(), id.clone());
        let request =
            Request::Exec { container, exec, process, stdio: Stdio::default(), attach: None, limit: None };
        refused(&request, "a process that joined");
    }
}

/// The program was not found, or could not be executed: nothing else was wrong.
#[track_caller]
fn check_refused(output: &Output, otherwise: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{otherwise}: {output:?}");
    assert!(told.contains("unable to start container process: ") && told.contains("exec"), "{output:?}");
}

#[test]
fn no_directory_that_the_command_line_inherits_leads_out_in_run_and_exec() {
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let outside = Outside::new(dir.path());
    let cgroup = support::cgroup_path(dir.path());
    // Two directories of the host that whoever starts the runtime has left open.
    let shell_line = "exec 5</ 9</tmp; exec \"$@\"";
    let runtime = |args: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", shell_line, "sh", PROGRAM, "runtime", "--root"]).arg(dir.path().join("state"));
        command.args(args).current_dir(dir.path()).stdin(Streams::null()).output().expect("run the runtime")
    };
    let write = |args: Vec<String>| {
        let mut spec = shell("exec sleep 1000");
        spec.linux.as_mut().expect("linux").cgroups_path = Some(cgroup.join("c1"));
        if !args.is_empty() {
            spec.process.as_mut().expect("process").args = args;
        }
        support::bundle(dir.path(), &spec);
    };
    for way in ways(OF_COMMAND) {
        write(outside.by(&way));
        let output = runtime(&["run", "c1"]);
        check_refused(&output, &format!("a container began at {way}"));
    }
    write(Vec::new());
    let log = std::fs::File::create(dir.path().join("log")).expect("make a file");
    let mut create = Command::new(PROGRAM);
    create.arg("runtime").arg("--root").arg(dir.path().join("state")).args(["run", "--detach", "held"]);
    create.current_dir(dir.path()).stdin(Streams::null());
    create.stdout(log.try_clone().expect("clone")).stderr(log);
    assert!(create.status().expect("run the runtime").success());
    for way in ways(OF_COMMAND) {
        let args = outside.by(&way);
        let output = runtime(&["exec", "held", &args[0], &args[1], &args[2]]);
        check_refused(&output, &format!("a process that joined began at {way}"));
    }
    let output = runtime(&["delete", "--force", "held"]);
    assert!(output.status.success(), "{output:?}");
    let _ = Cgroup::at(&cgroup).expect("good path").remove();
}

/// What the tracer found while processes joined its container, which `change` has changed: up to
/// `times`, or, where finds are expected, up to the first that comes with one.
fn traced(times: usize, expected: bool, change: impl FnOnce(&mut Spec)) -> Vec<String> {
    let sandbox = Sandbox::new();
    let mut spec = shell("");
    change(&mut spec);
    let process = spec.process.as_mut().expect("process");
    process.args = vec!["/attacker".to_owned(), "trace".to_owned()];
    let no_new_privileges = process.no_new_privileges;
    let log = sandbox.log_spec("finds");
    let stdio = Stdio { stdin: true, log: Some(log.clone()), ..Stdio::default() };
    let request = sandbox.create_request("held", spec, stdio);
    std::fs::copy(ATTACKER, sandbox.dir.path().join("held/rootfs/attacker")).expect("bring the attacker in");
    sandbox.ask(&request);
    sandbox.start("held");
    let finds = || std::fs::read_to_string(&log.path).unwrap_or_default();
    testkit::wait_until("the tracer to be ready", || {
        if finds().contains(" ready") { Ok(()) } else { Err(finds()) }
    });
    for number in 0..times {
        let process = Process { no_new_privileges, ..shell_process("true") };
        sandbox.exec("held", &format!("e{number}"), process).expect(0);
        let is_whole = |find: &str| find.contains("capabilities=") && !find.contains("capabilities=?");
        if expected && finds().lines().any(is_whole) {
            break;
        }
    }
    sandbox.ask(&Request::Kill { container: "held".to_owned(), exec: None, signal: 9, all: true });
    sandbox.ask(&Request::Wait { container: "held".to_owned(), exec: None });
    finds().lines().filter(|line| line.contains("capabilities=")).map(ToOwned::to_owned).collect()
}

fn unconfined(spec: &mut Spec) {
    spec.linux.as_mut().expect("linux").seccomp = None;
}

fn may_trace(spec: &mut Spec) {
    let capabilities = spec.process.as_mut().and_then(|process| process.capabilities.as_mut());
    let capabilities = capabilities.expect("the default has capabilities");
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.push("CAP_SYS_PTRACE".to_owned());
    }
}

#[test]
fn cve_2016_9962_root_inside_cannot_trace_a_process_that_joins_before_its_program_begins() {
    assert_eq!(traced(40, false, unconfined), [""; 0]);
}

#[test]
fn cve_2016_9962_nor_one_that_gets_no_new_privileges() {
    let change = |spec: &mut Spec| spec.process.as_mut().expect("process").no_new_privileges = true;
    assert_eq!(traced(40, false, change), [""; 0]);
}

/// What a process that joins may show to those who may trace everything: what its program has.
#[track_caller]
fn check_harmless(finds: &[String], filter: u32) {
    // Of one that has ended before he looked at the rest he knows nothing.
    let whole: Vec<_> = finds.iter().filter(|find| !find.contains("capabilities=?")).collect();
    assert!(finds.iter().any(|find| find.contains(" root=/ ")), "nobody was seen whole: {finds:?}");
    assert!(!whole.is_empty(), "the tracer saw nobody, though it may trace everybody: {finds:?}");
    for find in whole {
        let word = |name: &str| {
            find.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{find}"))
        };
        assert_eq!(word("capabilities="), "00000000a80c25fb", "{find}");
        assert_eq!(word("filter="), filter.to_string(), "{find}");
        // One that ends while he looks has none any more.
        assert!(["", "/"].contains(&word("root=")), "{find}");
        let harmless = |target: &str| {
            target.is_empty()
                || target == "/dev/null"
                || ["pipe:", "socket:"].iter().any(|kind| target.starts_with(kind))
        };
        assert!(word("descriptors=").split(',').all(harmless), "{find}");
    }
}

#[test]
fn who_may_trace_everything_inside_finds_no_more_than_the_program_of_what_joins() {
    let change = |spec: &mut Spec| {
        unconfined(spec);
        may_trace(spec);
    };
    check_harmless(&traced(400, true, change), 0);
}

#[test]
fn who_may_trace_everything_finds_the_filter_in_force() {
    check_harmless(&traced(400, true, may_trace), 2);
}

#[test]
fn a_process_joins_the_group_that_the_first_one_has_made_for_itself() {
    let sandbox = Sandbox::new();
    let mut spec = shell(
        "if [ -e /sys/fs/cgroup/cgroup.procs ]; then
           mkdir /sys/fs/cgroup/inner && echo 0 >/sys/fs/cgroup/inner/cgroup.procs &&
           echo +pids >/sys/fs/cgroup/cgroup.subtree_control || exit 1
         fi
         echo made; exec sleep 1000",
    );
    let linux = spec.linux.as_mut().expect("linux");
    linux.namespaces.push(Namespace::new(NamespaceKind::Cgroup));
    for mount in spec.mounts.iter_mut().filter(|mount| mount.destination == Path::new("/sys/fs/cgroup")) {
        mount.options.retain(|option| option != "ro");
    }
    sandbox.create("held", spec, Stdio::default());
    let mut connection = sandbox.attach("held");
    sandbox.start("held");
    let frame = connection.receive().expect("receive").expect("a frame");
    assert_eq!(frame.payload, b"made\n", "{frame:?}");
    // Groups of one's own are for hosts with v2; on others it is the container's own, in each hierarchy.
    let unified = Hierarchies::detect().expect("find the hierarchies").version() == Version::V2;
    let group = if unified { "/inner" } else { "/" };
    let outcome = sandbox.exec("held", "e1", shell_process("cut -d: -f3 /proc/self/cgroup | sort -u"));
    assert_eq!(outcome.expect(0).stdout, format!("{group}\n"));
}

#[test]
fn a_program_may_have_fewer_descriptors_than_it_takes_to_start_it() {
    let sandbox = Sandbox::new();
    let rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 4, hard: 4 }];
    let mut spec = shell("ulimit -n; exec sleep 1000");
    spec.process.as_mut().expect("process").rlimits.clone_from(&rlimits);
    sandbox.create("held", spec, Stdio::default());
    let mut connection = sandbox.attach("held");
    sandbox.start("held");
    assert_eq!(connection.receive().expect("receive").expect("a frame").payload, b"4\n");
    let process = Process { rlimits, ..shell_process("ulimit -n") };
    assert_eq!(sandbox.exec("held", "e1", process).expect(0).stdout, "4\n");
}

#[test]
fn a_process_that_joins_has_keys_of_its_own() {
    let sandbox = Sandbox::new();
    let mut spec = shell("exec sleep 1000");
    // Docker's filter forbids to ask.
    unconfined(&mut spec);
    let request = sandbox.create_request("held", spec, Stdio::default());
    std::fs::copy(ATTACKER, sandbox.dir.path().join("held/rootfs/attacker")).expect("bring the attacker in");
    sandbox.ask(&request);
    sandbox.start("held");
    let keyring =
        |name: &str| sandbox.exec("held", name, shell_process("/attacker keyring")).expect(0).stdout;
    let (one, two) = (keyring("e1"), keyring("e2"));
    let host = Command::new(ATTACKER).arg("keyring").output().expect("run the attacker").stdout;
    let host = String::from_utf8(host).expect("text");
    assert!(one.trim().parse::<i64>().is_ok_and(|number| number > 0), "{one}");
    assert!(one != two && one != host && two != host, "{one} {two} {host}");
}

#[test]
fn the_keyring_of_a_container_is_not_joined_by_its_neighbour() {
    let sandbox = Sandbox::new();
    let make = |name: &str, command: &str| {
        let mut spec = shell(command);
        unconfined(&mut spec);
        let request = sandbox.create_request(name, spec, Stdio::default());
        let rootfs = sandbox.dir.path().join(name).join("rootfs");
        std::fs::copy(ATTACKER, rootfs.join("attacker")).expect("bring the attacker in");
        sandbox.ask(&request);
        let mut connection = sandbox.attach(name);
        sandbox.start(name);
        let frame = connection.receive().expect("receive").expect("a frame");
        let text = String::from_utf8(frame.payload).expect("text");
        text.trim().parse::<i64>().expect("a number")
    };
    let own = make("held", "/attacker keyring; exec sleep 1000");
    let neighbour = make("other", "/attacker join _ses.held; exec sleep 1000");
    assert!(own > 0 && neighbour > 0, "{own} {neighbour}");
    assert_ne!(own, neighbour, "the neighbour has the container's keyring");
}

#[test]
fn whose_quota_a_file_counts_against_is_not_changed_from_inside() {
    let sandbox = Sandbox::new();
    let run = |name: &str, profile: Option<runtime::spec::Seccomp>| {
        let mut spec = shell("exec /attacker project");
        let process = spec.process.as_mut().expect("process");
        let mut names = runtime::defaults::capabilities();
        names.push("CAP_SYS_ADMIN".to_owned());
        process.capabilities = Some(runtime::spec::Capabilities::of(&names));
        spec.linux.as_mut().expect("linux").seccomp = profile;
        let request = sandbox.create_request(name, spec, Stdio::default());
        std::fs::copy(ATTACKER, sandbox.dir.path().join(name).join("rootfs/attacker")).expect("bring it in");
        sandbox.ask(&request);
        let connection = sandbox.attach(name);
        sandbox.start(name);
        let outcome = outcome(connection);
        let lines: Vec<(String, String)> = outcome
            .stdout
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(way, errno)| (way.to_owned(), errno.to_owned()))
            .collect();
        assert_eq!(lines.len(), 8, "{outcome:?}");
        lines
    };
    let administers = ["CAP_SYS_ADMIN".to_owned()];
    let eperm = libc::EPERM.to_string();
    let asks = ["0x801c581f", "0x80086601"];
    for (way, errno) in run("c1", Some(runtime::seccomp::docker_default_with_quotas(&administers))) {
        // A call that is newer than the profile is as if the kernel did not have it.
        let forbidden = errno == eperm || (way == "attributes" && errno == libc::ENOSYS.to_string());
        assert_eq!(forbidden, !asks.contains(&way.as_str()), "{way}: {errno}");
    }
    // Without that the kernel is asked, and whoever owns a file may.
    let open: Vec<_> = run("c2", None).into_iter().filter(|(_, errno)| *errno == eperm).collect();
    assert_eq!(open, []);
}

#[test]
fn only_descriptors_that_the_caller_has_open_are_passed_on() {
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut spec = shell("ls /proc/self/fd | wc -l; echo $LISTEN_FDS $LISTEN_PID; cat <&4");
    spec.linux.as_mut().expect("linux").cgroups_path = Some(support::cgroup_path(dir.path()).join("c1"));
    support::bundle(dir.path(), &spec);
    std::fs::write(dir.path().join("content"), "content\n").expect("write");
    let runtime = |line: &str, args: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line, "sh", PROGRAM, "runtime", "--root"]).arg(dir.path().join("state"));
        command.args(args).current_dir(dir.path()).stdin(Streams::null()).output().expect("run the runtime")
    };
    // Two that are asked for, a third that is open and is not; `ls` opens one more itself.
    let output =
        runtime("exec 3</dev/null 4<content 5</; exec \"$@\"", &["run", "--preserve-fds", "2", "c1"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6\n\ncontent\n", "{output:?}");
    // One by socket activation, one that is asked for.
    let line = "exec 3</dev/null 4<content; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let output = runtime(line, &["run", "--preserve-fds", "1", "c1"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6\n1 1\ncontent\n", "{output:?}");
    // A number that is free here would become that of something of the runtime's.
    let output = runtime("exec 3</dev/null 4<&-; exec \"$@\"", &["run", "--preserve-fds", "2", "c1"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("descriptor 4, which is not open"),
        "{output:?}"
    );
    let output = runtime("exec </; exec \"$@\"", &["run", "c1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a directory of the host"), "{output:?}");
    let _ = Cgroup::at(&support::cgroup_path(dir.path())).expect("good path").remove();
}

#[test]
fn users_of_an_image_that_do_not_end_are_not_read_for_ever() {
    let sandbox = Sandbox::new();
    let request = sandbox.create_request("c1", shell("echo $HOME"), Stdio::default());
    let passwd = sandbox.dir.path().join("c1/rootfs/etc/passwd");
    std::fs::remove_file(&passwd).expect("remove");
    std::os::unix::fs::symlink("/dev/zero", &passwd).expect("link");
    sandbox.ask(&request);
    let connection = sandbox.attach("c1");
    sandbox.start("c1");
    assert_eq!(outcome(connection).expect(0).stdout, "/\n");
}

#[test]
fn the_number_that_means_no_change_to_the_kernel_is_no_way_to_stay_root() {
    let sandbox = Sandbox::new();
    sandbox.create("held", shell("exec sleep 1000"), Stdio::default());
    sandbox.start("held");
    let changes: [fn(&mut Process); 4] = [
        |process| process.user.uid = u32::MAX,
        |process| process.user.gid = u32::MAX,
        |process| process.user.additional_gids = vec![5, u32::MAX],
        |process| process.user.uid = 1 << 31,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (id, mut spec, mut process) = (format!("c{number}"), shell("id"), shell_process("id"));
        change(spec.process.as_mut().expect("process"));
        change(&mut process);
        let create = sandbox.create_request(&id, spec, Stdio::default());
        let (container, exec) = ("held".to_owned(), id);
        let exec =
            Request::Exec { container, exec, process, stdio: Stdio::default(), attach: None, limit: None };
        for request in [create, exec] {
            let refused = sandbox.client().ask(&request).expect_err("refused").to_string();
            assert!(refused.contains("uids and gids must be in range 0-2147483647"), "{refused}");
        }
    }
}
