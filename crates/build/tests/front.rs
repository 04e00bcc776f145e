//! Dockerfiles, by the front end that clients call `dockerfile.v0`.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use build::solve::{Event, Job, JobOptions, Outcome, Session, SolveError, Solver};
use futures::StreamExt;
use support::solving::{Client, text};
use support::with_engine;

/// A job of a client that has these files as its context, and its Dockerfile among them.
fn job(solver: &Solver, directory: &std::path::Path, files: &[(&str, &str)]) -> Job {
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
        std::fs::write(path, content).expect("write");
    }
    let named = |name: &str| (name.to_owned(), directory.to_owned());
    let directories = [named("context"), named("dockerfile")].into();
    let client: Arc<dyn Session> = Arc::new(Client { directories, ..Client::default() });
    solver.job(JobOptions { session: Some(client), ..JobOptions::default() })
}

async fn build(job: &Job, options: &[(&str, &str)]) -> Result<Outcome, SolveError> {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let network = ("force-network-mode".to_owned(), "none".to_owned());
    let options: BTreeMap<String, String> = options.chain([network]).collect();
    let outcome = job.front("dockerfile.v0", options, BTreeMap::new()).await?;
    outcome.single.as_ref().expect("an image").evaluate().await?;
    Ok(outcome)
}

/// What a job told of its vertices: names, with whether they were done before.
async fn told(job: &Job) -> Vec<(String, bool)> {
    job.close();
    let events: Vec<Event> = job.events().collect().await;
    let completed = events.into_iter().filter_map(|event| match event {
        Event::Vertex(vertex) if vertex.completed.is_some() => Some((vertex.name, vertex.cached)),
        _ => None,
    });
    completed.collect()
}

const DOCKERFILE: &str = "FROM busybox AS made\nRUN mkdir /out && echo one > /out/f\n\
    FROM busybox\nWORKDIR /w\nCOPY --from=made /out/f ./\nCOPY --chmod=600 *.txt texts/\n\
    RUN --mount=type=cache,target=/c echo $(pwd) $(cat f) $(stat -c %a texts/a.txt) > /said\n\
    ENV A=b\nCMD [\"cat\", \"/said\"]\n";

#[test]
fn a_dockerfile_becomes_an_image_and_its_steps_are_not_done_twice() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let solver = Solver::new(engine.clone());
        let files =
            [("Dockerfile", DOCKERFILE), ("a.txt", "a"), ("b.log", "b"), (".dockerignore", "*.log\n")];
        let first = job(&solver, directory.path(), &files);
        let outcome = build(&first, &[]).await.expect("build");
        let result = outcome.single.as_ref().expect("an image");
        assert_eq!(text(result, "/said").await, "/w one 600\n");
        let texts = result.read_dir("/w/texts", None).await.expect("list");
        assert_eq!(texts.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.txt"]);
        let config = String::from_utf8_lossy(&outcome.metadata["containerimage.config"]).into_owned();
        assert!(config.contains("\"A=b\"") && config.contains("\"/said\""), "{config}");
        let names = told(&first).await;
        assert!(names.iter().any(|(name, cached)| name.contains("RUN mkdir /out") && !cached), "{names:?}");

        let second = job(&solver, directory.path(), &[]);
        build(&second, &[]).await.expect("build");
        let again = told(&second).await;
        let steps: Vec<_> =
            again.iter().filter(|(name, _)| name.contains("] RUN") || name.contains("] COPY")).collect();
        assert_eq!(steps.len(), 4, "{again:?}");
        assert!(steps.iter().all(|(_, cached)| *cached), "{again:?}");
    });
}

#[test]
fn what_is_wrong_with_a_dockerfile_is_told_with_its_place() {
    with_engine(async |engine| {
        let directory = tempfile::tempdir().expect("a directory");
        let solver = Solver::new(engine.clone());
        let check = async |dockerfile: &str, complaint: &str, line: i32| {
            let job = job(&solver, directory.path(), &[("Dockerfile", dockerfile)]);
            let error = build(&job, &[]).await.err().expect(dockerfile);
            assert!(error.to_string().contains(complaint), "{error}");
            let location = match &error {
                SolveError::Vertex { location: Some(location), .. } => &**location,
                SolveError::Located { locations, .. } => locations.first().expect("a place"),
                _ => panic!("{error:?}"),
            };
            let start = location.ranges.first().and_then(|range| range.start).expect("a place");
            assert_eq!((start.line, location.info.filename.as_str()), (line, "Dockerfile"), "{error}");
        };
        check("FROM busybox\nRUN true\nRUM x\n", "unknown instruction: RUM", 3).await;
        check("FROM busybox\n\nRUN exit 3\n", "exit code: 3", 3).await;
        check("FROM busybox\nCOPY missing /\n", "\"/missing\": not found", 2).await;
    });
}
