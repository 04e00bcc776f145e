//! The Docker API from elsewhere: over TCP with and without TLS, and over ssh.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use docker_tests::{Daemon, IMAGE, run};

/// `docker` in the daemon's network, for `host`.
fn client(daemon: &Daemon, host: &str, arguments: &[&str]) -> Command {
    let mut command = daemon.on_host("docker", arguments);
    command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", daemon.scratch("config"));
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_CERT_PATH");
    command
}

fn started(flags: &[&str]) -> Daemon {
    let mut daemon = Daemon::start();
    daemon.stop();
    daemon.launch_with(flags);
    daemon
}

#[test]
fn a_loopback_address_needs_no_certificate() {
    let daemon = started(&["--docker-address", "127.0.0.1:2375"]);
    let host = "tcp://127.0.0.1:2375";
    let ran = run(client(&daemon, host, &["version", "--format", "{{.Server.APIVersion}}"]), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1.51\n"), "{ran:?}");
    // The end of the input does not end the output.
    let script = "wc -l; echo done";
    let ran = run(client(&daemon, host, &["run", "-i", "--rm", IMAGE, "sh", "-c", script]), "a\nb\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "2\ndone\n"), "{ran:?}");
    let ran = run(client(&daemon, "tcp://127.0.0.1:2376", &["version"]), "");
    assert_ne!(ran.code, 0, "nobody asked for another port");
    // Nor is a page in a browser served, whether it sends to the address or to a name that has come to mean it.
    let answer = |host: &str, more: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/2375; printf 'GET /info HTTP/1.1\\r\\nHost: {host}\\r\\n{more}Connection: close\\r\\n\\r\\n' >&3; head -n 1 <&3"
        );
        run(daemon.on_host("bash", &["-c", &script]), "").stdout
    };
    assert_eq!(answer("127.0.0.1:2375", ""), "HTTP/1.1 200 OK\r\n");
    let forbidden = "HTTP/1.1 403 Forbidden\r\n";
    assert_eq!(answer("127.0.0.1:2375", "Origin: http://evil.example\\r\\n"), forbidden);
    assert_eq!(answer("evil.example:2375", ""), forbidden);
}

#[test]
fn a_thousand_who_only_connect_lock_nobody_out() {
    for (flag, tls) in [("127.0.0.1:2375", false), ("tcp://0.0.0.0:2376", true)] {
        let daemon = started(&["--docker-address", flag]);
        let port = if tls { 2376 } else { 2375 };
        // All stay open while the client is served, and some have begun to say something.
        let script = format!(
            "trap '' PIPE; ulimit -n 4096; for i in $(seq 1000); do exec {{fd}}<>/dev/tcp/127.0.0.1/{port} || exit 9; \
             if [ $((i % 2)) = 0 ]; then printf G >&$fd 2>/dev/null; fi; done; \
             exec docker version --format '{{{{.Server.APIVersion}}}}'"
        );
        let mut command = daemon.on_host("bash", &["-c", &script]);
        command.env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"));
        command.env("DOCKER_CONFIG", daemon.scratch("config")).env_remove("DOCKER_CONTEXT");
        if tls {
            let own = daemon.root().join("docker-tls/client");
            command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", own);
        }
        let ran = run(command, "");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "1.51\n"), "{flag}: {ran:?}");
    }
}

#[test]
fn another_address_is_for_clients_with_a_certificate_of_its_own_authority() {
    let daemon = started(&["--docker-address", "tcp://0.0.0.0:2376"]);
    let host = "tcp://127.0.0.1:2376";
    let with = |certificates: &std::path::Path, arguments: &[&str], input: &str| {
        let mut command = client(&daemon, host, arguments);
        command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", certificates);
        run(command, input)
    };
    let own = daemon.root().join("docker-tls/client");
    let key = std::fs::metadata(own.join("key.pem")).expect("a key").permissions().mode();
    assert_eq!(key & 0o777, 0o600, "nobody else reads it");
    let ran = with(&own, &["version", "--format", "{{.Server.APIVersion}}"], "");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1.51\n"), "{ran:?}");
    let ran = with(&own, &["run", "-i", "--rm", IMAGE, "sh", "-c", "wc -l; echo done"], "a\nb\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "2\ndone\n"), "{ran:?}");

    // The administrator of the cluster is nobody here, nor is one without a certificate.
    let foreign = daemon.scratch("foreign");
    std::fs::copy(own.join("ca.pem"), foreign.join("ca.pem")).expect("copy");
    let pki = daemon.root().join("pki");
    std::fs::copy(pki.join("admin.crt"), foreign.join("cert.pem")).expect("copy");
    std::fs::copy(pki.join("admin.key"), foreign.join("key.pem")).expect("copy");
    assert_ne!(with(&foreign, &["version"], "").code, 0);
    let request = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
    let plain = run(daemon.on_host("busybox", &["nc", "127.0.0.1", "2376"]), request);
    assert!(plain.stdout.contains("Client sent an HTTP request to an HTTPS server."), "{plain:?}");
    let script = format!(
        "exec openssl s_client -quiet -connect 127.0.0.1:2376 -CAfile {}",
        own.join("ca.pem").display()
    );
    let bare = run(daemon.on_host("sh", &["-c", &script]), request);
    assert!(!bare.stdout.contains("HTTP/1.1 200"), "{bare:?}");
}

#[test]
fn a_wrong_address_is_refused_before_anything_starts() {
    let daemon = Daemon::start_empty();
    let ran = run(daemon.gantry("2", &["up", "--docker-address", "2376"]), "");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("`docker-address` is `2376` (from flag): must be an address and a port"),
        "{ran:?}"
    );
}

#[test]
fn requests_come_through_a_pipe_whose_end_comes_at_once() {
    let daemon = Daemon::start();
    let request = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
    let told = daemon.docker_with(request, &["system", "dial-stdio"]);
    assert!(told.code == 0 && told.stdout.ends_with("\r\n\r\nOK"), "{told:?}");

    // What ssh does, without another machine: the command behind the host's name is run there.
    let programs = daemon.scratch("programs");
    let ssh = programs.join("ssh");
    let there = format!(
        "#!/bin/sh\nwhile [ \"$1\" != there ]; do shift; done\nshift\nDOCKER_HOST=unix://{} exec sh -c \"$*\"\n",
        daemon.socket().display()
    );
    std::fs::write(&ssh, there).expect("write");
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let over_ssh = |arguments: &[&str], input: &str| {
        let mut command = daemon.client(arguments);
        command.env("DOCKER_HOST", "ssh://there").env("PATH", &path);
        run(command, input)
    };
    let ran = over_ssh(&["run", "-i", "--rm", IMAGE, "sh", "-c", "wc -l; echo done"], "a\nb\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "2\ndone\n"), "{ran:?}");
    let ran = over_ssh(&["run", "--rm", IMAGE, "sh", "-c", "yes | head -n 100000; exit 3"], "");
    assert_eq!((ran.code, ran.stdout.len()), (3, 200_000), "{}", ran.stderr);
}

#[test]
fn who_only_reads_is_served_and_who_goes_is_noticed() {
    let daemon = Daemon::start_empty();
    let open =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("the daemon's descriptors").count();
    // What is opened once and kept.
    daemon.ok(&["volume", "create", "v0"]);
    let before = open();
    let mut all: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).expect("connect");
            stream.write_all(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n").expect("ask");
            stream.shutdown(Shutdown::Write).expect("say no more");
            stream
        })
        .collect();
    daemon.ok(&["volume", "create", "v1"]);
    for stream in &mut all {
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a limit");
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("\"v1\"") {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).expect("an event");
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..count]);
        }
    }
    assert!(open() >= before + 20, "{before} {}", open());
    // Nothing is written to them any more that could fail.
    drop(all);
    testkit::wait_until("the connections to end", || match open() {
        open if open < before + 10 => Ok(()),
        open => Err((before, open)),
    });
}
