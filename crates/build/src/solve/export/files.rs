//! Files for the client: a directory or an archive of them.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{Exporter, only_one};
use crate::solve::reference::Outcome;
use crate::solve::session::Transferred;
use crate::solve::shown::Shown;
use crate::solve::value::{self, Chain, Root, Value};
use crate::solve::{SessionError, SolveError};

/// What is refused: a client that asks for several platforms at once.
const SEVERAL: &str = "files of several platforms at once are not handed over: build for one at a time";

pub(super) async fn to_directory(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let root = root(shown, outcome).await?;
    let part = shown.part("copying files");
    // Who sends has this process's descriptors.
    let directory = PathBuf::from(format!("/proc/self/fd/{}", root.fd.as_raw_fd()));
    let told = |transferred: Transferred| part.at(transferred.bytes);
    shown.job().session()?.send_tree(&exporter.id, &directory, &told).await?;
    Ok(BTreeMap::new())
}

pub(super) async fn to_archive(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let root = root(shown, outcome).await?;
    let part = shown.part("sending tarball");
    let job = shown.job();
    let mut sink = job.session()?.send_file(&exporter.id, &BTreeMap::new()).await?;
    let mut pieces = job.solver().engine().tree_export("build", root.fd).await?;
    let mut sent = 0;
    let broken = |error: std::io::Error| SessionError::Failed(error.to_string());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(SolveError::io("read what was built"))?;
        sink.write_all(&piece).await.map_err(broken)?;
        sent += piece.len() as u64;
        part.at(sent);
    }
    sink.shutdown().await.map_err(broken)?;
    Ok(BTreeMap::new())
}

async fn root(shown: &Shown, outcome: &Outcome) -> Result<Root, SolveError> {
    let job = shown.job();
    let value = match only_one(job, outcome, SEVERAL)?.reference {
        Some(reference) => reference.value().await?,
        None => Value::Chain(Chain::default()),
    };
    value::root(job, &value).await
}
