//! Caches elsewhere: what one engine did another finds that has nothing yet. And images of clients' own layouts.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::solve::{
    Event, Job, JobOptions, Outcome, PruneOptions, RemoteCache, Session, SolveError, Solver, UsageRecord,
};
use futures::StreamExt;
use oci::cache::{CacheConfig, CacheManifest, CacheRecord, Operation};
use oci::{Descriptor, Digest, media_type};
use support::solving::{Client, Stores, text};
use support::{with_engine, with_engine_at};

const STORE: &str = "oci:base";

/// Puts an image of BusyBox into a client's layout; gives how a context names it.
fn layout(stores: &Stores) -> String {
    // With a file of its own: it is not what the engines of the tests begin with.
    let directory = tempfile::tempdir().expect("a directory");
    testkit::rootfs::busybox(directory.path());
    std::fs::write(directory.path().join("own"), "own").expect("write");
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", directory.path()).expect("archive the root file system");
    let archive = archive.into_inner().expect("finish the archive");
    let diff_id = stores.put(STORE, &archive);
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#,
        oci::Platform::host().architecture
    );
    let config =
        Descriptor::new(media_type::OCI_CONFIG, stores.put(STORE, config.as_bytes()), config.len() as u64);
    let layer = Descriptor::new(media_type::OCI_LAYER, diff_id, archive.len() as u64);
    manifest(stores, &config, &layer)
}

/// Puts a manifest into a client's layout.
fn manifest(stores: &Stores, config: &Descriptor, layer: &Descriptor) -> String {
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    format!("oci-layout://base@{}", stores.put(STORE, manifest.to_string().as_bytes()))
}

const DOCKERFILE: &str = "FROM base AS made\nRUN mkdir /out && echo one > /out/f && echo x > /not-wanted\n\
    RUN echo more > /more\n\
    FROM base\nWORKDIR /w\nCOPY --from=made /out/f ./\nCOPY a.txt /texts/\n\
    RUN --mount=type=bind,from=made,source=/out,target=/m echo $(cat f) $(cat /m/f) > /said\n";

/// A job of a client that has a context in this directory.
fn job(solver: &Solver, directory: &Path, stores: &Arc<Stores>) -> Job {
    job_of(None, DOCKERFILE, solver, directory, stores)
}

/// One of somebody, who builds this.
fn job_of(
    owner: Option<&'static str>,
    dockerfile: &str,
    solver: &Solver,
    directory: &Path,
    stores: &Arc<Stores>,
) -> Job {
    std::fs::write(directory.join("Dockerfile"), dockerfile).expect("write");
    std::fs::write(directory.join("a.txt"), "a").expect("write");
    let named = |name: &str| (name.to_owned(), directory.to_owned());
    let directories = [named("context"), named("dockerfile")].into();
    let client: Arc<dyn Session> = Arc::new(Client {
        directories,
        owner: owner.map(str::to_owned),
        stores: Arc::clone(stores),
        ..Client::default()
    });
    solver.job(JobOptions { session: Some(client), ..JobOptions::default() })
}

async fn build(job: &Job, base: &str, options: &[(&str, &str)]) -> Result<Outcome, SolveError> {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let network = ("force-network-mode".to_owned(), "none".to_owned());
    let base = ("context:base".to_owned(), base.to_owned());
    let options: BTreeMap<String, String> = options.chain([network, base]).collect();
    let outcome = job.front("dockerfile.v0", options, BTreeMap::new()).await?;
    outcome.single.as_ref().expect("an image").evaluate().await?;
    Ok(outcome)
}

/// Which steps were done, and whether they had been done before.
async fn steps(job: &Job) -> BTreeMap<String, bool> {
    job.close();
    let events: Vec<Event> = job.events().collect().await;
    let completed = events.into_iter().filter_map(|event| match event {
        Event::Vertex(vertex) if vertex.completed.is_some() => Some((vertex.name, vertex.cached)),
        _ => None,
    });
    completed
        .filter(|(name, _)| {
            name.starts_with('[')
                && !name.starts_with("[internal]")
                && !name.contains("FROM")
                && !name.starts_with("[context")
        })
        .collect()
}

fn local(attributes: &[(&str, &str)]) -> RemoteCache {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    RemoteCache { kind: "local".to_owned(), attributes: attributes.collect() }
}

/// The digest of the manifest that an export tells of.
fn exported(told: &BTreeMap<String, String>) -> Digest {
    let described: Descriptor = serde_json::from_str(&told["cache.manifest"]).expect("a descriptor");
    described.digest
}

fn imports(digest: &Digest) -> String {
    format!(r#"[{{"Type":"local","Attrs":{{"src":"/cache","digest":"{digest}"}}}}]"#)
}

#[test]
fn another_engine_finds_all_that_was_done_and_brings_only_what_is_looked_at() {
    let (stores, directory) = (Arc::new(Stores::default()), tempfile::tempdir().expect("a directory"));
    let context = directory.path().join("context");
    std::fs::create_dir(&context).expect("make");
    let base = layout(&stores);
    let (mut all, mut least) = (None, None);
    with_engine_at(&directory.path().join("one"), async |engine| {
        let solver = Solver::new(engine);
        let job = job(&solver, &context, &stores);
        let outcome = build(&job, &base, &[]).await.expect("build");
        let cache = local(&[("dest", "/cache"), ("mode", "max")]);
        let told = job.export_cache(&outcome, &cache).await.expect("export");
        all = Some(exported(&told));
        let again = job.export_cache(&outcome, &cache).await.expect("export");
        assert_eq!(exported(&again), exported(&told), "the same in gives the same out");
        let told = job.export_cache(&outcome, &local(&[("dest", "/cache")])).await.expect("export");
        least = Some(exported(&told));
        assert!(steps(&job).await.values().all(|cached| !cached));
    });
    let (all, least) = (all.expect("an export"), least.expect("an export"));
    let records = |digest: &Digest| {
        let manifest = stores.get("local:/cache", digest).expect("it is there");
        let manifest = CacheManifest::read(&manifest).expect("a manifest");
        let config = stores.get("local:/cache", &manifest.config.expect("records").digest).expect("there");
        CacheConfig::read(&config).expect("records")
    };
    let operations = |digest: &Digest| {
        let records = records(digest).records.into_iter();
        let mut names: Vec<String> = records
            .filter_map(|record| Some(record.operation?.description).filter(|name| !name.is_empty()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(operations(&all).len(), 6, "{:?}", operations(&all));
    let own = operations(&least);
    assert!(own.len() == 4 && own.iter().all(|name| name.starts_with("[stage-1")), "{own:?}");

    stores.take_read();
    with_engine_at(&directory.path().join("two"), async |engine| {
        let solver = Solver::new(engine);
        let first = job(&solver, &context, &stores);
        let outcome = build(&first, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
        let is_layer = |digest: &Digest| {
            let manifest = stores.get("local:/cache", &all).expect("it is there");
            let layers = CacheManifest::read(&manifest).expect("a manifest").others;
            layers.iter().any(|layer| layer.digest == *digest)
        };
        let read = stores.take_read();
        assert!(!read.is_empty() && !read.iter().any(is_layer), "{read:?}");
        assert!(
            solver.disk_usage(&[]).await.expect("usage").iter().all(|it| !it.description.contains("RUN"))
        );
        let result = outcome.single.as_ref().expect("an image");
        assert_eq!(text(result, "/said").await, "one one\n");
        let read = stores.take_read();
        // WORKDIR, two copies, the command, and the base, all in one chain; of the other stage nothing.
        assert_eq!(read.iter().filter(|digest| is_layer(digest)).count(), 5, "{read:?}");
        let done = steps(&first).await;
        assert!(done.len() == 6 && done.values().all(|cached| *cached), "{done:?}");

        // What was brought is known here from now on.
        let second = job(&solver, &context, &stores);
        build(&second, &base, &[]).await.expect("build");
        let done = steps(&second).await;
        assert!(done.iter().all(|(name, cached)| *cached == name.starts_with("[stage-1")), "{done:?}");
    });

    with_engine_at(&directory.path().join("three"), async |engine| {
        let solver = Solver::new(engine);
        let third = job(&solver, &context, &stores);
        let outcome = build(&third, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
        stores.take_read();
        let cache = local(&[("dest", "/cache"), ("mode", "max")]);
        let told = third.export_cache(&outcome, &cache).await.expect("export");
        assert_eq!(exported(&told), all, "what was read is written as it was");
        assert_eq!(stores.take_read(), [], "and nothing was brought for that");
        // Somewhere else it has to be brought.
        let cache = local(&[("dest", "/other"), ("mode", "max"), ("compression", "uncompressed")]);
        let told = third.export_cache(&outcome, &cache).await.expect("export");
        assert!(stores.get("local:/other", &exported(&told)).is_some() && !stores.take_read().is_empty());
    });

    // Of the other stage the least has no layers: what it came to is known by name, and done where that is not enough.
    with_engine_at(&directory.path().join("four"), async |engine| {
        let solver = Solver::new(engine);
        let fourth = job(&solver, &context, &stores);
        let outcome = build(&fourth, &base, &[("cache-imports", &imports(&least))]).await.expect("build");
        let told = fourth.export_cache(&outcome, &local(&[("dest", "/cache")])).await.expect("export");
        assert_eq!(exported(&told), least, "what was read is written as it was");
        let done = steps(&fourth).await;
        assert!(done.len() == 6 && done.values().all(|cached| *cached), "{done:?}");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/said").await, "one one\n");
        assert!(
            solver
                .disk_usage(&[])
                .await
                .expect("usage")
                .iter()
                .all(|it| !it.description.contains("out/f &&"))
        );
        let options = [("cache-imports", imports(&least)), ("target", "made".to_owned())];
        let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let fifth = job(&solver, &context, &stores);
        let outcome = build(&fifth, &base, &options).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/out/f").await, "one\n");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/more").await, "more\n");
    });
}

#[test]
fn without_the_cache_that_it_was_told_of_a_build_does_it_all() {
    with_engine(async |engine| {
        let stores = Arc::new(Stores::default());
        let directory = tempfile::tempdir().expect("a directory");
        let base = layout(&stores);
        let solver = Solver::new(engine);
        for content in [&b"{}"[..], b"no JSON", b"{\"layers\":[],\"config\":null}"] {
            let digest = stores.put("local:/cache", content);
            let job = job(&solver, directory.path(), &stores);
            build(&job, &base, &[("no-cache", ""), ("cache-imports", &imports(&digest))])
                .await
                .expect("build");
            let mut done = steps(&job).await;
            // What cannot come out differently is found all the same.
            done.retain(|name, _| !name.contains("WORKDIR"));
            assert!(done.len() == 5 && done.values().all(|cached| !cached), "{done:?}");
        }
        let missing = Digest::sha256_of(b"nothing");
        let job_ = job(&solver, directory.path(), &stores);
        build(&job_, &base, &[("cache-imports", &imports(&missing))]).await.expect("build");
        let refused = build(&job_, &base, &[("cache-imports", r#"[{"Type":"gha"}]"#)]).await.err();
        let problem = refused.expect("it is refused").to_string();
        assert!(problem.starts_with("cache importer \"gha\" is not supported"), "{problem}");
    });
}

#[test]
fn what_a_cache_promises_and_does_not_have_is_done_after_all() {
    let (stores, directory) = (Arc::new(Stores::default()), tempfile::tempdir().expect("a directory"));
    let context = directory.path().join("context");
    std::fs::create_dir(&context).expect("make");
    let base = layout(&stores);
    let mut all = None;
    with_engine_at(&directory.path().join("one"), async |engine| {
        let job = job(&Solver::new(engine), &context, &stores);
        let outcome = build(&job, &base, &[]).await.expect("build");
        let told = job.export_cache(&outcome, &local(&[("dest", "/cache")])).await.expect("export");
        all = Some(exported(&told));
    });
    let all = all.expect("an export");
    let bytes = stores.get("local:/cache", &all).expect("it is there");
    let manifest = CacheManifest::read(&bytes).expect("a manifest");
    with_engine_at(&directory.path().join("two"), async |engine| {
        let solver = Solver::new(engine);
        let last = manifest.others.last().expect("a layer");
        let key = ("local:/cache".to_owned(), last.digest.clone());
        let whole = stores.contents.lock().expect("whole").get(&key).cloned().expect("it is there");
        let prune = || PruneOptions { all: true, ..PruneOptions::default() };
        // Another content, a part of it, and more than there is.
        for wrong in
            [b"another".to_vec(), whole[..whole.len() / 2].to_vec(), [whole.clone(), whole.clone()].concat()]
        {
            stores.contents.lock().expect("whole").insert(key.clone(), wrong);
            let job = job(&solver, &context, &stores);
            let outcome = build(&job, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
            let result = outcome.single.as_ref().expect("an image");
            assert_eq!(text(result, "/said").await, "one one\n", "it is made here");
            steps(&job).await;
            let is_done = |record: &UsageRecord| record.description.contains("--mount");
            assert!(solver.disk_usage(&[]).await.expect("usage").iter().any(is_done));
            drop((outcome, job));
            solver.prune(prune()).await.expect("prune");
            assert!(!solver.disk_usage(&[]).await.expect("usage").iter().any(is_done));
        }
        // None of the layers.
        let kept = stores.contents.lock().expect("whole").clone();
        let is_layer = |digest: &Digest| manifest.others.iter().any(|layer| layer.digest == *digest);
        let is_base = |store: &str, content: &[u8]| store == STORE && content.len() > 1 << 16;
        let is_left = |(store, digest): &(String, Digest), content: &[u8]| {
            !is_layer(digest) && !is_base(store, content)
        };
        stores.contents.lock().expect("whole").retain(|key, content| is_left(key, content));
        for base_is_there in [false, true] {
            if base_is_there {
                let of_base = kept.iter().filter(|((store, _), _)| store == STORE);
                let of_base: Vec<_> = of_base.map(|(key, content)| (key.clone(), content.clone())).collect();
                stores.contents.lock().expect("whole").extend(of_base);
            }
            let job = job(&solver, &context, &stores);
            let outcome = build(&job, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
            let read = outcome.single.as_ref().expect("an image").read_file("/said", None).await;
            match base_is_there {
                true => assert_eq!(read.expect("it is made here"), "one one\n"),
                false => assert!(read.is_err(), "what it stands on is nowhere"),
            }
            drop((outcome, job));
            solver.prune(prune()).await.expect("prune");
        }
        *stores.contents.lock().expect("whole") = kept;
        // With what it promised it is taken.
        stores.contents.lock().expect("whole").insert(key, whole);
        let job = job(&solver, &context, &stores);
        let outcome = build(&job, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/said").await, "one one\n");
    });
}

/// Another cache, whose records somebody has changed.
fn forged(stores: &Stores, digest: &Digest, change: impl FnOnce(&mut CacheConfig)) -> Digest {
    let bytes = stores.get("local:/cache", digest).expect("it is there");
    let mut manifest = CacheManifest::read(&bytes).expect("a manifest");
    let config = manifest.config.take().expect("records");
    let records = stores.get("local:/cache", &config.digest).expect("it is there");
    let mut records = CacheConfig::read(&records).expect("records");
    change(&mut records);
    let records = records.to_bytes();
    stores.put("local:/cache", &records);
    manifest.config = Some(Descriptor::of(&config.media_type, &records));
    stores.put("local:/cache", &manifest.print(true, true).1)
}

fn operations(records: &mut CacheConfig) -> impl Iterator<Item = &mut Operation> {
    records
        .records
        .iter_mut()
        .filter_map(|record| record.operation.as_mut())
        .filter(|it| it.content.is_none())
}

/// What an engine that has nothing yet writes of this, where there is what `serve` serves.
fn cache_of(
    directory: &Path,
    dockerfile: &str,
    base: &str,
    stores: &Arc<Stores>,
    serve: impl FnOnce() + Send,
) -> Digest {
    let context = directory.join("context");
    std::fs::create_dir_all(&context).expect("make");
    let root = tempfile::tempdir_in(directory).expect("a directory");
    let mut all = None;
    with_engine_at(root.path(), async |engine| {
        serve();
        let job = job_of(None, dockerfile, &Solver::new(engine), &context, stores);
        let outcome = build(&job, base, &[]).await.expect("build");
        let cache = local(&[("dest", "/cache"), ("mode", "max")]);
        all = Some(exported(&job.export_cache(&outcome, &cache).await.expect("export")));
    });
    all.expect("an export")
}

const MALLORY: Option<&str> = Some("mallory");

#[test]
fn what_a_cache_says_is_believed_by_nobody_but_who_named_it() {
    let (stores, directory) = (Arc::new(Stores::default()), tempfile::tempdir().expect("a directory"));
    let context = directory.path().join("context");
    let base = layout(&stores);
    let honest = cache_of(directory.path(), DOCKERFILE, &base, &stores, || {});
    // The last operation came to what another did; all came to nothing at all.
    let swapped = forged(&stores, &honest, |records| {
        let other =
            operations(records).find(|it| it.description.contains("WORKDIR")).map(|it| it.outputs.clone());
        let other = other.expect("it is among them");
        operations(records).for_each(|it| {
            if it.description.contains("--mount") {
                it.outputs = other.clone();
            }
            it.size = u64::MAX;
            it.description = it.description.repeat(10_000);
        });
    });
    let empty = forged(&stores, &honest, |records| operations(records).for_each(|it| it.outputs.clear()));
    for (name, cache) in [("swapped", &swapped), ("empty", &empty)] {
        with_engine_at(&directory.path().join(name), async |engine| {
            let solver = Solver::new(engine);
            let said = async |owner, options: &[(&str, &str)]| {
                let job = job_of(owner, DOCKERFILE, &solver, &context, &stores);
                let outcome = build(&job, &base, options).await.expect("build");
                let result = outcome.single.as_ref().expect("an image");
                result.chain().await.expect("its layers");
                let said = result.read_file("/said", None).await.ok();
                (said.map(|said| String::from_utf8_lossy(&said).into_owned()), steps(&job).await)
            };
            let (told, done) = said(MALLORY, &[("cache-imports", &imports(cache))]).await;
            let expected = (name == "empty").then(|| "one one\n".to_owned());
            assert_eq!(told, expected, "{done:?}");
            assert!(done.values().all(|cached| *cached == (name == "swapped")), "{done:?}");
            let usage = solver.disk_usage(&[]).await.expect("usage");
            let all = usage.iter().map(|record| record.size).fold(0, u64::saturating_add);
            assert!(all < 1 << 30, "sizes are those of layers: {usage:?}");
            assert!(usage.iter().all(|record| record.description.len() <= 4096));
            let (told, done) = said(None, &[]).await;
            assert_eq!(told.as_deref(), Some("one one\n"), "{name}");
            // What mallory's build has done itself is what it is.
            assert!(done.values().all(|cached| *cached == (name == "empty")), "{name}: {done:?}");
            solver.prune(PruneOptions::default()).await.expect("prune");
        });
    }
}

#[test]
fn a_lie_of_what_is_selected_puts_nothing_under_the_key_of_others() {
    let (stores, directory) = (Arc::new(Stores::default()), tempfile::tempdir().expect("a directory"));
    let context = directory.path().join("context");
    let base = layout(&stores);
    let dockerfile = |word: &str| {
        format!(
            "FROM base AS made\nRUN mkdir /out && echo {word} > /out/f\nFROM base\nCOPY --from=made /out/f /f\n"
        )
    };
    let honest = cache_of(directory.path(), &dockerfile("one"), &base, &stores, || {});
    let evil = cache_of(directory.path(), &dockerfile("evil"), &base, &stores, || {});
    let selected = |records: &CacheConfig| {
        let contents = records.records.iter().filter_map(|record| record.operation.as_ref()?.content.clone());
        let contents: Vec<Digest> = contents.collect();
        assert_eq!(contents.len(), 1);
        contents[0].clone()
    };
    let mut content = None;
    forged(&stores, &honest, |records| content = Some(selected(records)));
    let lie = forged(&stores, &evil, |records| {
        assert_ne!(Some(selected(records)), content);
        let is_copy = |record: &CacheRecord| {
            record.operation.as_ref().is_some_and(|it| it.description.contains("COPY"))
        };
        let count = records.records.len();
        records.records.retain(|record| !is_copy(record));
        assert_eq!(records.records.len(), count - 1);
        let selections = records.records.iter_mut().filter_map(|record| record.operation.as_mut());
        selections.filter(|it| it.content.is_some()).for_each(|it| it.content = content.clone());
    });
    with_engine_at(&directory.path().join("lie"), async |engine| {
        let solver = Solver::new(engine);
        let evil = job_of(MALLORY, &dockerfile("evil"), &solver, &context, &stores);
        let outcome = build(&evil, &base, &[("cache-imports", &imports(&lie))]).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/f").await, "evil\n");
        assert!(steps(&evil).await.iter().all(|(name, cached)| *cached == name.contains("RUN")));
        let honest = job_of(None, &dockerfile("one"), &solver, &context, &stores);
        let outcome = build(&honest, &base, &[]).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/f").await, "one\n");
        assert!(steps(&honest).await.values().all(|cached| !cached));
    });
}

/// In an engine's own network.
const ADDRESS: &str = "127.0.0.1:8321";

/// Serves a file to whatever is asked.
fn serve_file() {
    use std::io::{BufRead as _, Write as _};
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
    assert!(up.success());
    let listener = std::net::TcpListener::bind(ADDRESS).expect("listen");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = std::io::BufReader::new(client.expect("a client"));
            let mut head = String::new();
            while client.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfile\n";
            let _ = client.get_mut().write_all(answer);
        }
    });
}

#[test]
fn what_an_address_gives_is_asked_of_no_cache() {
    let (stores, directory) = (Arc::new(Stores::default()), tempfile::tempdir().expect("a directory"));
    let context = directory.path().join("context");
    let base = layout(&stores);
    let digest = Digest::sha256_of(b"file\n");
    let dockerfile = format!(
        "FROM base AS other\nRUN echo evil > /f\nFROM base\nADD --checksum={digest} http://{ADDRESS}/f /added\nCOPY --from=other /f /other\n"
    );
    let honest = cache_of(directory.path(), &dockerfile, &base, &stores, serve_file);
    let forged = forged(&stores, &honest, |records| {
        let evil = operations(records).find(|it| it.description.contains("RUN")).map(|it| it.outputs.clone());
        let evil = evil.expect("it is among them");
        // What the address gave lies on nothing, what came of copying that on the base.
        let is_address =
            |it: &Operation| it.description.contains("ADD") && it.outputs.iter().all(|it| it.len() == 1);
        let is_copy = |it: &Operation| it.description.contains("ADD") && !is_address(it);
        let count = records.records.len();
        records.records.retain(|record| !record.operation.as_ref().is_some_and(is_copy));
        assert_eq!(records.records.len(), count - 1);
        let addresses: Vec<_> = operations(records).filter(|it| is_address(it)).collect();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        addresses.into_iter().for_each(|it| it.outputs = evil.clone());
    });
    with_engine_at(&directory.path().join("address"), async |engine| {
        serve_file();
        let solver = Solver::new(engine);
        for (owner, options) in [(MALLORY, vec![("cache-imports", imports(&forged))]), (None, Vec::new())] {
            let options: Vec<(&str, &str)> =
                options.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let job = job_of(owner, &dockerfile, &solver, &context, &stores);
            let outcome = build(&job, &base, &options).await.expect("build");
            assert_eq!(text(outcome.single.as_ref().expect("an image"), "/added").await, "file\n");
        }
    });
}

#[test]
fn what_is_said_of_caches_and_means_nothing_is_told() {
    with_engine(async |engine| {
        let stores = Arc::new(Stores::default());
        let directory = tempfile::tempdir().expect("a directory");
        let base = layout(&stores);
        let job = job(&Solver::new(engine), directory.path(), &stores);
        let digest = Digest::sha256_of(b"nothing").to_string();
        let cache = local(&[("src", "/cache"), ("digest", &digest), ("timeout", "1")]);
        (0..2).for_each(|_| job.import_cache(cache.clone()).expect("it is one"));
        let outcome = build(&job, &base, &[]).await.expect("build");
        let cache = local(&[("dest", "/cache"), ("mode", "max"), ("scope", "x")]);
        job.export_cache(&outcome, &cache).await.expect("export");
        job.warn_of_cache_export(&RemoteCache { kind: "inline".to_owned(), ..cache });
        job.close();
        let warnings = job.events().filter_map(|event| async {
            match event {
                Event::Warning(warning) => Some(warning.short),
                _ => None,
            }
        });
        let expected = [
            "import option without effect: timeout",
            "export option without effect: scope",
            "export option without effect: dest",
            "export option without effect: scope",
        ];
        let told: Vec<String> =
            warnings.filter(|told| std::future::ready(told.starts_with("cache "))).collect().await;
        assert_eq!(told, expected.map(|told| format!("cache {told}: not known")));
    });
}

#[test]
fn records_that_go_into_an_image_are_about_its_layers() {
    with_engine(async |engine| {
        let stores = Arc::new(Stores::default());
        let directory = tempfile::tempdir().expect("a directory");
        let base = layout(&stores);
        let job = job(&Solver::new(engine), directory.path(), &stores);
        let mut outcome = build(&job, &base, &[]).await.expect("build");
        job.cache_inline(&mut outcome).await.expect("records");
        let records = &outcome.metadata["containerimage.inlinecache"];
        let blobs: Vec<Digest> = (0..5).map(|at: u8| Digest::sha256_of(&[at])).collect();
        let read = CacheConfig::read_inline(records, &blobs).expect("records");
        let outputs = read.records.iter().filter_map(|record| record.operation.as_ref());
        let mut tops: Vec<usize> =
            outputs.flat_map(|it| &it.outputs).filter_map(|it| it.last().copied()).collect();
        tops.sort_unstable();
        assert_eq!(tops, [1, 2, 3, 4], "those of the other stage are not about this image");
    });
}

#[test]
fn images_of_a_client_s_layout_are_what_their_digests_say() {
    with_engine(async |engine| {
        let stores = Arc::new(Stores::default());
        let directory = tempfile::tempdir().expect("a directory");
        let good = layout(&stores);
        let digest =
            good.rsplit_once('@').and_then(|(_, digest)| Digest::parse(digest).ok()).expect("a digest");
        let solver = Solver::new(engine);
        let refused = async |base: &str| {
            let job = job(&solver, directory.path(), &stores);
            let built = build(&job, base, &[]).await.err();
            built.unwrap_or_else(|| panic!("{base} is taken")).to_string()
        };
        let missing = refused(&format!("oci-layout://base@{}", Digest::sha256_of(b"none"))).await;
        assert!(missing.contains("not found"), "{missing}");
        let unnamed = refused("oci-layout://base").await;
        assert!(unnamed.contains("has no digest"), "{unnamed}");
        // A document that is another than its name says, and a layer that is.
        let other = Digest::sha256_of(b"another");
        let bytes = stores.get(STORE, &digest).expect("it is there");
        stores.contents.lock().expect("whole").insert((STORE.to_owned(), other.clone()), bytes.clone());
        let told = refused(&format!("oci-layout://base@{other}")).await;
        assert!(told.contains("content of the store oci:base"), "{told}");
        let read: oci::Manifest = serde_json::from_slice(&bytes).expect("a manifest");
        let mut layer = read.layers[0].clone();
        let short = b"no archive";
        layer.digest = stores.put(STORE, short);
        layer.size = short.len() as u64;
        let told = refused(&manifest(&stores, &read.config, &layer)).await;
        assert!(told.contains("verify layer") || told.contains("layer archive"), "{told}");
        let two = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": read.config, "layers": [read.layers[0], read.layers[0]],
        });
        let two = stores.put(STORE, two.to_string().as_bytes());
        let told = refused(&format!("oci-layout://base@{two}")).await;
        assert!(told.contains("2 layers, but 1 of them configured"), "{told}");

        // By platform, from an index.
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
        entry.platform = Some(oci::Platform::host());
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry],
        });
        let index = stores.put(STORE, index.to_string().as_bytes());
        let job_ = job(&solver, directory.path(), &stores);
        let outcome = build(&job_, &format!("oci-layout://base@{index}"), &[]).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/said").await, "one one\n");
    });
}
