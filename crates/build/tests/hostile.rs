//! Contexts and Dockerfiles of somebody else: what they do not get, and what they do not cost.

mod support;

use build::BuildOptions;
use support::{build, build_context, header, with_engine};
use tar::EntryType;

/// The complaint about a build.
async fn complaint(engine: &engine::Engine, dockerfile: &str, options: BuildOptions) -> String {
    build(engine, dockerfile, &[], options).await.image.expect_err(dockerfile)
}

#[test]
fn a_dockerfile_takes_no_network_that_the_request_does_not_give() {
    with_engine(async |engine| {
        let fails = async |line: &str| {
            complaint(&engine, &format!("FROM busybox\n{line}"), BuildOptions::default()).await
        };
        let error = fails("RUN --network=host true").await;
        assert!(error.starts_with("network.host is not allowed"), "{error}");
        let spec = engine::container::ContainerSpec {
            image: "busybox".to_owned(),
            name: Some("web".to_owned()),
            command: Some(vec!["true".to_owned()]),
            ..engine::container::ContainerSpec::default()
        };
        engine.container_create(spec).await.expect("a neighbour");
        for other in ["container:web", "bridge"] {
            let error = fails(&format!("RUN --network={other} true")).await;
            assert!(error.ends_with(&format!("invalid network mode: \"{other}\"")), "{error}");
        }
        // From the base image it comes no further.
        let base = BuildOptions { tags: vec!["base".to_owned()], ..BuildOptions::default() };
        let built = build(&engine, "FROM busybox\nONBUILD RUN --network=host true", &[], base).await;
        built.image.expect("the base");
        let error = complaint(&engine, "FROM base", BuildOptions::default()).await;
        assert!(error.starts_with("network.host is not allowed"), "{error}");

        // What the request gives the Dockerfile may take, or leave.
        let links = "ls /sys/class/net | tr '\\n' ' '; echo end";
        let dockerfile = format!("FROM busybox\nRUN --network=none {links}\nRUN --network=host ls /proc/net");
        let mut context = tar::Builder::new(Vec::new());
        let mut entry = header(EntryType::Regular, dockerfile.len() as u64);
        context.append_data(&mut entry, "Dockerfile", dockerfile.as_bytes()).expect("into memory");
        let options = BuildOptions { network: "host".to_owned(), ..BuildOptions::default() };
        let built = build_context(&engine, context.into_inner().expect("into memory"), options).await;
        assert!(built.text.contains("\nlo end\n"), "{}", built.text);
        built.image.expect("allowed");
        engine
            .container_remove(
                &engine.container_find("web").expect("the neighbour"),
                engine::container::RemoveOptions::default(),
            )
            .await
            .expect("remove");
    });
}

/// A context with a Dockerfile and one thing that is no file.
fn with_special(dockerfile: Option<&str>, name: &str, kind: EntryType) -> Vec<u8> {
    let mut context = tar::Builder::new(Vec::new());
    if let Some(text) = dockerfile {
        let mut entry = header(EntryType::Regular, text.len() as u64);
        context.append_data(&mut entry, "Dockerfile", text.as_bytes()).expect("into memory");
    }
    let mut entry = header(kind, 0);
    // /dev/zero, which has no end.
    entry.set_device_major(1).expect("GNU");
    entry.set_device_minor(5).expect("GNU");
    context.append_data(&mut entry, name, std::io::empty()).expect("into memory");
    context.into_inner().expect("into memory")
}

#[test]
fn no_device_or_pipe_of_a_context_is_opened() {
    with_engine(async |engine| {
        for kind in [EntryType::Char, EntryType::Fifo] {
            for (dockerfile, name) in [(None, "Dockerfile"), (Some("FROM busybox"), ".dockerignore")] {
                let context = with_special(dockerfile, name, kind);
                let error = build_context(&engine, context, BuildOptions::default()).await.image;
                let error = error.expect_err("no file");
                assert!(error.contains("it is not a regular file"), "{name}: {error}");
            }
        }
        // As with Docker they can be copied; a container has no right to open them.
        let dockerfile = "FROM busybox\nCOPY zero /x\nRUN stat -c %F /x";
        let context = with_special(Some(dockerfile), "zero", EntryType::Char);
        let options = BuildOptions { network: "none".to_owned(), ..BuildOptions::default() };
        let built = build_context(&engine, context, options).await;
        assert!(built.text.contains("\ncharacter special file\n"), "{}", built.text);
    });
}

/// The archive of one file, whose name is written as it is.
fn climbing(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut entry = header(EntryType::Regular, content.len() as u64);
        entry.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
        entry.set_cksum();
        archive.append(&entry, *content).expect("into memory");
    }
    archive.into_inner().expect("into memory")
}

#[test]
fn names_that_climb_out_of_a_context_or_an_archive_lead_to_its_root() {
    with_engine(async |engine| {
        let inner = climbing(&[("../../added", b"two"), ("d/../../x", b"three")]);
        let dockerfile = "FROM busybox\nCOPY sent /sent\nADD inner.tar /a/b/\nRUN cat /sent /a/b/added /a/b/x && ls /a / | tr '\\n' ' '";
        let context = climbing(&[
            ("../../sent", b"one"),
            ("../inner.tar", &inner),
            ("a/../../Dockerfile", dockerfile.as_bytes()),
        ]);
        let options = BuildOptions { network: "none".to_owned(), ..BuildOptions::default() };
        let built = build_context(&engine, context, options).await;
        built.image.unwrap_or_else(|error| panic!("{error}: {}", built.text));
        assert!(built.text.contains("onetwothree"), "{}", built.text);
        assert!(built.text.contains("/a: b  "), "nothing is beside it: {}", built.text);
    });
}

#[test]
fn a_step_that_makes_a_huge_hole_is_refused_and_none_is_read() {
    with_engine(async |engine| {
        let error =
            complaint(&engine, "FROM busybox\nRUN truncate -s 8796093022208 /hole", BuildOptions::default())
                .await;
        assert!(error.contains("file `hole` has 8796093022208 bytes"), "{error}");
        // A hole that is small enough stays one when it is copied.
        let dockerfile = "FROM busybox AS a\nRUN truncate -s 64M /hole\nFROM busybox\nCOPY --from=a /hole /copy\nRUN stat -c 'blocks %b size %s' /copy";
        let built = build(&engine, dockerfile, &[], BuildOptions::default()).await;
        assert!(built.text.contains("\nblocks 0 size 67108864\n"), "{}", built.text);
    });
}

#[test]
fn an_image_that_is_built_holds_no_more_than_one_that_is_pulled() {
    with_engine(async |engine| {
        let volumes: String = (0..257).map(|n| format!(" /v{n}")).collect();
        let error =
            complaint(&engine, &format!("FROM busybox\nVOLUME{volumes}"), BuildOptions::default()).await;
        assert!(error.contains("the image has 257 volumes, and at most 256 are taken"), "{error}");
        let rules: String = (0..10_001).map(|n| format!("*{n}\n")).collect();
        let built =
            build(&engine, "FROM busybox", &[(".dockerignore", &rules)], BuildOptions::default()).await;
        let error = built.image.expect_err("too many rules");
        assert_eq!(error, "error reading .dockerignore: there are more than 10000 patterns");
    });
}
