//! Who may grant what: nobody more than they have, unless they may `escalate` the role or `bind` it.

use apiserver::{Context, Error, PolicyRule, ResourceAttributes, Result};
use model::field::quote;
use model::validate::text;
use model::{GroupResource, Object, Status};
use serde_json::Value;

use super::rules::{GROUP, described, missing, quoted, rules_of};

/// Whether whoever makes the request may make a role what it is now.
pub(crate) async fn may_grant(context: &Context<'_>, role: &Object, old: Option<&Object>) -> Result<()> {
    let resource = context.resource();
    let spared =
        context.identity().is_administrator() || old.is_some_and(|old| changes_upkeep_only(role, old));
    if spared {
        return Ok(());
    }
    let escalate = ResourceAttributes {
        verb: "escalate",
        group: &resource.group,
        version: "*",
        namespace: context.namespace(),
        resource: &resource.plural,
        name: old.map_or("", Object::name),
        ..ResourceAttributes::default()
    };
    if context.decide(escalate).await.is_allowed() {
        return Ok(());
    }
    holds(context, &rules_of(role.value())).map_err(|why| context.forbidden(role, why))?;
    // What gathers rules may gather any.
    if (gathers(role) || old.is_some_and(gathers)) && holds(context, &PolicyRule::everything()).is_err() {
        return Err(context.forbidden(role, "must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

/// Whether whoever makes the request may give the role of a binding to whom it is for.
pub(crate) async fn may_bind(context: &Context<'_>, binding: &Object, old: Option<&Object>) -> Result<()> {
    let spared =
        context.identity().is_administrator() || old.is_some_and(|old| changes_upkeep_only(binding, old));
    if spared {
        return Ok(());
    }
    let reference = binding.get(&["roleRef"]).unwrap_or(&Value::Null);
    let name = text(reference, "name");
    let (plural, namespace) = match text(reference, "kind") {
        "ClusterRole" => ("clusterroles", ""),
        "Role" if !context.namespace().is_empty() => ("roles", context.namespace()),
        // The rules find what is wrong with it.
        _ => return Ok(()),
    };
    let bind = ResourceAttributes {
        verb: "bind",
        group: text(reference, "apiGroup"),
        namespace: context.namespace(),
        resource: plural,
        name,
        ..ResourceAttributes::default()
    };
    if context.decide(bind).await.is_allowed() {
        return Ok(());
    }
    let resource = GroupResource::new(GROUP, plural);
    let Some(role) = context.find(&resource, namespace, name) else {
        return Err(Error::from(Status::not_found(&resource, name)));
    };
    holds(context, &rules_of(role.value())).map_err(|why| context.forbidden(binding, why))
}

/// Whether the caller holds all that these rules allow; says what is missing.
fn holds(context: &Context<'_>, wanted: &[PolicyRule]) -> std::result::Result<(), String> {
    let held = context.rules();
    let missing = missing(&held.rules, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let identity = context.identity();
    let mut why = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&identity.user),
        quoted(&identity.groups),
        described(&missing)
    );
    if !held.errors.is_empty() {
        why = format!("{why}; resolution errors: [{}]", held.errors.join(", "));
    }
    Err(why)
}

fn gathers(role: &Object) -> bool {
    !role.get_list(&["aggregationRule", "clusterRoleSelectors"]).is_empty()
}

/// Whether a change is about owners and finalizers alone, which says nothing of rights.
fn changes_upkeep_only(new: &Object, old: &Object) -> bool {
    let of = |object: &Object| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            object.metadata_mut().shift_remove(field);
        }
        object
    };
    of(new) == of(old)
}
