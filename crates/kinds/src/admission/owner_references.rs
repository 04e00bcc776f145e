//! Who says whose an object is may delete it, and who has its owner wait for it may change the owner's finalizers.

use apiserver::{
    Admission, Admitting, Decision, Operation, ResourceAttributes, Result, Write, after_asking, at_once,
};
use model::Object;
use serde_json::Value;

/// Refuses owners that whoever writes has no right to.
pub(super) struct OwnerReferencesPermissionEnforcement;

const OWNERS: [&str; 2] = ["metadata", "ownerReferences"];

impl Admission for OwnerReferencesPermissionEnforcement {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let resource = write.context.resource();
        let is_status =
            resource.group.is_empty() && resource.plural == "pods" && write.subresource == "status";
        let asks = write.operation != Operation::Delete && !is_status;
        match object.filter(|object| asks && owners(Some(object)) != owners(write.old)) {
            Some(object) => after_asking(async move { check(write, object).await }),
            None => at_once(Ok(())),
        }
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn owners(object: Option<&Object>) -> &[Value] {
    object.map(|object| object.get_list(&OWNERS)).unwrap_or_default()
}

async fn check(write: &Write<'_>, object: &Object) -> Result<()> {
    let (context, resource) = (&write.context, write.context.resource());
    let deleting = ResourceAttributes {
        verb: "delete",
        group: &resource.group,
        version: &resource.version,
        namespace: context.namespace(),
        resource: &resource.plural,
        subresource: write.subresource,
        name: object.name(),
        ..ResourceAttributes::default()
    };
    let refuse = |why: &str, decision: &Decision| {
        Err(context.forbidden(object, format!("{why}: {}, <nil>", decision.reason())))
    };
    let decision = context.decide(deleting).await;
    if !decision.is_allowed() {
        return refuse("cannot set an ownerRef on a resource you can't delete", &decision);
    }
    for owner in newly_blocking(object, write.old) {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let Some(resource) = context.resource_of_kind(group, version, text("kind")) else {
            let why = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: \
                 no matches for kind {} in version {}",
                text("apiVersion"),
                text("kind"),
                model::field::quote(text("kind")),
                model::field::quote(text("apiVersion")),
            );
            return Err(context.forbidden(object, why));
        };
        let finalizing = ResourceAttributes {
            verb: "update",
            group,
            version,
            namespace: if resource.namespaced { context.namespace() } else { "" },
            resource: &resource.plural,
            subresource: "finalizers",
            name: text("name"),
            ..ResourceAttributes::default()
        };
        let decision = context.decide(finalizing).await;
        if !decision.is_allowed() {
            let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
            return refuse(why, &decision);
        }
    }
    Ok(())
}

/// Owners that wait for the object, and did not before.
fn newly_blocking<'a>(object: &'a Object, old: Option<&'a Object>) -> impl Iterator<Item = &'a Value> {
    let blocks = |owner: &Value| owner["blockOwnerDeletion"] == true;
    let before = owners(old);
    owners(Some(object)).iter().filter(move |owner| {
        let known = before.iter().find(|known| known["uid"] == owner["uid"]);
        blocks(owner) && !known.is_some_and(blocks)
    })
}
