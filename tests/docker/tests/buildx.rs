//! `docker build` as an installed client does it: by buildx, and by compose.

use std::path::Path;

use docker_tests::{Daemon, IMAGE, Running, raw, registry, run};

/// Writes files of a build context.
fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("create a directory");
        std::fs::write(path, text).expect("write a file");
    }
}

/// A directory of this test's with these files.
fn context(daemon: &Daemon, name: &str, files: &[(&str, &str)]) -> String {
    let directory = daemon.scratch(name);
    write(&directory, files);
    directory.display().to_string()
}

/// A Dockerfile that begins with the image of the tests.
fn on_image(rest: &str) -> String {
    format!("FROM {IMAGE}\n{rest}")
}

/// Whether a build says that nothing was done for a step.
fn is_cached(told: &str, step: &str) -> bool {
    let line = told.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}: {told}"));
    let number = line.split(' ').next().unwrap_or_default();
    told.lines().any(|line| line == format!("{number} CACHED"))
}

#[test]
fn a_dockerfile_becomes_an_image_that_runs_at_once() {
    let daemon = Daemon::start();
    let dockerfile = format!(
        "# syntax=docker/dockerfile:1\nARG BASE={IMAGE}\nFROM ${{BASE}} AS base\nARG WHO=nobody\n\
         ENV GREETING=\"hello $WHO\"\nWORKDIR /app\nCOPY src/ ./\n\
         RUN <<EOF\nset -e\necho \"$GREETING\" > greeting\nls > list\nEOF\n\
         FROM base AS unused\nRUN exit 1\n\
         FROM base\nCOPY --chmod=755 <<'RUN' /run.sh\n#!/bin/sh\ncat /app/greeting\nRUN\n\
         LABEL stage=last\nUSER 1000\nEXPOSE 80/tcp\nENTRYPOINT [\"/run.sh\"]\n"
    );
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        ("src/kept", "1"),
        ("src/left-out", "2"),
        (".dockerignore", "src/left-*\n"),
    ];
    let path = context(&daemon, "context", &files);
    let build = ["build", "--tag", "app:1", "--build-arg", "WHO=world", "--label", "by=test", &path];
    let told = daemon.newest_ok(&build);
    for step in [
        "[internal] load build definition from Dockerfile",
        "[internal] load metadata for docker.io/library/busybox:test",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[base 1/4] FROM docker.io/library/busybox:test",
        "[base 2/4] WORKDIR /app",
        "[base 3/4] COPY src/ ./",
        "[base 4/4] RUN <<EOF",
        "[stage-2 1/1] COPY --chmod=755 <<RUN /run.sh",
        "exporting to image",
        "exporting manifest list sha256:",
        "naming to docker.io/library/app:1",
    ] {
        assert!(told.contains(step), "{step}: {told}");
    }
    assert!(!told.contains("exit 1"), "a stage that nobody needs is not built: {told}");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1"]), "hello world");
    let list = ["run", "--rm", "--entrypoint", "cat", "app:1", "/app/list"];
    assert_eq!(daemon.ok(&list), "greeting\nkept\nlist");
    let format = "{{.Config.User}} {{.Config.WorkingDir}} {{.Config.Labels.stage}} {{.Config.Labels.by}} {{.Config.Env}}";
    assert_eq!(daemon.inspect("app:1", format), "1000 /app last test [PATH=/bin GREETING=hello world]",);
    let history = daemon.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app:1"]);
    assert!(history.starts_with("ENTRYPOINT [\"/run.sh\"]\nEXPOSE [80/tcp]\nUSER 1000\n"), "{history}");
    assert!(history.contains("COPY src/ ./ # buildkit"), "{history}");

    let id = daemon.inspect("app:1", "{{.Id}}");
    let again = daemon.newest_ok(&build);
    for step in ["[base 2/4]", "[base 3/4]", "[base 4/4]", "[stage-2 1/1]"] {
        assert!(is_cached(&again, step), "{step}: {again}");
    }
    assert_eq!(daemon.inspect("app:1", "{{.Id}}"), id, "the same in gives the same out");
    let all = daemon.newest_ok(&[&["build", "--no-cache"], &build[1..]].concat());
    for step in ["[base 3/4]", "[base 4/4]", "[stage-2 1/1]"] {
        assert!(!is_cached(&all, step), "{step}: {all}");
    }
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "", "no container of a step is left");
}

#[test]
fn what_counts_is_what_files_say_not_when_they_were_written() {
    let daemon = Daemon::start();
    let dockerfile = on_image("COPY data /data\nRUN cat /data > /copy\n");
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile), ("data", "one"), ("other", "1")]);
    let build = ["build", "--tag", "app:1", &path];
    daemon.newest_ok(&build);
    write(Path::new(&path), &[("data", "one"), ("other", "2")]);
    let touched = daemon.newest_ok(&build);
    assert!(is_cached(&touched, "[2/3] COPY data") && is_cached(&touched, "[3/3] RUN"), "{touched}");
    write(Path::new(&path), &[("data", "two")]);
    let changed = daemon.newest_ok(&build);
    assert!(!is_cached(&changed, "[2/3] COPY data") && !is_cached(&changed, "[3/3] RUN"), "{changed}");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1", "cat", "/copy"]), "two");
}

#[test]
fn a_step_has_what_it_mounts_and_the_image_has_not() {
    let daemon = Daemon::start();
    let dockerfile = format!(
        "FROM {IMAGE} AS tools\nRUN mkdir /tools && echo tool > /tools/t\nFROM {IMAGE}\n\
         RUN --mount=type=secret,id=password cat /run/secrets/password > /secret-seen\n\
         RUN --mount=type=secret,id=token,env=TOKEN echo $TOKEN > /token-seen\n\
         RUN --mount=type=bind,from=tools,source=/tools,target=/t cp /t/t /tool-seen && ! touch /t/x\n\
         RUN --mount=type=bind,target=/context cat /context/data > /data-seen\n\
         RUN --mount=type=tmpfs,target=/tmp/memory echo gone > /tmp/memory/file\n\
         RUN --mount=type=cache,target=/cache echo x >> /cache/count && cat /cache/count > /count-seen\n"
    );
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile), ("data", "of the context")]);
    let password = daemon.scratch("secrets").join("password");
    std::fs::write(&password, "hidden").expect("write a file");
    let secret = format!("id=password,src={}", password.display());
    let build = |more: &[&str]| {
        let fixed = ["build", "--tag", "app:1", "--secret", &secret, "--secret", "id=token,env=TOKEN"];
        let mut command = daemon.newest(&[&fixed, more, &[&path]].concat());
        command.env("TOKEN", "t0ken");
        let ran = run(command, "");
        assert_eq!(ran.code, 0, "{ran:?}\n{}", daemon.log());
    };
    build(&[]);
    let seen = "cat /secret-seen /token-seen /tool-seen /data-seen /count-seen; \
                ls /run/secrets /t /context /cache /tmp/memory 2>&1; true";
    let told = daemon.ok(&["run", "--rm", "app:1", "sh", "-c", seen]);
    assert!(told.starts_with("hiddent0ken\ntool\nof the contextx\n"), "{told}");
    assert_eq!(told.matches("No such file or directory").count(), 5, "{told}");
    let count = || daemon.ok(&["run", "--rm", "app:1", "cat", "/count-seen"]);
    write(Path::new(&path), &[("data", "of another context")]);
    build(&[]);
    assert_eq!(count(), "x\nx", "what is in a cache stays from build to build");
    build(&["--no-cache"]);
    assert_eq!(count(), "x", "without cache it begins with nothing");

    let required = on_image("RUN --mount=type=secret,id=password,required=true true\n");
    let required = context(&daemon, "required", &[("Dockerfile", &required)]);
    let without = daemon.newest(&["build", &required]);
    let ran = run(without, "");
    assert!(ran.code != 0 && ran.stderr.contains("secret password: not found"), "{ran:?}");
}

#[test]
fn what_fails_says_where_and_why_and_leaves_nothing() {
    let daemon = Daemon::start();
    let fails = |dockerfile: &str, messages: &[&str]| {
        let path = context(&daemon, "broken", &[("Dockerfile", dockerfile)]);
        let ran = run(daemon.newest(&["build", "--tag", "broken:1", &path]), "");
        assert_ne!(ran.code, 0, "{dockerfile}: {ran:?}");
        for message in messages {
            assert!(ran.stderr.contains(message), "{dockerfile}: {message}: {}", ran.stderr);
        }
    };
    fails(
        &on_image("RUN echo before\nRUN echo out; exit 7\n"),
        &[
            "out",
            "Dockerfile:3",
            ">>> RUN echo out; exit 7",
            "process \"/bin/sh -c echo out; exit 7\" did not complete successfully: exit code: 7",
        ],
    );
    fails("FRUM x\n", &["dockerfile parse error on line 1: unknown instruction: FRUM (did you mean FROM?)"]);
    fails(&on_image("COPY missing /x\n"), &["Dockerfile:2", "\"/missing\": not found"]);
    fails("FROM 127.0.0.1:1/nothing:1\n", &["127.0.0.1:1/nothing:1"]);
    daemon.fails(&["inspect", "broken:1"], "No such object: broken:1");
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn what_is_built_goes_to_a_directory_or_an_archive() {
    let daemon = Daemon::start();
    let dockerfile = format!(
        "FROM {IMAGE} AS build\nRUN mkdir /o && echo made > /o/file && ln -s file /o/link\n\
                              FROM scratch\nCOPY --from=build /o/ /\n"
    );
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile)]);
    let place = daemon.scratch("out");
    let directory = place.join("directory").display().to_string();
    daemon.newest_ok(&["build", "--output", &directory, &path]);
    assert_eq!(std::fs::read_to_string(place.join("directory/file")).expect("the file"), "made\n");
    let link = std::fs::read_link(place.join("directory/link")).expect("the link");
    assert_eq!(link, Path::new("file"));

    let archive = place.join("files.tar");
    let output = format!("type=tar,dest={}", archive.display());
    daemon.newest_ok(&["build", "--output", &output, &path]);
    let mut archive = tar::Archive::new(std::fs::File::open(archive).expect("the archive"));
    let entries = archive.entries().expect("entries").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.path().expect("a name").display().to_string()).collect();
    names.retain(|name| name != "./");
    names.sort();
    assert_eq!(names, ["file", "link"]);
}

#[test]
fn a_build_that_is_given_up_ends_at_once_with_all_its_processes() {
    let daemon = Daemon::start();
    let mark = format!("{}", 900_000 + std::process::id());
    let path =
        context(&daemon, "context", &[("Dockerfile", &on_image(&format!("RUN echo begun; sleep {mark}\n")))]);
    let build = Running::start(daemon.newest(&["build", &path]));
    build.wait_for("begun");
    let sleeps = || {
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines
            .filter(|line| line.starts_with(b"sleep\0") && line.ends_with(format!("{mark}\0").as_bytes()))
            .count()
    };
    testkit::wait_until("the step to sleep", || if sleeps() > 0 { Ok(()) } else { Err(()) });
    build.signal(rustix::process::Signal::INT);
    let (code, _) = build.finish();
    assert_ne!(code, 0);
    testkit::wait_until("the step to be over", || match sleeps() {
        0 => Ok(()),
        left => Err(left),
    });
    testkit::wait_until("its container to be gone", || {
        let left = daemon.ok(&["ps", "--all", "--quiet"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn checks_outlines_and_targets_are_told_without_a_build() {
    let daemon = Daemon::start();
    let dockerfile = format!("from {IMAGE} AS first\nARG WHO=me\nFROM first as second\nRUN echo $WHO\n");
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile)]);
    let check = run(daemon.newest(&["build", "--check", &path]), "");
    let told = check.stdout + &check.stderr;
    assert_ne!(check.code, 0, "{told}");
    assert!(told.contains("WARNING: FromAsCasing") || told.contains("FromAsCasing"), "{told}");
    assert!(told.contains("ConsistentInstructionCasing"), "{told}");
    let targets = daemon.newest_ok(&["build", "--call=targets", &path]);
    assert!(targets.contains("first") && targets.contains("second (default)"), "{targets}");
    let outline = daemon.newest_ok(&["build", "--call=outline,format=json", "--target=second", &path]);
    assert!(outline.contains("\"name\": \"second\""), "{outline}");
}

#[test]
fn compose_builds_what_it_starts() {
    let daemon = Daemon::start();
    let compose = format!(
        "services:\n  web:\n    build:\n      context: .\n      dockerfile_inline: |\n        FROM {IMAGE}\n        \
         RUN echo inline > /said\n    command: cat /said\n  other:\n    build: ./other\n    command: cat /said\n"
    );
    let other = on_image("COPY said /said\n");
    let path = context(
        &daemon,
        "project",
        &[("compose.yaml", &compose), ("other/Dockerfile", &other), ("other/said", "of the context\n")],
    );
    let mut command = daemon.newest(&["compose", "up", "--build"]);
    command.current_dir(&path);
    let ran = run(command, "");
    assert_eq!(ran.code, 0, "{ran:?}\n{}", daemon.log());
    assert!(ran.stdout.contains("inline") && ran.stdout.contains("of the context"), "{ran:?}");
}

#[test]
fn the_cache_is_told_and_pruned() {
    let daemon = Daemon::start();
    let path =
        context(&daemon, "context", &[("Dockerfile", &on_image("RUN head -c 3000000 /dev/zero > /big\n"))]);
    let build = ["build", &path];
    daemon.newest_ok(&build);
    let du = daemon.newest_ok(&["buildx", "du"]);
    assert!(du.contains("3MB") || du.contains("3.0"), "{du}");
    assert!(is_cached(&daemon.newest_ok(&build), "[2/2] RUN"));
    daemon.ok(&["image", "prune", "--force"]);
    let pruned = daemon.newest_ok(&["buildx", "prune", "--all", "--force"]);
    assert!(pruned.contains("Total:"), "{pruned}");
    assert!(!is_cached(&daemon.newest_ok(&build), "[2/2] RUN"));
    // The engine's own requests tell and take the same.
    let cache = || {
        let told = daemon.ok(&["system", "df", "--format", "{{.Type}}: {{.TotalCount}} of {{.Size}}"]);
        told.lines().find(|line| line.starts_with("Build Cache")).unwrap_or_default().to_owned()
    };
    daemon.ok(&["image", "prune", "--force"]);
    assert!(cache().ends_with(" of 3MB"), "{}", cache());
    let pruned = daemon.ok(&["builder", "prune", "--all", "--force"]);
    assert!(pruned.ends_with("Total reclaimed space: 3MB"), "{pruned}");
    assert_eq!(cache(), "Build Cache: 0 of 0B");
    assert!(!is_cached(&daemon.newest_ok(&build), "[2/2] RUN"));
    let builders = daemon.newest_ok(&["buildx", "ls"]);
    assert!(builders.contains("default") && builders.contains("running"), "{builders}");
}

#[test]
fn what_one_client_built_another_need_not() {
    let daemon = Daemon::start();
    let dockerfile = on_image(
        "ARG A=1\nENV B=$A\nWORKDIR /w\nCOPY data dir ./\nRUN cat data > copy && \\\n    echo \"$A $B\" >> copy\nCMD [\"cat\", \"/w/copy\"]\n",
    );
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile), ("data", "data "), ("dir/x", "x")]);
    let steps = |told: &str| -> Vec<bool> {
        let step = |word: &str| told.split("Step ").find(|step| step.contains(&format!(" : {word} ")));
        let found = |word: &str| step(word).expect(word).contains(" ---> Using cache\n");
        ["WORKDIR", "COPY", "RUN"].map(found).to_vec()
    };
    daemon.newest_ok(&["build", &path]);
    let classic = ["build", "--tag", "classic:1", &path];
    let told = daemon.ok(&classic);
    assert_eq!(steps(&told), [true; 3], "{told}");
    assert_eq!(daemon.ok(&["run", "--rm", "classic:1"]), "data 1 1");
    daemon.ok(&["builder", "prune", "--all", "--force"]);
    let told = daemon.ok(&classic);
    assert_eq!(steps(&told), [false; 3], "{told}");
    let told = daemon.newest_ok(&["build", &path]);
    for step in ["[2/4] WORKDIR", "[3/4] COPY", "[4/4] RUN"] {
        assert!(is_cached(&told, step), "{step}: {told}");
    }
    let history = daemon.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "classic:1"]);
    assert!(history.contains("|1 A=1 /bin/sh -c cat data > copy"), "{history}");
}

#[test]
fn a_context_may_come_through_a_pipe() {
    let daemon = Daemon::start();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in
        [("Dockerfile", on_image("COPY a /a\nCMD [\"cat\", \"/a\"]\n").as_str()), ("a", "piped\n")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).expect("into memory");
    }
    let path = daemon.scratch("archive").join("context.tar");
    std::fs::write(&path, archive.into_inner().expect("into memory")).expect("write the archive");
    let mut build = daemon.newest(&["build", "--tag", "piped", "-"]);
    build.stdin(std::fs::File::open(&path).expect("open the archive"));
    let output = build.output().expect("run the client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemon.ok(&["run", "--rm", "piped"]), "piped");

    // A client before buildx sends it in a request of its own, and a program in that for the build.
    let archive = std::fs::read_to_string(&path).expect("text and noughts");
    let upload = "/v1.41/build?version=2&buildid=upload-request:1";
    let build = "/v1.41/build?version=2&t=piped:2&remote=upload-request&buildid=1";
    let (built, uploaded) = std::thread::scope(|scope| {
        let built = scope.spawn(|| raw(&daemon.socket(), "POST", build, ""));
        let uploaded = raw(&daemon.socket(), "POST", upload, &archive);
        (built.join().expect("no panic"), uploaded)
    });
    assert_eq!(uploaded.expect("the context is taken").status, 200);
    let built = built.expect("an answer");
    assert!(built.body.contains("\"moby.image.id\""), "{}", built.body);
    assert_eq!(daemon.ok(&["run", "--rm", "piped:2"]), "piped");
    let answer = raw(&daemon.socket(), "POST", "/v1.41/build?version=2&t=piped:3", &archive).expect("build");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("\"moby.image.id\""), "{}", answer.body);
    assert_eq!(daemon.ok(&["run", "--rm", "piped:3"]), "piped");
    // Who listens hears of each image and of its name.
    let told = daemon.ok(&[
        "events",
        "--since",
        "10m",
        // The client says it in whole seconds.
        "--until=-2s",
        "--filter",
        "type=image",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ]);
    for name in ["piped:latest", "piped:2", "piped:3"] {
        assert!(told.contains(&format!("tag {name}")), "{told}");
    }
    assert!(told.lines().filter(|line| line.starts_with("create sha256:")).count() >= 3, "{told}");
    let nobody = raw(&daemon.socket(), "POST", "/v1.41/build?version=2&buildid=upload-request:x", &archive);
    assert_eq!(nobody.expect("an answer").status, 404);
}

#[test]
fn what_is_built_is_pushed_and_built_on_elsewhere() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    let path = context(&daemon, "context", &[("Dockerfile", &on_image("RUN echo one > /one\n"))]);
    let told = daemon.newest_ok(&["build", "--push", "--tag", "localhost:5000/app:1", &path]);
    assert!(told.contains("pushing localhost:5000/app:1"), "{told}");
    daemon.ok(&["rmi", "localhost:5000/app:1"]);
    daemon.newest_ok(&["buildx", "prune", "--all", "--force"]);

    let on_it = "FROM localhost:5000/app:1\nRUN cat /one > /two\n";
    let path = context(&daemon, "other", &[("Dockerfile", on_it)]);
    daemon.newest_ok(&["build", "--tag", "other:1", &path]);
    assert_eq!(daemon.ok(&["run", "--rm", "other:1", "cat", "/two"]), "one");
    let names = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!names.contains("localhost:5000/app"), "what is built on is no image of this machine: {names}");
    let again = daemon.newest_ok(&["build", "--tag", "other:1", &path]);
    assert!(is_cached(&again, "[2/2] RUN"), "{again}");
}
