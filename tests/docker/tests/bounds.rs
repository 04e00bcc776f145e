//! What clients, and what hangs, may take of the daemon, and what they give back.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use docker_tests::{Daemon, IMAGE};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::process::descriptors;
use testkit::wait_until;

/// Sends the head of a request and does not wait for the answer.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a limit");
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("ask");
    stream
}

/// The first bytes of an answer.
fn head(stream: &mut UnixStream) -> String {
    let mut bytes = [0; 1024];
    let count = stream.read(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn clients_that_have_gone_leave_nothing_open() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "-i", "--name", "idle", IMAGE, "sleep", "1000"]);
    let pid = daemon.pid().to_string();
    let open = || descriptors(&pid).len();
    let before = open();
    let mut clients = Vec::new();
    for _ in 0..10 {
        for path in ["attach?stream=1&stdout=1", "attach?stream=1&stdin=1&stdout=1"] {
            let mut client = daemon.upgrade(&format!("/containers/idle/{path}"), "").expect("attach");
            assert!(head(&mut client).starts_with("HTTP/1.1 101"));
            clients.push(client);
        }
        // One that is done with sending is still there.
        let half = daemon.upgrade("/containers/idle/attach?stream=1&stdin=1&stdout=1", "").expect("attach");
        half.shutdown(Shutdown::Write).expect("stop sending");
        clients.push(half);
        for (method, path) in [
            ("GET", "/containers/idle/logs?stdout=1&follow=1"),
            ("GET", "/containers/idle/stats"),
            ("POST", "/containers/idle/wait"),
            ("POST", "/containers/idle/attach?stream=1&stdout=1"),
            ("GET", "/events"),
        ] {
            clients.push(ask(&daemon, method, path, ""));
        }
        let exec = r#"{"AttachStdin": true, "AttachStdout": true, "Cmd": ["sleep", "1000"]}"#;
        let made = daemon.raw("POST", "/containers/idle/exec", exec).expect("make an exec");
        let id = made.body.split('"').nth(3).expect("its id").to_owned();
        clients.push(daemon.upgrade(&format!("/exec/{id}/start"), "{}").expect("start it"));
    }
    wait_until("all clients to be served", || match open() {
        // Each has its connection, and most one to the shim.
        open if open >= before + clients.len() => Ok(()),
        open => Err((before, open)),
    });
    drop(clients);
    wait_until("the daemon to let go of them", || match open() {
        open if open <= before + 8 => Ok(()),
        open => Err((before, open)),
    });
}

#[test]
fn too_many_connections_are_refused_with_a_word() {
    let daemon = Daemon::start_empty();
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |most| most.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).expect("raise the own limit");
    let mut clients = Vec::new();
    let refused = loop {
        assert!(clients.len() < 3000, "there is no bound");
        let mut client = ask(&daemon, "GET", "/_ping", "");
        let answer = head(&mut client);
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        clients.push(client);
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("too many connections"), "{refused}");
    clients.truncate(10);
    wait_until("a place to be free", || match daemon.raw("GET", "/_ping", "") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// A file system whose program never answers, as a server that is dead.
#[test]
fn a_file_system_that_does_not_answer_stops_nothing_else() {
    let daemon = Daemon::start();
    let dead = daemon.scratch("dead");
    std::fs::create_dir_all(&dead).expect("make a directory");
    let mount = format!(
        "exec 5<>/dev/fuse && mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 none {} && echo mounted && exec sleep 1000",
        dead.display()
    );
    let mut holder = daemon.in_namespaces(&["bash", "-c", &mount]);
    let mut holder = holder.stdout(std::process::Stdio::piped()).spawn().expect("mount it");
    let mut word = [0; 8];
    holder.stdout.as_mut().expect("its output").read_exact(&mut word).expect("it is mounted");
    let body = format!(
        r#"{{"Image": "{IMAGE}", "HostConfig": {{"Mounts": [{{"Type": "bind", "Source": "{}/x", "Target": "/x"}}]}}}}"#,
        dead.display()
    );
    let hanging: Vec<UnixStream> =
        (0..100).map(|_| ask(&daemon, "POST", "/containers/create", &body)).collect();
    // Small requests are answered, and work that does not touch it is done.
    for path in ["/_ping", "/version", "/containers/json", "/info"] {
        assert_eq!(daemon.raw("GET", path, "").expect("an answer").status, 200, "{path}");
    }
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "other:/data", IMAGE, "echo", "alive"]), "alive");
    // Those that find no thread are told why.
    let mut last = hanging.last().expect("a request").try_clone().expect("share it");
    let told = head(&mut last);
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("do not come back"), "{told}");
    holder.kill().expect("end it, and with it the file system");
    holder.wait().expect("bury it");
}

/// Sends the head of a request with a body of pieces, and the beginning of an archive.
fn upload(daemon: &Daemon, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set a limit");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\nDock\r\n"
    );
    stream.write_all(head.as_bytes()).expect("begin");
    stream
}

#[test]
fn clients_that_send_half_an_archive_and_wait_stop_nothing_else() {
    let daemon = Daemon::start();
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |most| most.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).expect("raise the own limit");
    let unfinished = || std::fs::read_dir(daemon.root().join("images/ingest")).expect("list").count();
    // More than there are threads.
    let mut waiting: Vec<UnixStream> = (0..600).map(|_| upload(&daemon, "/build?q=1")).collect();
    for _ in 0..40 {
        waiting.push(upload(&daemon, "/images/load"));
        waiting.push(upload(&daemon, "/images/create?fromSrc=-&repo=half"));
    }
    // Those that find no place are told so, of each kind.
    let mut told = String::new();
    for kind in ["build contexts", "images to load", "images to import"] {
        wait_until("one of them to be refused", || {
            for client in &waiting {
                client.set_nonblocking(true).expect("do not wait for it");
                let mut bytes = [0; 4096];
                if let Ok(count) = (&*client).read(&mut bytes) {
                    told += &String::from_utf8_lossy(&bytes[..count]);
                }
            }
            if told.contains(&format!("16 archives of {kind}")) { Ok(()) } else { Err(told.len()) }
        });
    }
    for path in ["/_ping", "/version", "/containers/json", "/images/json", "/info"] {
        assert_eq!(daemon.raw("GET", path, "").expect("an answer").status, 200, "{path}");
    }
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "other:/data", IMAGE, "echo", "alive"]), "alive");
    let saved = daemon.scratch("saved").join("saved.tar");
    daemon.ok(&["save", "-o", saved.to_str().expect("UTF-8"), IMAGE]);
    // Their places are free when they have gone, and nothing is left of what they began.
    drop(waiting);
    wait_until("what was begun to be gone", || match unfinished() {
        0 => Ok(()),
        left => Err(left),
    });
    daemon.ok(&["load", "-i", saved.to_str().expect("UTF-8")]);
    let built = daemon.docker_with(&format!("FROM {IMAGE}\nLABEL built=yes\n"), &["build", "-q", "-"]);
    assert_eq!(built.code, 0, "{built:?}");
}

/// A container whose user database lies where nothing ever answers, as whoever is inside may have it.
#[test]
fn processes_for_a_container_whose_files_do_not_answer_hold_up_no_other() {
    let daemon = Daemon::start();
    let hang = "exec 5<>/dev/fuse && mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 none /etc && \
                echo mounted && exec sleep 1000";
    daemon.ok(&["run", "-d", "--privileged", "--name", "dead", IMAGE, "sh", "-c", hang]);
    daemon.ok(&["run", "-d", "--name", "alive", IMAGE, "sleep", "1000"]);
    wait_until("its files to be lost", || {
        let said = daemon.docker(&["logs", "dead"]);
        if said.stdout.contains("mounted") { Ok(()) } else { Err(said) }
    });
    let begin = || {
        let made = daemon.raw("POST", "/containers/dead/exec", r#"{"Cmd": ["true"]}"#).expect("make an exec");
        let id = made.body.split('"').nth(3).expect("its id").to_owned();
        ask(&daemon, "POST", &format!("/exec/{id}/start"), r#"{"Detach": true}"#)
    };
    let mut waiting: Vec<UnixStream> = (0..40).map(|_| begin()).collect();
    // More than there are threads for the engine's own work would be stuck, and all of these with it.
    for path in ["/_ping", "/containers/json", "/info"] {
        assert_eq!(daemon.raw("GET", path, "").expect("an answer").status, 200, "{path}");
    }
    assert_eq!(daemon.ok(&["exec", "alive", "echo", "alive"]), "alive");
    let told = head(waiting.last_mut().expect("a request"));
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("do not come back"), "{told}");
    daemon.ok(&["rm", "-f", "dead"]);
    assert_eq!(daemon.ok(&["exec", "alive", "echo", "alive"]), "alive");
}

/// The shim that holds the container `id`.
fn shim_of(id: &str) -> String {
    let name = format!("gantry-shim {}", &id[..12]);
    let is_shim = |pid: &str| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).trim_end_matches(['\0', ' ']) == name
    };
    let mut processes = std::fs::read_dir("/proc").expect("list").flatten();
    let found = processes.find_map(|entry| entry.file_name().into_string().ok().filter(|pid| is_shim(pid)));
    found.expect("its shim")
}

#[test]
fn a_thousand_clients_that_are_killed_leave_no_descriptor() {
    const CLIENTS: usize = 1000;
    const SETTLING: std::time::Duration = std::time::Duration::from_millis(25);
    let daemon = Daemon::start();
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |most| most.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).expect("raise the own limit");
    let id = daemon.ok(&["run", "-d", "-i", "--name", "idle", IMAGE, "sleep", "1000"]);
    let (pid, shim) = (daemon.pid().to_string(), shim_of(&id));
    let open = || (descriptors(&pid).len(), descriptors(&shim).len());
    // What is opened once and kept.
    drop(daemon.upgrade("/containers/idle/attach?stream=1&stdin=1&stdout=1", "").expect("attach"));
    daemon.ok(&["exec", "idle", "true"]);
    // What these two had is let go of by and by: the least is what stays.
    let before = (0..20).map(|_| open()).inspect(|_| std::thread::sleep(SETTLING));
    let before = before.reduce(|one, other| (one.0.min(other.0), one.1.min(other.1))).expect("a look");
    for round in 0..2 {
        let clients: Vec<UnixStream> = (0..CLIENTS)
            .map(|number| {
                let path = if number % 2 == 0 { "stream=1&stdout=1" } else { "stream=1&stdin=1&stdout=1" };
                let path = format!("/containers/idle/attach?{path}");
                let mut client = daemon.upgrade(&path, "").expect("attach");
                assert!(head(&mut client).starts_with("HTTP/1.1 101"), "client {number} of round {round}");
                client
            })
            .collect();
        // Clients that people start, too.
        let mut programs: Vec<_> = (0..5)
            .map(|_| {
                let mut client = daemon.client(&["attach", "--no-stdin", "idle"]);
                client.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                client.spawn().expect("run docker")
            })
            .collect();
        wait_until("all clients to be served", || match open() {
            (daemon, shim) if daemon >= before.0 + CLIENTS + 5 && shim >= before.1 + CLIENTS + 5 => Ok(()),
            open => Err((before, open)),
        });
        for program in &mut programs {
            program.kill().expect("kill it");
            program.wait().expect("bury it");
        }
        // As the kernel does with all that a killed program has.
        drop(clients);
        wait_until("all of them to be let go of", || match open() {
            (daemon, shim) if daemon <= before.0 && shim <= before.1 => Ok(()),
            open => Err((before, open)),
        });
    }
}

/// Four containers whose files cannot be removed, since they lie on what never answers.
#[test]
fn removals_that_do_not_end_stop_no_request_and_no_other_removal() {
    let daemon = Daemon::start();
    let directory = |id: &str| daemon.root().join("containers").join(id);
    let ids: Vec<String> = (0..4).map(|_| daemon.ok(&["create", IMAGE, "true"])).collect();
    let mut script = String::new();
    for (number, id) in ids.iter().enumerate() {
        let (fd, dead) = (number + 5, directory(id).join("dead"));
        std::fs::create_dir(&dead).expect("make a directory");
        script += &format!(
            "exec {fd}<>/dev/fuse && mount -i -t fuse -o fd={fd},rootmode=40000,user_id=0,group_id=0 none {} && ",
            dead.display()
        );
    }
    script += "echo mounted && exec sleep 1000";
    let mut holder = daemon.in_namespaces(&["bash", "-c", &script]);
    let mut holder = holder.stdout(std::process::Stdio::piped()).spawn().expect("mount them");
    let mut word = [0; 8];
    holder.stdout.as_mut().expect("its output").read_exact(&mut word).expect("they are mounted");
    for id in &ids {
        assert_eq!(daemon.raw("DELETE", &format!("/containers/{id}"), "").expect("an answer").status, 204);
    }
    let thrown = || std::fs::read_dir(daemon.root().join("trash")).expect("list").count();
    wait_until(
        "what can be removed to be gone",
        || if thrown() == ids.len() { Ok(()) } else { Err(thrown()) },
    );
    // While they hang: every small request, and work with files of its own.
    for path in ["/_ping", "/version", "/containers/json", "/images/json", "/info"] {
        assert_eq!(daemon.raw("GET", path, "").expect("an answer").status, 200, "{path}");
    }
    assert_eq!(daemon.ok(&["run", "--rm", IMAGE, "echo", "alive"]), "alive");
    wait_until("what was removed after them to be gone", || {
        if thrown() == ids.len() { Ok(()) } else { Err(thrown()) }
    });
    holder.kill().expect("end it, and with it the file systems");
    holder.wait().expect("bury it");
}

#[test]
fn the_limit_of_open_files_is_raised_for_the_daemon_and_for_no_program() {
    let daemon = Daemon::start_with_files(300);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("that of open files");
    let numbers: Vec<&str> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers[0], numbers[1], "as many as it is allowed to: {line}");
    assert_ne!(numbers[0], "300");
    assert_eq!(daemon.ok(&["run", "--rm", IMAGE, "sh", "-c", "ulimit -Sn"]), "300");
    daemon.ok(&["run", "-d", "--name", "on", IMAGE, "sleep", "1000"]);
    assert_eq!(
        daemon.ok(&["exec", "on", "sh", "-c", "ulimit -Sn; ulimit -Hn"]),
        format!("300\n{}", numbers[1])
    );
    assert_eq!(
        daemon.ok(&["run", "--rm", "--ulimit", "nofile=20:40", IMAGE, "sh", "-c", "ulimit -Sn; ulimit -Hn"]),
        "20\n40"
    );
}

#[test]
fn a_shim_that_stands_still_is_named_by_the_doctor_and_its_container_can_be_removed() {
    let mut daemon = Daemon::start();
    let id = daemon.ok(&["run", "-d", "--name", "stuck", IMAGE, "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "well", IMAGE, "sleep", "1000"]);
    let told = |daemon: &Daemon| {
        let told = docker_tests::run(daemon.gantry("", &["doctor", "-o", "json"]), "").stdout;
        told.contains(&format!("container or pod {} is unreachable", &id[..12]))
    };
    assert!(!told(&daemon), "it answers");
    let shim = shim_of(&id).parse().ok().and_then(rustix::process::Pid::from_raw).expect("its number");
    rustix::process::kill_process(shim, rustix::process::Signal::STOP).expect("stop its shim");
    assert!(told(&daemon), "{:?}", docker_tests::run(daemon.gantry("", &["doctor"]), ""));
    // Neither a crash nor an orderly end of the daemon is held up, nor its next start.
    daemon.kill();
    daemon.launch();
    daemon.stop();
    daemon.launch();
    assert_eq!(daemon.ok(&["exec", "well", "echo", "on"]), "on");
    assert_eq!(daemon.inspect("stuck", "{{.State.Status}}"), "running");
    daemon.ok(&["rm", "-f", "stuck"]);
    assert!(!told(&daemon), "nothing is left of it");
    // Its parent may not have buried it yet.
    let place = format!("/proc/{}/cmdline", shim.as_raw_pid());
    wait_until("the shim to have ended", || match std::fs::read(&place) {
        Ok(words) if !words.is_empty() => Err(String::from_utf8_lossy(&words).into_owned()),
        _ => Ok(()),
    });
}
