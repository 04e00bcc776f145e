//! Namespaces: two-phase deletion, in which everything inside goes first.

use model::{Object, Status};
use serde_json::json;

use super::{Context, Graceful, Resource, Strategy};
use crate::error::Result;
use crate::request::DeleteOptions;

/// Namespaces that are always there.
pub(crate) const PERMANENT: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// The finalizer in `spec` that holds a namespace until its content is gone.
const CONTENT: &str = "kubernetes";

pub(super) fn resource() -> Resource {
    Resource::builtin("", "v1", "Namespace", "namespaces")
        .cluster_wide()
        .short(&["ns"])
        .status()
        .subresource("finalize", None, &["update"])
        .strategy(Namespaces)
}

struct Namespaces;

impl Strategy for Namespaces {
    fn admit_create(&self, _: &Context<'_>, object: &mut Object) -> Result<()> {
        label(object);
        object.set(&["spec", "finalizers"], json!([CONTENT]));
        object.set(&["status"], json!({"phase": "Active"}));
        Ok(())
    }

    fn admit_update(&self, _: &Context<'_>, object: &mut Object, old: &Object) -> Result<()> {
        label(object);
        object.set(&["spec", "finalizers"], old.get_list(&["spec", "finalizers"]).to_vec());
        Ok(())
    }

    fn begin_delete(
        &self,
        context: &Context<'_>,
        object: &mut Object,
        _: &DeleteOptions,
    ) -> Result<Graceful> {
        if PERMANENT.contains(&object.name()) {
            let resource = context.resource.group_resource();
            return Err(
                Status::forbidden(&resource, object.name(), "this namespace may not be deleted").into()
            );
        }
        object.set(&["status", "phase"], "Terminating");
        Ok(if self.is_held(object) { Graceful::Held } else { Graceful::AtOnce })
    }

    fn is_held(&self, object: &Object) -> bool {
        !object.get_list(&["spec", "finalizers"]).is_empty()
    }

    fn answers_deleted_object(&self) -> bool {
        true
    }
}

/// Every namespace carries its name as a label, so that selectors can pick it.
fn label(object: &mut Object) {
    const NAME: &str = "kubernetes.io/metadata.name";
    let name = object.name().to_owned();
    if object.label(NAME) != Some(&name) {
        object.set_label(NAME, &name);
    }
}
