//! `POST /commit`: an image of a container.

use engine::container::CommitSpec;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert;
use crate::wire::container::Config;
use crate::wire::image::Committed;

/// Makes an image of what a container changed.
pub(crate) async fn commit(mut call: Call) -> Answer {
    let document: Option<Config> = call.optional_json().await?;
    let query = &call.query;
    let id = call.engine().container_find(query.text("container"))?;
    let container = call.engine().container_inspect(&id)?;
    let base = convert::image::config_of_container(&container);
    let mut config = match document {
        Some(document) => convert::image::merge(base, &document)?,
        None => base,
    };
    convert::image::change(&mut config, &query.all("changes"))?;
    let repository = query.text("repo");
    let reference = match (repository, query.text("tag")) {
        ("", _) => None,
        (repository, "") => Some(repository.to_owned()),
        (repository, tag) => Some(format!("{repository}:{tag}")),
    };
    let spec = CommitSpec {
        reference,
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        created_by: None,
        config: Some(config),
        pause: query.flag_or("pause", true),
    };
    let engine = call.engine().clone();
    let image = call.complete(async move { Ok(engine.container_commit(&id, spec).await?) }).await?;
    answer::json_with(StatusCode::CREATED, &Committed { id: image.to_string() })
}
