//! Caches elsewhere: what one engine did another finds that has nothing yet. And images of clients' own layouts.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use build::solve::{Event, Job, JobOptions, Outcome, RemoteCache, Session, SolveError, Solver};
use futures::StreamExt;
use oci::cache::{CacheConfig, CacheManifest};
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
    std::fs::write(directory.join("Dockerfile"), DOCKERFILE).expect("write");
    std::fs::write(directory.join("a.txt"), "a").expect("write");
    let named = |name: &str| (name.to_owned(), directory.to_owned());
    let directories = [named("context"), named("dockerfile")].into();
    let client: Arc<dyn Session> =
        Arc::new(Client { directories, stores: Arc::clone(stores), ..Client::default() });
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
fn what_a_cache_promises_and_does_not_have_becomes_nothing() {
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
        // Another content, a part of it, and more than there is.
        for wrong in
            [b"another".to_vec(), whole[..whole.len() / 2].to_vec(), [whole.clone(), whole.clone()].concat()]
        {
            stores.contents.lock().expect("whole").insert(key.clone(), wrong);
            let job = job(&solver, &context, &stores);
            let outcome = build(&job, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
            let result = outcome.single.as_ref().expect("an image");
            let failed = result.read_file("/said", None).await.expect_err("it is not what was promised");
            let problem = failed.to_string();
            assert!(problem.contains("verify layer") || problem.contains("read layer archive"), "{problem}");
            steps(&job).await;
        }
        let kept = solver.disk_usage(&[]).await.expect("usage");
        assert!(kept.iter().all(|record| !record.description.contains("--mount")), "{kept:?}");
        // With what it promised it is taken.
        stores.contents.lock().expect("whole").insert(key, whole);
        let job = job(&solver, &context, &stores);
        let outcome = build(&job, &base, &[("cache-imports", &imports(&all))]).await.expect("build");
        assert_eq!(text(outcome.single.as_ref().expect("an image"), "/said").await, "one one\n");
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
