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

use super::SolveError;
use super::event::WarningEvent;
use super::job::Job;
use super::reference::Outcome;
use super::shown::Shown;
use attributes::Attributes;

pub use attest::wanted as attestations_wanted;
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
