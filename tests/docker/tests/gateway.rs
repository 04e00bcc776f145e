//! What clients do in the middle of builds, and beside them: containers of a build, rules for sources, the builder
//! as a stream.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use docker_tests::{Daemon, IMAGE, Terminal, run};

fn context(daemon: &Daemon, name: &str, dockerfile: &str) -> String {
    let directory = daemon.scratch(name);
    std::fs::write(directory.join("Dockerfile"), dockerfile).expect("write a file");
    directory.display().to_string()
}

#[test]
fn a_client_looks_around_in_what_it_has_built() {
    let daemon = Daemon::start();
    let path = context(&daemon, "context", &format!("FROM {IMAGE}\nRUN echo built > /made\n"));
    let mut command = daemon.newest(&["buildx", "debug", "--on=always", "--invoke=/bin/sh", "build", &path]);
    command.env("BUILDX_EXPERIMENTAL", "1");
    let mut terminal = Terminal::start(&command, 40, 100);
    terminal.wait_for("/ #");
    terminal.type_keys("cat /made; echo of-$(hostname); tty\n");
    terminal.wait_for("of-buildkitsandbox");
    terminal.wait_for("/dev/pts/");
    assert!(terminal.screen().contains("built"), "{}", terminal.screen());
    terminal.type_keys("exit 3\n");
    terminal.wait_for("exit code: 3");
    terminal.type_keys("exit\n");
    terminal.finish();
    testkit::wait_until("its container to be gone", || {
        let left = std::fs::read_dir(daemon.root().join("builder/mounts")).map_or(0, Iterator::count);
        if left == 0 { Ok(()) } else { Err(left) }
    });
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn a_client_looks_around_in_what_a_command_left_that_failed() {
    let daemon = Daemon::start();
    let dockerfile = format!("FROM {IMAGE}\nRUN echo before > /before\nRUN echo half > /left; exit 7\n");
    let path = context(&daemon, "context", &dockerfile);
    let mut command = daemon.newest(&["buildx", "debug", "--on=error", "--invoke=/bin/sh", "build", &path]);
    command.env("BUILDX_EXPERIMENTAL", "1");
    let mut terminal = Terminal::start(&command, 40, 100);
    terminal.wait_for("/ #");
    terminal.type_keys("echo $(cat /before)-$(cat /left)-way\n");
    terminal.wait_for("before-half-way");
    terminal.type_keys("exit 3\n");
    terminal.wait_for("exit code: 3");
    terminal.type_keys("exit\n");
    terminal.finish();
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn a_build_has_the_sources_that_its_client_lets_it_have() {
    let daemon = Daemon::start();
    let path = context(&daemon, "context", "FROM none.invalid/none:1\nRUN echo built > /made\n");
    let build = |policy: &str| {
        let file = daemon.scratch("policy").join("policy.json");
        std::fs::write(&file, policy).expect("write a file");
        let mut command = daemon.newest(&["build", "--tag", "app:1", &path]);
        command.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", &file);
        run(command, "")
    };
    let other = format!(
        r#"{{"rules": [{{"action": "CONVERT", "selector": {{"identifier": "docker-image://none.invalid/none:*"}},
        "updates": {{"identifier": "docker-image://docker.io/library/{IMAGE}"}}}}]}}"#
    );
    let built = build(&other);
    assert_eq!(built.code, 0, "{built:?}\n{}", daemon.log());
    assert_eq!(daemon.ok(&["run", "--rm", "app:1", "cat", "/made"]), "built");
    let denied = build(
        r#"{"rules": [{"action": "DENY", "selector": {"identifier": "docker-image://none.invalid/*"}}]}"#,
    );
    assert!(denied.code != 0 && denied.stderr.contains("denied by policy"), "{denied:?}");
}

#[test]
fn the_builder_is_reached_through_a_stream() {
    let daemon = Daemon::start_empty();
    let mut command = daemon.newest(&["buildx", "dial-stdio"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run the client");
    // What a client of HTTP/2 begins with: its preface, and settings that say nothing.
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let mut input = child.stdin.take().expect("an input");
    input.write_all(begin).expect("write");
    let mut answer = [0; 9];
    child.stdout.take().expect("an output").read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[3..5], [4, 0], "the server's settings: {answer:?}");
    drop(input);
    child.kill().expect("end the client");
    child.wait().expect("wait for the client");
    assert!(Path::new(&daemon.socket()).exists());
}
