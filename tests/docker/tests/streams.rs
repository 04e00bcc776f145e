//! Logs, attach, exec, terminals, events: everything that streams.

use docker_tests::{Daemon, IMAGE, Terminal};

#[test]
fn logs_are_kept_and_followed() {
    let daemon = Daemon::start();
    daemon.docker(&["run", "--name", "a", IMAGE, "sh", "-c", "echo one; echo two >&2; echo three"]);
    let both = daemon.docker(&["logs", "a"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("one\nthree\n", "two\n"));
    assert_eq!(daemon.ok(&["logs", "--tail", "1", "a"]), "three");
    let stamped = daemon.ok(&["logs", "--timestamps", "--tail", "1", "a"]);
    let (stamp, text) = stamped.split_once(' ').expect("a time and a text");
    assert_eq!((stamp.len(), text), ("2006-01-02T15:04:05.000000000Z".len(), "three"));
    assert_eq!(daemon.docker(&["logs", "--since", stamp, "a"]).stdout, "three\n");
    assert_eq!(daemon.ok(&["logs", "--until", "2000-01-01T00:00:00Z", "a"]), "");

    daemon.ok(&["run", "-d", "--name", "b", "-i", IMAGE, "cat"]);
    let follower = daemon.docker_running(&["logs", "--follow", "b"]);
    let mut writer = daemon.docker_running(&["attach", "b"]);
    writer.send("first\n");
    follower.wait_for("first");
    writer.send("second\n");
    follower.wait_for("second");
    daemon.ok(&["kill", "b"]);
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
        "a",
        IMAGE,
        "sh",
        "-c",
        "while read line; do echo got $line; done; exit 6",
    ]);
    let mut attached = daemon.docker_running(&["attach", "a"]);
    attached.send("this\n");
    attached.wait_for("got this");
    let mut second = daemon.docker_running(&["attach", "a"]);
    second.send("that\n");
    second.wait_for("got that");
    attached.wait_for("got that");
    daemon.ok(&["kill", "a"]);
    assert_eq!(attached.finish().0, 137);
    daemon.fails(&["attach", "a"], "cannot attach to a stopped container");
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
    daemon.ok(&["run", "-d", "--name", "a", "-e", "WHO=world", IMAGE, "sleep", "1000"]);
    let both = daemon.docker(&["exec", "a", "sh", "-c", "echo hello $WHO; echo oops >&2; exit 3"]);
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
            "a",
            "sh",
            "-c",
            "echo $PWD $(id -un) $X"
        ]),
        "/tmp nobody 1"
    );
    let piped = daemon.docker_with("a\nb\nc\n", &["exec", "-i", "a", "wc", "-l"]);
    assert_eq!((piped.code, piped.stdout.trim()), (0, "3"));
    assert_eq!(daemon.docker(&["exec", "a", "no-such-program"]).code, 127);
    assert_eq!(daemon.docker(&["exec", "a", "/etc/passwd"]).code, 126);
    daemon.ok(&["exec", "-d", "a", "sh", "-c", "echo done > /tmp/detached"]);
    testkit::wait_until("the detached command", || {
        let ran = daemon.docker(&["exec", "a", "cat", "/tmp/detached"]);
        if ran.stdout == "done\n" { Ok(()) } else { Err(ran) }
    });
    daemon.ok(&["stop", "--time", "0", "a"]);
    daemon.fails(&["exec", "a", "true"], "is not running");
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
    daemon.ok(&["run", "-d", "--name", "a", IMAGE, "sleep", "1000"]);
    let mut terminal = Terminal::start(&daemon.client(&["exec", "-it", "a", "sh"]), 30, 100);
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
    let mut terminal = Terminal::start(&daemon.client(&["run", "-it", "--name", "a", IMAGE, "sh"]), 24, 80);
    terminal.wait_for("/ #");
    terminal.type_keys("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(daemon.inspect("a", "{{.State.Running}}"), "true");
    let mut again = Terminal::start(&daemon.client(&["attach", "--detach-keys", "ctrl-a,d", "a"]), 24, 80);
    again.type_keys("echo back-$((1+1))\r");
    again.wait_for("back-2");
    again.type_keys("\x01d");
    again.finish();
    assert_eq!(daemon.inspect("a", "{{.State.Running}}"), "true");
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
    daemon.ok(&["run", "--name", "a", IMAGE, "true"]);
    daemon.ok(&["rm", "a"]);
    watcher.wait_for("container destroy a\n");
    let seen = watcher.seen();
    let actions: Vec<&str> =
        seen.lines().filter_map(|line| line.strip_suffix(" a")?.strip_prefix("container ")).collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
    let past = daemon.ok(&[
        "events",
        "--since",
        "1",
        "--until",
        "0s",
        "--filter",
        "event=die",
        "--filter",
        "container=a",
        "--format",
        "{{index .Actor.Attributes \"exitCode\"}}",
    ]);
    assert_eq!(past, "0", "what happened is remembered for a while");
}
