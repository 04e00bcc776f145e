//! `POST /volumes/create`.

use engine::volume::VolumeSpec;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::convert::{keys, volume as convert};
use crate::fault::Fault;
use crate::names;
use crate::wire::volume::Create;

/// Makes a volume, or gives the one that has the name.
pub(crate) async fn create(mut call: Call) -> Answer {
    let mut document = call.json().await?;
    keys::of_volume(&mut document);
    let document: Create = call::read(document)?;
    if document.cluster_volume_spec.is_some() {
        return super::update::update(call).await;
    }
    let name = &document.name;
    if !name.is_empty() && !names::is_restricted(name) {
        return Err(Fault::invalid(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    let spec = VolumeSpec {
        name: (!document.name.is_empty()).then_some(document.name),
        driver: document.driver,
        labels: document.labels,
        options: document.driver_opts,
    };
    let engine = call.engine().clone();
    let volume = call.complete(async move { Ok(engine.volume_create(spec).await?) }).await?;
    answer::json_with(StatusCode::CREATED, &convert::volume(&volume))
}
