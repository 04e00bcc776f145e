//! Front ends: from a request to definitions.

mod dockerfile;

use std::collections::BTreeMap;

use super::SolveError;
use super::job::Job;
use super::reference::Outcome;

/// Runs the front end `name`.
pub(super) async fn run(
    job: &Job,
    name: &str,
    mut options: BTreeMap<String, String>,
    inputs: BTreeMap<String, llb::Definition>,
) -> Result<Outcome, SolveError> {
    let source = options.get("source").cloned().unwrap_or_default();
    match name {
        "dockerfile.v0" => {}
        "gateway.v0" if ::dockerfile::is_same_language(&source) => {
            options.entry("cmdline".to_owned()).or_insert(source);
        }
        "gateway.v0" => return Err(foreign(&source)),
        other => return Err(SolveError::NotFound(format!("frontend {other} not found"))),
    }
    for cache in super::remote::of_options(&options)? {
        job.import_cache(cache)?;
    }
    dockerfile::run(job, options, inputs).await
}

/// The refusal of a front end that is an image.
fn foreign(source: &str) -> SolveError {
    SolveError::Unsupported(format!(
        "the frontend {source} is not supported: this builder speaks the language of docker/dockerfile, and runs no frontend images"
    ))
}
