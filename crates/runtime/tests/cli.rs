//! The OCI command line, as engines call it.

mod support;

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use runtime::spec::{Rlimit, Spec};
use serde_json::{Value, json};
use support::{PROGRAM, bundle, cgroup_path, shell, shell_process};
use tempfile::TempDir;

/// A directory of state and one bundle.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(mut spec: Spec) -> Self {
        testkit::require_root();
        let dir = tempfile::tempdir().expect("temporary directory");
        spec.linux.get_or_insert_default().cgroups_path = Some(cgroup_path(dir.path()).join("c1"));
        bundle(dir.path(), &spec);
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("runtime").arg("--root").arg(self.root()).args(args).current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// A command whose output is not ours to wait for: the container keeps it open.
    #[track_caller]
    fn start(&self, args: &[&str]) {
        let log = std::fs::File::create(self.dir.path().join("out")).expect("make a file");
        let mut command = self.command(args);
        command.stdout(log.try_clone().expect("clone")).stderr(log);
        let status = command.status().expect("run the runtime");
        assert!(status.success(), "{args:?}: {}", self.out());
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("out")).expect("read")
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run the runtime")
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What `create` says that must not make a container; one that is made after all is not waited for.
    #[track_caller]
    fn refused(&self) -> String {
        let log = std::fs::File::create(self.dir.path().join("out")).expect("make a file");
        let mut command = self.command(&["create", "c1"]);
        command.stdout(log.try_clone().expect("clone")).stderr(log);
        let status = command.status().expect("run the runtime");
        assert!(!status.success(), "it was made");
        self.out()
    }

    #[track_caller]
    fn bad(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} worked");
        String::from_utf8(output.stderr).expect("text")
    }

    fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.good(&["state", "c1"])).expect("JSON");
        state["status"].as_str().expect("a status").to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "--force", "c1"]);
        let cgroup = runtime::cgroup::Cgroup::at(&cgroup_path(self.dir.path())).expect("good path");
        let _ = cgroup.remove();
    }
}

#[test]
fn run_gives_the_programs_output_and_exit_code_and_leaves_nothing() {
    let bench = Bench::new(shell("echo hello; exit 6"));
    let output = bench.run(&["run", "c1"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(6), &b"hello\n"[..]));
    assert_eq!(bench.good(&["list", "-q"]), "");
    assert!(
        !runtime::cgroup::Cgroup::at(&cgroup_path(bench.dir.path()).join("c1")).expect("good path").exists()
    );
}

#[test]
fn a_container_goes_through_its_life_by_separate_commands() {
    let bench = Bench::new(shell("echo up; exec sleep 1000"));
    let pid_file = bench.dir.path().join("pid");
    bench.start(&["create", "--pid-file", pid_file.to_str().expect("text"), "c1"]);
    let pid = std::fs::read_to_string(&pid_file).expect("read");
    assert_eq!(bench.status(), "created");
    assert_eq!(bench.out(), "", "the program has not begun");
    bench.good(&["start", "c1"]);
    testkit::wait_until(
        "the program to run",
        || if bench.out() == "up\n" { Ok(()) } else { Err(bench.out()) },
    );
    assert_eq!(bench.status(), "running");
    assert!(bench.bad(&["start", "c1"]).contains("started before"));
    let all: Value = serde_json::from_str(&bench.good(&["list", "-f", "json"])).expect("JSON");
    assert_eq!(all[0]["pid"].to_string(), pid);
    assert!(bench.good(&["ps", "c1"]).contains("sleep 1000"));
    bench.good(&["pause", "c1"]);
    assert_eq!(bench.status(), "paused");
    bench.good(&["resume", "c1"]);
    assert!(bench.bad(&["delete", "c1"]).contains("not stopped"));
    bench.good(&["kill", "c1", "KILL"]);
    testkit::wait_until("it to stop", || {
        let status = bench.status();
        if status == "stopped" { Ok(()) } else { Err(status) }
    });
    assert!(bench.bad(&["kill", "c1", "TERM"]).contains("container not running"));
    bench.good(&["delete", "c1"]);
    assert!(bench.bad(&["state", "c1"]).contains("does not exist"));
}

#[test]
fn what_would_not_be_enforced_is_refused() {
    let refused = [
        (
            "/process/apparmorProfile",
            json!("docker-default"),
            "apparmor: config provided but apparmor not supported",
        ),
        ("/process/selinuxLabel", json!("a:b:c:s0"), "selinux is disabled or not supported"),
        ("/process/execCPUAffinity", json!({"initial": "0"}), "`process.execCPUAffinity` is not supported"),
        ("/process/landlock", json!({"rules": [1]}), "`process.landlock` is not supported"),
        ("/process/user/uid", json!(4294967295u32), "uids and gids must be in range"),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_ODD", "priority": 0}),
            "unknown class of disk priority",
        ),
        ("/process/scheduler", json!({"policy": "SCHED_ODD"}), "unknown scheduling policy"),
        ("/linux/mountLabel", json!("a:b:c:s0"), "selinux is disabled or not supported"),
        ("/linux/intelRdt", json!({"closID": "a"}), "`linux.intelRdt` is not supported"),
        ("/linux/intelRdt", json!({"schemata": ["L3:0=f"]}), "`linux.intelRdt"),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0"}),
            "`linux.memoryPolicy` is not supported",
        ),
        ("/linux/netDevices", json!({"eth0": {}}), "`linux.netDevices` is not supported"),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 5}}), "needs a time namespace"),
        ("/linux/personality", json!({"domain": "SOLARIS"}), "unknown execution domain"),
        (
            "/linux/personality",
            json!({"domain": "LINUX", "flags": ["X"]}),
            "`linux.personality.flags` is not supported",
        ),
        ("/linux/rootfsPropagation", json!("odd"), "odd"),
        (
            "/linux/resources/rdma",
            json!({"mlx5_0": {"hcaHandles": 3}}),
            "`linux.resources.rdma` is not supported",
        ),
        ("/linux/resources/memory", json!({"kernel": 4194304}), "kernel memory by itself cannot be limited"),
        (
            "/linux/resources/memory",
            json!({"softLimit": 4194304}),
            "`linux.resources.memory.softLimit` is not supported",
        ),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "3MB", "limit": 1}]), ""),
        ("/linux/resources/unified", json!({"../cgroup.procs": "1"}), ""),
        ("/linux/namespaces/0", json!({"type": "odd"}), "unknown variant `odd`"),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_ODD"), "unknown variant `SCMP_ACT_ODD`"),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_NOTIFY"), ""),
        ("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_ODD"]), "SECCOMP_FILTER_FLAG_ODD"),
        ("/linux/seccomp/architectures", json!(["ODD"]), "ODD"),
        ("/linux/seccomp/listenerPath", json!("/run/agent"), ""),
        ("/linux/seccomp/defaultAct", json!("SCMP_ACT_KILL"), "`linux.seccomp.defaultAct` is not supported"),
        (
            "/linux/seccomp/syscalls",
            json!([{"names": ["x"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ODD"}]}]),
            "unknown variant `SCMP_CMP_ODD`",
        ),
        ("/mounts/0/readonly", json!(true), "`mounts[0].readonly` is not supported"),
    ];
    let bench = Bench::new(shell("true"));
    let config = bench.dir.path().join("config.json");
    let good: Value = serde_json::from_slice(&std::fs::read(&config).expect("read")).expect("JSON");
    for (place, value, message) in refused {
        let mut document = good.clone();
        let (above, name) = place.rsplit_once('/').expect("a place");
        let above = document.pointer_mut(above).expect("a place that is there");
        match above {
            Value::Array(items) => items[name.parse::<usize>().expect("a number")] = value,
            above => above[name] = value,
        }
        std::fs::write(&config, document.to_string()).expect("write");
        let error = bench.refused();
        assert!(error.contains(message), "{place}: {error}");
        assert_eq!(bench.good(&["list", "-q"]), "", "{place}");
    }
}

#[test]
fn limits_that_are_not_known_are_refused_for_a_container_that_runs_too() {
    let bench = Bench::new(shell("exec sleep 1000"));
    bench.start(&["run", "--detach", "c1"]);
    let limits = bench.dir.path().join("limits.json");
    let path = limits.to_str().expect("text");
    for (text, message) in [
        (r#"{"rdma":{"mlx5_0":{"hcaHandles":3}}}"#, "`linux.resources.rdma` is not supported"),
        (r#"{"memory":{"kernel":4194304}}"#, "kernel memory by itself cannot be limited"),
    ] {
        std::fs::write(&limits, text).expect("write");
        let error = bench.bad(&["update", "--resources", path, "c1"]);
        assert!(error.contains(message), "{error}");
    }
    std::fs::write(&limits, r#"{"pids":{"limit":20},"rdma":{}}"#).expect("write");
    bench.good(&["update", "--resources", path, "c1"]);
}

#[test]
fn keys_that_ask_for_nothing_or_are_for_others_are_no_hindrance() {
    let bench = Bench::new(shell("echo hello"));
    let config = bench.dir.path().join("config.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&config).expect("read")).expect("JSON");
    document["windows"] = json!({"layerFolders": ["a"]});
    document["process"]["commandLine"] = json!("x");
    document["process"]["apparmorProfile"] = json!("unconfined");
    document["process"]["selinuxLabel"] = json!("");
    document["linux"]["mountLabel"] = json!("");
    document["linux"]["memoryPolicy"] = Value::Null;
    document["linux"]["netDevices"] = json!({});
    document["linux"]["resources"]["rdma"] = json!({});
    std::fs::write(&config, document.to_string()).expect("write");
    assert_eq!(bench.good(&["run", "c1"]), "hello\n");
}

#[test]
fn a_name_is_taken_once_and_is_a_name() {
    let bench = Bench::new(shell("exec sleep 1000"));
    bench.start(&["create", "c1"]);
    assert!(bench.bad(&["create", "c1"]).contains("already exists"));
    assert!(bench.bad(&["create", "../c2"]).contains("no container's name"));
}

#[test]
fn a_container_that_cannot_be_made_leaves_no_state() {
    let mut spec = shell("true");
    spec.process.as_mut().expect("process").args = vec!["missing".to_owned()];
    let bench = Bench::new(spec);
    let log = bench.dir.path().join("log");
    let error = bench.bad(&["--log", log.to_str().expect("text"), "--log-format", "json", "create", "c1"]);
    let told = "runc create failed: unable to start container process: error during container init: exec: \"missing\": executable file not found in $PATH";
    assert!(error.contains(told), "{error}");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(log).expect("read")).expect("JSON");
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], told);
    assert_eq!(std::fs::read_dir(bench.root()).expect("list").count(), 0);
}

#[test]
fn exec_runs_a_process_in_the_container() {
    let bench = Bench::new(shell("exec sleep 1000"));
    bench.start(&["run", "--detach", "c1"]);
    let output =
        bench.run(&["exec", "--env", "A=b", "--cwd", "/etc", "c1", "sh", "-c", "echo $A; pwd; exit 4"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b\n/etc\n");
    let mut process = shell_process("id -u; grep Seccomp: /proc/self/status");
    process.user.uid = 7;
    let path = bench.dir.path().join("process.json");
    std::fs::write(&path, serde_json::to_vec(&process).expect("JSON")).expect("write");
    let text = bench.good(&["exec", "--process", path.to_str().expect("text"), "c1"]);
    assert_eq!(text, "7\nSeccomp:\t2\n");
}

#[test]
fn what_cannot_be_run_is_told_as_engines_look_for_it() {
    let bench = Bench::new(shell(
        "mkdir /data; echo text > /plain; printf '#!/nobody' > /script; chmod +x /script; exec sleep 1000",
    ));
    bench.start(&["run", "--detach", "c1"]);
    testkit::wait_until("the files", || {
        let output = bench.run(&["exec", "c1", "test", "-x", "/script"]);
        if output.status.success() { Ok(()) } else { Err(output) }
    });
    let check = |args: &[&str], expected: &str| {
        let output = bench.run(&[&["exec"], args].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        let expected = format!("exec failed: unable to start container process: {expected}\n");
        assert!(told.ends_with(&expected), "{expected}: {told}");
        assert_eq!(output.status.code(), Some(255), "{output:?}");
    };
    check(&["c1", "nope"], "exec: \"nope\": executable file not found in $PATH");
    check(&["c1", "/nope"], "exec: \"/nope\": stat /nope: no such file or directory");
    check(&["c1", "/plain"], "exec: \"/plain\": permission denied");
    check(&["c1", "/data"], "exec: \"/data\": is a directory: permission denied");
    check(
        &["--cwd", "/nowhere", "c1", "true"],
        "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory",
    );
    // One that is there, but not what it is interpreted by, has begun and says so itself.
    let output = bench.run(&["exec", "c1", "/script"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "exec /script: no such file or directory\n");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}

#[test]
fn a_process_that_joins_has_the_container_s_limits() {
    let mut spec = shell("exec sleep 1000");
    let process = spec.process.as_mut().expect("process");
    process.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 20, hard: 30 }];
    process.oom_score_adj = Some(321);
    let bench = Bench::new(spec);
    bench.start(&["run", "--detach", "c1"]);
    let path = bench.dir.path().join("process.json");
    let process = shell_process("ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj");
    std::fs::write(&path, serde_json::to_vec(&process).expect("JSON")).expect("write");
    assert_eq!(bench.good(&["exec", "--process", path.to_str().expect("text"), "c1"]), "20\n30\n321\n");
}

#[test]
fn a_terminal_is_handed_to_the_console_socket() {
    let mut spec = shell("tty; exec sleep 1000");
    spec.process.as_mut().expect("process").terminal = true;
    let bench = Bench::new(spec);
    assert!(bench.bad(&["create", "c1"]).contains("--console-socket"));
    let path = bench.dir.path().join("console.sock");
    let listener = UnixListener::bind(&path).expect("listen");
    bench.start(&["run", "--detach", "--console-socket", path.to_str().expect("text"), "c1"]);
    let (socket, _) = listener.accept().expect("accept");
    let mut outer = receive_descriptor(&socket);
    let mut text = vec![0; 64];
    let count = outer.read(&mut text).expect("read from the terminal");
    assert_eq!(&text[..count], b"/dev/pts/0\r\n");
}

fn receive_descriptor(socket: &std::os::unix::net::UnixStream) -> std::fs::File {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut parts = [std::io::IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("receive");
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.expect("a descriptor").into()
}

#[test]
fn hooks_run_in_their_order_and_places() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let list = dir.path().join("list");
    let script = format!("read -r state; echo \"$0 $(readlink /proc/self/ns/mnt)\" >> {}", list.display());
    let hook = |name: &str| runtime::spec::Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script.clone(), name.into()],
        env: vec!["PATH=/bin:/usr/bin".to_owned()],
        timeout: Some(10),
    };
    let mut spec = shell("true");
    spec.hooks = Some(runtime::spec::Hooks {
        prestart: vec![hook("prestart")],
        create_runtime: vec![hook("createRuntime")],
        create_container: vec![hook("createContainer")],
        start_container: vec![hook("startContainer")],
        poststart: vec![hook("poststart")],
        poststop: vec![hook("poststop")],
    });
    // The hook inside writes to the same file.
    let target = dir.path().to_str().expect("text").to_owned();
    spec.mounts.push(runtime::spec::Mount::bind(target.clone(), target, &[]));
    let bench = Bench::new(spec);
    bench.good(&["run", "c1"]);
    let text = std::fs::read_to_string(&list).expect("read");
    let lines: Vec<(&str, &str)> =
        text.lines().map(|line| line.split_once(' ').expect("two words")).collect();
    let names: Vec<_> = lines.iter().map(|line| line.0).collect();
    let order = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    // The program may still be about to begin when the hooks behind its start run.
    assert_eq!(names, order);
    let host = std::fs::read_link("/proc/self/ns/mnt").expect("a link").display().to_string();
    let outside: Vec<_> = lines.iter().map(|line| line.1 == host).collect();
    assert_eq!(outside, [true, true, false, false, true, true]);
}

#[test]
fn a_hook_that_fails_ends_the_container() {
    let mut spec = shell("true");
    let hook = runtime::spec::Hook { path: "/bin/false".into(), ..runtime::spec::Hook::default() };
    spec.hooks =
        Some(runtime::spec::Hooks { create_container: vec![hook], ..runtime::spec::Hooks::default() });
    let bench = Bench::new(spec);
    assert!(bench.bad(&["create", "c1"]).contains("/bin/false"));
    assert_eq!(std::fs::read_dir(bench.root()).expect("list").count(), 0);
}

#[test]
fn a_hook_that_fails_after_the_start_ends_the_container_and_the_later_hooks_run() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let seen = dir.path().join("seen");
    let hook = |command: String| runtime::spec::Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), command],
        ..runtime::spec::Hook::default()
    };
    let mut spec = shell("exec sleep 1000");
    spec.hooks = Some(runtime::spec::Hooks {
        poststart: vec![hook("exit 3".to_owned())],
        poststop: vec![hook("exit 4".to_owned()), hook(format!("echo stopped > {}", seen.display()))],
        ..runtime::spec::Hooks::default()
    });
    let bench = Bench::new(spec);
    bench.start(&["create", "c1"]);
    assert!(bench.bad(&["start", "c1"]).contains("failed: exit status: 3"));
    assert!(bench.bad(&["state", "c1"]).contains("does not exist"));
    assert_eq!(std::fs::read_to_string(seen).expect("read"), "stopped\n");
}

#[test]
fn hooks_after_the_start_are_told_of_a_running_program_even_if_it_was_quick() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let seen = dir.path().join("seen");
    let hook = runtime::spec::Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), format!("cat > {}", seen.display())],
        env: vec!["PATH=/bin:/usr/bin".to_owned()],
        timeout: None,
    };
    let mut spec = shell("true");
    spec.hooks = Some(runtime::spec::Hooks { poststart: vec![hook], ..runtime::spec::Hooks::default() });
    let bench = Bench::new(spec);
    bench.start(&["create", "c1"]);
    bench.good(&["start", "c1"]);
    let state: Value = serde_json::from_slice(&std::fs::read(seen).expect("read")).expect("JSON");
    assert_eq!(state["status"], "running");
    assert_ne!(state["pid"], 0);
}

#[test]
fn hooks_after_the_start_find_the_program_running() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let seen = dir.path().join("seen");
    let mut spec = shell("exec sleep 1000");
    let program = r#"pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/'); tr '\0' ' ' < /proc/$pid/cmdline"#;
    let hook = runtime::spec::Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), format!("{program} > {}", seen.display())],
        env: vec!["PATH=/bin:/usr/bin".to_owned()],
        timeout: None,
    };
    spec.hooks = Some(runtime::spec::Hooks { poststart: vec![hook], ..runtime::spec::Hooks::default() });
    let bench = Bench::new(spec);
    bench.start(&["create", "c1"]);
    bench.good(&["start", "c1"]);
    let command = std::fs::read_to_string(seen).expect("read");
    // The shell may have replaced itself by then.
    assert!(["/bin/sh -c exec sleep 1000 ", "sleep 1000 "].contains(&command.as_str()), "{command}");
}

#[test]
fn options_of_a_file_system_are_refused_at_a_bind_mount() {
    let mut spec = shell("stat -c %a /mnt");
    let options = ["bind", "nosuid", "mode=700"].map(ToOwned::to_owned).to_vec();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("make a directory");
    let mount = runtime::spec::Mount {
        destination: "/mnt".into(),
        source: Some(source),
        options,
        ..runtime::spec::Mount::default()
    };
    spec.mounts.push(mount);
    let refused = Bench::new(spec).bad(&["run", "c1"]);
    assert!(refused.contains("`mode` is no option of a bind mount"), "{refused}");
}

#[test]
fn descriptors_are_kept_if_asked_and_only_then() {
    let bench = Bench::new(shell("echo x >&3"));
    let file = std::fs::File::create(bench.dir.path().join("three")).expect("make a file");
    let run = |extra: &[&str], id: &str| {
        use std::os::fd::AsRawFd;
        let mut args = vec!["run"];
        args.extend(extra);
        args.push(id);
        let inner = bench.command(&args);
        let mut shell = Command::new("/bin/sh");
        let words: Vec<_> = inner.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        // The shell puts the file at descriptor 3.
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let line = format!("exec 3>>{path}; exec {PROGRAM} {}", words.join(" "));
        shell.arg("-c").arg(line).current_dir(bench.dir.path()).stdin(Stdio::null()).output().expect("run")
    };
    assert!(!run(&[], "c1").status.success());
    assert!(run(&["--preserve-fds", "1"], "c1").status.success());
    assert_eq!(std::fs::read_to_string(bench.dir.path().join("three")).expect("read"), "x\n");
}

#[test]
fn a_process_that_took_over_a_number_is_not_the_containers() {
    let bench = Bench::new(shell("exec sleep 1000"));
    bench.start(&["run", "--detach", "c1"]);
    let path = bench.root().join("c1/state.json");
    let before = std::fs::read(&path).expect("read");
    let mut state: Value = serde_json::from_slice(&before).expect("JSON");
    let pid = state["pid"].to_string();
    state["startTime"] = Value::from(1);
    std::fs::write(&path, state.to_string()).expect("write");
    assert_eq!(bench.status(), "stopped");
    assert!(bench.bad(&["kill", "c1", "KILL"]).contains("container not running"));
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    std::fs::write(&path, before).expect("write");
    assert_eq!(bench.status(), "running");
}

#[test]
fn what_is_not_supported_is_refused_and_said() {
    let bench = Bench::new(shell("true"));
    assert!(bench.bad(&["--systemd-cgroup", "create", "c1"]).contains("--systemd-cgroup is not supported"));
    let output = bench.run(&["create", "--invented", "c1"]);
    assert_eq!(output.status.code(), Some(2));
    let features: Value = serde_json::from_str(&bench.good(&["features"])).expect("JSON");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn cve_2019_5736_a_container_of_the_command_line_cannot_write_the_program_either() {
    let mut spec = shell("");
    spec.process.as_mut().expect("process").args = vec!["/proc/self/exe".to_owned(), "init".to_owned()];
    let bench = Bench::new(spec);
    bench.start(&["run", "--detach", "c1"]);
    let output = bench.run(&["exec", "c1", "sh", "-c", ": > /proc/1/exe"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("Read-only file system"), "{error}");
}
