//! `POST /images/create`: pulls an image, or imports a root file system.

use engine::Engine;
use engine::image::{
    ImageConfig, ImportSpec, Opened, ParsePlatformError, Platform, PullOptions, fetched_stream,
};
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::watch;

use super::credentials;
use super::progress::{self, Form};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image;
use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::progress::Progress;

/// Pulls `fromImage`, or imports `fromSrc`.
pub(crate) async fn create(call: Call) -> Answer {
    match call.query.text("fromImage") {
        "" => import(call).await,
        _ => pull(call).await,
    }
}

async fn pull(call: Call) -> Answer {
    let query = &call.query;
    // `pull --all-tags` may say so by a colon at the end.
    let named = query.text("fromImage").trim_end_matches(':');
    let tag = query.text("tag");
    if matches!(without_tag(named), "scratch" | "library/scratch" | "docker.io/library/scratch") {
        return Err(Fault::forbidden("'scratch' is a reserved name"));
    }
    let name = if tag.is_empty() { named } else { without_tag(named) };
    let options = PullOptions {
        platform: platform(&call),
        auth: credentials::of_call(&call),
        // A name without a tag means every tag here; clients add `latest` where it is meant.
        all_tags: tag.is_empty() && !has_tag_or_digest(named),
    };
    let progress = call.engine().image_pull(&reference(name, tag), options)?;
    progress::answer(progress, Form::Transfer).await
}

async fn import(mut call: Call) -> Answer {
    let query = &call.query;
    let source = query.text("fromSrc").to_owned();
    if source.is_empty() {
        return Err(Fault::invalid("either fromImage or fromSrc must be given"));
    }
    let repository = query.text("repo");
    let mut config = ImageConfig::default();
    image::change(&mut config, &query.all("changes"))?;
    let platform = platform(&call);
    if let Some(platform) = &platform {
        let platform: Platform =
            platform.parse().map_err(|error: ParsePlatformError| Fault::invalid(error.to_string()))?;
        if platform.os != "linux" {
            return Err(Fault::invalid("operating system is not supported"));
        }
    }
    let spec = ImportSpec {
        reference: (!repository.is_empty()).then(|| reference(repository, query.text("tag"))),
        message: match query.text("message") {
            "" => format!("Imported from {source}"),
            message => message.to_owned(),
        },
        config,
        platform,
    };
    if source == "-" {
        let archive = call.body_stream()?;
        let id = call.engine().image_import(archive, spec).await?;
        let line = Progress::status(id.to_string()).line();
        return answer::stream("application/json", stream::iter([Ok(line.into())]));
    }
    let address = if source.contains("://") { source } else { format!("http://{source}") };
    let opened = call.engine().fetch(&address).await?;
    let begun = Progress::status(format!("Downloading from {address}"));
    let lines = stream::iter([begun]).chain(imported(call.engine().clone(), opened, spec));
    answer::stream("application/json", lines.map(|line| Ok(line.line().into())))
}

/// Imports what is being fetched; the lines that tell of it.
fn imported(engine: Engine, opened: Opened, spec: ImportSpec) -> impl Stream<Item = Progress> + Send {
    let total = opened.length.unwrap_or_default();
    let (came, coming) = watch::channel(0);
    let archive = fetched_stream(opened, move |bytes| {
        let _ = came.send(bytes);
    });
    let importing = async move { engine.image_import(archive, spec).await }.boxed();
    let line = move |bytes: u64| Progress::transfer("", "Importing", bytes, total);
    stream::unfold(Some((importing, coming)), move |state| async move {
        let (mut importing, mut coming) = state?;
        tokio::select! {
            // Whatever came is told before the end.
            biased;
            Ok(()) = coming.changed() => {
                let bytes = *coming.borrow_and_update();
                Some((line(bytes), Some((importing, coming))))
            }
            done = &mut importing => Some(match done {
                Ok(id) => (Progress::status(id.to_string()), None),
                Err(error) => (Progress::error(Fault::from(error).message, None), None),
            }),
        }
    })
}

fn platform(call: &Call) -> Option<String> {
    let text = if call.version < ApiVersion(1, 32) { "" } else { call.query.text("platform") };
    Some(text).filter(|platform| !platform.is_empty()).map(str::to_owned)
}

/// Joins a name and a tag, which may be a digest.
pub(super) fn reference(name: &str, tag: &str) -> String {
    match tag {
        "" => name.to_owned(),
        digest if digest.contains(':') => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    }
}

/// A name without its tag or digest.
fn without_tag(name: &str) -> &str {
    let bare = name.split('@').next().unwrap_or(name);
    match bare.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => bare,
    }
}

/// Whether a name has a tag or a digest of its own.
pub(super) fn has_tag_or_digest(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_a_digest() {
        assert_eq!(reference("a/b", "1"), "a/b:1");
        assert_eq!(reference("a/b", "sha256:00"), "a/b@sha256:00");
        assert_eq!(reference("a/b", ""), "a/b");
    }

    #[test]
    fn a_port_is_no_tag() {
        assert!(!has_tag_or_digest("localhost:5000/a"));
        assert!(has_tag_or_digest("localhost:5000/a:1"));
        assert!(has_tag_or_digest("a@sha256:00"));
        let bare = ["localhost:5000/a", "localhost:5000/a:1", "localhost:5000/a:1@sha256:00"];
        assert_eq!(bare.map(without_tag), ["localhost:5000/a"; 3]);
    }
}
