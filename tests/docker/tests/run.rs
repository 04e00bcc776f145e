//! `docker run`: exit codes, streams, and everything a container can be given.

use docker_tests::{Daemon, IMAGE};

#[test]
fn run_exits_as_the_command_does_and_tells_its_own_failures_apart() {
    let daemon = Daemon::start();
    let check = |arguments: &[&str], code: i32| {
        let ran = daemon.docker(&[&["run", "--rm"], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}\n{}", daemon.log());
    };
    check(&[IMAGE, "true"], 0);
    check(&[IMAGE, "sh", "-c", "exit 7"], 7);
    check(&["--init", IMAGE, "sh", "-c", "kill -9 $$"], 137);
    check(&["--pull", "never", "no-such-image:1", "true"], 125);
    check(&["--memory", "1", IMAGE, "true"], 125);
    check(&[IMAGE, "/etc/passwd"], 126);
    check(&[IMAGE, "no-such-program"], 127);
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "", "every one of them was removed");
}

#[test]
fn the_two_outputs_and_the_input_stay_apart() {
    let daemon = Daemon::start();
    let ran = daemon.docker(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    let ran = daemon.docker_with("one\ntwo\n", &["run", "--rm", "-i", IMAGE, "wc", "-l"]);
    assert_eq!(ran.stdout.trim(), "2", "{ran:?}");
    let long = "x".repeat(300_000);
    let ran = daemon.docker_with(&long, &["run", "--rm", "-i", IMAGE, "cat"]);
    assert_eq!((ran.code, ran.stdout.len()), (0, long.len()));
}

#[test]
fn a_container_gets_what_it_is_given() {
    let daemon = Daemon::start();
    let check = |arguments: &[&str], expected: &str| {
        assert_eq!(daemon.ok(&[&["run", "--rm"], arguments].concat()), expected, "{arguments:?}");
    };
    check(&["-e", "A=b c", IMAGE, "sh", "-c", "echo $A"], "b c");
    check(&["-w", "/tmp", IMAGE, "pwd"], "/tmp");
    check(&["-u", "nobody:staff", IMAGE, "id", "-un"], "nobody");
    check(&["-u", "1234:5", IMAGE, "sh", "-c", "echo $(id -u):$(id -g)"], "1234:5");
    check(&["--hostname", "box", IMAGE, "hostname"], "box");
    check(&["--entrypoint", "echo", IMAGE, "a", "b"], "a b");
    check(&["--tmpfs", "/t:size=1m", IMAGE, "sh", "-c", "df -k /t | tail -1 | awk '{print $2}'"], "1024");
    check(&["--ulimit", "nofile=123:456", IMAGE, "sh", "-c", "ulimit -n; ulimit -Hn"], "123\n456");
    check(
        &["--add-host", "zzz:10.1.2.3", IMAGE, "sh", "-c", "grep zzz /etc/hosts | awk '{print $1}'"],
        "10.1.2.3",
    );
    check(
        &["--dns", "10.9.8.7", "--network", "bridge", IMAGE, "sh", "-c", "grep -c 10.9.8.7 /etc/resolv.conf"],
        "1",
    );
    check(&["--network", "none", IMAGE, "ls", "/sys/class/net"], "lo");
    check(&["--init", IMAGE, "sh", "-c", "echo $$ | grep -vx 1 >/dev/null && echo child"], "child");
    check(
        &[
            "--sysctl",
            "net.ipv4.ip_unprivileged_port_start=77",
            IMAGE,
            "cat",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        ],
        "77",
    );
}

#[test]
fn a_container_is_held_back() {
    let daemon = Daemon::start();
    let fails = |arguments: &[&str]| {
        let ran = daemon.docker(&[&["run", "--rm"], arguments].concat());
        assert_ne!(ran.code, 0, "{arguments:?}: {ran:?}");
    };
    fails(&["--read-only", IMAGE, "touch", "/x"]);
    fails(&[IMAGE, "mount", "-t", "tmpfs", "none", "/tmp"]);
    fails(&["--cap-drop", "CHOWN", IMAGE, "chown", "1", "/tmp"]);
    assert_eq!(
        daemon.ok(&["run", "--rm", "--privileged", IMAGE, "sh", "-c", "mount -t tmpfs none /tmp && echo ok"]),
        "ok"
    );
    let out_of_memory = daemon.docker(&[
        "run",
        "--name",
        "eater",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        IMAGE,
        "tail",
        "/dev/zero",
    ]);
    assert_eq!(out_of_memory.code, 137, "{out_of_memory:?}");
    assert_eq!(daemon.inspect("eater", "{{.State.OOMKilled}}"), "true");
}

#[test]
fn directories_of_the_host_and_volumes_are_mounted() {
    let daemon = Daemon::start();
    let host = daemon.scratch("host");
    std::fs::write(host.join("file"), "from the host").expect("write a file");
    let bind = format!("{}:/mnt", host.display());
    assert_eq!(daemon.ok(&["run", "--rm", "-v", &bind, IMAGE, "cat", "/mnt/file"]), "from the host");
    daemon.ok(&["run", "--rm", "-v", &bind, IMAGE, "sh", "-c", "echo back > /mnt/new"]);
    assert_eq!(std::fs::read_to_string(host.join("new")).expect("read it"), "back\n");
    let read_only = daemon.docker(&["run", "--rm", "-v", &format!("{bind}:ro"), IMAGE, "touch", "/mnt/x"]);
    assert_ne!(read_only.code, 0, "{read_only:?}");
    let long = format!("type=bind,source={},target=/mnt,readonly", host.join("missing").display());
    daemon.fails(&["run", "--rm", "--mount", &long, IMAGE, "true"], "bind source path does not exist");
    daemon.ok(&["run", "--rm", "-v", "data:/d", IMAGE, "sh", "-c", "echo kept > /d/file"]);
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "data:/d", IMAGE, "cat", "/d/file"]), "kept");
}

#[test]
fn a_detached_container_runs_alone_and_is_removed_when_asked_for() {
    let daemon = Daemon::start();
    let id = daemon.ok(&["run", "-d", "--name", "web", IMAGE, "sleep", "1000"]);
    assert_eq!(id.len(), 64);
    assert_eq!(
        daemon.ok(&["ps", "--format", "{{.Names}} {{.Image}} {{.State}}"]),
        format!("web {IMAGE} running")
    );
    daemon.fails(&["run", "-d", "--name", "web", IMAGE, "true"], "is already in use by container");
    daemon.ok(&["run", "-d", "--rm", "--name", "short", IMAGE, "true"]);
    testkit::wait_until("the short container to go", || {
        let names = daemon.ok(&["ps", "--all", "--format", "{{.Names}}"]);
        if names == "web" { Ok(()) } else { Err(names) }
    });
}
