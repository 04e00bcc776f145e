//! The front end: what a client asks for, from its options to definitions that can be solved.
//!
//! [`build`] is what BuildKit calls `dockerfile.v0`. It asks through a [`Client`] for what it has to know, and
//! solves nothing itself.

mod archive;
mod contexts;
mod request;
mod settings;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use llb::pb;
use oci::{ImageConfig, Platform};

pub(crate) use contexts::{Contexts, Loaded, Named};
pub(crate) use settings::Settings;

use crate::client::{Client, ClientError, DockerfileSource};
use crate::convert::{Failure, Job, convert};
use crate::syntax::{Lines, syntax_of};

/// What the front end is asked.
#[derive(Clone, Debug, Default)]
pub struct FrontRequest {
    /// The request's options, as buildx sends them.
    pub options: BTreeMap<String, String>,
    /// Definitions that came with it, by name.
    pub inputs: BTreeMap<String, pb::Definition>,
    /// What the builder runs on, and builds for where the request does not say.
    pub platform: Platform,
}

/// What it comes to.
#[derive(Clone, Debug)]
pub enum Built {
    /// Images: definitions that are to be solved.
    Images {
        /// One for each platform.
        images: Vec<BuiltImage>,
        /// Whether the result has one reference for each platform, even if that is one.
        is_multi_platform: bool,
        /// The result's metadata: configurations, the list of platforms.
        metadata: BTreeMap<String, Vec<u8>>,
    },
    /// An answer about the Dockerfile: the result's metadata.
    Answer(BTreeMap<String, Vec<u8>>),
    /// The Dockerfile is for another front end, an image.
    Forward {
        /// The image.
        source: String,
        /// What the directive says, which is passed on as the option `cmdline`.
        cmdline: String,
        /// The Dockerfile.
        file: Box<DockerfileSource>,
        /// Where in it the directive is, if it is there.
        lines: Vec<Lines>,
    },
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// The platform's name, normal: `linux/arm64`.
    pub id: String,
    /// The platform.
    pub platform: Platform,
    /// Its files.
    pub definition: pb::Definition,
    /// Its configuration, without the layers and times that come of the files.
    pub config: Vec<u8>,
    /// The configuration of the image that it begins with.
    pub base_config: Option<Vec<u8>>,
    /// What else a scanner is to look into, by name: the build context, other stages.
    pub scanned: Vec<(String, pb::Definition)>,
}

/// Why there is nothing to solve.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The request has an option that means nothing.
    #[error("{0}")]
    Options(String),
    /// It is asked for something that this front end does not answer.
    #[error("unsupported request {0}")]
    UnsupportedRequest(String),
    /// It is wanted to be able to do something that it is not.
    #[error("unsupported frontend capability {0}")]
    UnsupportedCapability(String),
    /// The Dockerfile or the context cannot be read.
    #[error("{problem}")]
    Read {
        /// What, with why.
        problem: String,
        /// Why, as whoever was asked says it.
        cause: Option<ClientError>,
    },
    /// The Dockerfile is wrong, or what it begins with is.
    #[error("{problem}")]
    Dockerfile {
        /// What is wrong, in a sentence of BuildKit's.
        problem: String,
        /// The Dockerfile.
        file: Box<DockerfileSource>,
        /// Where in it; innermost first.
        lines: Vec<Lines>,
        /// Why, as whoever was asked says it.
        cause: Option<ClientError>,
    },
}

/// The front ends whose language this one speaks itself.
const SAME_LANGUAGE: [&str; 2] = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"];

/// What the front end is called as one that is built in.
const BUILT_IN: &str = "dockerfile.v0";

/// What the front end is able to, besides building.
const CAPABILITIES: [&str; 4] = [
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// Answers a request.
pub async fn build(request: FrontRequest, client: &dyn Client) -> Result<Built, FrontError> {
    let settings = Settings::read(&request.options).map_err(FrontError::Options)?;
    let lacking = lacking_capability(settings.option("frontend.caps"));
    let unable = |name: &str| FrontError::UnsupportedCapability(name.to_owned());
    if let Some((name, false)) = lacking {
        return Err(unable(name));
    }
    let mut contexts = Contexts::open(client, &settings, &request.inputs).await.map_err(read_error)?;
    let source = contexts.dockerfile().await.map_err(read_error)?;
    if let Some((name, cmdline, lines)) = forwarded(&settings, &source) {
        return Ok(Built::Forward { source: name, cmdline, file: Box::new(source), lines });
    }
    if let Some((name, _)) = lacking {
        return Err(unable(name));
    }
    let job = |platform: Option<Platform>| Job {
        source: &source,
        settings: &settings,
        contexts: &contexts,
        client,
        platform,
        build_platform: request.platform.clone(),
        all_stages: false,
        shares: settings.platforms.len(),
    };
    if let Some(name) = settings.options.get("requestid") {
        return request::answer(name, job(settings.platforms.first().cloned())).await.map(Built::Answer);
    }
    let platforms: Vec<Option<Platform>> = match settings.platforms.is_empty() {
        true => vec![None],
        false => settings.platforms.iter().cloned().map(Some).collect(),
    };
    let jobs: Vec<Job<'_>> = platforms.into_iter().map(job).collect();
    let converted = futures::future::join_all(jobs.iter().map(convert)).await;
    let mut images = Vec::new();
    let mut metadata = BTreeMap::new();
    let mut listed = Vec::new();
    for (number, ((converted, warnings), job)) in converted.into_iter().zip(&jobs).enumerate() {
        // The others find the same.
        for warning in warnings.iter().filter(|_| number == 0) {
            client.warn(&source, warning);
        }
        let converted = converted.map_err(|failure| dockerfile_error(failure, &source))?;
        let platform = job.platform.clone().unwrap_or_else(|| request.platform.clone()).normalised();
        let id = platform.to_string();
        let suffix = if settings.is_multi_platform { format!("/{id}") } else { String::new() };
        let print = |config: &ImageConfig| {
            config.to_bytes_checked().map_err(|error| FrontError::Options(error.to_string()))
        };
        let config = print(&converted.config)?;
        let base_config = converted.base_config.as_ref().map(print).transpose()?;
        metadata.insert(format!("containerimage.config{suffix}"), config.clone());
        if let Some(base) = &base_config {
            metadata.insert(format!("containerimage.base.config{suffix}"), base.clone());
        }
        if let Some(epoch) = converted.epoch {
            metadata.insert(format!("source.date.epoch{suffix}"), epoch.to_string().into_bytes());
        }
        listed.push(serde_json::json!({ "ID": id, "Platform": platform }));
        let (definition, scanned) = (converted.definition, converted.scanned);
        images.push(BuiltImage { id, platform, definition, config, base_config, scanned });
    }
    let listed = serde_json::json!({ "Platforms": listed });
    metadata.insert("refs.platforms".to_owned(), listed.to_string().into_bytes());
    Ok(Built::Images { images, is_multi_platform: settings.is_multi_platform, metadata })
}

/// Whether the front end that is called so speaks the same language: the one that is built in, or an image.
pub fn is_same_language(name: &str) -> bool {
    name == BUILT_IN
        || oci::Reference::parse(name)
            .is_ok_and(|reference| SAME_LANGUAGE.contains(&reference.name().as_str()))
}

/// The front end that the Dockerfile is for, with what it is told and where, unless that is this one.
fn forwarded(settings: &Settings, source: &DockerfileSource) -> Option<(String, String, Vec<Lines>)> {
    if settings.options.contains_key("cmdline") {
        return None;
    }
    let text = String::from_utf8_lossy(&source.data);
    let (cmdline, lines) = match settings.args.get("BUILDKIT_SYNTAX") {
        Some(asked) => (asked.trim().to_owned(), Vec::new()),
        None => {
            let directive = syntax_of(&text)?;
            (directive.value, vec![Lines::at(directive.line)])
        }
    };
    let name = cmdline.split(' ').next().unwrap_or_default().to_owned();
    (!name.is_empty() && !is_same_language(&name)).then_some((name, cmdline, lines))
}

/// What is wanted and not known, and whether another front end may be asked for it.
fn lacking_capability(text: &str) -> Option<(&str, bool)> {
    let wanted = text.split(',').filter(|capability| !capability.is_empty());
    let mut lacking = wanted
        .map(|capability| capability.split_once('+').unwrap_or((capability, "")))
        .filter(|(name, _)| !CAPABILITIES.contains(name))
        .map(|(name, forward)| (name, forward.contains("forward")));
    let first = lacking.next()?;
    Some(lacking.find(|(_, may_forward)| !may_forward && first.1).unwrap_or(first))
}

fn read_error(failure: Failure) -> FrontError {
    let problem = match (&failure.source, failure.problem.as_str()) {
        (Some(source), "") => source.to_string(),
        _ => failure.problem,
    };
    FrontError::Read { problem, cause: failure.source }
}

fn dockerfile_error(failure: Failure, source: &DockerfileSource) -> FrontError {
    let problem = match (&failure.source, failure.problem.as_str()) {
        (Some(source), "") => source.to_string(),
        _ => failure.problem,
    };
    FrontError::Dockerfile {
        problem,
        file: Box::new(source.clone()),
        lines: failure.lines,
        cause: failure.source,
    }
}
