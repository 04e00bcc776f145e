//! Images as they came: the digests by which people name them, through registries and archives.

use docker_tests::{Daemon, IMAGE, Running, registry};

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
    // A name with a digest in another repository keeps it.
    let rmi = daemon.ok(&["rmi", "localhost:5000/other:2"]);
    assert!(!rmi.contains("Deleted: "), "{rmi}");
    let rmi = daemon.ok(&["rmi", &by_digest]);
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

#[test]
fn pulls_and_pushes_say_what_the_daemon_says() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    daemon.ok(&["tag", IMAGE, "localhost:5000/app:1"]);
    daemon.ok(&["tag", IMAGE, "localhost:5000/app:2"]);
    let said = daemon.ok(&["push", "--all-tags", "localhost:5000/app"]);
    assert!(said.starts_with("The push refers to repository [localhost:5000/app]\n"), "{said}");
    assert!(said.contains("1: digest: sha256:") && said.contains("2: digest: sha256:"), "{said}");
    daemon.fails(&["push", "localhost:5000/app:3"], "tag does not exist: localhost:5000/app:3");
    let absent = "An image does not exist locally with the tag: localhost:5000/other";
    daemon.fails(&["push", "localhost:5000/other:1"], absent);
    let answer = daemon.raw("POST", "/v1.41/images/localhost:5000/app/push?tag=1", "").expect("an answer");
    let result = answer.body.lines().find(|line| line.contains("aux")).expect("what was pushed");
    assert!(result.starts_with(r#"{"progressDetail":{},"aux":{"Tag":"1","Digest":"sha256:"#), "{answer:?}");

    let again = daemon.ok(&["pull", "localhost:5000/app:1"]);
    let lines: Vec<&str> = again.lines().collect();
    assert_eq!(lines[0], "1: Pulling from app", "{again}");
    assert!(lines[1].starts_with("Digest: sha256:"), "{again}");
    assert_eq!(lines[2], "Status: Image is up to date for localhost:5000/app:1");
    let status = |name: &str, tag: &str| {
        let path = format!("/v1.41/images/create?fromImage={name}&tag={tag}");
        let answer = daemon.raw("POST", &path, "").expect("an answer");
        (answer.status, answer.body)
    };
    let (code, body) = status("localhost:5000/app", "none");
    let unknown = "manifest for localhost:5000/app:none not found: manifest unknown: manifest unknown";
    assert_eq!((code, body.contains(unknown)), (404, true), "{body}");
    let (code, body) = status("scratch", "latest");
    assert_eq!((code, body.contains("'scratch' is a reserved name")), (403, true), "{body}");
    let every = daemon.ok(&["pull", "--all-tags", "localhost:5000/app"]);
    assert_eq!(every.matches("Status: ").count(), 1, "{every}");

    // It is for one platform: another is told, and never what runs.
    let other = daemon.docker(&["pull", "--platform", "linux/s390x", "localhost:5000/app:1"]);
    assert!(other.stdout.contains("does not match the specified platform (linux/s390x)"), "{other:?}");
    let sentence =
        "was found but its platform (linux/amd64) does not match the specified platform (linux/s390x)";
    for ask in ["run", "create"] {
        let args = [ask, "--pull", "never", "--platform", "linux/s390x", "localhost:5000/app:1", "true"];
        daemon.fails(&args, sentence);
    }
    let path =
        "/v1.49/images/busybox:test/json?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22s390x%22%7D";
    let answer = daemon.raw("GET", path, "").expect("an answer");
    assert_eq!((answer.status, answer.body.contains(sentence)), (404, true), "{answer:?}");
    let file = daemon.scratch("saved").join("other.tar").display().to_string();
    daemon.fails(&["save", "--platform", "linux/s390x", "-o", &file, IMAGE], sentence);
    daemon.fails(&["push", "--platform", "linux/s390x", "localhost:5000/app:1"], sentence);
    let unknown = "\"foobar\": unknown operating system or architecture: invalid argument";
    daemon.fails(&["pull", "--platform", "foobar", "localhost:5000/app:1"], unknown);
}

#[test]
fn names_are_listed_that_are_asked_for_and_shared_layers_counted_once() {
    let daemon = Daemon::start();
    for name in ["utest:tag1", "utest/docker:tag2", "utest:5000/docker:tag3"] {
        daemon.ok(&["tag", IMAGE, name]);
    }
    let listed = |arguments: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let mut names: Vec<String> =
            daemon.ok(&[&format, arguments].concat()).lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(listed(&["utest"]), ["utest:tag1"]);
    assert_eq!(listed(&["--filter", "reference=utest*/*"]), ["utest/docker:tag2", "utest:5000/docker:tag3"]);
    assert_eq!(listed(&["--filter", "reference=*5000*/*"]), ["utest:5000/docker:tag3"]);
    assert_eq!(listed(&["--filter", "reference=[t-v]test"]), ["utest:tag1"]);
    daemon.fails(&["images", "--filter", "reference=["], "syntax error in pattern");
    daemon.fails(
        &["tag", IMAGE, "sha256:x"],
        "refusing to create an ambiguous tag using digest algorithm as name",
    );

    let context = daemon.scratch("context");
    std::fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\nRUN echo more > /f\n")).expect("write");
    daemon.ok(&["build", "-t", "more:1", &context.display().to_string()]);
    daemon.ok(&["create", "more:1"]);
    let get = |path: &str| -> serde_json::Value {
        let answer = daemon.raw("GET", path, "").expect("an answer");
        serde_json::from_str(&answer.body).expect("JSON")
    };
    let shared = get("/v1.47/images/json?shared-size=1");
    let more = shared.as_array().expect("a list").iter().find(|image| image["RepoTags"][0] == "more:1");
    let more = more.expect("the image");
    assert_eq!(more["SharedSize"].as_u64().map(|size| size + 5), more["Size"].as_u64(), "{more}");
    assert_eq!(get("/v1.47/images/json")[0]["SharedSize"], -1);
    let usage = get("/v1.47/system/df");
    let images = usage["Images"].as_array().expect("a list");
    let more = images.iter().find(|image| image["RepoTags"][0] == "more:1").expect("the image");
    assert_eq!(more["Containers"], 1);
    assert!(more["SharedSize"].as_u64().is_some_and(|size| size > 5), "{more}");
}

#[test]
fn a_root_file_system_is_imported_from_an_address() {
    let daemon = Daemon::start();
    let files = daemon.scratch("served");
    let archive = files.join("root.tar").display().to_string();
    daemon.ok(&["create", "--name", "box", IMAGE]);
    daemon.ok(&["export", "--output", &archive, "box"]);
    let serve = ["-u", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory"];
    let directory = files.display().to_string();
    let arguments = [&serve[..], &[directory.as_str()]].concat();
    let server = Running::start(daemon.on_host("python3", &arguments));
    server.wait_for("Serving HTTP");
    let change = ["--change", "CMD [\"echo\",\"imported\"]"];
    let said =
        daemon.ok(&[&["import"][..], &change, &["http://127.0.0.1:8000/root.tar", "imported:1"]].concat());
    assert!(said.starts_with("Downloading from http://127.0.0.1:8000/root.tar\n"), "{said}");
    assert_eq!(daemon.ok(&["run", "--rm", "imported:1"]), "imported");
    let history = daemon.ok(&["history", "--format", "{{.Comment}}", "imported:1"]);
    assert_eq!(history, "Imported from http://127.0.0.1:8000/root.tar");
    let missing = daemon.docker(&["import", "http://127.0.0.1:8000/none.tar"]);
    assert!(
        missing.stderr.contains("failed to GET http://127.0.0.1:8000/none.tar with status 404"),
        "{missing:?}"
    );
    daemon.fails(&["import", "--platform", "macos", "-"], "operating system is not supported");
}
