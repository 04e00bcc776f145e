//! A node's agent changes its own node and what runs on it, and nothing else.
//!
//! Which objects an agent may read at all, its authorizer says; that cannot see what is written.

use std::collections::BTreeSet;

use apiserver::{Admission, Admitting, Context, Error, Operation, Result, Write, at_once};
use model::field::quote;
use model::validate::{flag, list, text};
use model::{GroupResource, Object, Status};
use serde_json::Value;

use crate::access::graph::{Target, is_mirror, references};

/// Restricts nodes' agents.
pub(super) struct NodeRestriction;

/// Labels of Kubernetes that a node may give itself.
const LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Groups of labels that it may.
const GROUPS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The group that it may not, for those who restrict what runs where.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
const LEASES: &str = "kube-node-lease";

impl Admission for NodeRestriction {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(judge(write, Some(object)))
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(if write.operation == Operation::Delete { judge(write, object) } else { Ok(()) })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn judge(write: &Write<'_>, object: Option<&Object>) -> Result<()> {
    let Some(node) = write.identity.node_name() else { return Ok(()) };
    let about = object.or(write.old);
    let refuse = |why: String| -> Error {
        let name = write.old.or(about).map_or("", Object::name);
        Status::forbidden(&write.context.resource().group_resource(), name, why).into()
    };
    if node.is_empty() {
        return Err(refuse(format!("could not determine node from user {}", quote(&write.identity.user))));
    }
    let resource = write.context.resource();
    let judged = match (resource.group.as_str(), resource.plural.as_str(), write.subresource) {
        ("", "pods", "") => pod(node, write, object)?,
        ("", "pods", "status") => pod_status(node, write, object),
        ("", "pods", "eviction") => own_pod(write, node, "evict"),
        ("", "pods", other) => Err(format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            quote(other)
        )),
        ("", "nodes", _) => own_node(node, write, about),
        ("", "persistentvolumeclaims", "status") => claim_status(node, write, object),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("coordination.k8s.io", "leases", _) => {
            if write.context.namespace() == LEASES {
                own(node, about, "can only access node lease with the same name as the requesting node")
            } else {
                Err(format!("can only access leases in the {} system namespace", quote(LEASES)))
            }
        }
        ("storage.k8s.io", "csinodes", _) => {
            own(node, about, "can only access CSINode with the same name as the requesting node")
        }
        ("resource.k8s.io", "resourceslices", _) => slice(node, write, object),
        _ => Ok(()),
    };
    judged.map_err(refuse)
}

/// The reason why it is not allowed.
type Judged = std::result::Result<(), String>;

fn own(node: &str, object: Option<&Object>, why: &str) -> Judged {
    if object.is_some_and(|object| object.name() == node) { Ok(()) } else { Err(why.to_owned()) }
}

fn of_node(object: Option<&Object>) -> &str {
    object.and_then(|pod| pod.get_str(&["spec", "nodeName"])).unwrap_or_default()
}

/// A node makes and deletes the pictures of pods that it runs by itself, and deletes those that it was given.
fn pod(node: &str, write: &Write<'_>, object: Option<&Object>) -> Result<Judged> {
    let quoted = quote(node);
    Ok(match (write.operation, object) {
        (Operation::Create, Some(pod)) => return new_pod(node, &write.context, pod),
        (Operation::Delete, _) if of_node(write.old) != node => {
            Err(format!("node {quoted} can only delete pods with spec.nodeName set to itself"))
        }
        (Operation::Delete, _) => Ok(()),
        _ => Err(format!(
            "unexpected operation \"UPDATE\", node {quoted} can only create and delete mirror pods"
        )),
    })
}

fn new_pod(node: &str, context: &Context<'_>, pod: &Object) -> Result<Judged> {
    let quoted = quote(node);
    if !is_mirror(pod) {
        return Ok(Err(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {quoted} can only create mirror pods"
        )));
    }
    if of_node(Some(pod)) != node {
        return Ok(Err(format!("node {quoted} can only create pods with spec.nodeName set to itself")));
    }
    let owner = match pod.get_list(&["metadata", "ownerReferences"]) {
        [] => {
            return Ok(Err(format!(
                "node {quoted} can only create pods with an owner reference set to itself"
            )));
        }
        [owner] => owner,
        _ => {
            return Ok(Err(format!(
                "node {quoted} can only create pods with a single owner reference set to itself"
            )));
        }
    };
    if (text(owner, "apiVersion"), text(owner, "kind"), text(owner, "name")) != ("v1", "Node", node) {
        return Ok(Err(format!("node {quoted} can only create pods with an owner reference set to itself")));
    }
    if !flag(owner, "controller") {
        return Ok(Err(format!(
            "node {quoted} can only create pods with a controller owner reference set to itself"
        )));
    }
    if flag(owner, "blockOwnerDeletion") {
        return Ok(Err(format!("node {quoted} must not set blockOwnerDeletion on an owner reference")));
    }
    let nodes = GroupResource::new("", "nodes");
    let Some(known) = context.find(&nodes, "", node) else {
        return Err(Status::not_found(&nodes, node).into());
    };
    if known.uid() != text(owner, "uid") {
        let (named, is) = (text(owner, "uid"), known.uid());
        return Ok(Err(format!("node {node} UID mismatch: expected {named} got {is}")));
    }
    let all = references(pod);
    let names = |target: Target| all.iter().any(|(known, _)| *known == target);
    let forbidden = [
        (names(Target::ServiceAccount), "reference a service account"),
        (names(Target::Secret), "reference secrets"),
        (names(Target::ConfigMap), "reference configmaps"),
        (bundles(pod), "reference clustertrustbundles"),
        (names(Target::Claim), "reference persistentvolumeclaims"),
        (!pod.get_list(&["spec", "resourceClaims"]).is_empty(), "reference resourceclaims"),
    ];
    let found = forbidden.iter().find(|(is, _)| *is);
    Ok(found.map_or(Ok(()), |(_, what)| Err(format!("node {quoted} can not create pods that {what}"))))
}

fn bundles(pod: &Object) -> bool {
    let volumes = pod.get_list(&["spec", "volumes"]).iter();
    volumes
        .flat_map(|volume| list(&volume["projected"], "sources"))
        .any(|source| source["clusterTrustBundle"].is_object())
}

fn pod_status(node: &str, write: &Write<'_>, object: Option<&Object>) -> Judged {
    let quoted = quote(node);
    let (Some(old), Some(new)) = (write.old, object) else {
        return Err("unexpected operation".to_owned());
    };
    if of_node(Some(old)) != node {
        return Err(format!(
            "node {quoted} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let same = |path: &[&str]| {
        let filled = |object: &'_ Object| object.get(path).cloned().filter(|value| !is_empty(value));
        filled(old) == filled(new)
    };
    if !same(&["metadata", "labels"]) {
        return Err(format!("node {quoted} cannot update labels through pod status"));
    }
    if !same(&["status", "resourceClaimStatuses"]) {
        return Err(format!("node {quoted} cannot update resource claim statues"));
    }
    if !same(&["status", "extendedResourceClaimStatus"]) {
        return Err(format!("node {quoted} cannot update extended resource claim statues"));
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

fn own_pod(write: &Write<'_>, node: &str, verb: &str) -> Judged {
    if of_node(write.old) == node {
        return Ok(());
    }
    Err(format!("node {node} can only {verb} pods with spec.nodeName set to itself"))
}

fn own_node(node: &str, write: &Write<'_>, object: Option<&Object>) -> Judged {
    let quoted = quote(node);
    let requested = object.map_or("", Object::name);
    if requested != node {
        return Err(format!("node {quoted} is not allowed to modify node {}", quote(requested)));
    }
    let Some(new) = object else { return Ok(()) };
    let (kind, taints) = (&["spec", "configSource"][..], &["spec", "taints"][..]);
    let source = new.get(kind).filter(|source| !source.is_null());
    match (write.operation, write.old) {
        (Operation::Create, _) => {
            if source.is_some() {
                return Err(format!(
                    "node {quoted} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let labels = forbidden_labels(new, None);
            if !labels.is_empty() {
                return Err(format!("node {quoted} is not allowed to set the following labels: {labels}"));
            }
        }
        (Operation::Update, Some(old)) => {
            if source.is_some() && source != old.get(kind) {
                return Err(format!(
                    "node {quoted} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if new.get_list(taints) != old.get_list(taints) {
                return Err(format!("node {quoted} is not allowed to modify taints"));
            }
            let labels = forbidden_labels(new, Some(old));
            if !labels.is_empty() {
                return Err(format!("is not allowed to modify labels: {labels}"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// The labels that differ and that a node has no say in.
fn forbidden_labels(new: &Object, old: Option<&Object>) -> String {
    let before = |key: &str| old.and_then(|old| old.label(key));
    let gone = old.into_iter().flat_map(|old| old.labels().iter().collect::<Vec<_>>());
    let mut changed: BTreeSet<&str> =
        new.labels().iter().filter(|(key, value)| before(key) != Some(*value)).map(|(key, _)| key).collect();
    changed.extend(gone.map(|(key, _)| key).filter(|key| new.label(key).is_none()));
    changed.retain(|key| is_forbidden(key));
    changed.into_iter().collect::<Vec<_>>().join(", ")
}

fn is_forbidden(label: &str) -> bool {
    let Some((group, _)) = label.split_once('/') else { return false };
    let of =
        |domain: &str| group == domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    of(RESTRICTED)
        || ((of("kubernetes.io") || of("k8s.io")) && !LABELS.contains(&label) && !GROUPS.into_iter().any(of))
}

/// Of a claim a node tells how large its volume is, and nothing else.
fn claim_status(node: &str, write: &Write<'_>, object: Option<&Object>) -> Judged {
    let (Some(old), Some(new)) = (write.old, object) else {
        return Err("unexpected operation".to_owned());
    };
    let rest = |claim: &Object| {
        let mut claim = claim.clone();
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            claim.remove(&["status", field]);
        }
        for field in ["resourceVersion", "managedFields"] {
            claim.metadata_mut().shift_remove(field);
        }
        if claim.get(&["status"]).is_some_and(is_empty) {
            claim.fields_mut().shift_remove("status");
        }
        claim
    };
    if rest(old) == rest(new) {
        return Ok(());
    }
    Err(format!(
        "node {} is not allowed to update fields other than status.capacity and status.conditions",
        quote(node)
    ))
}

fn slice(node: &str, write: &Write<'_>, object: Option<&Object>) -> Judged {
    let own = |object| of_node(object) == node;
    match write.operation {
        Operation::Create if !own(object) => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        Operation::Delete if !own(write.old) => {
            Err("can only delete ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether a node's agent may have such a token of a service account: only for a pod that is on it.
pub(crate) fn may_have_token(context: &Context<'_>, account: &Object, request: &Object) -> Result<()> {
    let Some(node) = context.identity().node_name() else { return Ok(()) };
    let refuse = |why: &str| Err(context.forbidden(account, why));
    if node.is_empty() {
        return refuse(&format!("could not determine node from user {}", quote(&context.identity().user)));
    }
    let reference = request.get(&["spec", "boundObjectRef"]).unwrap_or(&Value::Null);
    let part = |name| text(reference, name);
    if (part("apiVersion"), part("kind")) != ("v1", "Pod") || part("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if part("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pods = GroupResource::new("", "pods");
    let Some(pod) = context.find(&pods, context.namespace(), part("name")) else {
        return Err(Status::not_found(&pods, part("name")).into());
    };
    if pod.uid() != part("uid") {
        return refuse(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
             been deleted and then recreated",
            part("uid")
        ));
    }
    if of_node(Some(&pod)) != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = request.get_list(&["spec", "audiences"]);
    if audiences.len() > 1 {
        return refuse("node may only request 0 or 1 audiences");
    }
    // None is the server itself, in the request as in the pod.
    let audience = audiences.first().and_then(Value::as_str).unwrap_or_default();
    if !names_audience(&pod, audience) {
        return refuse(&format!("audience {} not found in pod spec volume", quote(audience)));
    }
    Ok(())
}

/// Whether a volume of a pod has a token for this audience.
fn names_audience(pod: &Object, audience: &str) -> bool {
    let volumes = pod.get_list(&["spec", "volumes"]).iter();
    let sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let mut tokens = sources.filter_map(|source| source.get("serviceAccountToken"));
    tokens.any(|token| text(token, "audience") == audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_no_say_in_most_labels_of_kubernetes() {
        for allowed in [
            "app",
            "example.com/a",
            "kubernetes.io/hostname",
            "beta.kubernetes.io/os",
            "node.kubernetes.io/anything",
            "x.kubelet.kubernetes.io/y",
            "notkubernetes.io/x",
        ] {
            assert!(!is_forbidden(allowed), "{allowed}");
        }
        for forbidden in [
            "node-role.kubernetes.io/control-plane",
            "node-restriction.kubernetes.io/team",
            "a.node-restriction.kubernetes.io/team",
            "kubernetes.io/role",
            "x.k8s.io/y",
        ] {
            assert!(is_forbidden(forbidden), "{forbidden}");
        }
    }
}
