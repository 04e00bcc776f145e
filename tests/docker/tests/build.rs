//! `docker build` with the classic builder's protocol.

use std::path::Path;

use docker_tests::{Daemon, IMAGE};

/// Writes files of a build context.
fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("create a directory");
        std::fs::write(path, text).expect("write a file");
    }
}

#[test]
fn a_dockerfile_becomes_an_image_and_its_steps_are_remembered() {
    let daemon = Daemon::start();
    let context = daemon.scratch("context");
    let dockerfile = format!(
        "FROM {IMAGE} AS base\nARG WHO=nobody\nENV GREETING=\"hello $WHO\"\nWORKDIR /app\nCOPY src/ ./\n\
         RUN echo \"$GREETING\" > greeting && ls > list\n\
         FROM base\nLABEL stage=last\nUSER nobody\nEXPOSE 80/tcp\nENTRYPOINT [\"cat\"]\nCMD [\"/app/greeting\"]\n"
    );
    write(
        &context,
        &[
            ("Dockerfile", &dockerfile),
            ("src/kept", "1"),
            ("src/left-out", "2"),
            (".dockerignore", "src/left-*\n"),
        ],
    );
    let path = context.display().to_string();
    let build = ["build", "--tag", "app:1", "--build-arg", "WHO=world", "--label", "by=test", &path];
    let told = daemon.ok(&build);
    assert!(told.contains("Step 1/13 : FROM busybox:test AS base"), "{told}");
    assert!(told.contains("Successfully built ") && told.contains("Successfully tagged app:1"), "{told}");
    assert!(!told.contains("Using cache"), "{told}");
    // FROM has none, nor has COPY.
    assert_eq!(told.matches(" ---> Running in ").count(), 10, "{told}");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1"]), "hello world");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1", "/app/list"]), "greeting\nkept\nlist");
    assert_eq!(
        daemon.inspect("app:1", "{{.Config.User}} {{.Config.Labels.stage}} {{.Config.Labels.by}}"),
        "nobody last test"
    );
    let id = daemon.inspect("app:1", "{{.Id}}");
    let again = daemon.ok(&build);
    assert_eq!(again.matches("---> Using cache").count(), 11, "{again}");
    assert_eq!(daemon.inspect("app:1", "{{.Id}}"), id);
    assert_eq!(daemon.ok(&["build", "--quiet", "--build-arg", "WHO=world", "--label", "by=test", &path]), id);
    assert!(!daemon.ok(&["build", "--no-cache", &path]).contains("Using cache"));
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "", "no container of a step is left");
}

#[test]
fn what_fails_says_why_and_leaves_nothing() {
    let daemon = Daemon::start();
    let fails = |dockerfile: &str, code: i32, message: &str| {
        let context = daemon.scratch("broken");
        write(&context, &[("Dockerfile", dockerfile)]);
        let ran =
            daemon.docker(&["build", "--force-rm", "--tag", "broken:1", &context.display().to_string()]);
        assert_eq!(ran.code, code, "{dockerfile}: {ran:?}");
        assert!(ran.stderr.contains(message), "{dockerfile}: {ran:?}");
    };
    let from = format!("FROM {IMAGE}\n");
    fails("FRUM x\n", 1, "unknown instruction: FRUM");
    fails(&format!("{from}RUN exit 7\n"), 7, "The command '/bin/sh -c exit 7' returned a non-zero code: 7");
    fails(&format!("{from}COPY missing /x\n"), 1, "missing");
    fails(&format!("{from}COPY ../secret /x\n"), 1, "");
    fails("FROM 127.0.0.1:1/nothing:1\n", 1, "127.0.0.1:1");
    daemon.fails(&["inspect", "broken:1"], "No such object: broken:1");
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn a_stage_and_a_dockerfile_can_be_chosen() {
    let daemon = Daemon::start();
    let context = daemon.scratch("stages");
    let dockerfile = format!(
        "FROM {IMAGE} AS one\nRUN echo one > /stage\nFROM {IMAGE} AS two\nCOPY --from=one /stage /copied\nRUN echo two > /stage\nFROM one\nRUN false\n"
    );
    write(&context, &[("other/Dockerfile.prod", &dockerfile)]);
    let (path, file) =
        (context.display().to_string(), context.join("other/Dockerfile.prod").display().to_string());
    daemon.ok(&["build", "--file", &file, "--target", "two", "--tag", "two:1", &path]);
    assert_eq!(daemon.ok(&["run", "--rm", "two:1", "cat", "/stage", "/copied"]), "two\none");
    let piped = daemon.docker_with(
        &format!("FROM {IMAGE}\nRUN echo from stdin > /x\n"),
        &["build", "--tag", "piped:1", "-"],
    );
    assert_eq!(piped.code, 0, "{piped:?}");
    assert_eq!(daemon.ok(&["run", "--rm", "piped:1", "cat", "/x"]), "from stdin");
}

#[test]
fn a_build_is_cancelled_by_its_id() {
    let daemon = Daemon::start();
    let files = daemon.scratch("cancelled");
    write(&files, &[("Dockerfile", &format!("FROM {IMAGE}\nRUN echo begun && sleep 1000\n"))]);
    let packed = std::process::Command::new("tar").arg("-C").arg(&files).args(["-c", "Dockerfile"]).output();
    let context = String::from_utf8(packed.expect("run tar").stdout).expect("text");
    let answer = std::thread::scope(|scope| {
        let building = scope.spawn(|| daemon.raw("POST", "/v1.41/build?buildid=mine", &context));
        testkit::wait_until("the step to run", || match daemon.ok(&["ps", "--quiet"]) {
            ids if ids.is_empty() => Err("none runs"),
            _ => Ok(()),
        });
        let cancel =
            |query: &str| daemon.raw("POST", &format!("/v1.41/build/cancel{query}"), "").expect("an answer");
        let nameless = cancel("");
        assert_eq!((nameless.status, nameless.body.contains("build ID not provided")), (400, true));
        assert_eq!(cancel("?id=other").status, 200);
        assert_eq!(cancel("?id=mine").status, 200);
        building.join().expect("no panic").expect("an answer")
    });
    assert!(answer.body.contains(r#"{"stream":"Build cancelled\n"}"#), "{answer:?}");
    assert!(answer.body.contains(r#""error":"Build cancelled""#), "{answer:?}");
    testkit::wait_until("the step's container to go", || match daemon.ok(&["ps", "--all", "--quiet"]) {
        ids if ids.is_empty() => Ok(()),
        ids => Err(ids),
    });
}

#[test]
fn containers_of_all_steps_stay_where_they_are_to_stay() {
    let daemon = Daemon::start();
    let context = daemon.scratch("kept");
    write(&context, &[("Dockerfile", &format!("FROM {IMAGE}\nENV A=1\nWORKDIR /x\nRUN true\n"))]);
    let path = context.display().to_string();
    let told = daemon.ok(&["build", "--rm=false", &path]);
    let running: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix(" ---> Running in ")).collect();
    let mut left: Vec<String> =
        daemon.ok(&["ps", "--all", "--format", "{{.ID}}"]).lines().map(str::to_owned).collect();
    left.reverse();
    assert_eq!(running, left);
    daemon
        .fails(&["build", "--security-opt", "label=x", &path], "security options are not supported on linux");
    daemon.fails(
        &["build", "--platform", "foobar", &path],
        "\"foobar\": unknown operating system or architecture",
    );
    let group = daemon.ok(&["build", "--no-cache", "--cgroup-parent", "/apart", &path]);
    assert!(group.contains("Successfully built"), "{group}");
    // What a program looks for is in the answers.
    let answer = daemon.raw("POST", "/v1.41/build?remote=/tmp/x", "").expect("an answer");
    assert!(answer.body.contains("remoteURL (/tmp/x) could not be recognized as URL"), "{answer:?}");
}

#[test]
fn who_wants_a_step_anew_has_a_container_of_his_own() {
    let daemon = Daemon::start();
    let context = daemon.scratch("context");
    // Long enough that each is asked for while the others are under way.
    write(&context, &[("Dockerfile", &format!("FROM {IMAGE}\nRUN sleep 0.5\nRUN exit 3\n"))]);
    let path = context.display().to_string();
    let fails = |options: &[&str]| {
        let mut arguments = vec!["build", "--no-cache"];
        arguments.extend(options);
        arguments.push(&path);
        assert_ne!(daemon.docker(&arguments).code, 0);
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| fails(&["--rm=false"]));
        }
        scope.spawn(|| fails(&["--force-rm"]));
    });
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]).lines().count(), 6, "two of each that keeps them");
}
