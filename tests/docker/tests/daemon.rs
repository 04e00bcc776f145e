//! The daemon itself: what it says of itself, its protocol, and its death.

use std::io::{Read, Write};

use docker_tests::{Daemon, IMAGE};

#[test]
fn the_daemon_describes_itself() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.ok(&[
            "version",
            "--format",
            "{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}"
        ]),
        "1.51 1.24 linux"
    );
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    assert_eq!(
        daemon.ok(&["info", "--format", "{{.ContainersRunning}} {{.Images}} {{.OSType}} {{.Driver}}"]),
        "1 1 linux overlay2"
    );
    let usage = daemon.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(usage.contains("Images 1 1") && usage.contains("Containers 1 1"), "{usage}");
    daemon.fails(&["node", "ls"], "This node is not a swarm manager");
    daemon.fails(&["service", "ls"], "This node is not a swarm manager");
    assert_eq!(daemon.ok(&["plugin", "ls", "--quiet"]), "");
    let top = daemon.ok(&["top", "box1"]);
    assert!(top.starts_with("UID") && top.contains("sleep 1000"), "{top}");
}

#[test]
fn every_answer_carries_the_headers_by_which_clients_negotiate() {
    let daemon = Daemon::start_empty();
    let check = |method: &str, path: &str, status: u16, body: &str| {
        let answer = daemon.raw(method, path, "").expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.body.contains(body), "{method} {path}: {answer:?}");
        for (name, value) in [("api-version", "1.51"), ("ostype", "linux"), ("docker-experimental", "false")]
        {
            assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{method} {path}: {name}");
        }
        assert!(answer.headers.contains_key("server"), "{method} {path}");
    };
    check("GET", "/_ping", 200, "OK");
    check("HEAD", "/_ping", 200, "");
    check("GET", "/v1.24/containers/json", 200, "[]");
    check("GET", "/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is 1.51");
    check("GET", "/v1.23/info", 400, "client version 1.23 is too old. Minimum supported API version is 1.24");
    check("GET", "/nonsense", 404, r#"{"message":"page not found"}"#);
    check("DELETE", "/info", 404, r#"{"message":"page not found"}"#);
    check("GET", "/containers/none/json", 404, r#"{"message":"No such container: none"}"#);
    check("GET", "/swarm", 503, "This node is not a swarm manager");
}

#[test]
fn a_session_is_upgraded_framed_and_half_closed() {
    let daemon = Daemon::start();
    daemon.ok(&["create", "--name", "box1", "-i", IMAGE, "sh", "-c", "cat; echo end >&2"]);
    let mut session = daemon
        .upgrade("/v1.51/containers/box1/attach?stream=1&stdin=1&stdout=1&stderr=1", "")
        .expect("a session");
    let mut head = [0; 23];
    session.read_exact(&mut head).expect("the status");
    assert_eq!(String::from_utf8_lossy(&head), "HTTP/1.1 101 UPGRADED\r\n");
    daemon.ok(&["start", "box1"]);
    session.write_all(b"hello\n").expect("write to the session");
    session.shutdown(std::net::Shutdown::Write).expect("close one half");
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).expect("the other half goes on");
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains("application/vnd.docker.multiplexed-stream"), "{text:?}");
    assert!(text.ends_with("\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x04end\n"), "{text:?}");
}

#[test]
fn a_session_without_upgrade_is_the_body_of_the_answer() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let created = daemon
        .raw("POST", "/containers/box1/exec", r#"{"Cmd":["echo","hi"],"AttachStdout":true}"#)
        .expect("an exec");
    let id: serde_json::Value = serde_json::from_str(&created.body).expect("JSON");
    let path = format!("/exec/{}/start", id["Id"].as_str().expect("an id"));
    let answer = daemon.raw("POST", &path, "{}").expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "\x01\0\0\0\0\0\0\x03hi\n"));
    let again = daemon.raw("POST", &path, "{}").expect("an answer");
    assert_eq!(again.status, 409, "{again:?}");
}

#[test]
fn containers_outlive_a_crash_of_the_daemon() {
    let mut daemon = Daemon::start();
    let script = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done";
    daemon.ok(&["run", "-d", "--name", "clock", IMAGE, "sh", "-c", script]);
    daemon.ok(&["run", "-d", "--name", "brief", IMAGE, "sh", "-c", "sleep 0.5; exit 12"]);
    daemon.ok(&["run", "-d", "--name", "loyal", "--restart", "always", IMAGE, "sleep", "1000"]);
    let pid = daemon.inspect("clock", "{{.State.Pid}}");
    let ticks = |daemon: &Daemon| daemon.ok(&["logs", "clock"]).lines().count();
    let before = ticks(&daemon);
    daemon.kill();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the clock goes on");
    daemon.launch();
    assert_eq!(daemon.inspect("clock", "{{.State.Pid}} {{.State.Status}}"), format!("{pid} running"));
    testkit::wait_until(
        "more ticks",
        || if ticks(&daemon) > before + 3 { Ok(()) } else { Err(ticks(&daemon)) },
    );
    assert_eq!(daemon.ok(&["wait", "brief"]), "12", "an exit while the daemon is away is not lost");
    assert_eq!(daemon.ok(&["exec", "loyal", "echo", "here"]), "here");
    daemon.stop();
    daemon.launch();
    assert_eq!(daemon.inspect("clock", "{{.State.Pid}}"), pid, "nor does a clean stop touch it");
}

#[test]
fn whoever_follows_or_builds_does_not_hold_up_the_daemon_s_end() {
    let mut daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sh", "-c", "echo begun; sleep 1000"]);
    let events = daemon.docker_running(&["events", "--since", "2000-01-01"]);
    let logs = daemon.docker_running(&["logs", "-f", "box1"]);
    let stats = daemon.docker_running(&["stats", "--format", "{{.Name}}", "box1"]);
    let waits = daemon.docker_running(&["wait", "box1"]);
    let context = daemon.scratch("context");
    let dockerfile = format!("FROM {IMAGE}\nRUN echo at work; sleep 1000\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("write the Dockerfile");
    let build = daemon.docker_running(&["build", context.to_str().expect("a path")]);
    events.wait_for("box1");
    logs.wait_for("begun");
    stats.wait_for("box1");
    build.wait_for("\nat work");
    daemon.stop();
    build.wait_for("Build cancelled");
    let log = daemon.log();
    assert!(!log.contains("requests were still under way"), "{log}");
    drop((events, logs, stats, waits, build));
    daemon.launch();
    assert_eq!(daemon.ok(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]), "box1 running");
}
