//! Sources: what operations begin with.

pub(crate) mod elsewhere;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod layout;
pub(crate) mod local;

use super::SolveError;
use super::schedule::{Done, Step};

/// Brings what an identifier names (`docker-image://…`, `local://…`, …).
pub(crate) async fn perform(step: &Step<'_>, source: &llb::pb::SourceOp) -> Result<Done, SolveError> {
    let identifier = source.identifier.as_str();
    let (scheme, rest) = identifier.split_once("://").unwrap_or(("", identifier));
    match scheme {
        "docker-image" => image::perform(step, rest, &source.attrs).await,
        "local" => local::perform(step, rest, &source.attrs).await,
        "git" => git::perform(step, rest, &source.attrs).await,
        "http" | "https" => http::perform(step, identifier, &source.attrs).await,
        "oci-layout" => layout::perform(step, rest, &source.attrs).await,
        "docker-image+blob" | "oci-layout+blob" => {
            Err(SolveError::Unsupported(format!("the source {scheme}:// is not supported")))
        }
        _ => Err(SolveError::Invalid(format!("unknown source identifier: {identifier}"))),
    }
}
