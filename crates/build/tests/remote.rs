//! Contexts and files that are fetched: from servers, and from git repositories.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use build::BuildOptions;
use build::solve::{JobOptions, Solver};
use futures::StreamExt;
use llb::pb::{self, op};
use std::sync::Arc;
use support::solving::{Client, Draft, Solved, solve, text};
use support::{Outcome, build, header, with_engine};

/// Serves repositories by the protocol of git itself, until it is dropped.
struct GitServer {
    process: std::process::Child,
    port: u16,
}

impl GitServer {
    /// Serves those below `directory`.
    fn start(directory: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.expect("a port").port();
        let place = Command::new("git").arg("--exec-path").output().expect("run git").stdout;
        // Not by way of `git daemon`, which would be ended without it.
        let program = Path::new(String::from_utf8_lossy(&place).trim()).join("git-daemon");
        let process = Command::new(program)
            .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", directory.display()))
            .spawn()
            .expect("run git daemon");
        testkit::wait_until("git's server", || std::net::TcpStream::connect(("127.0.0.1", port)).map(drop));
        Self { process, port }
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that gives each of these paths its header lines and its content.
fn serve(files: Vec<(&'static str, &'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = BufReader::new(client.expect("a client"));
            let mut line = String::new();
            let mut asked = String::new();
            while client.read_line(&mut line).is_ok_and(|read| read > 2) {
                if asked.is_empty() {
                    asked = line.split(' ').nth(1).unwrap_or_default().to_owned();
                }
                line.clear();
            }
            let found = files.iter().find(|(path, ..)| *path == asked);
            let (status, head, body) = match found {
                Some((_, head, body)) => ("200 OK", *head, body.as_slice()),
                None => ("404 Not Found", "", &b"gone"[..]),
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ =
                client.get_mut().write_all(head.as_bytes()).and_then(|()| client.get_mut().write_all(body));
        }
    });
    address
}

/// Brings loopback up in the test's own network.
fn loopback_up() {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
    assert!(up.success());
}

async fn fetched(engine: &engine::Engine, remote: &str, dockerfile: &str) -> Outcome {
    let nothing = futures::stream::empty().boxed();
    let options = BuildOptions {
        remote: remote.to_owned(),
        dockerfile: dockerfile.to_owned(),
        network: "none".to_owned(),
        remove: true,
        // What was said once is not said again.
        no_cache: true,
        ..BuildOptions::default()
    };
    let solver = Solver::new(engine.clone());
    support::outcome(build::build(&solver, build::BuildRequest { context: nothing, options })).await
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut context = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = header(tar::EntryType::Regular, content.len() as u64);
        context.append_data(&mut header, path, content.as_bytes()).expect("into memory");
    }
    context.into_inner().expect("into memory")
}

#[test]
fn files_are_added_from_addresses_under_the_name_that_they_have() {
    with_engine(async |engine| {
        loopback_up();
        let at = serve(vec![
            ("/p/", "", b"nameless".to_vec()),
            ("/called", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", b"named".to_vec()),
            ("/said/", "Content-Disposition: attachment; filename=\"../x/said.txt\"\r\n", b"said".to_vec()),
        ]);
        let dockerfile = format!(
            "FROM busybox\nADD {at}/p/ /file\nADD {at}/called /d/\nADD {at}/said/ /d/\nRUN cat /file /d/* && stat -c '%Y %a' /d/called"
        );
        let outcome = build(&engine, &dockerfile, &[], BuildOptions::default()).await;
        outcome.image.unwrap_or_else(|error| panic!("{error}: {}", outcome.text));
        assert!(outcome.text.contains("namelessnamedsaid784111777 600\n"), "{}", outcome.text);
        let error = async |line: &str| {
            let dockerfile = format!("FROM busybox\n{line}");
            build(&engine, &dockerfile, &[], BuildOptions::default()).await.image.expect_err(line)
        };
        let into = error(&format!("ADD {at}/p/ /d/")).await;
        assert_eq!(into, format!("ADD failed: cannot determine filename for source {at}/p/"));
        let gone = error(&format!("ADD {at}/none /d/")).await;
        assert!(gone.contains(&format!("failed to GET {at}/none with status 404 Not Found: gone")), "{gone}");
    });
}

#[test]
fn a_context_is_fetched_as_an_archive_or_as_a_dockerfile_alone() {
    with_engine(async |engine| {
        loopback_up();
        let files = archive(&[("Dockerfile", "FROM busybox\nCOPY f /f\nRUN cat /f"), ("f", "from afar\n")]);
        let alone = b"FROM busybox\nRUN echo alone".to_vec();
        let copies = b"FROM busybox\nCOPY f /f".to_vec();
        let at = serve(vec![
            ("/a.tar", "Content-Type: application/x-tar\r\n", files.clone()),
            ("/unknown", "Content-Type: application/octet-stream\r\n", files),
            ("/Dockerfile", "Content-Type: text/plain; charset=utf-8\r\n", alone.clone()),
            ("/some", "", alone),
            ("/copies", "", copies),
            ("/page", "Content-Type: text/html\r\n", b"<html>".to_vec()),
        ]);
        for (path, said) in
            [("a.tar", "from afar"), ("unknown", "from afar"), ("Dockerfile", "alone"), ("some", "alone")]
        {
            let outcome = fetched(&engine, &format!("{at}/{path}"), "").await;
            outcome.image.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(outcome.text.contains(&format!("\n{said}\n")), "{path}: {}", outcome.text);
        }
        let error =
            async |path: &str| fetched(&engine, &format!("{at}/{path}"), "").await.image.expect_err(path);
        assert_eq!(error("copies").await, "COPY failed: missing build context");
        assert!(error("page").await.contains("unsupported Content-Type \"text/html\""));
        assert!(error("none").await.contains("404 Not Found"));
    });
}

/// Runs git in `directory`.
fn git(directory: &Path, arguments: &[&str]) {
    let ran = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(directory)
        .env("HOME", "/dev/null")
        .output()
        .expect("run git");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_context_is_a_branch_and_a_directory_of_a_repository() {
    with_engine(async |engine| {
        loopback_up();
        let home = tempfile::tempdir().expect("temporary directory");
        let work = home.path().join("app");
        std::fs::create_dir_all(work.join("sub")).expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(work.join(name), text).expect("write");
        git(&work, &["init", "--quiet"]);
        write("Dockerfile", "FROM busybox\nCOPY f /f\nRUN cat /f");
        write("f", "main\n");
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", "one"]);
        git(&work, &["checkout", "--quiet", "-b", "other"]);
        write("sub/other.Dockerfile", "FROM busybox\nRUN echo from other");
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", "two"]);
        git(&work, &["checkout", "--quiet", "main"]);
        git(home.path(), &["clone", "--quiet", "--bare", "app", "app.git"]);
        git(&home.path().join("app.git"), &["update-server-info"]);
        let server = GitServer::start(home.path());
        let port = server.port;
        let at = format!("git://127.0.0.1:{port}/app.git");
        let main = fetched(&engine, &at, "").await;
        assert!(main.image.is_ok() && main.text.contains("\nmain\n"), "{:?}: {}", main.image, main.text);
        let other = fetched(&engine, &format!("{at}#other:sub"), "other.Dockerfile").await;
        assert!(other.text.contains("\nfrom other\n"), "{:?}: {}", other.image, other.text);
        let error =
            async |remote: String| fetched(&engine, &remote, "").await.image.expect_err("it is refused");
        assert!(error(format!("{at}#none")).await.starts_with("error fetching: "));
        // It takes a turn like any other context, and waits for it in vain while all are taken.
        let mut taken = Vec::new();
        while taken.len() < 16 {
            taken.push(engine::work::transfer("build contexts").await.expect("a turn"));
        }
        assert!(error(at.clone()).await.contains("16 archives of build contexts are being moved"));
        drop(taken);
        // No way leads out of it.
        let above = fetched(&engine, &format!("{at}#main:../.."), "").await;
        assert!(above.text.contains("\nmain\n"), "{:?}: {}", above.image, above.text);
        assert!(error(format!("{at}#main:none")).await.contains("error setting git context"));
        assert!(error(format!("{at}#--upload-pack=x")).await.contains("invalid refspec"));
    });
}

/// Solves a source with attributes.
async fn source(solver: &Solver, identifier: &str, attributes: &[(&str, &str)]) -> Solved {
    let mut draft = Draft::default();
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
    let output = draft.builder.add(op::Op::Source(source), &[], None, Default::default());
    solve(solver, &Arc::new(Client::default()), &draft.finish(&output)).await
}

#[test]
fn the_solver_fetches_a_file_and_checks_it() {
    with_engine(async |engine| {
        loopback_up();
        let modified = "Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n";
        let at = serve(vec![("/a.txt", modified, b"content".to_vec())]);
        let (solver, address) = (Solver::new(engine.clone()), format!("{at}/a.txt"));
        let first = source(&solver, &address, &[("http.perm", "640"), ("http.uid", "7")]).await;
        assert_eq!(text(first.expect(), "/a.txt").await, "content");
        let file = first.expect().stat_file("/a.txt").await.expect("the file");
        assert_eq!((file.mode & 0o7777, file.uid, file.modified), (0o640, 7, 1_767_323_045_000_000_000));
        assert_eq!(first.cached(), 0);
        let again = source(&solver, &address, &[("http.perm", "640"), ("http.uid", "7")]).await;
        assert_eq!(again.cached(), 1);
        let right = oci::Digest::sha256_of(b"content").to_string();
        source(&solver, &address, &[("http.checksum", &right), ("http.filename", "b")]).await.expect();
        let wrong = oci::Digest::sha256_of(b"other").to_string();
        let error = source(&solver, &address, &[("http.checksum", &wrong)]).await.error();
        assert!(error.starts_with("digest mismatch"), "{error}");
        let named = source(&solver, &address, &[("http.filename", "../x")]).await;
        assert_eq!(text(named.expect(), "/x").await, "content", "no name leads anywhere else");
        assert!(source(&solver, &format!("{at}/none"), &[]).await.error().contains("404 Not Found"));
    });
}

#[test]
fn the_solver_checks_a_commit_out_once() {
    with_engine(async |engine| {
        loopback_up();
        let home = tempfile::tempdir().expect("temporary directory");
        let work = home.path().join("app");
        std::fs::create_dir_all(work.join("sub")).expect("a directory");
        git(&work, &["init", "--quiet"]);
        std::fs::write(work.join("sub/f"), "one\n").expect("write");
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", "one"]);
        git(&work, &["tag", "-a", "v1", "-m", "v1"]);
        std::fs::write(work.join("sub/f"), "two\n").expect("write");
        git(&work, &["commit", "--quiet", "-a", "-m", "two"]);
        git(home.path(), &["clone", "--quiet", "--bare", "app", "app.git"]);
        let long = home.path().join("long");
        std::fs::create_dir(&long).expect("a directory");
        git(&long, &["init", "--quiet", "--object-format=sha256", "--initial-branch=main"]);
        std::fs::write(long.join("f"), "long\n").expect("write");
        git(&long, &["add", "."]);
        git(&long, &["commit", "--quiet", "-m", "one"]);
        let server = GitServer::start(home.path());
        let port = server.port;
        let (solver, host) = (Solver::new(engine.clone()), format!("127.0.0.1:{port}/app.git"));
        let url = format!("git://{host}");
        let full = ("git.fullurl", url.as_str());
        let at = |fragment: &str| format!("git://{host}{fragment}");
        let main = source(&solver, &at("#main:sub"), &[full]).await;
        assert_eq!(text(main.expect(), "/f").await, "two\n");
        let tag = source(&solver, &at("#v1"), &[full]).await;
        assert_eq!(text(tag.expect(), "/sub/f").await, "one\n");
        assert!(tag.expect().stat_file("/.git").await.is_err());
        let kept = source(&solver, &at("#v1"), &[full, ("git.keepgitdir", "true")]).await;
        kept.expect().stat_file("/.git/HEAD").await.expect("the repository");
        let error = source(&solver, &at("#v1"), &[full, ("git.checksum", "0000000")]).await.error();
        assert!(error.starts_with("expected checksum to match 0000000"), "{error}");
        let error = source(&solver, &at("#none"), &[full]).await.error();
        assert!(error.contains("does not contain ref none"), "{error}");
        assert_eq!(source(&solver, &at("#main:sub"), &[full]).await.cached(), 1);

        // What there is is told without a checkout.
        let job = solver.job(JobOptions::default());
        let meta = async |fragment: &str, checksum: &str| {
            let attrs = [full, ("git.checksum", checksum)].map(|(key, it)| (key.to_owned(), it.to_owned()));
            let source = pb::SourceOp { identifier: at(fragment), attrs: attrs.into() };
            job.git_meta(&source, true).await
        };
        let rev = |what: &str| {
            let parsed = Command::new("git").arg("-C").arg(&work).args(["rev-parse", what]).output();
            String::from_utf8(parsed.expect("run git").stdout).expect("text").trim().to_owned()
        };
        let branch = meta("", "").await.expect("the branch that it is on");
        assert!(branch.reference.starts_with("refs/heads/"), "{branch:?}");
        assert_eq!((branch.checksum, branch.commit_checksum.as_str()), (rev("HEAD"), ""));
        assert!(
            String::from_utf8_lossy(&branch.commit_object).ends_with("two\n") && branch.tag_object.is_empty()
        );
        let tag = meta("#v1", &rev("v1^{commit}")[..12]).await.expect("a tag");
        assert_eq!((tag.reference.as_str(), tag.checksum), ("refs/tags/v1", rev("v1")));
        assert_eq!(tag.commit_checksum, rev("v1^{commit}"));
        assert!(String::from_utf8_lossy(&tag.tag_object).contains("tag v1"));
        // In one build a name means the same to its end.
        git(&home.path().join("app.git"), &["tag", "-f", "v1", "main"]);
        assert_eq!(meta("#v1", "").await.expect("a tag").checksum, rev("v1"));
        assert!(meta("#v1", "0000000").await.expect_err("another").to_string().contains("checksum to match"));
        let (name, url) =
            (format!("127.0.0.1:{port}/long/.git#main"), format!("git://127.0.0.1:{port}/long/.git"));
        let long = source(&solver, &format!("git://{name}"), &[("git.fullurl", &url)]).await;
        assert_eq!(text(long.expect(), "/f").await, "long\n");
    });
}
