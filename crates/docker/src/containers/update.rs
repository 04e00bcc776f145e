//! `POST /containers/{name}/update`: limits and restart policy.

use engine::container::ContainerUpdate;

use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::convert::{keys, refuse, resources, restart};
use crate::version::ApiVersion;
use crate::wire::container::{Update, Updated};

/// Changes limits and the restart policy.
pub(crate) async fn update(mut call: Call) -> Answer {
    let mut document = call.json().await?;
    let unknown = keys::of_update(&mut document);
    let document: Update = call::read(document)?;
    let id = call.container()?;
    refuse::unknown(unknown)?;
    resources::validate_update(&document.resources)?;
    let restart = match document.restart_policy.name.as_str() {
        "" => None,
        _ => Some(restart::policy(&document.restart_policy)?),
    };
    let mut resources = resources::limits(&document.resources, 0);
    // Zero and what is below lift the limit, which clients before 1.40 could not mean.
    resources.pids = match document.resources.pids_limit {
        Some(limit) if call.version >= ApiVersion(1, 40) => Some(if limit > 0 { limit } else { -1 }),
        _ => None,
    };
    let update = ContainerUpdate { resources, restart };
    let engine = call.engine().clone();
    let tried = format!("Cannot update container {id}");
    let updated = call.complete(async move { Ok(engine.container_update(&id, update).await?) });
    let warnings = updated.await.map_err(|fault| fault.while_trying(tried))?;
    answer::json(&Updated { warnings })
}
