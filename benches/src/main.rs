//! Loads the store, the API, etcd or the scheduler with the same work, and prints one JSON object for each row.
//!
//! `load store DIR`, `load etcd HOST:PORT`, `load api KUBECONFIG`, `load scheduler DIR`,
//! `load access BINDINGS`. [`run`](../run) reads the rows and
//! prints them side by side.
#![forbid(unsafe_code)]

mod access;
mod api;
mod direct;
mod etcd;
mod load;
mod scheduler;
mod store;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, target] = arguments.as_slice() else {
        bail!(
            "usage: load store DIR | load etcd HOST:PORT | load api KUBECONFIG | load scheduler DIR | load access BINDINGS"
        );
    };
    let runtime = tokio::runtime::Runtime::new().context("start tokio")?;
    match what.as_str() {
        "store" => runtime.block_on(store::measure(target.as_ref())),
        "etcd" => runtime.block_on(etcd::measure(target)),
        "api" => runtime.block_on(api::measure(target.as_ref())),
        "scheduler" => runtime.block_on(scheduler::measure(target.as_ref())),
        "access" => access::measure(target),
        other => bail!("`{other}` cannot be loaded: it is store, etcd, api, scheduler or access"),
    }
}
