//! Handing over what a build came to.
//!
//! | kind | where it goes |
//! | --- | --- |
//! | `moby`, `image` | the image store, under names, and registries |
//! | `oci`, `docker` | an archive of the client's |
//! | `local` | a directory of the client's |
//! | `tar` | an archive of the client's |
//!
//! Others are refused by name.

mod archive;
mod assemble;
mod attest;
mod attributes;
mod config;
mod files;
mod image;
mod ops;
mod parts;
mod provenance;
mod sbom;

use std::collections::BTreeMap;

use engine::ByteStream;
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::event::WarningEvent;
use super::job::Job;
use super::reference::Outcome;
use super::shown::Shown;
use super::{SessionError, SolveError};
use attributes::Attributes;

pub use attest::wanted as attestations_wanted;
pub(crate) use ops::shown;
pub(crate) use provenance::Pin;

/// Where an outcome goes, as clients say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporter {
    /// `moby`, `image`, `oci`, `docker`, `tar`, `local`.
    pub kind: String,
    /// How: `name`, `push`, `dest`, …
    pub attributes: BTreeMap<String, String>,
    /// Which of the client's exporters it is, so that its file comes there.
    pub id: String,
}

/// Hands an outcome over; gives what clients are told of it.
pub(super) async fn export(
    job: &Job,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let name = match exporter.kind.as_str() {
        "moby" | "image" => "exporting to image",
        "local" => "exporting to client directory",
        "tar" => "exporting to client tarball",
        "oci" => "exporting to oci image format",
        "docker" => "exporting to docker image format",
        kind => return Err(SolveError::Unsupported(format!("exporter {kind:?} could not be found"))),
    };
    // Each export is one of its own.
    let id = format!("{name} {:016x}", base::Random::next_u64(&base::SystemRandom));
    let mut shown = Shown::begin(job, &id, name);
    let done = match exporter.kind.as_str() {
        "local" => files::to_directory(&shown, outcome, exporter).await,
        "tar" => files::to_archive(&shown, outcome, exporter).await,
        "oci" | "docker" => archive::to_client(&shown, outcome, exporter).await,
        _ => image::to_store(&shown, outcome, exporter).await,
    };
    shown.end(&done);
    done
}

/// Sends a file to the client, in pieces that are asked for once it waits for them.
async fn send(
    shown: &Shown,
    exporter: &Exporter,
    told: &BTreeMap<String, String>,
    pieces: impl Future<Output = Result<ByteStream, SolveError>>,
) -> Result<(), SolveError> {
    let part = shown.part("sending tarball");
    let mut sink = shown.job().session()?.send_file(&exporter.id, told).await?;
    let mut pieces = pieces.await?;
    let mut sent = 0;
    let broken = |error: std::io::Error| SessionError::Failed(error.to_string());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(SolveError::io("read what was built"))?;
        sink.write_all(&piece).await.map_err(broken)?;
        sent += piece.len() as u64;
        part.at(sent);
    }
    Ok(sink.shutdown().await.map_err(broken)?)
}

/// Tells of what is said of an exporter and means nothing here.
fn warn_of(job: &Job, attributes: &Attributes) {
    for unknown in &attributes.unknown {
        let short = format!("exporter option without effect: {unknown}");
        job.warn(WarningEvent { level: 1, short, ..WarningEvent::default() });
    }
    if attributes.packing.level.is_some() && attributes.packing.compression != ::image::Compression::Gzip {
        let short = "compression-level is without effect: there is one level".to_owned();
        job.warn(WarningEvent { level: 1, short, ..WarningEvent::default() });
    }
}
