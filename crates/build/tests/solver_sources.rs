//! Files from addresses, and definitions from files: what is asked of servers, and what is not asked again.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use build::solve::policy::{Matching, SourceAction, SourceRule};
use build::solve::{Event, JobOptions, Policies, Session, Solver, SourcePolicy};
use llb::pb::{self, file_action::Action, op};
use prost::Message as _;
use support::solving::{Client, Draft, Solved, alone, solve, solve_in, text};
use support::with_engine;

/// A server of one file, and the heads of requests that it has had.
#[derive(Clone, Default)]
struct Server {
    answer: Arc<Mutex<(String, Vec<u8>)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves, at the address that is given.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = self.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = BufReader::new(client.expect("a client"));
                let mut head = String::new();
                while client.read_line(&mut head).is_ok_and(|read| read > 2) {}
                let (fields, content) = server.answer.lock().expect("an answer").clone();
                let is_head = head.starts_with("HEAD ");
                server.asked.lock().expect("a list").push(head);
                let status = if fields.contains("Location:") { "302 Found" } else { "200 OK" };
                let length = content.len();
                let told = format!(
                    "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let body = if is_head { &[][..] } else { &content[..] };
                let _ = client.get_mut().write_all(&[told.as_bytes(), body].concat());
            }
        });
        address
    }

    fn answers(&self, fields: &str, content: &str) {
        *self.answer.lock().expect("an answer") = (fields.to_owned(), content.as_bytes().to_vec());
    }

    /// What has been asked since this was asked last.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("a list"))
    }

    fn methods(&self) -> Vec<String> {
        let method = |head: String| head.split(' ').next().unwrap_or_default().to_owned();
        self.asked().into_iter().map(method).collect()
    }
}

/// Loopback is down in a new network namespace.
fn loopback_up() {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
    assert!(up.success());
}

fn definition(identifier: &str, attributes: &[(&str, &str)]) -> llb::Definition {
    let mut draft = Draft::default();
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
    let output = draft.builder.add(op::Op::Source(source), &[], None, Default::default());
    draft.finish(&output)
}

async fn source(solver: &Solver, identifier: &str, attributes: &[(&str, &str)]) -> Solved {
    solve(solver, &Arc::new(Client::default()), &definition(identifier, attributes)).await
}

#[test]
fn what_has_not_changed_is_not_fetched_again() {
    with_engine(async |engine| {
        loopback_up();
        let server = Server::default();
        let address = format!("{}/a", server.start());
        server.answers("ETag: W/\"one\"\r\nLast-Modified: Friday, 02-Jan-26 03:04:05 GMT\r\n", "one");
        let solver = Solver::new(engine.clone());
        let first = source(&solver, &address, &[]).await;
        assert_eq!(text(first.expect(), "/a").await, "one");
        let modified = first.expect().stat_file("/a").await.expect("the file").modified;
        assert_eq!(modified, 1_767_323_045_000_000_000);
        assert_eq!(server.methods(), ["GET"]);
        let again = source(&solver, &address, &[]).await;
        assert_eq!((again.cached(), text(again.expect(), "/a").await.as_str()), (1, "one"));
        let asked = server.asked();
        assert!(asked.len() == 1 && asked[0].starts_with("HEAD "), "{asked:?}");
        assert!(asked[0].to_lowercase().contains("if-none-match: \"one\""), "{asked:?}");
        drop((first, again));

        // Also by a builder that has come after this one.
        let solver = Solver::new(engine.clone());
        source(&solver, &address, &[]).await.expect();
        assert_eq!(server.methods(), ["HEAD"]);
        server.answers("ETag: \"two\"\r\n", "two");
        assert_eq!(text(source(&solver, &address, &[]).await.expect(), "/a").await, "two");
        assert_eq!(server.methods(), ["HEAD", "GET"]);
        // A file that is known by its content is not asked for; what is another one is.
        let right = oci::Digest::sha256_of(b"two").to_string();
        source(&solver, &address, &[("http.checksum", &right)]).await.expect();
        assert_eq!(server.methods(), Vec::<String>::new());
        let wrong = oci::Digest::sha256_of(b"other").to_string();
        let error = source(&solver, &address, &[("http.checksum", &wrong)]).await.error();
        assert_eq!(error, format!("digest mismatch {right}: {wrong}"));
        server.asked();
        // Without a name of its state there is nothing to be asked about.
        server.answers("", "three");
        for _ in 0..2 {
            assert_eq!(text(source(&solver, &address, &[]).await.expect(), "/a").await, "three");
        }
        assert_eq!(server.methods(), ["HEAD", "GET", "GET"]);
        // What was pruned is fetched again, whatever the server says of it.
        server.answers("ETag: \"four\"\r\n", "four");
        source(&solver, &address, &[]).await.expect();
        solver.prune(build::solve::PruneOptions { all: true, ..Default::default() }).await.expect("pruned");
        server.asked();
        assert_eq!(text(source(&solver, &address, &[]).await.expect(), "/a").await, "four");
        assert_eq!(server.methods(), ["GET"]);
    });
}

#[test]
fn a_server_hears_what_the_definition_says_and_nobody_else_hears_secrets() {
    with_engine(async |engine| {
        loopback_up();
        let (server, elsewhere) = (Server::default(), Server::default());
        let (at, other) = (server.start(), elsewhere.start());
        let address = format!("{at}/a");
        elsewhere.answers("", "content");
        server.answers(&format!("Location: {other}/b\r\n"), "");
        let solver = Solver::new(engine.clone());
        let secrets = [("mine", "Basic x"), ("HTTP_AUTH_TOKEN_127.0.0.1", "t0ken\n")];
        let secrets = secrets.map(|(id, text)| (id.to_owned(), text.as_bytes().to_vec()));
        let client = Arc::new(Client { secrets: secrets.into(), ..Client::default() });
        let heard = async |attributes: &[(&str, &str)]| {
            let solved = solve(&solver, &client, &definition(&address, attributes)).await;
            assert_eq!(text(solved.expect(), "/a").await, "content");
            let [asked, asked_elsewhere] =
                [server.asked(), elsewhere.asked()].map(|it| it.concat().to_lowercase());
            assert!(!asked_elsewhere.contains("authorization"), "{asked_elsewhere}");
            asked
        };
        assert!(heard(&[]).await.contains("\r\nauthorization: bearer t0ken\r\n"));
        let own = heard(&[("http.authheadersecret", "mine"), ("http.header.accept", "text/x")]).await;
        assert!(
            own.contains("\r\nauthorization: basic x\r\n") && own.contains("\r\naccept: text/x\r\n"),
            "{own}"
        );
        let missing =
            solve(&solver, &client, &definition(&address, &[("http.authheadersecret", "none")])).await;
        assert_eq!(missing.error(), "failed to retrieve HTTP auth secret none");
        for key in ["http.header.cookie", "http.sig.signature"] {
            let refused = source(&solver, &address, &[(key, "x")]).await.error();
            assert!(refused.starts_with(key) && refused.ends_with("is not supported"), "{refused}");
        }
    });
}

#[test]
fn what_is_asked_about_is_not_asked_for_again() {
    with_engine(async |engine| {
        loopback_up();
        let server = Server::default();
        let address = format!("{}/a", server.start());
        server.answers("ETag: \"one\"\r\nContent-Disposition: attachment; filename=\"b\"\r\n", "one");
        let solver = Solver::new(engine.clone());
        let job = solver.job(JobOptions::default());
        let mut asked = pb::SourceOp { identifier: address.clone(), ..pb::SourceOp::default() };
        let digest = oci::Digest::sha256_of(b"one");
        let meta = job.http_meta(&asked, None).await.expect("something");
        assert_eq!((meta.name.as_str(), &meta.digest, meta.modified), ("b", &digest, None));
        let behind = job.http_meta(&asked, Some((oci::Algorithm::Sha512, b"more"))).await.expect("something");
        let mut hasher = oci::Algorithm::Sha512.hasher();
        hasher.update(b"onemore");
        assert_eq!(behind.checksum, Some(hasher.finish()));
        assert!(job.http_meta(&asked, Some((oci::Algorithm::Sha256, &[0; 5000]))).await.is_err());
        let result = solve_in(&job, &definition(&address, &[])).await;
        assert_eq!(text(result.expect(), "/b").await, "one");
        assert_eq!(server.methods(), ["GET"], "one request is enough for all of a build");
        // What is said to be something is nothing else.
        asked.attrs = BTreeMap::from([("http.checksum".to_owned(), digest.to_string())]);
        assert_eq!(job.http_meta(&asked, None).await.expect("something").digest, digest);
        assert_eq!(server.methods(), Vec::<String>::new());
    });
}

#[test]
fn another_source_is_built_where_a_policy_says_so() {
    with_engine(async |engine| {
        let solver = Solver::new(engine.clone());
        let rule = |action, pattern: &str| SourceRule {
            action,
            pattern: pattern.to_owned(),
            matching: Matching::Wildcard,
            attributes: Vec::new(),
        };
        let to_busybox = SourceAction::Convert {
            name: "docker-image://docker.io/library/busybox:${1}".to_owned(),
            attributes: BTreeMap::new(),
        };
        let solved = async |rules: Vec<SourceRule>| {
            let policies = Policies::new(vec![SourcePolicy { rules }]).expect("a policy");
            let session: Arc<dyn Session> = Arc::new(Client::default());
            let job = solver.job(JobOptions {
                session: Some(session),
                policies: Arc::new(policies),
                ..JobOptions::default()
            });
            let mut draft = Draft::default();
            let base = draft.source("docker-image://none.invalid/none:latest");
            let run = draft.run(&base, "echo x > /made");
            let found = job.resolve_image("none.invalid/none:latest", None, Default::default()).await;
            (solve_in(&job, &draft.finish(&run)).await, found.map(|image| image.name))
        };
        let converted = solved(vec![rule(to_busybox, "docker-image://none.invalid/none:*")]).await;
        assert_eq!(text(converted.0.expect(), "/made").await, "x\n");
        assert_eq!(converted.1.expect("found"), "docker.io/library/busybox:latest");
        let denied = solved(vec![rule(SourceAction::Deny, "docker-image://none.invalid/*")]).await;
        assert!(denied.0.error().contains("denied by policy") && denied.1.is_err());
    });
}

#[test]
fn what_a_source_has_to_be_it_is_or_there_is_no_build() {
    with_engine(async |engine| {
        loopback_up();
        let solver = Solver::new(engine.clone());
        let busybox = "docker-image://docker.io/library/busybox:latest";
        let id = engine.image_inspect("busybox").expect("the image").id.to_string();
        source(&solver, busybox, &[("image.checksum", &id)]).await.expect();
        let other = oci::Digest::sha256_of(b"other").to_string();
        let error = source(&solver, busybox, &[("image.checksum", &other)]).await.error();
        assert!(error.contains(&format!("is {id}, not {other}, which it has to be")), "{error}");
        let error = source(&solver, "git://localhost/r", &[("git.sig.pubkey", "key")]).await.error();
        assert!(error.contains("git.sig.pubkey of the source git://localhost/r is not supported"), "{error}");

        // Two sources of one address, the second by another sort of digest, where the first need not be fetched.
        let server = Server::default();
        let address = format!("{}/a", server.start());
        server.answers("ETag: \"one\"\r\n", "one");
        source(&solver, &address, &[]).await.expect();
        let mut hasher = oci::Algorithm::Sha512.hasher();
        hasher.update(b"one");
        let right = hasher.finish().to_string();
        for (checksum, is_right) in [(right.clone(), true), (right.replace(['0', '1', '2'], "3"), false)] {
            let session: Arc<dyn Session> = Arc::new(Client::default());
            let job = solver.job(JobOptions { session: Some(session), ..JobOptions::default() });
            for (attributes, is_right) in [(vec![], true), (vec![("http.checksum", &*checksum)], is_right)] {
                let result = job.solve(&definition(&address, &attributes)).await.expect("a definition");
                let done = result.evaluate().await;
                assert_eq!(done.is_ok(), is_right, "{attributes:?}: {done:?}");
            }
            job.close();
        }
    });
}

#[test]
fn a_policy_holds_for_layouts_that_are_asked_about() {
    with_engine(async |engine| {
        let deny = SourceRule {
            action: SourceAction::Deny,
            pattern: "oci-layout://*".to_owned(),
            matching: Matching::Wildcard,
            attributes: Vec::new(),
        };
        let policies = Policies::new(vec![SourcePolicy { rules: vec![deny] }]).expect("a policy");
        let options = JobOptions { policies: Arc::new(policies), ..JobOptions::default() };
        let job = Solver::new(engine.clone()).job(options);
        let name = format!("x@{}", oci::Digest::sha256_of(b"x"));
        let error = job.resolve_layout(&name, "", "store", None).await.expect_err("denied");
        assert!(error.to_string().contains("denied by policy"), "{error}");
    });
}

/// A definition of a file that has another in it.
fn with_file(content: Vec<u8>) -> (Draft, llb::Output) {
    let mut draft = Draft::default();
    let file = Action::Mkfile(pb::FileActionMkFile {
        path: "/buildkit.llb.definition".to_owned(),
        mode: 0o644,
        data: content.into(),
        timestamp: -1,
        ..Default::default()
    });
    let output = draft.files(&[], vec![pb::FileAction { input: llb::EMPTY, ..alone(file, llb::EMPTY) }]);
    (draft, output)
}

fn nested(content: Vec<u8>, change: impl FnOnce(&mut pb::BuildOp)) -> llb::Definition {
    let (mut draft, file) = with_file(content);
    let inputs = BTreeMap::from([("buildkit.llb.definition".to_owned(), pb::BuildInput { input: 0 })]);
    let mut build = pb::BuildOp { builder: -1, inputs, ..pb::BuildOp::default() };
    change(&mut build);
    let output = draft.builder.add(op::Op::Build(build), &[file], None, Default::default());
    draft.finish(&output)
}

/// A definition with as many builds of what is in a file as `count`, which differ in nothing that matters.
fn nested_often(content: Vec<u8>, count: usize) -> llb::Definition {
    let (mut draft, file) = with_file(content);
    let mut builds = Vec::new();
    for number in 0..count {
        let input = pb::BuildInput { input: 0 };
        let build = pb::BuildOp {
            builder: -1,
            inputs: [("buildkit.llb.definition".to_owned(), input)].into(),
            attrs: [("number".to_owned(), number.to_string())].into(),
            ..pb::BuildOp::default()
        };
        let file = std::slice::from_ref(&file);
        builds.push(draft.builder.add(op::Op::Build(build), file, None, Default::default()));
    }
    let outputs = (0..count).map(|number| i64::try_from(number).expect("few")).collect();
    let all = pb::PassthroughOp { id: "all".to_owned(), outputs };
    let all = draft.builder.add(op::Op::Passthrough(all), &builds, None, Default::default());
    draft.finish(&all)
}

/// Three builds in each of three in each of three, … are as many as there are different ones, and not 3^8.
#[test]
fn builds_inside_of_builds_are_done_once_and_have_an_end() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let (inner, file) = with_file(b"inside".to_vec());
        let inner = inner.finish(&file).encode_to_vec();
        let mut deep = nested_often(inner.clone(), 3);
        for _ in 1..8 {
            deep = nested_often(deep.encode_to_vec(), 3);
        }
        let solved = solve(&solver, &client, &deep).await;
        assert_eq!(text(solved.expect(), "/buildkit.llb.definition").await, "inside");
        // Each is told of once where it is done; who has it from another has it silently.
        let begun = |event: &&Event| matches!(event, Event::Vertex(vertex) if vertex.started.is_some());
        let told = solved.events.iter().filter(begun).count();
        assert!(told < 200, "{told} of what was begun and ended");

        let many = nested_often(inner.clone(), 200);
        solve(&solver, &client, &many).await.expect();
        let many = nested_often(inner, 300);
        let error = solve(&solver, &client, &many).await.error();
        assert!(error.contains("more than 256 builds inside of a build"), "{error}");
    });
}

#[test]
fn a_build_may_be_what_another_operation_wrote_down() {
    with_engine(async |engine| {
        let (solver, client) = (Solver::new(engine.clone()), Arc::new(Client::default()));
        let mut draft = Draft::default();
        let base = draft.busybox();
        let run = draft.run(&base, "echo inside > /made");
        let inner = draft.finish(&run).encode_to_vec();
        let solved = solve(&solver, &client, &nested(inner.clone(), |_| {})).await;
        assert_eq!(text(solved.expect(), "/made").await, "inside\n");
        let twice = nested(nested(inner.clone(), |_| {}).encode_to_vec(), |_| {});
        assert_eq!(text(solve(&solver, &client, &twice).await.expect(), "/made").await, "inside\n");
        let mut deep = inner.clone();
        for _ in 0..20 {
            deep = nested(deep, |_| {}).encode_to_vec();
        }
        let deep = llb::Definition::decode(deep.as_slice()).expect("a definition");
        let error = solve(&solver, &client, &deep).await.error();
        assert!(error.contains("builds inside of each other"), "{error}");
        let named = nested(inner.clone(), |build| {
            build.attrs.insert("llbbuild.filename".to_owned(), "/none".to_owned());
        });
        assert!(solve(&solver, &client, &named).await.error().contains("/none"));
        let other = nested(inner, |build| build.builder = 0);
        assert_eq!(solve(&solver, &client, &other).await.error(), "only LLB builder is currently allowed");
        assert!(solve(&solver, &client, &nested(b"\xff\xff".to_vec(), |_| {})).await.result.is_err());
        let long = nested(vec![0; 3 << 20], |_| {});
        assert!(solve(&solver, &client, &long).await.result.is_err());
    });
}
