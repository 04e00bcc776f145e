//! Images, files, volumes, networks.

use docker_tests::{Daemon, IMAGE};

#[test]
fn images_are_tagged_listed_saved_loaded_and_removed() {
    let daemon = Daemon::start();
    let id = daemon.inspect(IMAGE, "{{.Id}}");
    daemon.ok(&["tag", IMAGE, "other/name:v1"]);
    let listed = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["busybox:test", "other/name:v1"]);
    assert!(daemon.ok(&["history", "--format", "{{.Comment}}", IMAGE]).contains("Imported from -"));
    let archive = daemon.scratch("images").join("all.tar");
    let path = archive.display().to_string();
    daemon.ok(&["save", "--output", &path, IMAGE, "other/name:v1"]);
    assert_eq!(daemon.ok(&["rmi", "other/name:v1"]), "Untagged: other/name:v1");
    daemon.ok(&["create", "--name", "user", IMAGE]);
    daemon.fails(&["rmi", IMAGE], "container");
    daemon.ok(&["rm", "user"]);
    assert!(daemon.ok(&["rmi", IMAGE]).contains(&format!("Deleted: {id}")));
    assert_eq!(daemon.ok(&["images", "--quiet"]), "");
    daemon.fails(&["rmi", IMAGE], "No such image: busybox:test");
    let loaded = daemon.ok(&["load", "--input", &path]);
    assert!(
        loaded.contains("Loaded image: busybox:test") && loaded.contains("Loaded image: other/name:v1"),
        "{loaded}"
    );
    assert_eq!(daemon.inspect(IMAGE, "{{.Id}}"), id, "the same image came back");
    assert_eq!(daemon.ok(&["run", "--rm", "other/name:v1", "echo", "works"]), "works");
    daemon.fails(&["load", "--input", "/etc/passwd"], "");
    daemon.fails(&["pull", "127.0.0.1:1/nothing:1"], "127.0.0.1:1");
    // It has no way out, and says where it wants to.
    daemon.fails(&["search", "busybox"], "index.docker.io");
}

#[test]
fn unnamed_images_are_pruned() {
    let daemon = Daemon::start();
    daemon.docker(&["run", "--name", "box1", IMAGE, "touch", "/new"]);
    let id = daemon.ok(&["commit", "box1"]);
    assert_eq!(daemon.ok(&["images", "--quiet", "--no-trunc", "--filter", "dangling=true"]), id);
    let pruned = daemon.ok(&["image", "prune", "--force"]);
    assert!(pruned.contains(&id), "{pruned}");
    assert_eq!(daemon.ok(&["images", "--quiet", "--filter", "dangling=true"]), "");
}

#[test]
fn files_are_copied_both_ways() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "box1",
        IMAGE,
        "sh",
        "-c",
        "mkdir -p /d/sub; echo deep > /d/sub/file; ln -s sub/file /d/link; exec sleep 1000",
    ]);
    let host = daemon.scratch("cp");
    let path = |name: &str| host.join(name).display().to_string();
    testkit::wait_until("the files", || {
        let ran = daemon.docker(&["exec", "box1", "ls", "/d/link"]);
        if ran.code == 0 { Ok(()) } else { Err(ran) }
    });
    daemon.ok(&["cp", "box1:/d", &path("whole")]);
    assert_eq!(std::fs::read_to_string(host.join("whole/sub/file")).expect("read it"), "deep\n");
    daemon.ok(&["cp", "-L", "box1:/d/link", &path("followed")]);
    assert_eq!(std::fs::read_to_string(host.join("followed")).expect("read it"), "deep\n");
    std::fs::write(host.join("own"), "mine").expect("write a file");
    daemon.ok(&["cp", &path("own"), "box1:/d/renamed"]);
    assert_eq!(daemon.ok(&["exec", "box1", "cat", "/d/renamed"]), "mine");
    daemon.ok(&["cp", &path("whole"), "box1:/tmp"]);
    assert_eq!(daemon.ok(&["exec", "box1", "cat", "/tmp/whole/sub/file"]), "deep");
    daemon.fails(&["cp", "box1:/missing", &path("x")], "Could not find the file /missing in container");
    daemon.fails(&["cp", &path("own"), "box1:/no/such/place/"], "");
    let changes = daemon.ok(&["diff", "box1"]);
    assert!(changes.contains("A /d/sub/file") && changes.contains("C /tmp"), "{changes}");
    daemon.ok(&["stop", "--time", "0", "box1"]);
    daemon.ok(&["cp", "box1:/d/renamed", &path("stopped")]);
    assert_eq!(std::fs::read_to_string(host.join("stopped")).expect("read it"), "mine");
}

#[test]
fn a_container_becomes_an_image() {
    let daemon = Daemon::start();
    daemon.docker(&["run", "--name", "box1", IMAGE, "sh", "-c", "echo baked > /cake"]);
    let id = daemon.ok(&[
        "commit",
        "--change",
        "CMD [\"cat\", \"/cake\"]",
        "--change",
        "ENV SWEET=yes",
        "--author",
        "me",
        "--message",
        "baking",
        "box1",
        "cake:1",
    ]);
    assert_eq!(daemon.inspect("cake:1", "{{.Id}} {{.Author}} {{.Comment}}"), format!("{id} me baking"));
    assert_eq!(daemon.ok(&["run", "--rm", "cake:1"]), "baked");
    assert_eq!(daemon.ok(&["run", "--rm", "cake:1", "sh", "-c", "echo $SWEET"]), "yes");
    let archive = daemon.scratch("export").join("a.tar").display().to_string();
    daemon.ok(&["export", "--output", &archive, "box1"]);
    daemon.ok(&["import", &archive, "flat:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "flat:1", "/bin/cat", "/cake"]), "baked");
}

#[test]
fn volumes_live_longer_than_containers() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["volume", "create", "--label", "a=b", "data"]), "data");
    assert_eq!(
        daemon.ok(&["volume", "inspect", "--format", "{{.Driver}} {{index .Labels \"a\"}}", "data"]),
        "local b"
    );
    daemon.ok(&["run", "-d", "--name", "user", "-v", "data:/d", "-v", "/anonymous", IMAGE, "sleep", "1000"]);
    daemon.fails(&["volume", "rm", "data"], "volume is in use");
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet"]).lines().count(), 2);
    assert_eq!(
        daemon.inspect(
            "user",
            "{{range .Mounts}}{{if eq .Destination \"/d\"}}{{.Type}} {{.Name}} {{.RW}}{{end}}{{end}}"
        ),
        "volume data true"
    );
    daemon.ok(&["rm", "--force", "--volumes", "user"]);
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet"]), "data", "the anonymous one went with its container");
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet", "--filter", "dangling=true"]), "data");
    daemon.fails(&["volume", "create", "a/b"], "includes invalid characters");
    daemon.ok(&["volume", "prune", "--force"]);
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet"]), "data", "only anonymous ones are pruned");
    daemon.ok(&["volume", "rm", "data"]);
    daemon.fails(&["volume", "inspect", "data"], "no such volume");
}

#[test]
fn a_published_port_is_reachable_from_the_host() {
    let daemon = Daemon::start();
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1:8080:80",
        "-p",
        "9090:80/tcp",
        IMAGE,
        "sh",
        "-c",
        serve,
    ]);
    let ports = daemon.ok(&["port", "web", "80"]);
    assert!(ports.contains("127.0.0.1:8080") && ports.contains("0.0.0.0:9090"), "{ports}");
    let address = daemon.inspect("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    for target in ["127.0.0.1:8080", &format!("{address}:80"), "172.17.0.1:9090"] {
        testkit::wait_until(target, || {
            let output = daemon
                .on_host(
                    "busybox",
                    &[
                        "timeout",
                        "3",
                        "busybox",
                        "wget",
                        "-q",
                        "-O",
                        "-",
                        &format!("http://{target}/index.html"),
                    ],
                )
                .output();
            let output = output.expect("run wget");
            if output.stdout == b"hello\n" { Ok(()) } else { Err(output) }
        });
    }
    daemon.fails(&["run", "-d", "-p", "127.0.0.1:8080:80", IMAGE, "true"], "8080");
    assert!(
        daemon
            .ok(&["ps", "--format", "{{.Ports}}", "--filter", "name=web"])
            .contains("127.0.0.1:8080->80/tcp")
    );
    daemon.ok(&["run", "-d", "--name", "any", "--expose", "70", "-P", IMAGE, "sleep", "1000"]);
    assert!(daemon.ok(&["port", "any"]).starts_with("70/tcp -> 0.0.0.0:"));
}

#[test]
fn networks_give_names_to_their_containers() {
    let daemon = Daemon::start();
    let id = daemon.ok(&["network", "create", "--subnet", "10.77.0.0/24", "--label", "x=y", "front"]);
    assert_eq!(id.len(), 64);
    let serve = "echo by-name > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "front",
        "--network-alias",
        "www",
        "--ip",
        "10.77.0.50",
        IMAGE,
        "sh",
        "-c",
        serve,
    ]);
    assert_eq!(daemon.inspect("web", "{{.NetworkSettings.Networks.front.IPAddress}}"), "10.77.0.50");
    for name in ["web", "www"] {
        testkit::wait_until(name, || {
            let ran =
                daemon.docker(&["run", "--rm", "--network", "front", IMAGE, "nslookup", "-type=a", name]);
            if ran.stdout.contains("10.77.0.50") { Ok(()) } else { Err(ran) }
        });
    }
    daemon.fails(&["network", "rm", "front"], "has active endpoints");
    daemon.ok(&["run", "-d", "--name", "guest", IMAGE, "sleep", "1000"]);
    daemon.ok(&["network", "connect", "front", "guest"]);
    assert_eq!(
        daemon.ok(&["exec", "guest", "timeout", "3", "wget", "-q", "-O", "-", "http://web/index.html"]),
        "by-name"
    );
    let members =
        daemon.ok(&["network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", "front"]);
    assert!(members.contains("web") && members.contains("guest"), "{members}");
    daemon.ok(&["network", "disconnect", "front", "guest"]);
    assert_ne!(
        daemon
            .docker(&[
                "exec",
                "guest",
                "timeout",
                "1",
                "wget",
                "-q",
                "-O",
                "-",
                "http://10.77.0.50/index.html"
            ])
            .code,
        0
    );
    daemon.fails(&["network", "create", "host"], "operation is not permitted on predefined host network");
    daemon.fails(&["network", "rm", "bridge"], "is a pre-defined network and cannot be removed");
    daemon.fails(&["run", "--rm", "--network", "nowhere", IMAGE, "true"], "network nowhere not found");
    daemon.ok(&["rm", "--force", "web"]);
    assert!(daemon.ok(&["network", "prune", "--force"]).contains("front"));
    assert_eq!(daemon.ok(&["network", "ls", "--filter", "type=custom", "--quiet"]), "");
}

#[test]
fn what_is_not_as_it_should_be_is_said_once_in_the_client_s_words() {
    let mut daemon = Daemon::start_empty();
    daemon.stop();
    let strange = "f".repeat(64);
    std::fs::create_dir(daemon.root().join("containers").join(&strange)).expect("a directory of nobody's");
    daemon.launch();
    let said = daemon.docker(&["info"]).stderr;
    let mut warnings: Vec<&str> = said.lines().filter(|line| line.contains("WARNING")).collect();
    assert!(warnings.iter().any(|line| line.contains(&strange)), "{said}");
    for warning in &warnings {
        assert!(warning.starts_with("WARNING: "), "{warning}");
        assert_eq!(warning.matches("WARNING").count(), 1, "{warning}");
    }
    warnings.sort_unstable();
    assert!(warnings.windows(2).all(|pair| pair[0] != pair[1]), "each once: {said}");
}
