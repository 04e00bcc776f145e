//! Logs, attach, exec, terminals, events: everything that streams.

use docker_tests::{Daemon, IMAGE, Terminal};

#[test]
fn logs_are_kept_and_followed() {
    let daemon = Daemon::start();
    // Outputs are two pipes: what is written to both at once has no order.
    daemon.docker(&[
        "run",
        "--name",
        "box1",
        IMAGE,
        "sh",
        "-c",
        "echo one; echo two >&2; sleep 0.3; echo three",
    ]);
    let both = daemon.docker(&["logs", "box1"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("one\nthree\n", "two\n"));
    assert_eq!(daemon.ok(&["logs", "--tail", "1", "box1"]), "three");
    let stamped = daemon.ok(&["logs", "--timestamps", "--tail", "1", "box1"]);
    let (stamp, text) = stamped.split_once(' ').expect("a time and a text");
    assert_eq!((stamp.len(), text), ("2006-01-02T15:04:05.000000000Z".len(), "three"));
    assert_eq!(daemon.docker(&["logs", "--since", stamp, "box1"]).stdout, "three\n");
    assert_eq!(daemon.ok(&["logs", "--until", "2000-01-01T00:00:00Z", "box1"]), "");

    daemon.ok(&["run", "-d", "--name", "box2", "-i", IMAGE, "cat"]);
    let follower = daemon.docker_running(&["logs", "--follow", "box2"]);
    let mut writer = daemon.docker_running(&["attach", "box2"]);
    writer.send("first\n");
    follower.wait_for("first");
    writer.send("second\n");
    follower.wait_for("second");
    daemon.ok(&["kill", "box2"]);
    assert_eq!(follower.finish(), (0, "first\nsecond\n".to_owned()), "following ends with the container");
}

#[test]
fn attach_carries_input_output_and_the_exit_status() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "box1",
        IMAGE,
        "sh",
        "-c",
        "while read line; do echo got $line; done; exit 6",
    ]);
    let mut attached = daemon.docker_running(&["attach", "box1"]);
    attached.send("this\n");
    attached.wait_for("got this");
    let mut second = daemon.docker_running(&["attach", "box1"]);
    second.send("that\n");
    second.wait_for("got that");
    attached.wait_for("got that");
    daemon.ok(&["kill", "box1"]);
    assert_eq!(attached.finish().0, 137);
    daemon.fails(&["attach", "box1"], "cannot attach to a stopped container");
}

#[test]
fn signals_of_the_client_reach_the_command() {
    let daemon = Daemon::start();
    let script = "trap 'echo caught; exit 8' TERM; echo ready; while :; do sleep 0.05; done";
    let running = daemon.docker_running(&["run", "--rm", IMAGE, "sh", "-c", script]);
    running.wait_for("ready");
    running.signal(rustix::process::Signal::TERM);
    let (code, seen) = running.finish();
    assert_eq!((code, seen.as_str()), (8, "ready\ncaught\n"));
}

#[test]
fn exec_runs_further_commands() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", "-e", "WHO=world", IMAGE, "sleep", "1000"]);
    let both = daemon.docker(&["exec", "box1", "sh", "-c", "echo hello $WHO; echo oops >&2; exit 3"]);
    assert_eq!((both.code, both.stdout.as_str(), both.stderr.as_str()), (3, "hello world\n", "oops\n"));
    assert_eq!(
        daemon.ok(&[
            "exec",
            "-w",
            "/tmp",
            "-u",
            "nobody",
            "-e",
            "X=1",
            "box1",
            "sh",
            "-c",
            "echo $PWD $(id -un) $X"
        ]),
        "/tmp nobody 1"
    );
    let piped = daemon.docker_with("a\nb\nc\n", &["exec", "-i", "box1", "wc", "-l"]);
    assert_eq!((piped.code, piped.stdout.trim()), (0, "3"));
    assert_eq!(daemon.docker(&["exec", "box1", "no-such-program"]).code, 127);
    assert_eq!(daemon.docker(&["exec", "box1", "/etc/passwd"]).code, 126);
    daemon.ok(&["exec", "-d", "box1", "sh", "-c", "echo done > /tmp/detached"]);
    testkit::wait_until("the detached command", || {
        let ran = daemon.docker(&["exec", "box1", "cat", "/tmp/detached"]);
        if ran.stdout == "done\n" { Ok(()) } else { Err(ran) }
    });
    daemon.ok(&["stop", "--time", "0", "box1"]);
    daemon.fails(&["exec", "box1", "true"], "is not running");
    daemon.fails(&["exec", "nobody", "true"], "No such container: nobody");
}

#[test]
fn a_terminal_has_a_size_and_one_output() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::start(&daemon.client(&["run", "--rm", "-it", IMAGE, "sh"]), 31, 97);
    terminal.wait_for("/ #");
    terminal.type_keys("stty size; echo err >&2\r");
    terminal.wait_for("31 97");
    terminal.wait_for("err");
    terminal.resize(22, 55);
    let begun = std::time::Instant::now();
    loop {
        // The size travels beside the input, so that it may arrive after it.
        terminal.type_keys("stty size\r");
        if terminal.screen().contains("22 55") {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{}", terminal.screen());
        std::thread::yield_now();
        terminal.wait_for("stty size");
    }
    terminal.type_keys("exit 11\r");
    assert_eq!(terminal.finish(), 11);
}

#[test]
fn exec_has_a_terminal_too() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let mut terminal = Terminal::start(&daemon.client(&["exec", "-it", "box1", "sh"]), 30, 100);
    terminal.wait_for("/ #");
    terminal.type_keys("tty; test -t 1 && echo is-a-terminal\r");
    terminal.wait_for("is-a-terminal\r\n");
    terminal.type_keys("sleep 1000\r");
    terminal.wait_for("sleep 1000\r\n");
    terminal.type_keys("\x03");
    terminal.type_keys("exit 4\r");
    assert_eq!(terminal.finish(), 4);
}

#[test]
fn the_detach_keys_leave_the_container_running() {
    let daemon = Daemon::start();
    let mut terminal =
        Terminal::start(&daemon.client(&["run", "-it", "--name", "box1", IMAGE, "sh"]), 24, 80);
    terminal.wait_for("/ #");
    terminal.type_keys("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(daemon.inspect("box1", "{{.State.Running}}"), "true");
    let mut again = Terminal::start(&daemon.client(&["attach", "--detach-keys", "ctrl-a,d", "box1"]), 24, 80);
    again.type_keys("echo back-$((1+1))\r");
    again.wait_for("back-2");
    again.type_keys("\x01d");
    again.finish();
    assert_eq!(daemon.inspect("box1", "{{.State.Running}}"), "true");
}

#[test]
fn events_are_told_as_they_happen() {
    let daemon = Daemon::start();
    let format = "{{.Type}} {{.Action}} {{index .Actor.Attributes \"name\"}}";
    let watcher = daemon.docker_running(&["events", "--filter", "type=container", "--format", format]);
    testkit::wait_until("the watcher to listen", || {
        daemon.ok(&["run", "--rm", "--name", "probe", IMAGE, "true"]);
        if watcher.seen().contains("container destroy probe") { Ok(()) } else { Err(watcher.seen()) }
    });
    daemon.ok(&["run", "--name", "box1", IMAGE, "true"]);
    daemon.ok(&["rm", "box1"]);
    watcher.wait_for("container destroy box1\n");
    let seen = watcher.seen();
    let actions: Vec<&str> =
        seen.lines().filter_map(|line| line.strip_suffix(" box1")?.strip_prefix("container ")).collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
    // What happened is remembered for a while.
    let exit = "exit {{index .Actor.Attributes \"exitCode\"}}";
    let filters = ["--filter", "event=die", "--filter", "container=box1"];
    let past =
        daemon.docker_running(&[&["events", "--since", "5m", "--format", exit], &filters[..]].concat());
    past.wait_for("exit 0\n");
}
