//! What is shown of containers, images and the daemon, as other programs read it.

use docker_tests::{Daemon, IMAGE};
use serde_json::Value;

#[track_caller]
fn json(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.raw("GET", path, "").expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn a_container_is_shown_with_all_that_it_was_made_with() {
    let daemon = Daemon::start();
    let context = daemon.scratch("context");
    let dockerfile = format!("FROM {IMAGE}\nSTOPSIGNAL SIGUSR1\nVOLUME /image\n");
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("write a file");
    daemon.ok(&["build", "--tag", "own:1", &context.display().to_string()]);
    let words = ["create", "--name", "box1", "-v", "/bare", "-v", "named:/named", "-m", "64m"];
    let more = ["--mount", "type=volume,dst=/long", "--annotation", "a.b=c", "own:1", "true"];
    daemon.ok(&[&words[..], &more].concat());
    let shown = json(&daemon, "/containers/box1/json");
    assert_eq!(shown["Config"]["Volumes"], serde_json::json!({"/bare": {}, "/image": {}}), "{shown}");
    assert_eq!(shown["Config"]["StopSignal"], "SIGUSR1");
    assert_eq!(shown["HostConfig"]["MemorySwap"], 128 << 20);
    assert_eq!(shown["HostConfig"]["Annotations"]["a.b"], "c");
    let listed = json(&daemon, "/containers/json?all=1");
    assert_eq!(listed[0]["HostConfig"]["Annotations"]["a.b"], "c", "{listed}");
    let body = format!(r#"{{"Image":"{IMAGE}","Tty":true,"HostConfig":{{"ConsoleSize":[31,97]}}}}"#);
    assert_eq!(daemon.raw("POST", "/containers/create?name=box2", &body).expect("an answer").status, 201);
    assert_eq!(
        json(&daemon, "/containers/box2/json")["HostConfig"]["ConsoleSize"],
        serde_json::json!([31, 97])
    );
}

#[test]
fn containers_are_found_by_the_host_s_port_and_by_their_own() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", "-p", "127.0.0.1:8089:80", IMAGE, "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "box2", "--expose", "81", IMAGE, "sleep", "1000"]);
    let by = |filter: &str| daemon.ok(&["ps", "--format", "{{.Names}}", "--filter", filter]);
    assert_eq!(by("publish=8089"), "box1");
    assert_eq!(by("publish=8000-9000/tcp"), "box1");
    assert_eq!(by("publish=80"), "");
    assert_eq!(by("publish=8089/udp"), "");
    assert_eq!(by("expose=80-82"), "box2\nbox1");
    daemon.fails(&["ps", "--filter", "publish=127.0.0.1:80"], "filter for 'publish' should not contain ':'");
}

#[test]
fn a_log_is_a_file_that_collectors_read() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "--name", "box1", IMAGE, "sh", "-c", "echo one; echo two >&2; printf rest"]);
    let path = daemon.inspect("box1", "{{.LogPath}}");
    let text = std::fs::read_to_string(path).expect("read the log");
    let mut seen: Vec<(String, String)> = text
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).expect("an entry is JSON");
            assert!(entry["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{entry}");
            let word = |key: &str| entry[key].as_str().expect(key).to_owned();
            (word("stream"), word("log"))
        })
        .collect();
    seen.sort();
    let pair = |stream: &str, log: &str| (stream.to_owned(), log.to_owned());
    assert_eq!(seen, [pair("stderr", "two\n"), pair("stdout", "one\n"), pair("stdout", "rest")]);
    let both = daemon.docker(&["logs", "box1"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("one\nrest", "two\n"));
    daemon.ok(&["run", "--name", "box2", "--log-driver", "local", IMAGE, "echo", "one"]);
    assert_eq!(daemon.inspect("box2", "{{.LogPath}}"), "");
    assert_eq!(daemon.ok(&["logs", "box2"]), "one");
}

#[test]
fn processes_are_shown_in_any_form_the_reaper_among_them() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--init", "--name", "box1", IMAGE, "sleep", "1000"]);
    let top = |words: &[&str]| daemon.ok(&[&["top", "box1"], words].concat());
    let usual = top(&[]);
    let lines: Vec<&str> = usual.lines().collect();
    assert_eq!(lines.len(), 3, "{usual}");
    assert!(lines[0].starts_with("UID") && lines[0].ends_with("CMD"), "{usual}");
    assert!(lines[1].contains("init") && lines[2].ends_with("sleep 1000"), "{usual}");
    let user = top(&["aux"]);
    assert!(
        user.starts_with("USER") && user.lines().next().is_some_and(|line| line.ends_with("COMMAND")),
        "{user}"
    );
    let own = top(&["-eo", "pid,comm", "--sort=-pid"]);
    assert!(own.lines().nth(1).is_some_and(|line| line.ends_with("sleep")), "{own}");
    daemon
        .fails(&["top", "box1", "-o", "pid,nonsense"], "unknown user-defined format specifier \"nonsense\"");
    daemon.fails(&["top", "box1", "-o", "comm"], "Couldn't find PID field in ps output");
}

#[test]
fn the_daemon_tells_what_it_stands_on() {
    let daemon = Daemon::start();
    let info = json(&daemon, "/info");
    let pools = info["DefaultAddressPools"].as_array().expect("pools");
    assert!(pools.iter().any(|pool| pool["Base"] == "172.17.0.0/16" && pool["Size"] == 16), "{info}");
    assert_eq!(info["FirewallBackend"]["Driver"], "nftables");
    let status = info["DriverStatus"].as_array().expect("pairs");
    assert!(status.iter().any(|pair| pair[0] == "Supports d_type" && pair[1] == "true"), "{info}");
    assert_eq!(status[0][0], "Backing Filesystem");
    assert!(info.get("BridgeNfIptables").is_none());
    let old = json(&daemon, "/v1.49/info");
    assert_eq!(
        (&old["BridgeNfIptables"], &old["BridgeNfIp6tables"]),
        (&false.into(), &false.into()),
        "{old}"
    );
    let context = daemon.scratch("context");
    std::fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\nENV A=1\nENV B=2\n")).expect("write");
    daemon.ok(&["build", "--tag", "own:1", &context.display().to_string()]);
    let usage = json(&daemon, "/system/df");
    assert_eq!(usage["Images"].as_array().map(Vec::len), Some(2), "{usage}");
}

#[test]
fn a_configuration_is_read_again_when_the_daemon_is_told_to() {
    let daemon = Daemon::start_empty();
    let pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("tell the daemon");
    let filters = ["--filter", "type=daemon", "--filter", "event=reload"];
    let format = "{{.Action}} {{index .Actor.Attributes \"cluster-domain\"}}";
    let watcher =
        daemon.docker_running(&[&["events", "--since", "5m", "--format", format], &filters[..]].concat());
    watcher.wait_for("reload cluster.local\n");
    assert_eq!(daemon.raw("GET", "/_ping", "").expect("an answer").status, 200);
}

#[test]
fn what_is_no_document_is_refused_in_go_s_words() {
    let daemon = Daemon::start();
    let check = |path: &str, body: &str, expected: &str| {
        let answer = daemon.raw("POST", path, body).expect("an answer");
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, told["message"].as_str()), (400, Some(expected)), "{path} {body}");
    };
    let key = "invalid JSON: invalid character 'i' looking for beginning of object key string";
    for path in ["/containers/create", "/networks/create", "/volumes/create"] {
        check(path, "{invalid json", key);
        check(path, "{} trailing", "unexpected content after JSON");
    }
    check(
        "/containers/create",
        &format!(r#"{{"Image":"{IMAGE}","HostConfig":{{"BlkioWeight":-1}}}}"#),
        "invalid JSON: json: cannot unmarshal number -1 into Go struct field HostConfig.HostConfig.BlkioWeight of type uint16",
    );
    check(
        "/containers/create",
        &format!(r#"{{"Image":"{IMAGE}","HostConfig":{{"Memory":100000000000000000000}}}}"#),
        "invalid JSON: json: cannot unmarshal number 100000000000000000000 into Go struct field HostConfig.HostConfig.Memory of type int64",
    );
    daemon.fails(
        &["run", "--cpuset-cpus", "4000", IMAGE],
        "Requested CPUs are not available - requested 4000, available: 0",
    );
}

#[test]
fn who_is_named_in_an_error_is_named_as_asked_for() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let id = daemon.inspect("box1", "{{.Id}}");
    daemon.fails(
        &["rm", "box1"],
        "cannot remove container \"box1\": container is running: stop the container before removing or force remove",
    );
    daemon.ok(&["kill", "box1"]);
    daemon.fails(&["kill", "box1"], &format!("cannot kill container: box1: container {id} is not running"));
    daemon.fails(&["kill", "nobody"], "cannot kill container: nobody: No such container: nobody");
    daemon.ok(&["start", "box1"]);
    daemon.ok(&["pause", "box1"]);
    daemon.fails(&["exec", "box1", "true"], "Container box1 is paused, unpause the container before exec");
    daemon.fails(&["attach", "box1"], "cannot attach to a paused container");
    daemon.ok(&["unpause", "box1"]);
    daemon.fails(
        &["exec", "-u", "nope", "box1", "true"],
        "unable to find user nope: no matching entries in passwd file",
    );
}
