//! The results of an outcome, each with what is said of it.

use base::Timestamp;
use oci::Platform;
use serde::Deserialize;

use super::attributes::{Attributes, epoch};
use crate::solve::SolveError;
use crate::solve::job::Job;
use crate::solve::reference::{Outcome, Ref};
use crate::solve::remote::INLINE_CACHE;

/// Under which a front end says an image's configuration.
const CONFIG: &str = "containerimage.config";
/// And that of the image which it begins with.
const BASE_CONFIG: &str = "containerimage.base.config";
/// The latest time that anything in it may have.
const EPOCH: &str = "source.date.epoch";
/// Which results there are, and for what.
const PLATFORMS: &str = "refs.platforms";

/// A result that is handed over.
pub(super) struct Part {
    /// What it is known by among the results.
    pub(super) id: String,
    /// What it is for.
    pub(super) platform: Platform,
    /// None where the result is nothing at all.
    pub(super) reference: Option<Ref>,
    /// The image's configuration, if the front end made one.
    pub(super) config: Option<Vec<u8>>,
    /// That of the image which it begins with.
    pub(super) base_config: Option<Vec<u8>>,
    /// The latest time that anything in it may have.
    pub(super) epoch: Option<Timestamp>,
    /// The records of what its layers were made by, for who builds the same elsewhere.
    pub(super) cache: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Platforms", default)]
    platforms: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Platform")]
    platform: Platform,
}

/// The results in the order in which the front end lists them.
pub(super) fn parts(
    job: &Job,
    outcome: &Outcome,
    attributes: Option<&Attributes>,
) -> Result<Vec<Part>, SolveError> {
    let invalid = |problem: String| SolveError::Invalid(problem);
    let listed = match outcome.metadata.get(PLATFORMS) {
        Some(text) => {
            let read: Listed = serde_json::from_slice(text)
                .map_err(|error| invalid(format!("failed to parse platforms passed to exporter: {error}")))?;
            read.platforms
        }
        None if !outcome.refs.is_empty() => {
            return Err(invalid("unable to export multiple refs, missing platforms mapping".to_owned()));
        }
        None => Vec::new(),
    };
    if listed.is_empty() {
        let platform = own_platform(outcome).unwrap_or_else(|| job.platform());
        let entry = Entry { id: platform.to_string(), platform };
        return Ok(vec![part(outcome, attributes, entry, outcome.single.clone())?]);
    }
    if outcome.refs.is_empty() && listed.len() > 1 {
        return Err(invalid("cannot export multiple platforms without multi-platform enabled".to_owned()));
    }
    let of = |entry: Entry| {
        let reference = match outcome.refs.is_empty() {
            true => outcome.single.clone(),
            false => {
                let missing = || invalid(format!("failed to find ref for ID {}", entry.id));
                Some(outcome.refs.get(&entry.id).cloned().ok_or_else(missing)?)
            }
        };
        part(outcome, attributes, entry, reference)
    };
    listed.into_iter().map(of).collect()
}

/// What the configuration of a single result is for, if it says so.
fn own_platform(outcome: &Outcome) -> Option<Platform> {
    let config: Platform = serde_json::from_slice(outcome.metadata.get(CONFIG)?).ok()?;
    (!config.os.is_empty() && !config.architecture.is_empty()).then_some(config)
}

fn part(
    outcome: &Outcome,
    attributes: Option<&Attributes>,
    entry: Entry,
    reference: Option<Ref>,
) -> Result<Part, SolveError> {
    let Entry { id, platform } = entry;
    let of = |key: &str| {
        let own = outcome.metadata.get(&format!("{key}/{id}"));
        own.or_else(|| outcome.metadata.get(key)).cloned()
    };
    let epoch = match attributes.and_then(|attributes| attributes.epoch) {
        Some(said) => said,
        None => match of(EPOCH) {
            Some(text) => epoch("SOURCE_DATE_EPOCH from frontend", &String::from_utf8_lossy(&text))?,
            None => None,
        },
    };
    let (config, base_config, cache) = (of(CONFIG), of(BASE_CONFIG), of(INLINE_CACHE));
    Ok(Part { config, base_config, cache, id, platform, reference, epoch })
}
