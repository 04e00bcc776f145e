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
