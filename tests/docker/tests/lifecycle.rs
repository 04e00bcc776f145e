//! What becomes of a container: created, started, stopped, renamed, updated, removed.

use docker_tests::{Daemon, IMAGE};

/// A shell that ends cleanly when asked to.
const POLITE: &[&str] =
    &["sh", "-c", "trap 'exit 5' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done"];

#[test]
fn a_container_goes_through_its_life() {
    let daemon = Daemon::start();
    daemon.ok(&[&["create", "--name", "box1", IMAGE], POLITE].concat());
    assert_eq!(daemon.inspect("box1", "{{.State.Status}}"), "created");
    daemon.ok(&["start", "box1"]);
    assert_eq!(daemon.inspect("box1", "{{.State.Status}} {{.State.Running}}"), "running true");
    daemon.ok(&["start", "box1"]);
    wait_for_log(&daemon, "box1", "ready");
    daemon.ok(&["kill", "--signal", "HUP", "box1"]);
    wait_for_log(&daemon, "box1", "hup");
    daemon.ok(&["stop", "box1"]);
    assert_eq!(daemon.inspect("box1", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    assert_eq!(daemon.ok(&["wait", "box1"]), "5");
    daemon.ok(&["stop", "box1"]);
    daemon.fails(&["kill", "box1"], "is not running");
    daemon.ok(&["restart", "box1"]);
    assert_eq!(daemon.inspect("box1", "{{.State.Running}}"), "true");
    daemon.fails(&["rm", "box1"], "container is running: stop the container before removing or force remove");
    daemon.ok(&["kill", "box1"]);
    assert_eq!(daemon.inspect("box1", "{{.State.ExitCode}}"), "137");
    daemon.ok(&["rm", "box1"]);
    daemon.fails(&["start", "box1"], "No such container: box1");
}

#[test]
fn a_container_that_does_not_stop_is_killed_after_its_grace() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "--stop-timeout",
        "1000",
        IMAGE,
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    wait_for_log(&daemon, "deaf", "ready");
    // The container's own grace would outlast the test.
    daemon.ok(&["stop", "--time", "1", "deaf"]);
    assert_eq!(daemon.inspect("deaf", "{{.State.ExitCode}}"), "137");
}

#[test]
fn waiting_ends_with_the_container() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "box1",
        IMAGE,
        "sh",
        "-c",
        "read line < /tmp/pipe 2>/dev/null; sleep 0.3; exit 9",
    ]);
    let waiting = daemon.docker_running(&["wait", "box1"]);
    assert_eq!(waiting.finish(), (0, "9\n".to_owned()));
}

#[test]
fn a_container_can_be_frozen() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    daemon.ok(&["pause", "box1"]);
    assert_eq!(daemon.inspect("box1", "{{.State.Status}} {{.State.Paused}}"), "paused true");
    daemon.fails(&["pause", "box1"], "is already paused");
    daemon.fails(&["exec", "box1", "true"], "is paused");
    assert!(daemon.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(Paused)"));
    daemon.ok(&["unpause", "box1"]);
    daemon.ok(&["exec", "box1", "true"]);
    daemon.fails(&["unpause", "box1"], "is not paused");
}

#[test]
fn names_can_be_changed_but_not_taken() {
    let daemon = Daemon::start();
    daemon.ok(&["create", "--name", "box1", IMAGE]);
    daemon.ok(&["create", "--name", "box2", IMAGE]);
    daemon.fails(&["rename", "box1", "box2"], "is already in use by container");
    daemon.ok(&["rename", "box1", "box3"]);
    assert_eq!(daemon.inspect("box3", "{{.Name}}"), "/box3");
    daemon.fails(&["inspect", "--type", "container", "box1"], "No such container: box1");
    daemon.fails(&["rename", "box3", "x y"], "Invalid container name");
    daemon.fails(&["create", "--name", "x/y", IMAGE], "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    let id = daemon.inspect("box3", "{{.Id}}");
    assert_eq!(daemon.inspect(&id[..6], "{{.Name}}"), "/box3", "a unique prefix names it too");
}

#[test]
fn limits_can_be_changed_while_it_runs() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", "-m", "64m", "--cpus", "0.5", IMAGE, "sleep", "1000"]);
    assert_eq!(
        daemon.inspect("box1", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"),
        "67108864 500000000"
    );
    daemon.ok(&["update", "--memory", "128m", "--memory-swap", "256m", "--restart", "always", "box1"]);
    assert_eq!(
        daemon.inspect("box1", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}"),
        "134217728 always"
    );
    // As a user who is not root, as programs that fit their heaps to the limit mostly are.
    let limit = daemon.ok(&[
        "exec",
        "--user",
        "1234",
        "box1",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
    ]);
    assert_eq!(limit, "134217728");
    assert!(
        daemon
            .ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "box1"])
            .ends_with("/ 128MiB")
    );
}

#[test]
fn restart_policies_bring_a_container_back() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "box1",
        "--restart",
        "on-failure:2",
        IMAGE,
        "sh",
        "-c",
        "echo run; exit 3",
    ]);
    testkit::wait_until("the last try", || {
        let state = daemon.inspect("box1", "{{.State.Status}} {{.RestartCount}}");
        if state == "exited 2" { Ok(()) } else { Err(state) }
    });
    assert_eq!(daemon.ok(&["logs", "box1"]), "run\nrun\nrun");
    daemon.ok(&["run", "-d", "--name", "box2", "--restart", "always", IMAGE, "sh", "-c", "sleep 0.2"]);
    testkit::wait_until("a restart", || {
        let count = daemon.inspect("box2", "{{.RestartCount}}");
        if count != "0" { Ok(()) } else { Err(count) }
    });
    daemon.ok(&["stop", "--time", "0", "box2"]);
    assert_eq!(
        daemon.inspect("box2", "{{.State.Running}}"),
        "false",
        "what is stopped by hand stays stopped"
    );
}

#[test]
fn lists_can_be_narrowed() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "up", "--label", "tier=front", IMAGE, "sleep", "1000"]);
    daemon.docker(&["run", "--name", "down", "--label", "tier=back", IMAGE, "sh", "-c", "exit 4"]);
    daemon.ok(&["create", "--name", "new", IMAGE]);
    let names = |filters: &[&str]| {
        let mut arguments = vec!["ps", "--all", "--format", "{{.Names}}"];
        arguments.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
        daemon.ok(&arguments)
    };
    assert_eq!(names(&[]), "new\ndown\nup");
    assert_eq!(names(&["status=running"]), "up");
    assert_eq!(names(&["status=created"]), "new");
    assert_eq!(names(&["exited=4"]), "down");
    assert_eq!(names(&["label=tier"]), "down\nup");
    assert_eq!(names(&["label=tier=front"]), "up");
    assert_eq!(names(&["name=ow"]), "down");
    assert_eq!(names(&["before=down"]), "up");
    assert_eq!(names(&["since=down"]), "new");
    assert_eq!(names(&["ancestor=busybox:test", "status=exited"]), "down");
    assert_eq!(daemon.ok(&["ps", "--last", "1", "--format", "{{.Names}}"]), "new");
    daemon.fails(&["ps", "--filter", "colour=red"], "invalid filter 'colour'");
    assert!(daemon.ok(&["ps", "--size", "--format", "{{.Size}}"]).contains("virtual"));
    assert_eq!(
        daemon.ok(&["container", "prune", "--force"]).lines().filter(|line| line.len() == 64).count(),
        2
    );
    assert_eq!(names(&[]), "up");
}

#[track_caller]
fn wait_for_log(daemon: &Daemon, name: &str, text: &str) {
    testkit::wait_until(text, || {
        let log = daemon.ok(&["logs", name]);
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}
