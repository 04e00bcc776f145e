//! An engine with the Docker API before it and nothing else: no cluster, no configuration.
//!
//! `cargo run -p docker --example engine_alone -- up --root DIR --run DIR --instance NAME`, then
//! `DOCKER_HOST=unix://RUN/docker.sock docker …`. The end-to-end tests can run against it
//! (`TEST_GANTRY`), which is quicker to build than the whole program.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use base::{SystemClock, SystemRandom};
use engine::Engine;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next().unwrap_or_default();
    match role.to_str() {
        Some("shim") => runtime::shim::main(arguments),
        Some("init") => runtime::init::main(arguments),
        Some("runtime") => runtime::cli::main(arguments),
        _ => match up() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("engine_alone: {}", base::error::chain(&*error));
                ExitCode::FAILURE
            }
        },
    }
}

fn up() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let flags: BTreeMap<&str, &str> =
        words.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let flag = |name: &str, usual: &str| flags.get(name).copied().unwrap_or(usual).to_owned();
    let run = PathBuf::from(flag("run", "/run/gantry-example"));
    let root = PathBuf::from(flag("root", "/var/lib/gantry-example"));
    let instance = flag("instance", "example");
    let bridge = flag("bridge", "example0");
    let network = net::Config {
        bridge,
        bip: net::Subnet::Exactly(flag("bip", "172.17.0.0/16").parse()?),
        ..net::Config::new(instance.clone(), root.join("network"))
    };
    let config = engine::Config {
        root,
        run: run.clone(),
        instance,
        network,
        binary: std::env::current_exe()?,
        log: engine::container::LogOptions::default(),
        dns: Vec::new(),
        insecure_registries: Vec::new(),
        descriptors: None,
        user_ids: None,
        image_blobs: engine::image::Blobs::default(),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config, run))
}

async fn serve(config: engine::Config, run: PathBuf) -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom)).await?;
    let socket = run.join("docker.sock");
    match std::fs::remove_file(&socket) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(&socket)?;
    let about = docker::About { version: "0.0.0".to_owned(), commit: String::new(), built: String::new() };
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let listeners = vec![docker::Listener::unix(listener)];
    let serving = docker::serve(
        listeners,
        docker::Service::new(build::solve::Solver::new(engine.clone()), about),
        shutdown.clone(),
    );
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended?,
        _ = terminate.recv() => {
            shutdown.cancel();
            serving.await?;
        }
    }
    engine.close().await;
    Ok(())
}
