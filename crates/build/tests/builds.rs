//! Whole builds, with real containers for RUN.

mod support;

use build::BuildOptions;
use engine::container::ContainerFilter;
use futures::StreamExt;
use support::{Files, arguments, build, build_as_asked, with_engine};

/// Builds and expects success; gives what was said.
async fn built(
    engine: &engine::Engine,
    dockerfile: &str,
    files: Files<'_>,
    options: BuildOptions,
) -> (String, String) {
    let outcome = build(engine, dockerfile, files, options).await;
    let image = outcome.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", outcome.text));
    (outcome.text, image)
}

async fn fails(engine: &engine::Engine, dockerfile: &str, complaint: &str) {
    let outcome = build(engine, dockerfile, &[("here.txt", "x")], BuildOptions::default()).await;
    let error = outcome.image.expect_err(dockerfile);
    assert!(error.contains(complaint), "`{error}` does not say `{complaint}`");
}

#[test]
fn steps_build_on_each_other_and_are_not_done_twice() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox\nENV WHO=world\nCOPY a.txt /dir/\nRUN echo \"hello $WHO\" && cat /dir/a.txt && echo x > /made\nRUN cat /made\nCMD [\"cat\", \"/made\"]";
        let files = &[("a.txt", "content of a\n")];
        let tagged = BuildOptions { tags: vec!["app:1".into()], ..BuildOptions::default() };
        let (text, first) = built(&engine, dockerfile, files, tagged).await;
        assert!(text.contains("Step 4/6 : RUN echo"), "{text}");
        assert!(text.contains("\nhello world\ncontent of a\n"), "{text}");
        assert!(text.ends_with("Successfully tagged app:1\n"), "{text}");
        let image = engine.image_inspect("app:1").expect("the image");
        assert_eq!(image.config.command, Some(vec!["cat".to_owned(), "/made".to_owned()]));
        // The second RUN wrote nothing.
        assert_eq!(image.layers.len(), 3);

        let (text, second) = built(&engine, dockerfile, files, BuildOptions::default()).await;
        assert_eq!(text.matches(" ---> Using cache\n").count(), 5, "{text}");
        assert_eq!(first, second);
        let (text, third) =
            built(&engine, dockerfile, &[("a.txt", "other\n")], BuildOptions::default()).await;
        assert_eq!(text.matches(" ---> Using cache\n").count(), 1, "{text}");
        assert_ne!(first, third);
        let again = BuildOptions { no_cache: true, ..BuildOptions::default() };
        let (text, _) = built(&engine, dockerfile, files, again).await;
        assert!(!text.contains("Using cache"), "{text}");
        assert_eq!(
            engine.container_list(&ContainerFilter { all: true, ..Default::default() }).expect("list").len(),
            0
        );
    });
}

#[test]
fn stages_copy_from_each_other_and_a_target_ends_early() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox AS made\nRUN mkdir /out && echo one > /out/f && ln -s f /out/l\nFROM busybox AS other\nCOPY --from=made --chown=7:8 --chmod=640 /out/f /copied\nCOPY --from=0 /out /all\nRUN stat -c '%u %g %a' /copied && readlink /all/l && cat /all/l\nFROM made\nRUN echo last";
        let target = BuildOptions { target: "other".into(), ..BuildOptions::default() };
        let (text, _) = built(&engine, dockerfile, &[], target).await;
        assert!(text.contains("7 8 640\nf\none\n"), "{text}");
        assert!(text.contains("Step 6/6"), "{text}");
        assert!(!text.contains("last"), "{text}");
    });
}

#[test]
fn arguments_count_only_where_they_are_declared() {
    with_engine(async |engine| {
        let dockerfile =
            "ARG BASE=none\nFROM $BASE\nRUN echo \"before=$V\"\nARG V=default\nRUN echo \"after=$V\"";
        let with = |value| arguments(&[("BASE", "busybox"), ("V", value), ("UNUSED", "x")]);
        let (text, _) = built(&engine, dockerfile, &[], with("one")).await;
        assert!(text.contains("before=\n") && text.contains("after=one\n"), "{text}");
        assert!(text.contains("[Warning] One or more build-args [UNUSED] were not consumed"), "{text}");
        let (text, _) = built(&engine, dockerfile, &[], with("two")).await;
        assert!(!text.contains("before=\n") && text.contains("after=two\n"), "{text}");
    });
}

#[test]
fn what_is_ignored_is_not_copied() {
    with_engine(async |engine| {
        let files = &[
            (".dockerignore", "*.log\n!keep.log\nsecret"),
            ("a.log", "a"),
            ("keep.log", "k"),
            ("secret/s", "s"),
            ("d/x", "x"),
        ];
        let (text, _) = built(
            &engine,
            "FROM busybox\nCOPY . /c/\nRUN cd /c && find . -type f | sort",
            files,
            BuildOptions::default(),
        )
        .await;
        assert!(text.contains("\n./.dockerignore\n./Dockerfile\n./d/x\n./keep.log\n"), "{text}");
        let outcome = build(&engine, "FROM busybox\nCOPY a.log /", files, BuildOptions::default()).await;
        let error = outcome.image.expect_err("an ignored file");
        assert!(error.contains("excluded by .dockerignore: stat a.log"), "{error}");
    });
}

#[test]
fn triggers_of_a_base_image_run_in_the_next_build() {
    with_engine(async |engine| {
        let base = BuildOptions { tags: vec!["base".into()], ..BuildOptions::default() };
        built(&engine, "FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f", &[("f", "x")], base).await;
        let (text, image) = built(
            &engine,
            "FROM base\nUSER nobody\nWORKDIR /w/x\nRUN id -un && pwd",
            &[("f", "from the child\n")],
            BuildOptions::default(),
        )
        .await;
        assert!(text.contains("# Executing 2 build triggers\n"), "{text}");
        assert!(text.contains("from the child\n") && text.contains("nobody\n/w/x\n"), "{text}");
        assert!(engine.image_inspect(&image).expect("the image").config.on_build.is_empty());
    });
}

#[test]
fn nothing_is_left_of_a_build_that_fails() {
    with_engine(async |engine| {
        fails(
            &engine,
            "FROM busybox\nRUN exit 3",
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
        )
        .await;
        fails(&engine, "FROM busybox\nCOPY nowhere /", "COPY failed: file not found in build context").await;
        fails(
            &engine,
            "FROM busybox\nCOPY here.txt Dockerfile /one",
            "the destination must be a directory and end with a /",
        )
        .await;
        fails(
            &engine,
            "FROM busybox\nCOPY ../../etc/passwd /x",
            "COPY failed: file not found in build context",
        )
        .await;
        fails(&engine, "FROM busybox\nFROBNICATE", "unknown instruction: FROBNICATE").await;
        fails(&engine, "# nothing", "file with no instructions").await;

        let squash = BuildOptions { squash: true, ..BuildOptions::default() };
        let outcome = build(&engine, "FROM busybox", &[], squash).await;
        assert!(outcome.image.expect_err("squash").starts_with("squash is not supported"));
        assert!(engine.images().snapshot_list().iter().all(|id| !id.starts_with("build-")));
    });
}

#[test]
fn nobody_removes_the_image_that_a_running_build_stands_on() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox\nRUN while [ ! -e /go ]; do sleep 0.05; done\nRUN echo done > /file\n";
        let building = tokio::spawn({
            let engine = engine.clone();
            async move { build(&engine, dockerfile, &[], BuildOptions::default()).await }
        });
        let running = ContainerFilter::default();
        let step = testkit::wait_until_async("the first step", || async {
            let containers = engine.container_list(&running).expect("list");
            containers.first().map(|container| container.id.clone()).ok_or("it does not run")
        })
        .await;
        let id = engine.image_inspect("busybox").expect("the base").id.to_string();
        let error = engine.image_remove(&id, true, true).await.expect_err("it is needed");
        assert!(error.message().contains("(cannot be forced)"), "{error}");
        // By name and force it loses its name, as with Docker, and is there all the same.
        engine.image_remove("busybox", true, true).await.expect("untag");
        engine.image_prune(engine::container::PruneFilter::default(), true).await.expect("prune");
        let go = engine::exec::ExecSpec {
            command: vec!["touch".to_owned(), "/go".to_owned()],
            ..engine::exec::ExecSpec::default()
        };
        engine.exec_run(&step, go, None, 0).await.expect("let it go on");
        let outcome = building.await.expect("it ends");
        outcome.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", outcome.text));
    });
}

#[test]
fn what_is_copied_from_another_stage_stays_whose_it_is() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox AS made\nRUN mkdir -p /out/d && echo x > /out/a && ln /out/a /out/d/b && chown 7:8 /out/a /out/d && chmod 2750 /out/d && ln -s ../../../.. /out/up && touch -d '1960-01-02 03:04:05' /out/d\nFROM busybox\nCOPY --from=made /out /copied\nCOPY --from=made --chown=3:4 /out /given\nRUN stat -c '%n %h %u %g' /copied/a /given/d/b && stat -c '%n %u %g %a %Y' /copied/d && readlink /copied/up && test /copied/a -ef /copied/d/b && echo same";
        let (text, _) = built(&engine, dockerfile, &[], BuildOptions::default()).await;
        let said = "\n/copied/a 2 7 8\n/given/d/b 2 3 4\n/copied/d 7 8 2750 -315521755\n../../../..\nsame\n";
        assert!(text.contains(said), "{text}");
    });
}

#[test]
fn patterns_that_match_nothing_beside_one_that_does_are_nothing() {
    with_engine(async |engine| {
        let files = &[("a.txt", "a"), ("b.txt", "b")];
        let (text, _) =
            built(&engine, "FROM busybox\nCOPY a.txt c* /d/\nRUN ls /d", files, BuildOptions::default())
                .await;
        assert!(text.contains("\na.txt\n"), "{text}");
        fails(&engine, "FROM busybox\nCOPY c* d* /d/", "COPY failed: no source files were specified").await;
        fails(&engine, "FROM busybox\nCOPY here.txt h* /d", "When using COPY with more than one source file")
            .await;
        fails(&engine, "FROM busybox\nCOPY http://h/x /d", "COPY failed: source can't be a URL for COPY")
            .await;
        fails(
            &engine,
            "FROM busybox AS a\nFROM busybox\nCOPY --from=a /none /x",
            "COPY failed: stat none: file",
        )
        .await;
    });
}

#[test]
fn a_step_is_known_by_its_words_and_its_network() {
    with_engine(async |engine| {
        let said = async |line: &str| {
            let dockerfile = format!("FROM busybox\n{line}");
            built(&engine, &dockerfile, &[], BuildOptions::default()).await.0
        };
        let first = said(r#"RUN ["sh", "-c", "echo one"]"#).await;
        assert!(first.contains("\none\n"), "{first}");
        // The same words when they are put together.
        let second = said(r#"RUN ["sh", "-c", "echo", "one"]"#).await;
        assert!(!second.contains("Using cache") && !second.contains("\none\n"), "{second}");
        assert!(said(r#"RUN ["sh", "-c", "echo one"]"#).await.contains("Using cache"));
        said("RUN echo x").await;
        let host = BuildOptions { network: "host".to_owned(), ..BuildOptions::default() };
        let apart = build_as_asked(&engine, "FROM busybox\nRUN echo x", &[], host).await.text;
        assert!(!apart.contains("Using cache"), "{apart}");
        // Without a network, whoever says so.
        assert!(said("RUN --network=none echo x").await.contains("Using cache"));
    });
}

#[test]
fn what_is_copied_is_known_by_its_name_and_by_where_it_goes() {
    with_engine(async |engine| {
        let files = &[("a", "same"), ("b", "same"), ("d/c", "same"), ("e/c", "same"), ("dir/x", "x")];
        let listed = async |line: &str| {
            let dockerfile =
                format!("FROM busybox\nRUN mkdir /there\n{line}\nRUN find /there /new 2>/dev/null | sort");
            let (text, image) = built(&engine, &dockerfile, files, BuildOptions::default()).await;
            let id = image.trim_start_matches("sha256:")[..12].to_owned();
            (text.matches("Using cache").count(), id)
        };
        // What each comes to, and what is done again of each: the first RUN is not, but for the first time.
        let mut made = std::collections::BTreeSet::new();
        for line in [
            "COPY a /there",
            "COPY b /there",
            "COPY a /new/",
            "COPY b /new/",
            "COPY a /new",
            "COPY a dir /new/",
            "COPY b dir /new/",
            "COPY dir /new",
        ] {
            let (_, image) = listed(line).await;
            assert!(made.insert(image), "{line} is another's");
        }
        // A directory brings what is in it, and a file is called by its last part.
        let (_, first) = listed("COPY d /new").await;
        assert_eq!(listed("COPY e /new").await, (3, first));
        let (_, first) = listed("COPY d/c /new/").await;
        assert_eq!(listed("COPY e/c /new/").await, (3, first));
    });
}

/// Makes an image one that came from elsewhere: without the steps that it was made by.
async fn from_elsewhere(engine: &engine::Engine, name: &str) {
    let saved = engine.image_save(&[name.to_owned()], None).await.expect("save");
    let archive: Vec<_> = saved.collect().await;
    engine.image_remove(name, true, true).await.expect("remove");
    let archive = futures::stream::iter(archive).boxed();
    let loaded: Vec<_> = engine.image_load(archive, None).expect("load").collect().await;
    loaded.into_iter().collect::<Result<Vec<_>, _>>().expect("load");
}

#[test]
fn programs_are_found_in_images_to_take_steps_from() {
    with_engine(async |engine| {
        let all = "FROM busybox\nRUN [\"sh\", \"-c\", \"echo one > /f\"]\nRUN [\"touch\", \"/g\"]";
        let named = BuildOptions { tags: vec!["app:1".into()], ..BuildOptions::default() };
        built(&engine, all, &[], named).await;
        from_elsewhere(&engine, "app:1").await;
        let from = BuildOptions { cache_from: vec!["app:1".into()], ..BuildOptions::default() };
        // Where the words are known, the same line is not enough.
        let other = "FROM busybox\nRUN [\"sh\", \"-c\", \"echo one > /f\"]\nRUN [\"touch /g\"]";
        let text = build(&engine, other, &[], from.clone()).await.text;
        assert_eq!(text.matches("Using cache").count(), 1, "{text}");
        let (text, _) = built(&engine, all, &[], from).await;
        assert_eq!(text.matches("Using cache").count(), 2, "{text}");
    });
}

#[test]
fn stages_are_named_once_and_found_when_they_are_done() {
    with_engine(async |engine| {
        let own = "FROM busybox\nCOPY --from=0 /bin/busybox /x";
        fails(&engine, own, "invalid from flag value 0: refers to current build stage").await;
        let later = "FROM busybox\nCOPY --from=3 /bin/busybox /x";
        fails(&engine, later, "invalid from flag value 3: index out of bounds").await;
        fails(&engine, "FROM busybox AS a\nFROM busybox AS A", "a stage name already used").await;
        fails(&engine, "FROM $NONE", "base name ($NONE) should not be blank").await;
        // A name of the stage's own is that of an image still.
        let named = "FROM busybox AS busybox\nCOPY --from=busybox /bin/busybox /x\nFROM busybox\nRUN ls /x";
        let (text, _) = built(&engine, named, &[], BuildOptions::default()).await;
        assert!(text.contains("\n/x\n"), "{text}");
        let empty = "FROM scratch AS none\nFROM none\nCOPY here.txt /";
        built(&engine, empty, &[("here.txt", "x")], BuildOptions::default()).await;
        let target = BuildOptions { target: "x".into(), ..BuildOptions::default() };
        let outcome = build(&engine, "FROM busybox", &[], target).await;
        assert_eq!(outcome.image, Err("target stage \"x\" could not be found".to_owned()));
    });
}

#[test]
fn a_dockerfile_without_instructions_is_none() {
    with_engine(async |engine| {
        let complaint = async |text: &str| {
            build(&engine, text, &[], BuildOptions::default()).await.image.expect_err("nothing to do")
        };
        assert_eq!(complaint("").await, "the Dockerfile (Dockerfile) cannot be empty");
        assert_eq!(complaint("\n\n\t\n").await, "failed to parse Dockerfile: file with no instructions");
        assert_eq!(complaint("# only").await, "failed to parse Dockerfile: file with no instructions");
    });
}

#[test]
fn every_step_that_is_done_has_a_container() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox\nENV A=1\nWORKDIR /made/here\nRUN pwd\nCMD [\"sh\"]";
        let (text, _) = built(&engine, dockerfile, &[], BuildOptions::default()).await;
        assert_eq!(text.matches(" ---> Running in ").count(), 4, "{text}");
        assert_eq!(text.matches(" ---> Removed intermediate container ").count(), 4, "{text}");
        assert!(text.contains("\n/made/here\n"), "{text}");
        let all = ContainerFilter { all: true, ..Default::default() };
        assert_eq!(engine.container_list(&all).expect("list").len(), 0);
        let (text, _) = built(&engine, dockerfile, &[], BuildOptions::default()).await;
        assert!(!text.contains("Running in"), "{text}");
    });
}

#[test]
fn several_changes_may_come_in_one() {
    let mut config = engine::image::ImageConfig::default();
    let changes = ["ENV A=1\nENV B=$A\n# a remark\nLABEL x=\"a b\"".to_owned(), "USER me".to_owned()];
    build::apply_changes(&mut config, &changes).expect("changes");
    assert_eq!(config.env, ["A=1", "B=1"]);
    assert_eq!((config.labels["x"].as_str(), config.user.as_str()), ("a b", "me"));
    let error = build::apply_changes(&mut config, &["ENV A=2\nFROM x".to_owned()]).expect_err("no change");
    assert_eq!(error.to_string(), "FROM is not a valid change command");
}
