//! Serves the Kubernetes API alone, without nodes, on a temporary or given root: to try clients against.
//!
//! `cargo run -p apiserver --example apiserver -- ROOT 127.0.0.1:16443`; the kubeconfig is ROOT/kubeconfig.
#![allow(unreachable_pub, reason = "the node is shared with the tests")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use apiserver::{Config, Server};
use tokio_util::sync::CancellationToken;

#[path = "../tests/api/nodes.rs"]
mod nodes;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("usage: apiserver ROOT ADDRESS")?);
    let address = arguments.next().ok_or("usage: apiserver ROOT ADDRESS")?.parse()?;
    std::fs::create_dir_all(&root)?;
    let clock = Arc::new(base::SystemClock::new());
    let store = store::Embedded::open(&root.join("store"), store::Options::default(), clock)?;
    let mut config = Config::new(root.join("pki"), Arc::new(nodes::Echo));
    config.address = address;
    config.admission = kinds::admission();
    config.authorization = kinds::authorization();
    config.kubeconfig = Some(root.join("kubeconfig"));
    let server = Server::start(config, Arc::new(store), kinds::all()).await?;
    println!("export KUBECONFIG={}", root.join("kubeconfig").display());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::select! {
        () = server.serve(shutdown) => {}
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    Ok(())
}
