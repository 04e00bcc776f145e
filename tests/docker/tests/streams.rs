//! Logs, attach, exec, terminals, events: everything that streams.

use std::io::{Read, Write};

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
    // What could not be started has said nothing, and nobody waits for it.
    daemon.ok(&["create", "--name", "box3", IMAGE, "/nothing"]);
    daemon.fails(&["start", "box3"], "no such file or directory");
    assert_eq!(daemon.ok(&["logs", "--follow", "box3"]), "");
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

/// The connection is closed, or closed for sending, before anything was read from it.
#[test]
fn what_a_client_sent_that_went_at_once_reaches_the_process() {
    let daemon = Daemon::start();
    // The program has something to say about it, which nobody reads.
    let script = "while read line; do echo $line $line >> /got; echo $line; done; sleep 1000";
    daemon.ok(&["run", "-d", "-i", "--name", "box", IMAGE, "sh", "-c", script]);
    let exec =
        r#"{"AttachStdin":true,"AttachStdout":true,"Cmd":["sh","-c","cat >> /all; echo done >> /all"]}"#;
    let lines = |name: &str| (0..2000).map(|line| format!("{name}-{line}\n")).collect::<String>();
    for round in 0..4 {
        let name = format!("round{round}");
        let path = "/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1";
        let mut attached = daemon.upgrade(path, "").expect("ask for the connection");
        attached.write_all(lines(&name).as_bytes()).expect("send");
        let created = daemon.raw("POST", "/containers/box/exec", exec).expect("an answer").body;
        let id = created.split('"').nth(3).expect("an id").to_owned();
        let start = format!("/exec/{id}/start");
        let mut further = daemon.upgrade(&start, r#"{"Detach":false,"Tty":false}"#).expect("start");
        further.write_all(lines(&name).as_bytes()).expect("send");
        if round % 2 == 0 {
            // One that is still there and listens, though it says no more: who does not listen holds the program up.
            for mut stream in [attached, further] {
                stream.shutdown(std::net::Shutdown::Write).expect("say no more");
                std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        } else {
            drop((attached, further));
        }
        let last = format!("{name}-1999");
        testkit::wait_until("all that was sent", || {
            let got = daemon.docker(&["exec", "box", "tail", "-n", "1", "/got"]).stdout.trim().to_owned();
            let all = daemon.docker(&["exec", "box", "tail", "-n", "2", "/all"]).stdout;
            let is_there = got == format!("{last} {last}") && all == format!("{last}\ndone\n");
            if is_there { Ok(()) } else { Err((got, all)) }
        });
    }
}

#[test]
fn who_still_sends_when_the_process_ends_reads_all_of_its_output() {
    let daemon = Daemon::start();
    // More than all that lies between the client and the process takes.
    let sent = vec![b'x'; 8 << 20];
    let script = "head -c 1 > /dev/null; echo enough";
    daemon.ok(&["create", "-i", "--name", "box", IMAGE, "sh", "-c", script]);
    for round in 0..3 {
        let path = "/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1";
        let mut attached = daemon.upgrade(path, "").expect("ask for the connection");
        let mut sender = attached.try_clone().expect("a second handle");
        let sent = sent.clone();
        let sending = std::thread::spawn(move || sender.write_all(&sent));
        daemon.ok(&["start", "box"]);
        let mut read = Vec::new();
        attached.read_to_end(&mut read).unwrap_or_else(|error| panic!("round {round}: {error}, {read:?}"));
        assert!(read.ends_with(b"enough\n"), "{read:?}");
        sending.join().expect("not panicked").expect("all is taken");
        daemon.ok(&["wait", "box"]);
    }
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
    // Who gave input and leaves takes none of the terminal along.
    terminal.type_keys("echo first-$((1+1))\r");
    terminal.wait_for("first-2");
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

#[test]
fn nothing_comes_together_with_the_head_of_an_answer() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "--name", "box1", IMAGE, "echo", "earlier"]);
    daemon.ok(&["run", "-d", "--name", "box2", IMAGE, "sleep", "1000"]);
    // A client that reads the head through a buffer gets all that is there by then.
    let check = |path: &str, body: &str, expected: &str| {
        let mut stream = daemon.upgrade(path, body).expect("connect");
        let mut first = vec![0; 64 << 10];
        let count = stream.read(&mut first).expect("read the head");
        let first = String::from_utf8_lossy(&first[..count]).into_owned();
        assert!(first.starts_with("HTTP/1.1 101 ") && first.ends_with("\r\n\r\n"), "{path}: {first:?}");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("read the rest");
        assert_eq!(rest, expected, "{path}");
    };
    let attach = "/containers/box1/attach?logs=1&stdout=1&stream=";
    for _ in 0..10 {
        check(&format!("{attach}0"), "", "\x01\0\0\0\0\0\0\x08earlier\n");
    }
    for _ in 0..20 {
        let body = r#"{"AttachStdout":true,"Cmd":["echo","now"]}"#;
        let made = daemon.raw("POST", "/containers/box2/exec", body).expect("an answer").body;
        let id = made.split('"').nth(3).expect("an id");
        check(&format!("/exec/{id}/start"), "{}", "\x01\0\0\0\0\0\0\x04now\n");
    }
}

#[test]
fn what_does_not_start_ends_with_the_code_that_says_why() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let check = |options: &[&str], program: &str, code: i32, told: &str| {
        let ran = daemon.docker(&[&["exec"], options, &["box1", program]].concat());
        assert_eq!(ran.code, code, "{ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains(told) && !said.contains("os error"), "{said}");
        daemon.docker(&["rm", "--force", "box2"]);
        let ran = daemon.docker(&[&["run", "--name", "box2"], options, &[IMAGE, program]].concat());
        assert!(ran.code == code && ran.stderr.contains(told), "{ran:?}");
        assert!(!ran.stderr.contains("os error"), "{ran:?}");
        assert_eq!(daemon.inspect("box2", "{{.State.ExitCode}}"), code.to_string());
    };
    check(&[], "nope", 127, "exec: \"nope\": executable file not found in $PATH");
    check(&[], "/nope", 127, "exec: \"/nope\": stat /nope: no such file or directory");
    check(&[], "/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied");
    check(&[], "/tmp", 126, "exec: \"/tmp\": is a directory: permission denied");
    let cwd = "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory";
    let ran = daemon.docker(&["exec", "-w", "/etc/passwd", "box1", "true"]);
    assert_eq!((ran.code, (ran.stdout + &ran.stderr).contains(cwd)), (127, true));
    // One that is there and begins, but is none that can be executed, ends by itself.
    let make = "echo hello > /bad; printf '#!/none\\n' > /lost; chmod +x /bad /lost";
    daemon.ok(&["exec", "box1", "sh", "-c", make]);
    daemon.ok(&["commit", "box1", "unfit"]);
    for (program, said) in [("/bad", "exec format error"), ("/lost", "no such file or directory")] {
        let said = format!("exec {program}: {said}\n");
        let ran = daemon.docker(&["exec", "box1", program]);
        assert_eq!((ran.code, &ran.stderr), (255, &said), "{ran:?}");
        daemon.docker(&["rm", "--force", "box4"]);
        let ran = daemon.docker(&["run", "--name", "box4", "unfit", program]);
        assert_eq!((ran.code, &ran.stderr), (255, &said), "{ran:?}");
        assert_eq!(daemon.docker(&["logs", "box4"]).stderr, said);
    }
    // Whatever else keeps one from starting.
    daemon.ok(&["run", "-d", "-p", "127.0.0.1:8089:80", IMAGE, "sleep", "1000"]);
    let ran = daemon.docker(&["run", "--name", "box3", "-p", "127.0.0.1:8089:80", IMAGE, "true"]);
    let told = "driver failed programming external connectivity on endpoint box3 (";
    assert!(ran.code == 125 && ran.stderr.contains(told), "{ran:?}");
    assert!(ran.stderr.contains("): Bind for 127.0.0.1:8089 failed: port is already allocated"), "{ran:?}");
    assert_eq!(daemon.inspect("box3", "{{.State.ExitCode}}"), "128");
}

#[test]
fn a_size_is_checked_and_a_process_that_begins_is_waited_for() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-dt", "--name", "box1", IMAGE, "sleep", "1000"]);
    let refused = |query: &str, message: &str| {
        let answer = daemon.raw("POST", &format!("/containers/box1/resize?{query}"), "").expect("an answer");
        assert_eq!((answer.status, answer.body.contains(message)), (400, true), "{query}: {answer:?}");
    };
    refused("h=&w=40", "invalid resize height \\\"\\\": invalid syntax");
    refused("h=-1&w=40", "invalid resize height \\\"-1\\\": value out of range");
    refused("h=40&w=4294967296", "invalid resize width \\\"4294967296\\\": value out of range");
    assert_eq!(
        daemon.raw("POST", "/containers/box1/resize?h=40&w=70000", "").expect("an answer").status,
        200
    );
    let body = r#"{"AttachStdout":true,"Tty":true,"Cmd":["sh","-c","until stty size | grep -q '33 77'; do :; done"]}"#;
    let made = daemon.raw("POST", "/containers/box1/exec", body).expect("an answer").body;
    let id = made.split('"').nth(3).expect("an id");
    std::thread::scope(|scope| {
        let resized = scope.spawn(|| daemon.raw("POST", &format!("/exec/{id}/resize?h=33&w=77"), ""));
        let mut stream = daemon.upgrade(&format!("/exec/{id}/start"), r#"{"Tty":true}"#).expect("connect");
        assert_eq!(resized.join().expect("no panic").expect("an answer").status, 200);
        stream.read_to_end(&mut Vec::new()).expect("it ends once it has the size");
    });
    let again = daemon.raw("POST", &format!("/exec/{id}/start"), "{}").expect("an answer");
    assert_eq!((again.status, again.body.contains("has already run")), (409, true), "{again:?}");
}

#[test]
fn who_leaves_by_the_keys_is_told() {
    let daemon = Daemon::start();
    // The command line looks for the keys itself; other clients leave that to the daemon.
    let leave = |path: &str, body: &str| {
        let mut client = daemon.upgrade(path, body).expect("connect");
        client.write_all(b"\x10\x11").expect("type the keys");
        client.read_to_end(&mut Vec::new()).expect("it ends");
    };
    daemon.ok(&["run", "-dit", "--name", "box1", IMAGE, "sh"]);
    leave("/containers/box1/attach?stream=1&stdin=1&stdout=1", "");
    let exec = r#"{"AttachStdin": true, "AttachStdout": true, "Tty": true, "Cmd": ["sh"]}"#;
    let made = daemon.raw("POST", "/containers/box1/exec", exec).expect("an answer").body;
    let id = made.split('"').nth(3).expect("an id");
    leave(&format!("/exec/{id}/start"), r#"{"Tty": true}"#);
    let filters = ["--filter", "event=detach", "--filter", "event=exec_detach"];
    let past = daemon.docker_running(
        &[&["events", "--since", "5m", "--format", "{{.Action}} {{.Actor.Attributes.name}}"], &filters[..]]
            .concat(),
    );
    past.wait_for("detach box1\n");
    past.wait_for("exec_detach box1\n");
}

#[test]
fn events_come_in_the_daemon_s_order_with_networks_volumes_and_prunes() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "--name", "box1", "-v", "data:/data", IMAGE, "true"]);
    daemon.ok(&["run", "--rm", "--network", "host", IMAGE, "true"]);
    daemon.ok(&["container", "prune", "--force"]);
    daemon.ok(&["volume", "prune", "--all", "--force"]);
    daemon.ok(&["network", "prune", "--force"]);
    daemon.ok(&["image", "prune", "--force"]);
    daemon.ok(&["builder", "prune", "--force"]);
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}{{.Actor.Attributes.destination}}{{.Actor.Attributes.reclaimed}}";
    let past = daemon.docker_running(&["events", "--since", "5m", "--format", format]);
    past.wait_for("builder prune");
    let seen = past.seen().replace("<no value>", "");
    let lines: Vec<&str> = seen.lines().skip_while(|line| *line != "volume create ").collect();
    assert_eq!(
        lines[..14],
        [
            "volume create ",
            "container create box1",
            "container attach box1",
            "network connect bridge",
            "volume mount /data",
            "container start box1",
            "network disconnect bridge",
            "volume unmount ",
            "container die box1",
            lines[9],
            lines[10],
            "network connect host",
            lines[12],
            "network disconnect host",
        ],
        "{seen}"
    );
    for kind in ["container", "volume", "network", "image", "builder"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{kind} prune "))), "{kind}: {seen}");
    }
}

#[test]
fn no_process_of_a_container_is_spared_as_the_daemon_is() {
    let daemon = Daemon::start();
    std::fs::write(format!("/proc/{}/oom_score_adj", daemon.pid()), "300").expect("change the daemon's");
    let score = "cat /proc/self/oom_score_adj";
    assert_eq!(daemon.ok(&["run", "--rm", IMAGE, "sh", "-c", score]), "0");
    daemon.ok(&["run", "-d", "--name", "box1", "--ulimit", "nofile=20:30", IMAGE, "sleep", "1000"]);
    let script = format!("{score}; ulimit -Sn; ulimit -Hn");
    assert_eq!(daemon.ok(&["exec", "box1", "sh", "-c", &script]), "0\n20\n30");
    daemon.ok(&["run", "-d", "--name", "box2", "--oom-score-adj", "321", IMAGE, "sleep", "1000"]);
    assert_eq!(daemon.ok(&["exec", "box2", "sh", "-c", score]), "321");
}
