//! What belongs to whom: dependents are made with an owner, taken over, and let go of.

use client::api::{Patch, PatchOptions};
use client::{Api, Error, Resource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

/// Whether an object that a cache shows is there to stay, by what the API says now. Asked before anything
/// is made for it or taken over in its name.
pub(crate) async fn stays<K: Resource>(api: &Api<K>, shown: &K) -> Result<bool, Error> {
    let live = api.find(shown.name()).await?;
    Ok(live.is_some_and(|live| live.uid() == shown.uid() && !live.is_being_deleted()))
}

/// The owners of an object that a controller makes for `owner`.
pub(crate) fn owned_by(owner: &impl Resource) -> Option<Vec<OwnerReference>> {
    let model::OwnerReference { api_version, kind, name, uid, controller, block_owner_deletion } =
        owner.as_controller_reference();
    Some(vec![OwnerReference { api_version, kind, name, uid, controller, block_owner_deletion }])
}

/// Takes over an object that has no controller; gives it as it is then, nothing where it is gone or somebody
/// else's meanwhile.
pub(crate) async fn adopt<K: Resource>(
    api: &Api<K>,
    owner: &impl Resource,
    dependent: &K,
) -> Result<Option<K>, Error> {
    change(api, dependent, json!([owner.as_controller_reference()])).await
}

/// Lets go of an object, if it is still there.
pub(crate) async fn release<K: Resource>(
    api: &Api<K>,
    owner: &impl Resource,
    dependent: &K,
) -> Result<(), Error> {
    change(api, dependent, json!([{"$patch": "delete", "uid": owner.uid()}])).await.map(drop)
}

async fn change<K: Resource>(api: &Api<K>, dependent: &K, owners: Value) -> Result<Option<K>, Error> {
    let patch = json!({"metadata": {"uid": dependent.uid(), "ownerReferences": owners}});
    match api.patch(dependent.name(), &Patch::Strategic(patch), &PatchOptions::default()).await {
        Ok(changed) => Ok(Some(changed)),
        Err(Error::NotFound(_) | Error::Conflict(_) | Error::Invalid(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
