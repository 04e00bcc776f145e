//! Leases: heartbeats and leadership.
//!
//! The heartbeats of nodes stay in memory, so that an idle cluster writes nothing: whoever reads one
//! after a restart waits for the next. Every other change is somebody's leadership and is durable,
//! or an old leader would be leader again.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use model::Object;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, Functions, invalid, not_negative, number, text as text_of};
use serde_json::Value;

/// The only strategy of Kubernetes' own: the oldest version leads.
const OLDEST: &str = "OldestEmulationVersion";
/// Where the heartbeats of nodes are.
const HEARTBEATS: &str = "kube-node-lease";

pub(crate) fn resource() -> Resource {
    Resource::of::<Lease>()
        .rules(Functions::of(object))
        .made_by_update()
        .columns(COLUMNS, cells)
        .passing(is_heartbeat)
}

const COLUMNS: &[Column] = &[NAME, text("Holder", "Who holds the lease."), AGE];

/// Whether nothing but the time of renewal of a node's lease has changed.
fn is_heartbeat(old: &Object, new: &Object) -> bool {
    let renewed = |lease: &Object| lease.get(&["spec", "renewTime"]).is_some_and(Value::is_string);
    new.namespace() == Some(HEARTBEATS)
        && renewed(old)
        && renewed(new)
        && without_renewal(old) == without_renewal(new)
}

/// A lease without the time of its renewal, and without what the server notes of any change.
fn without_renewal(lease: &Object) -> Value {
    let mut value = lease.clone().into_value();
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.shift_remove("renewTime");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("resourceVersion");
        let managers = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
        for manager in managers.into_iter().flatten().filter_map(Value::as_object_mut) {
            manager.shift_remove("time");
        }
    }
    value
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    if let Some(seconds) = number(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    not_negative(errors, spec, "leaseTransitions", &path);
    let strategy = text_of(spec, "strategy");
    let of_strategy = path.child("strategy");
    // Kubernetes says it twice.
    let of_strategy = of_strategy.child("strategy");
    if strategy.contains('/') {
        invalid(errors, &of_strategy, strategy, names::qualified(strategy));
    } else if !strategy.is_empty() && strategy != OLDEST {
        errors.push(FieldError::not_supported(&of_strategy, strategy, &[OLDEST]));
    }
    if !text_of(spec, "preferredHolder").is_empty() && strategy.is_empty() {
        let message = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(&path.child("preferredHolder"), message));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let holder = object.get_str(&["spec", "holderIdentity"]).unwrap_or_default();
    vec![object.name().into(), holder.into(), age(object, now)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(namespace: &str, change: impl FnOnce(&mut Value), expected: bool) {
        let old = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "a", "namespace": namespace, "resourceVersion": "7",
                "managedFields": [{"manager": "node", "time": "2026-01-01T00:00:00Z"}],
            },
            "spec": {"holderIdentity": "a", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        let mut new = old.clone();
        change(&mut new);
        let object = |value| Object::from_value(value).expect("an object");
        assert_eq!(is_heartbeat(&object(old), &object(new)), expected);
    }

    fn renew(lease: &mut Value) {
        lease["spec"]["renewTime"] = "2026-01-01T00:00:10.000000Z".into();
        lease["metadata"]["managedFields"][0]["time"] = "2026-01-01T00:00:10Z".into();
    }

    #[test]
    fn only_a_renewal_of_a_nodes_lease_and_nothing_besides_is_a_heartbeat() {
        check("kube-node-lease", renew, true);
        check("kube-system", renew, false);
        check("kube-node-lease-2", renew, false);
        let changes: [fn(&mut Value); 7] = [
            |lease| lease["spec"]["holderIdentity"] = "b".into(),
            |lease| lease["spec"]["leaseTransitions"] = 1.into(),
            |lease| lease["spec"]["acquireTime"] = "2026-01-01T00:00:10.000000Z".into(),
            |lease| lease["spec"]["leaseDurationSeconds"] = 41.into(),
            |lease| lease["metadata"]["labels"] = json!({"a": "b"}),
            |lease| lease["metadata"]["managedFields"][0]["manager"] = "other".into(),
            |lease| drop(lease["spec"].as_object_mut().expect("a spec").shift_remove("renewTime")),
        ];
        for change in changes {
            let both = |lease: &mut Value| {
                renew(lease);
                change(lease);
            };
            check("kube-node-lease", both, false);
        }
    }
}
