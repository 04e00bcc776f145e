//! An engine of its own for each test, in a network namespace of its own, with an image to build on.
#![allow(dead_code, reason = "every test target uses its own part of this")]

pub(crate) mod solving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::{SystemClock, SystemRandom};
use build::solve::Solver;
use build::{BuildEvent, BuildOptions, BuildRequest};
use engine::container::LogOptions;
use engine::image::ImportSpec;
use engine::{Config, Engine};
use futures::StreamExt;
use rustix::thread::UnshareFlags;

/// The program that holds the containers of RUN.
/// The example `roles`, which `cargo test` builds beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in <profile>/deps");
    let program = profile.join("examples/roles");
    assert!(program.exists(), "{} is missing: run the tests with `cargo test -p build`", program.display());
    program
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// What a build said, and what became of it.
pub(crate) struct Outcome {
    pub(crate) text: String,
    /// The image's id, or the complaint.
    pub(crate) image: Result<String, String>,
}

/// Files of a build context.
pub(crate) type Files<'a> = &'a [(&'a str, &'a str)];

/// Runs `test` with an engine that has the image `busybox`.
pub(crate) fn with_engine<F: Future<Output = ()>>(test: impl FnOnce(Engine) -> F + Send) {
    let directory = tempfile::tempdir().expect("temporary directory");
    with_engine_at(directory.path(), test);
}

/// The same, with the engine in this directory.
pub(crate) fn with_engine_at<F: Future<Output = ()>>(
    directory: &Path,
    test: impl FnOnce(Engine) -> F + Send,
) {
    testkit::require_root();
    let run = || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("a network namespace of one's own");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let instance =
            format!("b{:x}n{}", std::process::id() & 0xffff, COUNTER.fetch_add(1, Ordering::Relaxed));
        runtime.expect("start a runtime").block_on(async {
            let opened = Engine::open(
                config(directory, &instance),
                Arc::new(SystemClock::new()),
                Arc::new(SystemRandom),
            );
            let engine = opened.await.expect("open the engine");
            if engine.image_inspect("busybox").is_err() {
                import(&engine).await;
            }
            test(engine.clone()).await;
            engine.close().await;
        });
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Builds a Dockerfile with these files beside it, without a network for RUN.
pub(crate) async fn build(
    engine: &Engine,
    dockerfile: &str,
    files: Files<'_>,
    options: BuildOptions,
) -> Outcome {
    build_as_asked(engine, dockerfile, files, BuildOptions { network: "none".to_owned(), ..options }).await
}

/// The same, in the network that the options say.
pub(crate) async fn build_as_asked(
    engine: &Engine,
    dockerfile: &str,
    files: Files<'_>,
    options: BuildOptions,
) -> Outcome {
    let mut context = tar::Builder::new(Vec::new());
    for (path, content) in files.iter().chain([&("Dockerfile", dockerfile)]) {
        let mut header = header(tar::EntryType::Regular, content.len() as u64);
        context.append_data(&mut header, path, content.as_bytes()).expect("into memory");
    }
    let context = context.into_inner().expect("into memory");
    build_context(engine, context, options).await
}

/// The header of an entry of a context.
pub(crate) fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size);
    header
}

/// Builds what is in an archive.
pub(crate) async fn build_context(engine: &Engine, context: Vec<u8>, options: BuildOptions) -> Outcome {
    let context = futures::stream::iter([Ok(bytes::Bytes::from(context))]).boxed();
    let options = BuildOptions { remove: true, ..options };
    outcome(build::build(&Solver::new(engine.clone()), BuildRequest { context, options })).await
}

/// What a build says, to its end.
pub(crate) async fn outcome(mut events: build::BuildStream) -> Outcome {
    let mut outcome = Outcome { text: String::new(), image: Err("no image".to_owned()) };
    while let Some(event) = events.next().await {
        match event {
            Ok(BuildEvent::Text(text)) => outcome.text.push_str(&text),
            Ok(BuildEvent::Pull(engine::image::Progress::Layer { status, .. }))
                if status == "Downloading" || status.starts_with("http://") => {}
            Ok(BuildEvent::Pull(step)) => panic!("nothing here needs a pull: {step:?}"),
            Ok(BuildEvent::Built(id)) => outcome.image = Ok(id.as_str().to_owned()),
            Err(error) => outcome.image = Err(base::error::chain(&error).to_string()),
        }
    }
    outcome
}

/// The options that give these build arguments.
pub(crate) fn arguments(pairs: &[(&str, &str)]) -> BuildOptions {
    let args: BTreeMap<String, Option<String>> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    BuildOptions { args, ..BuildOptions::default() }
}

fn config(directory: &Path, instance: &str) -> Config {
    let root = directory.join("root");
    Config {
        run: directory.join("run"),
        instance: instance.to_owned(),
        network: net::Config::new(instance, root.join("network")),
        binary: program(),
        log: LogOptions::default(),
        dns: Vec::new(),
        insecure_registries: Vec::new(),
        image_blobs: engine::image::Blobs::default(),
        descriptors: None,
        user_ids: None,
        root,
    }
}

async fn import(engine: &Engine) {
    let archive = tokio::task::spawn_blocking(testkit::rootfs::busybox_tar).await.expect("make an archive");
    let archive = futures::stream::iter([Ok(bytes::Bytes::from(archive))]).boxed();
    let mut spec = ImportSpec { reference: Some("busybox".to_owned()), ..ImportSpec::default() };
    spec.config.env = vec!["PATH=/bin".to_owned()];
    engine.image_import(archive, spec).await.expect("import the image");
}
