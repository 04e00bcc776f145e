//! Isolation that was asked for is given or refused, never left out in silence.

use docker_tests::{Daemon, IMAGE};
use serde_json::{Value, json};

/// A create request with these members; `host` goes into its host configuration.
fn body(config: Value, host: Value) -> String {
    let mut body = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": host});
    for (name, value) in config.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body.to_string()
}

#[test]
fn what_would_be_left_out_is_refused() {
    let daemon = Daemon::start();
    daemon.ok(&["run", "-d", "--name", "web", IMAGE, "sleep", "1000"]);
    let none = || json!({});
    let other = || json!({"NetworkMode": "container:web"});
    let option = |text: &str| json!({"SecurityOpt": [text]});
    let refused = [
        (none(), option("x=y"), 400, "invalid --security-opt 2: \"x=y\""),
        (none(), option("x"), 400, "invalid --security-opt 1: \"x\""),
        (none(), option("label=type:svirt_t"), 400, "selinux is disabled or not supported"),
        (none(), option("label=level:s0:c1"), 400, "selinux is disabled or not supported"),
        (none(), option(r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","odd":1}"#), 400, "odd"),
        (
            none(),
            option(r#"seccomp={"defaultAction":"SCMP_ACT_ODD"}"#),
            400,
            "Decoding seccomp profile failed",
        ),
        (none(), json!({"StorageOpt": {"dm.basesize": "10G"}}), 400, "Unknown option dm.basesize"),
        (
            none(),
            json!({"StorageOpt": {"size": "10G"}}),
            400,
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ),
        (none(), json!({"StorageOpt": {"size": "big"}}), 400, "invalid size: 'big'"),
        (none(), json!({"Runtime": "kata"}), 400, "unknown or invalid runtime name: kata"),
        (
            none(),
            json!({"Isolation": "hyperv"}),
            400,
            "invalid isolation (hyperv): linux only supports 'default'",
        ),
        (none(), json!({"KernelMemory": 8388608}), 400, "HostConfig.KernelMemory field is not supported"),
        (
            none(),
            json!({"KernelMemoryTCP": 8388608}),
            400,
            "HostConfig.KernelMemoryTCP field is not supported",
        ),
        (none(), json!({"CgroupParent": "../other"}), 400, "invalid cgroup parent"),
        (none(), json!({"CpuRealtimeRuntime": 2000, "CpuRealtimePeriod": 1000}), 400, "real-time"),
        (none(), json!({"DeviceCgroupRules": ["x 1:1 r"]}), 400, "invalid device cgroup rule format"),
        (
            none(),
            json!({"Ulimits": [{"Name": "odd", "Soft": 1, "Hard": 1}]}),
            400,
            "invalid ulimit type: odd",
        ),
        (none(), json!({"CapDrop": ["ODD"]}), 400, "unknown capability: \"CAP_ODD\""),
        (none(), json!({"LogConfig": {"Type": "odd"}}), 400, "no log driver named 'odd' is registered"),
        (none(), json!({"Links": ["nobody:db"]}), 400, "could not get container for nobody"),
        (
            none(),
            json!({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}),
            400,
            "could not select device driver \"\" with capabilities: [[gpu]]",
        ),
        (
            none(),
            json!({"PortBindings": {"80/tcp": [{"HostIp": "::1", "HostPort": "80"}]}}),
            501,
            "IPv6 is not supported",
        ),
        (
            json!({"Hostname": "h"}),
            json!({"UTSMode": "host"}),
            400,
            "conflicting options: hostname and the UTS mode",
        ),
        (json!({"Hostname": "h"}), other(), 400, "conflicting options: hostname and the network mode"),
        (
            json!({"ExposedPorts": {"80/tcp": {}}}),
            other(),
            400,
            "conflicting options: port exposing and the container type network mode",
        ),
        (none(), json!({"Binds": ["data:/data"], "VolumeDriver": "odd"}), 404, "plugin \"odd\" not found"),
        (json!({"Volumes": {"/data": {}}}), json!({"VolumeDriver": "odd"}), 404, "plugin \"odd\" not found"),
    ];
    for (config, host, status, message) in refused {
        let body = body(config, host);
        let answer = daemon.raw("POST", "/containers/create", &body).expect("an answer");
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert!(said["message"].as_str().expect("a message").contains(message), "{body}: {answer:?}");
    }
    for (body, message) in [
        (r#"{"Name":"a","EnableIPv6":true}"#, "networks with IPv6 are not supported"),
        (
            r#"{"Name":"a","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"}}"#,
            "gateway_mode_ipv4\\\" is not supported",
        ),
    ] {
        let answer = daemon.raw("POST", "/networks/create", body).expect("an answer");
        assert_eq!(answer.status, 501, "{answer:?}");
        assert!(answer.body.contains(message), "{answer:?}");
    }
    let volume = r#"{"Name":"small","DriverOpts":{"size":"10M"}}"#;
    let answer = daemon.raw("POST", "/volumes/create", volume).expect("an answer");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("quota size requested but no quota support"), "{answer:?}");
    let update =
        daemon.raw("POST", "/containers/web/update", r#"{"KernelMemory": 8388608}"#).expect("an answer");
    assert_eq!(update.status, 400, "{update:?}");
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]).lines().count(), 1, "nothing was made");
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet"]), "", "nor any volume");
}

#[test]
fn control_groups_are_writable_only_behind_a_border() {
    let daemon = Daemon::start();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let delegates = std::fs::read_to_string("/proc/mounts").expect("procfs is mounted");
    let delegates = delegates.lines().any(|line| line.contains(" cgroup2 ") && line.contains("nsdelegate"));
    let ask = |mode: &str| {
        let host = json!({"SecurityOpt": ["writable-cgroups=true"], "CgroupnsMode": mode});
        daemon.raw("POST", "/containers/create", &body(json!({}), host)).expect("an answer")
    };
    let refusal = |mode| match (unified, delegates, mode) {
        (false, ..) => Some("option WritableCgroups needs cgroup v2:"),
        (true, false, _) => Some("option WritableCgroups needs cgroup v2 mounted with nsdelegate"),
        (true, true, "host") => Some("option WritableCgroups cannot go with the host's cgroup namespace"),
        _ => None,
    };
    for mode in ["private", "host"] {
        let answer = ask(mode);
        match refusal(mode) {
            Some(message) => {
                assert_eq!(answer.status, 400, "{mode}: {answer:?}");
                assert!(answer.body.contains(message), "{mode}: {answer:?}");
            }
            None => assert_eq!(answer.status, 201, "{mode}: {answer:?}"),
        }
    }
    let made = usize::from(refusal("private").is_none());
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]).lines().count(), made);
}

#[test]
fn an_apparmor_profile_is_in_force_or_refused() {
    let daemon = Daemon::start();
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    let options = daemon.ok(&["info", "--format", "{{.SecurityOptions}}"]);
    daemon.ok(&["run", "--rm", "--security-opt", "apparmor=unconfined", IMAGE, "true"]);
    if !enabled {
        assert!(!options.contains("apparmor"), "{options}");
        for profile in ["docker-default", "mine"] {
            daemon.fails(
                &["run", "--rm", "--security-opt", &format!("apparmor={profile}"), IMAGE, "true"],
                "apparmor: config provided but apparmor not supported",
            );
        }
        assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
        return;
    }
    daemon.fails(&["run", "--rm", "--security-opt", "apparmor=none-such", IMAGE, "true"], "is not loaded");
    daemon.ok(&["run", "-d", "--name", "web", IMAGE, "sleep", "1000"]);
    if options.contains("apparmor") {
        assert_eq!(daemon.inspect("web", "{{.AppArmorProfile}}"), "docker-default");
        let own = daemon.ok(&["exec", "web", "cat", "/proc/self/attr/current"]);
        assert_eq!(own, "docker-default (enforce)");
    }
}

#[test]
fn a_container_without_shared_memory_has_none_and_one_without_a_network_is_alone() {
    let daemon = Daemon::start();
    let mounts = daemon.ok(&["run", "--rm", "--ipc", "none", IMAGE, "cat", "/proc/mounts"]);
    assert!(!mounts.contains("/dev/shm"), "{mounts}");
    daemon.ok(&["run", "-d", "--name", "none", "--ipc", "none", IMAGE, "sleep", "1000"]);
    daemon.fails(&["run", "--rm", "--ipc", "container:none", IMAGE, "true"], "non-shareable IPC");
    let body = json!({"Image": IMAGE, "Cmd": ["ls", "/sys/class/net"], "NetworkDisabled": true});
    let made = daemon.raw("POST", "/containers/create?name=alone", &body.to_string()).expect("an answer");
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(daemon.ok(&["start", "--attach", "alone"]), "lo");
    let body = json!({
        "Image": IMAGE, "Cmd": ["stty", "size"], "Tty": true, "HostConfig": {"ConsoleSize": [33, 99]},
    });
    let made = daemon.raw("POST", "/containers/create?name=screen", &body.to_string()).expect("an answer");
    assert_eq!(made.status, 201, "{made:?}");
    daemon.ok(&["start", "screen"]);
    daemon.ok(&["wait", "screen"]);
    assert_eq!(daemon.ok(&["logs", "screen"]).trim(), "33 99");
}

#[test]
fn names_are_asked_of_the_servers_that_were_asked_for() {
    let daemon = Daemon::start();
    daemon.ok(&["network", "create", "front"]);
    daemon.fails(
        &["run", "--rm", "--network", "front", "--dns", "127.0.0.1", IMAGE, "true"],
        "the DNS server 127.0.0.1 cannot be asked for the network front",
    );
    let server = "192.0.2.53";
    daemon.ok(&["run", "-d", "--name", "db", "--network", "front", IMAGE, "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "web", "--network", "front", "--dns", server, IMAGE, "sleep", "1000"]);
    // Names of the network go first, so that its own resolver must stay the one that is asked.
    assert!(daemon.ok(&["exec", "web", "cat", "/etc/resolv.conf"]).contains("127.0.0.11"));
    let db = daemon.inspect("db", "{{.NetworkSettings.Networks.front.IPAddress}}");
    assert!(daemon.ok(&["exec", "web", "nslookup", "-type=a", "db"]).contains(&db));
    // What it does with the server is tested where it is; that it knows of it is seen in what it keeps.
    let root = daemon.ok(&["info", "--format", "{{.DockerRootDir}}"]);
    let kept = std::fs::read_dir(std::path::Path::new(&root).join("network/endpoints")).expect("list");
    let texts = kept.flatten().map(|entry| std::fs::read_to_string(entry.path()).expect("read"));
    assert_eq!(texts.filter(|text| text.contains(server)).count(), 1);
}

#[test]
fn what_is_mounted_and_has_gone_is_made_again_or_refused_as_it_was_asked_for() {
    let daemon = Daemon::start();
    let place = daemon.scratch("place");
    let (made, given) = (place.join("made"), place.join("given"));
    std::fs::create_dir(&given).expect("make a directory");
    let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let missing = format!("bind source path does not exist: {}", place.join("missing").display());
    let mount = |name: &str| format!("type=bind,source={},target=/data", text(&place.join(name)));
    daemon.fails(&["create", "--mount", &mount("missing"), IMAGE, "true"], &missing);
    assert!(!place.join("missing").exists());
    let volume = format!("{}:/data", text(&made));
    daemon.ok(&["create", "--name", "short", "-v", &volume, IMAGE, "ls", "/data"]);
    daemon.ok(&["create", "--name", "long", "--mount", &mount("given"), IMAGE, "ls", "/data"]);
    for name in ["short", "long"] {
        daemon.ok(&["start", "--attach", name]);
    }
    assert!(made.is_dir(), "as -v has it");
    std::fs::remove_dir(&made).expect("remove");
    std::fs::remove_dir(&given).expect("remove");
    daemon.ok(&["start", "--attach", "short"]);
    assert!(made.is_dir(), "made again");
    daemon.fails(&["start", "--attach", "long"], "bind source path does not exist");
    assert!(!given.exists());
    // Where it cannot be made, the reason is told.
    std::fs::remove_dir(&made).expect("remove");
    std::fs::remove_dir(&place).expect("remove");
    std::fs::write(&place, "in the way").expect("write");
    daemon.fails(&["start", "--attach", "short"], "place");
}

#[test]
fn the_case_of_a_key_s_letters_means_nothing() {
    let daemon = Daemon::start();
    let body =
        json!({"image": IMAGE, "cmd": ["id", "-u"], "user": "1000", "hostconfig": {"networkmode": "none"}});
    let made = daemon.raw("POST", "/containers/create?name=odd", &body.to_string()).expect("an answer");
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(daemon.ok(&["start", "--attach", "odd"]), "1000");
    assert_eq!(daemon.inspect("odd", "{{.HostConfig.NetworkMode}}"), "none");
    let made =
        daemon.raw("POST", "/networks/create", r#"{"name": "cut", "internal": true}"#).expect("an answer");
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(daemon.ok(&["network", "inspect", "-f", "{{.Internal}}", "cut"]), "true");
    let body =
        json!({"Image": IMAGE, "HostConfig": {"Devices": [{"PathOnHost": "/dev/null", "Access": "r"}]}});
    let refused = daemon.raw("POST", "/containers/create", &body.to_string()).expect("an answer");
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("the HostConfig.Devices.Access field is not supported"), "{refused:?}");
}
