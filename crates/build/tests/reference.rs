//! What the Dockerfile reference has that only BuildKit's builders know, with real containers.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use build::solve::{Entitlement, Event, Job, JobOptions, Outcome, Session, SolveError, Solver};
use futures::StreamExt;
use support::solving::{Client, text};
use support::with_engine;

struct Bench {
    directory: tempfile::TempDir,
    solver: Solver,
}

impl Bench {
    fn new(engine: &engine::Engine) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), solver: Solver::new(engine.clone()) }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
        std::fs::write(path, content).expect("write");
    }

    fn job(&self) -> Job {
        let named = |name: &str| (name.to_owned(), self.directory.path().to_owned());
        let client: Arc<dyn Session> = Arc::new(Client {
            directories: [named("context"), named("dockerfile"), named("other")].into(),
            secrets: [("s".to_owned(), b"the secret".to_vec())].into(),
            ..Client::default()
        });
        let entitlements = [Entitlement::SecurityInsecure].into();
        self.solver.job(JobOptions { session: Some(client), entitlements, ..JobOptions::default() })
    }

    async fn front(&self, dockerfile: &str, options: &[(&str, &str)]) -> (Job, Result<Outcome, SolveError>) {
        self.write("Dockerfile", dockerfile);
        let job = self.job();
        let network = ("force-network-mode", "none");
        let options: BTreeMap<String, String> = std::iter::once(&network)
            .chain(options)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let outcome = job.front("dockerfile.v0", options, BTreeMap::new()).await;
        (job, outcome)
    }

    /// What a build leaves in the file `/out`; or the complaint.
    async fn out(&self, dockerfile: &str, options: &[(&str, &str)]) -> String {
        let (_job, outcome) = self.front(dockerfile, options).await;
        let result = match outcome {
            Ok(outcome) => outcome.single.expect("an image"),
            Err(error) => return error.to_string(),
        };
        match result.evaluate().await {
            Ok(()) => text(&result, "/out").await,
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn here_documents_run_and_become_files() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        let text = "FROM busybox\nARG X=put-in\nCOPY <<A <<'B' /d/\n$X\nA\n$X\nB\n\
            RUN <<E\ncat /d/A /d/B > /out\nE\nRUN <<E\n#!/bin/cat\nnot run by a shell\nE\n\
            RUN cat <<E >> /out\nby the shell: $X\nE\n";
        assert_eq!(bench.out(text, &[]).await, "put-in\n$X\nby the shell: put-in\n");
    });
}

#[test]
fn commands_have_all_kinds_of_mounts() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        bench.write("dir/file", "of the context");
        let text = "FROM busybox AS made\nRUN echo of a stage > /made\nFROM busybox\n\
            RUN --mount=source=dir,target=/c --mount=from=made,source=/made,target=/m cat /c/file /m > /out\n\
            RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S cat /run/secrets/s >> /out; echo \" $S\" >> /out\n\
            RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n\
            RUN --mount=type=tmpfs,target=/t,size=1m grep -c ' /t tmpfs' /proc/mounts >> /out\n\
            RUN --mount=type=cache,target=/k,uid=7,mode=0700 stat -c '%u %a' /k >> /out; echo kept > /k/f\n\
            RUN --mount=type=cache,target=/k,uid=7,mode=0700 cat /k/f >> /out; test ! -e /out/c\n\
            RUN --mount=target=/c,rw echo lost > /c/new && test -e /c/new\nRUN test ! -e /c/new\n";
        assert_eq!(
            bench.out(text, &[]).await,
            "of the contextof a stage\nthe secret the secret\n1\n7 700\nkept\n"
        );
        let text = "FROM busybox\nRUN --mount=type=secret,id=none,required true\n";
        assert!(bench.out(text, &[]).await.contains("none"));
    });
}

#[test]
fn files_are_copied_in_every_way() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        for (path, content) in [("a/b/c.txt", "c"), ("a/b/d.log", "d"), ("a/e.txt", "e"), ("f", "f")] {
            bench.write(path, content);
        }
        let archive = bench.directory.path().join("g.tar");
        let mut tar = std::process::Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(bench.directory.path()).arg("f");
        assert!(tar.status().expect("tar").success());
        let text = "FROM busybox\nCOPY --parents a/./b/*.txt /p/\nCOPY --parents a/./e.txt /p/\nCOPY --exclude=*.log a/b /x/\n\
            COPY --link --chown=3:4 f /l/\nCOPY --chmod=u=rwx,go= f /m\nADD g.tar /t/\nADD --unpack=false g.tar /u/\n\
            WORKDIR /w\nCOPY f .\nRUN find /p /x /l /m /t /u /w -type f | sort > /out; stat -c '%u:%g %a' /l/f /m >> /out\n";
        assert_eq!(
            bench.out(text, &[]).await,
            "/l/f\n/m\n/p/b/c.txt\n/p/e.txt\n/t/f\n/u/g.tar\n/w/f\n/x/c.txt\n3:4 644\n0:0 700\n"
        );
        let text = "FROM busybox\nCOPY --parents a/./none /p/\n";
        assert!(bench.out(text, &[]).await.contains("not found"));
        let text = "FROM busybox\nCOPY --from=other f /out\n";
        assert_eq!(bench.out(text, &[("context:other", "local:other")]).await, "f");
    });
}

#[test]
fn arguments_and_what_the_request_says_reach_commands() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        let text = "ARG BASE=no-such-image\nFROM $BASE AS b\nARG A=1\nARG TARGETPLATFORM TARGETSTAGE\nENV E=${A#1}x${A:+y}\n\
            RUN echo $A $E $http_proxy $TARGETPLATFORM $TARGETSTAGE > /out; hostname >> /out; grep -c h.example /etc/hosts >> /out; ulimit -n >> /out\n\
            RUN --security=insecure grep CapEff /proc/self/status | tr -d 0 | wc -c > /capabilities\nFROM b AS later\nRUN false\n";
        let options = [
            ("target", "b"),
            ("build-arg:BASE", "busybox"),
            ("build-arg:A", "12"),
            ("build-arg:http_proxy", "http://proxy"),
            ("hostname", "somebody"),
            ("add-hosts", "h.example=10.9.8.7"),
            ("ulimit", "nofile=321:654"),
        ];
        let platform = oci::Platform::host();
        assert_eq!(
            bench.out(text, &options).await,
            format!("12 2xy http://proxy {platform} b\nsomebody\n1\n321\n")
        );
    });
}

#[test]
fn triggers_and_shells_count_in_the_next_stage() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        let text = "FROM busybox AS a\nSHELL [\"/bin/sh\", \"-ec\"]\nONBUILD RUN echo trigger > /out\nFROM a\n\
            RUN false; true\n";
        let refused = bench.out(text, &[]).await;
        assert!(
            refused.contains("\"/bin/sh -ec false; true\" did not complete successfully: exit code: 1"),
            "{refused}"
        );
        assert_eq!(
            bench.out(&text.replace("false; true", "echo last >> /out"), &[]).await,
            "trigger\nlast\n"
        );
    });
}

#[test]
fn a_dockerfile_is_checked_and_asked_about() {
    with_engine(async |engine| {
        let bench = Bench::new(&engine);
        let text = "FROM busybox AS Base\n# A the first\nARG A=1\nCMD x\n";
        let (job, outcome) = bench.front(text, &[]).await;
        outcome.expect("built");
        job.close();
        let events: Vec<Event> = job.events().collect().await;
        let warnings: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::Warning(warning) => Some(warning.short.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(
            warnings,
            [
                "StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 4)"
            ]
        );
        for (request, expected) in [
            ("frontend.lint", "WARNING: StageNameCasing"),
            ("frontend.outline", "A           1       the first"),
            ("frontend.targets", "base (default)"),
        ] {
            let (_, outcome) = bench.front(text, &[("requestid", request)]).await;
            let metadata = outcome.expect(request).metadata;
            let said = String::from_utf8_lossy(&metadata["result.txt"]).into_owned();
            assert!(said.contains(expected), "{request}: {said}");
        }
    });
}
