//! `POST /images/create`: pulls an image, or imports a root file system.

use engine::image::{ImageConfig, ImportSpec, PullOptions};

use super::credentials;
use super::progress::{self, Form};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image;
use crate::fault::Fault;
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
    let tag = query.text("tag");
    let reference = reference(query.text("fromImage"), tag);
    let options = PullOptions {
        platform: platform(&call),
        auth: credentials::of_call(&call)?,
        // A name without a tag means every tag here; clients add `latest` where it is meant.
        all_tags: tag.is_empty() && !has_tag_or_digest(query.text("fromImage")),
    };
    let progress = call.engine().image_pull(&reference, options)?;
    progress::answer(progress, Form::Transfer, String::new()).await
}

async fn import(mut call: Call) -> Answer {
    let query = &call.query;
    match query.text("fromSrc") {
        "-" => {}
        "" => return Err(Fault::invalid("either fromImage or fromSrc must be given")),
        _ => {
            return Err(Fault::unsupported(
                "importing from an address is not supported: download the archive and import it from standard input",
            ));
        }
    }
    let repository = query.text("repo");
    let mut config = ImageConfig::default();
    image::change(&mut config, &query.all("changes"))?;
    let spec = ImportSpec {
        reference: (!repository.is_empty()).then(|| reference(repository, query.text("tag"))),
        message: match query.text("message") {
            "" => "Imported from -".to_owned(),
            message => message.to_owned(),
        },
        config,
        platform: platform(&call),
    };
    let archive = call.body_stream()?;
    let id = call.engine().image_import(archive, spec).await?;
    let line = Progress::status(id.to_string()).line();
    answer::stream("application/json", futures::stream::iter([Ok(line.into())]))
}

fn platform(call: &Call) -> Option<String> {
    Some(call.query.text("platform")).filter(|platform| !platform.is_empty()).map(str::to_owned)
}

/// Joins a name and a tag, which may be a digest.
pub(super) fn reference(name: &str, tag: &str) -> String {
    match tag {
        "" => name.to_owned(),
        digest if digest.contains(':') => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    }
}

fn has_tag_or_digest(name: &str) -> bool {
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
    }
}
