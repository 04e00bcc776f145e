//! Images as they came: the digests by which people name them, through registries and archives.

use docker_tests::{Daemon, IMAGE, Running};

/// A registry on the daemon's host, at `localhost:5000`.
fn registry(daemon: &Daemon) -> Running {
    let files = daemon.scratch("registry");
    let config = files.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n",
        files.join("data").display()
    );
    std::fs::write(&config, text).expect("write");
    let registry =
        Running::start(daemon.on_host("docker-registry", &["serve", &config.display().to_string()]));
    registry.wait_for("listening on");
    registry
}

/// The digest in the last line of a push.
fn pushed(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "digest:").unwrap_or_else(|| panic!("{said}"));
    words[at + 1].to_owned()
}

#[test]
fn an_image_has_one_digest_wherever_it_goes() {
    let mut daemon = Daemon::start();
    let _registry = registry(&daemon);
    let id = daemon.inspect(IMAGE, "{{.Id}}");
    daemon.ok(&["tag", IMAGE, "localhost:5000/app:1"]);
    let digest = pushed(&daemon.ok(&["push", "localhost:5000/app:1"]));
    let by_digest = format!("localhost:5000/app@{digest}");
    let digests = "{{json .RepoDigests}}";
    assert_eq!(daemon.inspect(IMAGE, digests), format!("[\"{by_digest}\"]"));

    daemon.ok(&["rmi", IMAGE, "localhost:5000/app:1"]);
    daemon.fails(&["image", "inspect", &by_digest], "No such image");
    assert!(daemon.ok(&["pull", &by_digest]).contains(&format!("Digest: {digest}")));
    for name in [by_digest.as_str(), &digest, &id] {
        assert_eq!(daemon.inspect(name, "{{.Id}}"), id, "{name}");
    }
    // A crash of the daemon takes none of it.
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.inspect(&by_digest, digests), format!("[\"{by_digest}\"]"));
    assert_eq!(daemon.ok(&["run", "--rm", &by_digest, "echo", "works"]), "works");

    daemon.ok(&["tag", &by_digest, "localhost:5000/other:2"]);
    assert_eq!(pushed(&daemon.ok(&["push", "localhost:5000/other:2"])), digest);
    let archive = daemon.scratch("archives").join("app.tar").display().to_string();
    daemon.ok(&["save", "--output", &archive, "localhost:5000/other:2"]);
    let rmi = daemon.ok(&["rmi", "localhost:5000/other:2"]);
    assert!(rmi.contains(&format!("Deleted: {id}")), "{rmi}");
    assert!(daemon.ok(&["load", "--input", &archive]).contains("Loaded image: localhost:5000/other:2"));
    let loaded = format!("localhost:5000/other@{digest}");
    assert_eq!(daemon.inspect(&loaded, "{{.Id}}"), id);
    assert_eq!(pushed(&daemon.ok(&["push", "localhost:5000/other:2"])), digest);

    let context = daemon.scratch("context");
    std::fs::write(context.join("Dockerfile"), format!("FROM {loaded}\nLABEL built=yes\n")).expect("write");
    daemon.ok(&["build", "-t", "built:1", &context.display().to_string()]);
    assert_eq!(daemon.inspect("built:1", "{{.Config.Labels.built}}"), "yes");
}

#[test]
fn who_keeps_no_blobs_has_less_on_disk_and_other_digests() {
    let mut daemon = Daemon::start();
    let _registry = registry(&daemon);
    daemon.ok(&["tag", IMAGE, "localhost:5000/app:1"]);
    daemon.ok(&["push", "localhost:5000/app:1"]);
    daemon.ok(&["rmi", IMAGE, "localhost:5000/app:1"]);
    let layers = |daemon: &Daemon| -> u64 {
        let answer = daemon.raw("GET", "/system/df", "").expect("an answer");
        let usage: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        usage["LayersSize"].as_u64().expect("a number")
    };
    daemon.ok(&["pull", "localhost:5000/app:1"]);
    let kept = layers(&daemon);
    daemon.ok(&["rmi", "localhost:5000/app:1"]);
    assert_eq!(layers(&daemon), 0);
    daemon.stop();
    daemon.launch_with(&["--image-blobs", "remake"]);
    daemon.ok(&["pull", "localhost:5000/app:1"]);
    assert!(layers(&daemon) < kept, "{} is not less than {kept}", layers(&daemon));
    assert_eq!(daemon.ok(&["run", "--rm", "localhost:5000/app:1", "echo", "works"]), "works");
}
