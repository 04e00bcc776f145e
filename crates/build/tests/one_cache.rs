//! The builder that goes step by step, and definitions: one cache, and what waits for nothing is done at once.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use build::BuildOptions;
use build::solve::{Event, JobOptions, PruneOptions, Session, Solver};
use engine::container::ContainerFilter;
use engine::exec::ExecSpec;
use futures::StreamExt;
use support::solving::Client;
use support::{arguments, build, with_engine};

const DOCKERFILE: &str = "ARG BASE=busybox\nFROM $BASE AS made\nENV B=2 A=1\nARG V=default\nARG TARGETARCH\n\
    RUN mkdir /out && \\\n    echo $V $A > /out/f\nRUN cat <<EOF > /out/said\n$A\nEOF\n\
    FROM busybox\nWORKDIR /w\nUSER nobody\nCOPY --from=made --chown=nobody /out/f ./\n\
    COPY --chmod=600 *.txt dir texts/\nADD dir /dir\nCOPY <<D /d\n$PATH\nD\nENV PATH=/bin:/x\nSHELL [\"/bin/sh\", \"-ec\"]\n\
    RUN [\"sh\", \"-c\", \"cat f\"]\nRUN --network=none true\nCMD [\"cat\"]\n";
const FILES: [(&str, &str); 4] =
    [("a.txt", "a"), ("dir/b", "b"), ("dir/left-out", "c"), (".dockerignore", "**/left-out\n")];
/// What of it writes files.
const WRITING: usize = 9;

/// Builds by the front end; gives how many operations of the Dockerfile were done before, and how many were not.
async fn by_definition(solver: &Solver) -> (usize, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, content) in FILES.iter().chain([&("Dockerfile", DOCKERFILE)]) {
        // A client sends nothing that is left out.
        if !path.ends_with("left-out") {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
            std::fs::write(path, content).expect("write");
        }
    }
    let named = |name: &str| (name.to_owned(), directory.path().to_owned());
    let directories = [named("context"), named("dockerfile")].into();
    let client: Arc<dyn Session> = Arc::new(Client { directories, ..Client::default() });
    let job = solver.job(JobOptions { session: Some(client), ..JobOptions::default() });
    let options = [("force-network-mode", "none"), ("build-arg:V", "given"), ("build-arg:http_proxy", "p")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let outcome = job.front("dockerfile.v0", options, BTreeMap::new()).await.expect("read");
    outcome.single.as_ref().expect("an image").evaluate().await.expect("build");
    job.close();
    let events: Vec<Event> = job.events().collect().await;
    let is_step = |name: &str| {
        ["RUN", "COPY", "ADD", "WORKDIR"].iter().any(|word| name.contains(&format!("] {word} ")))
    };
    let done = events.into_iter().filter_map(|event| match event {
        Event::Vertex(vertex) if vertex.completed.is_some() && is_step(&vertex.name) => {
            Some((vertex.cached, vertex.name))
        }
        _ => None,
    });
    let (cached, done): (Vec<_>, Vec<_>) = done.partition(|(cached, _)| *cached);
    eprintln!("done: {done:?}");
    (cached.len(), done.len())
}

/// The steps of a build that wrote files and were not done before.
fn done_anew(text: &str) -> Vec<&str> {
    let steps = text.split("Step ").skip(1).filter(|step| {
        ["RUN", "COPY", "ADD", "WORKDIR"].iter().any(|word| step.contains(&format!(" : {word} ")))
    });
    steps.filter(|step| !step.contains(" ---> Using cache\n")).collect()
}

fn options() -> BuildOptions {
    arguments(&[("V", "given"), ("http_proxy", "other")])
}

#[test]
fn what_a_definition_came_to_need_not_be_done_step_by_step() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        assert_eq!(by_definition(&solver).await, (0, WRITING));
        let outcome = build(&engine, DOCKERFILE, &FILES, options()).await;
        let image = outcome.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", outcome.text));
        assert!(done_anew(&outcome.text).is_empty(), "{}", outcome.text);
        // The same again is the same image.
        let again = build(&engine, DOCKERFILE, &FILES, options()).await;
        assert_eq!(again.image, Ok(image));
        assert!(!again.text.contains("Running in"), "{}", again.text);
    });
}

#[test]
fn what_is_done_step_by_step_is_found_by_definitions_until_it_is_pruned() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let built = build(&engine, DOCKERFILE, &FILES, options()).await;
        let image = built.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", built.text));
        assert_eq!(done_anew(&built.text).len(), WRITING, "{}", built.text);
        assert_eq!(by_definition(&solver).await, (WRITING, 0));
        let listed = solver.disk_usage(&["description~=RUN mkdir".to_owned()]).await.expect("list");
        assert_eq!(listed.len(), 1, "{listed:?}");

        solver.prune(PruneOptions { all: true, ..PruneOptions::default() }).await.expect("prune");
        let again = build(&engine, DOCKERFILE, &FILES, options()).await;
        assert_eq!(done_anew(&again.text).len(), WRITING, "{}", again.text);
        assert!(again.image.expect("an image") != image);
        // What images are made of is not gone with it.
        engine.image_inspect(&image).expect("the first image");
    });
}

#[test]
fn stages_that_do_not_wait_for_each_other_are_done_at_once_and_told_in_order() {
    with_engine(async |engine| {
        let stage = |name: &str| {
            format!(
                "FROM busybox AS {name}\nRUN echo {name} begins && until [ -e /go ]; do sleep 0.05; done && echo {name} > /{name}\n"
            )
        };
        let dockerfile = format!(
            "{}{}{}FROM two\nCOPY --from=one /one /\nCOPY --from=2 /three /\nRUN cat /one /two /three\n",
            stage("one"),
            stage("two"),
            stage("three")
        );
        let building = tokio::spawn({
            let engine = engine.clone();
            async move { build(&engine, &dockerfile, &[], BuildOptions::default()).await }
        });
        let running = ContainerFilter::default();
        let steps = testkit::wait_until_async("all three", || async {
            let containers = engine.container_list(&running).expect("list");
            if containers.len() == 3 { Ok(containers) } else { Err(format!("{} run", containers.len())) }
        })
        .await;
        for step in steps {
            let command = vec!["touch".to_owned(), "/go".to_owned()];
            let go = ExecSpec { command, ..ExecSpec::default() };
            engine.exec_run(&step.id, go, None, 0).await.expect("let it go on");
        }
        let outcome = building.await.expect("it ends");
        outcome.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", outcome.text));
        let mut said = outcome.text.as_str();
        for next in [
            "Step 1/10 : FROM busybox AS one\n",
            "\none begins\n",
            "Step 3/10",
            "\ntwo begins\n",
            "Step 5/10",
            "\nthree begins\n",
            "Step 7/10 : FROM two\n",
            "\none\ntwo\nthree\n",
        ] {
            let at = said.find(next).unwrap_or_else(|| panic!("no {next:?} in {}", outcome.text));
            said = &said[at..];
        }
    });
}

#[test]
fn the_first_stage_that_fails_is_the_one_that_is_told() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox AS one\nRUN sleep 0.3; echo first && exit 3\nFROM busybox AS two\nRUN exit 4\nFROM two\nRUN true\n";
        let outcome = build(&engine, dockerfile, &[], BuildOptions::default()).await;
        let error = outcome.image.expect_err("it fails");
        assert!(error.ends_with("returned a non-zero code: 3"), "{error}");
        assert!(outcome.text.contains("\nfirst\n") && !outcome.text.contains("two"), "{}", outcome.text);
    });
}

#[test]
fn what_is_written_into_a_volume_is_dropped_and_another_outcome_than_a_definition_s() {
    with_engine(async |engine| {
        let dockerfile = "FROM busybox\nRUN mkdir /v && echo kept > /v/f\nVOLUME /v\nRUN echo lost > /v/g; cat /v/f\nRUN ls /v\n";
        let outcome = build(&engine, dockerfile, &[], BuildOptions::default()).await;
        outcome.image.unwrap_or_else(|error| panic!("{error}\nafter:\n{}", outcome.text));
        assert!(outcome.text.contains("\nkept\n") && outcome.text.contains("\nf\n"), "{}", outcome.text);
        assert!(!outcome.text.contains("\ng\n"), "{}", outcome.text);
        let again = build(&engine, dockerfile, &[], BuildOptions::default()).await;
        assert_eq!(again.text.matches(" ---> Using cache\n").count(), 4, "{}", again.text);
    });
}
