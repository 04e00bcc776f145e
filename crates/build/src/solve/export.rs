//! Handing over what a build came to.
//!
//! | kind | where it goes |
//! | --- | --- |
//! | `moby`, `image` | the image store, under names |
//! | `local` | a directory of the client's |
//! | `tar` | an archive of the client's |
//!
//! Others are refused by name.

mod config;
mod files;
mod image;

use std::collections::BTreeMap;

use super::SolveError;
use super::job::Job;
use super::reference::{Outcome, Ref};
use super::shown::Shown;
use oci::Platform;

/// Under which a front end says an image's configuration.
const CONFIG: &str = "containerimage.config";

/// Where an outcome goes, as clients say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporter {
    /// `moby`, `image`, `tar`, `local`.
    pub kind: String,
    /// How: `name`, `push`, `dest`, …
    pub attributes: BTreeMap<String, String>,
    /// Which of the client's exporters it is, so that its file comes there.
    pub id: String,
}

/// A result that is handed over.
struct Part<'a> {
    /// What it is for.
    platform: Platform,
    /// None where the result is nothing at all.
    reference: Option<&'a Ref>,
    /// The image's configuration, if the front end made one.
    config: Option<&'a [u8]>,
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
        "oci" | "docker" => {
            let kind = &exporter.kind;
            return Err(SolveError::Unsupported(format!(
                "exporter {kind:?} is not there: build into the image store and use `docker save`"
            )));
        }
        kind => return Err(SolveError::Unsupported(format!("exporter {kind:?} could not be found"))),
    };
    // Each export is one of its own.
    let id = format!("{name} {:016x}", base::Random::next_u64(&base::SystemRandom));
    let mut shown = Shown::begin(job, &id, name);
    let done = match exporter.kind.as_str() {
        "local" => files::to_directory(&shown, outcome, exporter).await,
        "tar" => files::to_archive(&shown, outcome, exporter).await,
        _ => image::to_store(&shown, outcome, exporter).await,
    };
    shown.end(&done);
    done
}

/// The one result of an outcome; those of several platforms are refused, in these words.
fn only_one<'a>(job: &Job, outcome: &'a Outcome, refusal: &str) -> Result<Part<'a>, SolveError> {
    if outcome.refs.len() > 1 {
        return Err(SolveError::Unsupported(refusal.to_owned()));
    }
    let of = |key: &str| outcome.metadata.get(key).map(Vec::as_slice);
    let by_name = outcome.refs.iter().next();
    let (platform, reference) = match by_name {
        Some((name, reference)) => {
            let platform = name
                .parse()
                .map_err(|error| SolveError::Invalid(format!("failed to parse platform {name}: {error}")))?;
            (platform, Some(reference))
        }
        None => (job.platform(), outcome.single.as_ref()),
    };
    let own = by_name.and_then(|(name, _)| of(&format!("{CONFIG}/{name}")));
    Ok(Part { platform, reference, config: own.or_else(|| of(CONFIG)) })
}

/// What a client says by an attribute that may be there without a value.
fn is_set(exporter: &Exporter, name: &str) -> Result<bool, SolveError> {
    match exporter.attributes.get(name).map(String::as_str) {
        None => Ok(false),
        Some("" | "true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(SolveError::Invalid(format!("non-bool value {other:?} specified for {name}"))),
    }
}
