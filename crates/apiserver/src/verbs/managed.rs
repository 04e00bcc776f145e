//! Who manages which fields, in whatever versions they were set.
//!
//! What a change means to a manager is seen in the version that its fields are of: where that is another
//! than the request's, the object is converted as it was and as it is to be. Where it cannot be, whoever
//! manages fields in that version is forgotten, as in Kubernetes: no write fails over it. Only who applies is
//! refused, since nobody could tell with whom that is in conflict.

use model::merge::apply::{self, ApplyError, Manager, Versions, Wanted};
use model::{Object, Schema, Status};

use crate::call::Call;
use crate::error::{Error, Result};

/// Brings `managedFields` of a new form up to date, after any change but an applied one. What the client sent
/// is its manager's, and what is left out and has a default; what is put in after this is nobody's, so that
/// nobody is in conflict with the server over it.
pub(super) async fn note(
    call: &Call,
    live: Option<&Object>,
    new: Object,
    manager: Manager<'_>,
) -> Result<Object> {
    let Some(schema) = &call.resource.schema else { return Ok(new) };
    if call.resource.storage.served.is_none() {
        let tracked = apply::track(schema, live, new, manager, &Versions::default());
        return Ok(tracked.expect("a kind with one version wants no other"));
    }
    let mut versions = Versions::several();
    loop {
        match apply::track(schema, live, new.clone(), manager, &versions) {
            Ok(tracked) => return Ok(tracked),
            Err(wanted) => {
                if let Err(error) = learn(call, wanted.clone(), &mut versions).await {
                    let version = &wanted.version;
                    tracing::debug!(%error, version, "whoever manages fields in a version is forgotten");
                    versions.learn(wanted, None);
                }
            }
        }
    }
}

/// Merges an applied configuration into the live object, or makes the object where there is none.
pub(super) async fn apply(
    call: &Call,
    schema: &Schema,
    live: Option<&Object>,
    applied: &Object,
    manager: Manager<'_>,
    force: bool,
) -> Result<Object> {
    let mut versions = match &call.resource.storage.served {
        Some(_) => Versions::several(),
        None => Versions::default(),
    };
    loop {
        match apply::apply(schema, live, applied, manager, force, &versions) {
            Ok(merged) => return Ok(merged),
            Err(ApplyError::Wanted(wanted)) => learn(call, *wanted, &mut versions).await?,
            Err(ApplyError::Conflict { message, causes }) => {
                return Err(Status::apply_conflict(message, causes).into());
            }
            Err(ApplyError::Malformed(why)) => return Err(Error::bad_request(why)),
            Err(ApplyError::Untyped(why)) => return Err(Status::untyped_patch(why).into()),
        }
    }
}

/// Converts an object into the version that it is wanted in, if that is served.
async fn learn(call: &Call, wanted: Wanted, versions: &mut Versions) -> Result<()> {
    let resource = &call.resource;
    let entries = call.state.table.entries();
    let entry = entries.values().find(|entry| {
        entry.storage.partition == resource.storage.partition && entry.api_version() == wanted.version
    });
    let form = match (entry, &resource.storage.served) {
        (Some(entry), Some(served)) => {
            let converted = served.convert(vec![wanted.object.clone()], &entry.gvk()).await?;
            converted.into_iter().next().map(|object| (entry.schema.clone(), object))
        }
        _ => None,
    };
    versions.learn(wanted, form);
    Ok(())
}
