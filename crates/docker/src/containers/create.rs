//! `POST /containers/create`.

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::convert::{create as convert, keys, refuse};
use crate::fault::Fault;
use crate::names;
use crate::version::ApiVersion;
use crate::wire::container::{Create, CreateResponse};

/// Makes a container.
pub(crate) async fn create(mut call: Call) -> Answer {
    let Some(mut document) = call.optional_json::<serde_json::Value>().await? else {
        return Err(Fault::invalid("config cannot be empty in order to create a container"));
    };
    let unknown = keys::of_create(&mut document);
    let document: Create = call::read(document)?;
    refuse::unknown(unknown)?;
    let name = match call.query.text("name") {
        "" => None,
        name => Some(names::container(name)?),
    };
    let platform =
        Some(call.query.text("platform")).filter(|platform| !platform.is_empty()).map(str::to_owned);
    let platform = platform.filter(|_| call.version >= ApiVersion(1, 41));
    let (mut spec, mut warnings) = convert::spec(call.engine(), document, call.version)?;
    spec.name = name;
    spec.platform = platform;
    let engine = call.engine().clone();
    let created = call.complete(async move { Ok(engine.container_create(spec).await?) }).await?;
    warnings.extend(created.warnings);
    answer::json_with(StatusCode::CREATED, &CreateResponse { id: created.id.to_string(), warnings })
}
