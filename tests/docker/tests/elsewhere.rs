//! What buildx does with builds besides building: caches elsewhere, clients' layouts of images, the history of
//! builds, and images in registries.

use std::process::Command;

use docker_tests::{Daemon, IMAGE, registry, run};

/// A directory of this test's with these files.
fn context(daemon: &Daemon, name: &str, files: &[(&str, &str)]) -> String {
    let directory = daemon.scratch(name);
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("write a file");
    }
    directory.display().to_string()
}

/// A Dockerfile of two stages: the second takes from the first, which has a step that nobody does twice alike.
fn stages() -> String {
    format!(
        "FROM {IMAGE} AS made\nRUN mkdir /out && cat /proc/sys/kernel/random/uuid > /out/id\n\
         FROM {IMAGE}\nCOPY --from=made /out/id /id\nCOPY data /data\nRUN cat /id /data > /both\nCMD [\"cat\", \"/both\"]\n"
    )
}

/// Of the steps of a Dockerfile, those that were done, and those that had been done before.
fn steps(told: &str) -> (Vec<&str>, Vec<&str>) {
    let steps = told.lines().filter_map(|line| {
        let (number, step) = line.split_once(' ')?;
        let is_step = step.starts_with('[') && (step.contains("] RUN") || step.contains("] COPY"));
        is_step.then_some((number, step))
    });
    steps.collect::<std::collections::BTreeMap<_, _>>().into_iter().fold(
        (Vec::new(), Vec::new()),
        |(mut done, mut cached), (number, step)| {
            let is_cached = told.lines().any(|line| line == format!("{number} CACHED"));
            if is_cached { &mut cached } else { &mut done }.push(step);
            (done, cached)
        },
    )
}

/// Takes away all that builds left here.
#[track_caller]
fn forget(daemon: &Daemon, image: &str) {
    daemon.ok(&["rmi", "--force", image]);
    daemon.ok(&["image", "prune", "--force"]);
    daemon.newest_ok(&["buildx", "prune", "--all", "--force"]);
}

/// A command of the newest client in the daemon's network, where its registry is.
fn beside(daemon: &Daemon, arguments: &[&str]) -> Command {
    let client = daemon.newest(arguments);
    let words: Vec<String> = client.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = daemon.on_host(&client.get_program().to_string_lossy(), &words);
    for (name, value) in client.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn what_was_done_comes_back_from_a_directory_a_registry_and_an_image() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    let path = &context(&daemon, "context", &[("Dockerfile", &stages()), ("data", "data\n")]);
    let cache = daemon.scratch("cache").display().to_string();
    let kinds = [
        (format!("type=local,dest={cache},mode=max"), format!("type=local,src={cache}")),
        (
            "type=registry,ref=localhost:5000/cache:1,mode=max,compression=zstd".to_owned(),
            "type=registry,ref=localhost:5000/cache:1".to_owned(),
        ),
        // As an index, as others write it who have no other way.
        (
            "type=registry,ref=localhost:5000/cache:2,mode=min,image-manifest=false".to_owned(),
            "type=registry,ref=localhost:5000/cache:2".to_owned(),
        ),
        ("type=inline".to_owned(), "type=registry,ref=localhost:5000/app:1".to_owned()),
    ];
    let image = "localhost:5000/app:1";
    for (to, from) in kinds {
        let build = ["build", "--tag", image, "--cache-to", &to, path];
        let told = daemon.newest_ok(&build);
        let (done, cached) = steps(&told);
        assert_eq!((done.len(), cached.len()), (4, 0), "{to}: {told}");
        let said = daemon.ok(&["run", "--rm", image]);
        if to == "type=inline" {
            daemon.ok(&["push", image]);
        }
        forget(&daemon, image);
        let told = daemon.newest_ok(&["build", "--tag", image, "--cache-from", &from, path]);
        assert!(told.contains("importing cache manifest from"), "{told}");
        let (done, cached) = steps(&told);
        assert_eq!(cached.len(), 4, "{to}: {done:?}\n{told}");
        assert_eq!(daemon.ok(&["run", "--rm", image]), said, "{to}");
        forget(&daemon, image);
    }
}

#[test]
fn a_build_does_without_a_cache_that_is_not_there_and_fails_where_it_is_to_write_one() {
    let daemon = Daemon::start();
    let path = context(&daemon, "context", &[("Dockerfile", &stages()), ("data", "data\n")]);
    let told = daemon.newest_ok(&["build", "--cache-from", "localhost:5000/none:1", &path]);
    assert!(told.contains("ERROR: "), "that it is not there is told: {told}");
    let to = "type=registry,ref=localhost:5000/none:1";
    let failed = run(daemon.newest(&["build", "--cache-to", to, &path]), "");
    assert!(failed.code != 0 && failed.stderr.contains("exporting cache to registry"), "{failed:?}");
    let told = daemon.newest_ok(&["build", "--cache-to", &format!("{to},ignore-error=true"), &path]);
    assert!(told.contains("exporting cache to registry"), "{told}");
}

#[test]
fn an_image_in_a_client_s_layout_is_built_on() {
    let daemon = Daemon::start();
    let made = context(
        &daemon,
        "made",
        &[("Dockerfile", &format!("FROM {IMAGE}\nRUN echo of the layout > /of\nENV OF=layout\n"))],
    );
    let layout = daemon.scratch("layouts").join("made").display().to_string();
    let output = format!("type=oci,tar=false,dest={layout}");
    daemon.newest_ok(&["build", "--output", &output, &made]);
    daemon.newest_ok(&["buildx", "prune", "--all", "--force"]);
    let on_it = "FROM made\nRUN echo $OF > /env\nCMD [\"cat\", \"/of\", \"/env\"]\n";
    let path = context(&daemon, "context", &[("Dockerfile", on_it)]);
    let named = format!("made=oci-layout://{layout}");
    let build = ["build", "--tag", "on:1", "--build-context", &named, &path];
    let told = daemon.newest_ok(&build);
    assert!(told.contains("[context made] OCI load from client"), "{told}");
    assert_eq!(daemon.ok(&["run", "--rm", "on:1"]), "of the layout\nlayout");
    let (done, cached) = {
        let told = daemon.newest_ok(&build);
        let (done, cached) = steps(&told);
        (done.len(), cached.len())
    };
    assert_eq!((done, cached), (0, 1));
    assert_eq!(daemon.ok(&["images", "--quiet", "made"]), "", "it is no image of this machine");
}

#[test]
fn builds_that_there_were_are_listed_told_exported_and_forgotten() {
    let daemon = Daemon::start();
    let path = context(&daemon, "context", &[("Dockerfile", &stages()), ("data", "data\n")]);
    daemon.newest_ok(&["build", "--tag", "app:1", "--build-arg", "A=b", &path]);
    let broken =
        context(&daemon, "broken", &[("Dockerfile", &format!("FROM {IMAGE}\nRUN echo why >&2; exit 3\n"))]);
    let failed = run(daemon.newest(&["build", &broken]), "");
    assert_ne!(failed.code, 0);

    let list = daemon.newest_ok(&["buildx", "history", "ls", "--format", "{{.Ref}} {{.Status}}"]);
    let refs: Vec<(&str, &str)> = list.lines().filter_map(|line| line.trim().split_once(' ')).collect();
    assert_eq!(refs.iter().map(|(_, status)| *status).collect::<Vec<_>>(), ["Error", "Completed"], "{list}");
    let (failed, done) = (refs[0].0, refs[1].0);

    let logs = daemon.newest_ok(&["buildx", "history", "logs", done]);
    assert!(logs.contains("[stage-1 4/4] RUN cat /id /data") && logs.contains("naming to"), "{logs}");
    let logs = daemon.newest_ok(&["buildx", "history", "logs", failed]);
    assert!(logs.contains("why") && logs.contains("exit code: 3"), "{logs}");
    let told = daemon.newest_ok(&["buildx", "history", "inspect", done]);
    for part in ["Build Steps:", "BUILD ARG", "Attachments:", "application/vnd.oci.image.index.v1+json"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = daemon.newest_ok(&["buildx", "history", "inspect", failed]);
    assert!(told.contains("RUN echo why") && told.contains("exit code: 3"), "{told}");

    let bundle = daemon.scratch("bundle").join("record.dockerbuild");
    daemon.newest_ok(&["buildx", "history", "export", "--output", &bundle.display().to_string(), done]);
    let listed = Command::new("tar").arg("-tzf").arg(&bundle).output().expect("run tar");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("index.json") && listed.contains("blobs/sha256/"), "{listed}");

    daemon.newest_ok(&["buildx", "history", "rm", failed]);
    let list = daemon.newest_ok(&["buildx", "history", "ls", "--format", "{{.Ref}}"]);
    assert_eq!(list.trim(), done);
    let gone = run(daemon.newest(&["buildx", "history", "logs", failed]), "");
    assert_ne!(gone.code, 0, "{gone:?}");
}

#[test]
fn images_in_a_registry_are_inspected_and_put_together() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    let path = context(&daemon, "context", &[("Dockerfile", &stages()), ("data", "data\n")]);
    daemon.newest_ok(&["build", "--push", "--tag", "localhost:5000/app:1", &path]);
    let ok = |arguments: &[&str]| {
        let ran = run(beside(&daemon, arguments), "");
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.stdout
    };
    let inspected = ok(&["buildx", "imagetools", "inspect", "localhost:5000/app:1"]);
    assert!(inspected.contains("localhost:5000/app:1") && inspected.contains("sha256:"), "{inspected}");
    ok(&["buildx", "imagetools", "create", "--tag", "localhost:5000/app:2", "localhost:5000/app:1"]);
    let inspected = ok(&["buildx", "imagetools", "inspect", "localhost:5000/app:2"]);
    assert!(inspected.contains("localhost:5000/app:2") && inspected.contains("sha256:"), "{inspected}");
    // What it puts together is pulled and run.
    daemon.ok(&["pull", "localhost:5000/app:2"]);
    let said = daemon.ok(&["run", "--rm", "localhost:5000/app:2"]);
    assert!(said.ends_with("data"), "{said}");
}
