//! Which claims a pod is to have, and what becomes of a claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{
    ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus, ResourceClaimTemplate,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::pods::is_terminal;

/// Names the claim of the pod that a claim was made for.
const ANNOTATION: &str = "resource.kubernetes.io/pod-claim-name";
/// Keeps a claim for as long as something is allocated to it.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// So many pods may use one claim.
const MOST: usize = 256;
/// So long are names that a few letters are put behind.
const LONGEST: usize = 57;

/// What is to be done about one of a pod's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It is there, and the pod's status does not say so.
    Known { name: String, claim: String },
    /// It is to be made.
    Make { name: String, template: String },
}

/// What becomes of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Keeping {
    /// What its status is to be, where that is something else.
    pub(super) status: Option<ResourceClaimStatus>,
    /// Nothing is allocated to it any more.
    pub(super) without_finalizer: bool,
    /// It was made for a pod that does not run any more.
    pub(super) delete: bool,
}

/// The claims of a pod that are there, by their names in the pod.
pub(super) fn claims_of(pod: &Pod) -> Vec<(String, String)> {
    let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let named: BTreeMap<&str, &str> = statuses
        .filter_map(|status| Some((status.name.as_str(), status.resource_claim_name.as_deref()?)))
        .collect();
    let claims = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    claims
        .filter_map(|claim| {
            let of_pod = named.get(claim.name.as_str()).copied();
            let name = claim.resource_claim_name.as_deref().or(of_pod)?;
            Some((claim.name.clone(), name.to_owned()))
        })
        .collect()
}

/// What a pod lacks of the claims that it has by templates, of those that there are.
pub(super) fn wants(pod: &Pod, all: &[Arc<ResourceClaim>]) -> Vec<Want> {
    let statuses: Vec<_> =
        pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten()).collect();
    let claims = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let mut wants = Vec::new();
    for claim in claims {
        let Some(template) = &claim.resource_claim_template_name else { continue };
        let said = statuses.iter().find(|status| status.name == claim.name);
        if let Some(said) = said {
            // That none is needed is said, too.
            let Some(name) = said.resource_claim_name.as_deref() else { continue };
            if all.iter().any(|it| it.name() == name && is_of(pod, it)) {
                continue;
            }
        }
        let name = claim.name.clone();
        wants.push(match made(pod, &name, all) {
            Some(claim) => Want::Known { name, claim: claim.name().to_owned() },
            None => Want::Make { name, template: template.clone() },
        });
    }
    wants
}

/// The claim that was made for one of a pod's claims.
pub(super) fn made<'a>(pod: &Pod, name: &str, all: &'a [Arc<ResourceClaim>]) -> Option<&'a ResourceClaim> {
    let annotated = |claim: &&ResourceClaim| {
        let annotations = claim.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(ANNOTATION)).is_some_and(|said| said == name)
    };
    all.iter().map(AsRef::as_ref).filter(|claim| is_of(pod, claim)).find(annotated)
}

fn is_of(pod: &Pod, claim: &ResourceClaim) -> bool {
    claim.controller().is_some_and(|owner| owner.uid == pod.uid())
}

/// The claim of a pod as its template says.
pub(super) fn claim(pod: &Pod, name: &str, template: &ResourceClaimTemplate) -> ResourceClaim {
    let metadata = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.insert(ANNOTATION.to_owned(), name.to_owned());
    let whole = format!("{}-{name}-", pod.name());
    // Both are cut by as much, so that something of each is left.
    let cut = |text: &str| text[..text.len() * LONGEST / whole.len()].to_owned();
    let generated =
        if whole.len() > LONGEST { format!("{}-{}", cut(pod.name()), cut(name)) } else { whole.clone() };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(generated),
            namespace: pod.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// A claim kept for a pod too, where something is allocated to it and it is not kept for the pod yet.
pub(super) fn reserved(pod: &Pod, claim: &ResourceClaim) -> Option<ResourceClaim> {
    let status = claim.status.as_ref().filter(|status| status.allocation.is_some())?;
    let reserved = status.reserved_for.as_deref().unwrap_or_default();
    if reserved.iter().any(|it| it.uid == pod.uid()) || reserved.len() >= MOST {
        return None;
    }
    if claim.controller().is_some_and(|owner| owner.kind == "Pod" && owner.uid != pod.uid()) {
        return None;
    }
    let mut changed = claim.clone();
    changed.status.get_or_insert_default().reserved_for.get_or_insert_default().push(
        ResourceClaimConsumerReference {
            api_group: None,
            name: pod.name().to_owned(),
            resource: "pods".to_owned(),
            uid: pod.uid().to_owned(),
        },
    );
    Some(changed)
}

/// The pod that a claim was made for: its name and uid.
pub(super) fn owner(claim: &ResourceClaim) -> Option<(String, String)> {
    let owner = claim.controller().filter(|owner| owner.kind == "Pod" && owner.api_version == "v1")?;
    Some((owner.name, owner.uid))
}

/// What becomes of a claim, of whose pods it is known which there are.
pub(super) fn keeping(claim: &ResourceClaim, pods: &BTreeMap<String, Option<Arc<Pod>>>) -> Keeping {
    let status = claim.status.clone().unwrap_or_default();
    let before = status.reserved_for.clone().unwrap_or_default();
    let runs = |name: &str, uid: &str| {
        let pod = pods.get(name).and_then(Option::as_ref);
        pod.is_some_and(|pod| pod.uid() == uid && !is_done(pod))
    };
    // Of others than pods nobody knows here whether they use it.
    let is_pod = |it: &ResourceClaimConsumerReference| {
        it.api_group.as_deref().unwrap_or_default().is_empty() && it.resource == "pods"
    };
    let valid: Vec<_> = before.iter().filter(|it| !is_pod(it) || runs(&it.name, &it.uid)).cloned().collect();
    let protected = claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let ends = claim.metadata.deletion_timestamp.is_some();
    let mut keeping = Keeping::default();
    if valid.len() < before.len() || (ends && valid.is_empty() && status.allocation.is_some()) {
        let mut next = status;
        // What nobody uses any more is free for others, wherever they are.
        if valid.is_empty() && (protected || ends) {
            next.allocation = None;
        }
        next.reserved_for = (!valid.is_empty()).then(|| valid.clone());
        keeping.status = Some(next);
        keeping.without_finalizer = valid.is_empty() && protected;
    } else if ends && valid.is_empty() {
        keeping.without_finalizer = protected;
    }
    if valid.is_empty() && !ends {
        keeping.delete = owner(claim).is_some_and(|(name, uid)| {
            let pod = pods.get(&name).and_then(Option::as_ref);
            pod.is_some_and(|pod| pod.uid() != uid || is_done(pod))
        });
    }
    keeping
}

/// Whether a pod has ended, or never will begin.
fn is_done(pod: &Pod) -> bool {
    let placed =
        pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_ref().is_some_and(|node| !node.is_empty()));
    is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !placed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": uid},
            "spec": {"containers": [], "nodeName": "node", "resourceClaims": [
                {"name": "own", "resourceClaimTemplateName": "t"},
                {"name": "shared", "resourceClaimName": "s"},
            ]},
        });
        for (name, value) in more.as_object().expect("an object") {
            pod[name] = value.clone();
        }
        serde_json::from_value(pod).expect("a pod")
    }

    fn made_claim(name: &str, owner: &str, of: &str) -> Arc<ResourceClaim> {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true});
        let claim = json!({
            "metadata": {"name": name, "annotations": {ANNOTATION: of}, "ownerReferences": [owner]},
            "spec": {},
        });
        Arc::new(serde_json::from_value(claim).expect("a claim"))
    }

    #[test]
    fn a_pod_gets_a_claim_of_its_own_once() {
        let check = |status: Value, claims: &[Arc<ResourceClaim>], expected: &[Want]| {
            let pod = pod("1", json!({"status": {"resourceClaimStatuses": status}}));
            assert_eq!(wants(&pod, claims), expected, "{status}");
        };
        let make = [Want::Make { name: "own".to_owned(), template: "t".to_owned() }];
        check(json!([]), &[], &make);
        // Of another pod of the same name, or for another of its claims.
        check(json!([]), &[made_claim("c", "2", "own"), made_claim("d", "1", "other")], &make);
        let known = [Want::Known { name: "own".to_owned(), claim: "c".to_owned() }];
        check(json!([]), &[made_claim("c", "1", "own")], &known);
        let said = json!([{"name": "own", "resourceClaimName": "c"}]);
        check(said.clone(), &[made_claim("c", "1", "own")], &[]);
        // Somebody has deleted it, or it is another's.
        check(said.clone(), &[], &make);
        check(said, &[made_claim("c", "2", "own")], &make);
        check(json!([{"name": "own"}]), &[], &[]);
    }

    #[test]
    fn a_claim_is_as_its_template_says_and_its_pod_owns_it() {
        let template: ResourceClaimTemplate = serde_json::from_value(json!({
            "metadata": {"name": "t"},
            "spec": {
                "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "class"}}]}},
            },
        }))
        .expect("a template");
        let made = claim(&pod("1", json!({})), "own", &template);
        let metadata = &made.metadata;
        assert_eq!(metadata.generate_name.as_deref(), Some("p-own-"));
        assert_eq!(metadata.labels.as_ref().map(|labels| labels["a"].as_str()), Some("b"));
        let annotations = metadata.annotations.as_ref().expect("annotations");
        assert_eq!((annotations["c"].as_str(), annotations[ANNOTATION].as_str()), ("d", "own"));
        assert_eq!(owner(&made), Some(("p".to_owned(), "1".to_owned())));
        assert_eq!(made.spec, template.spec.spec);
        let long = pod("1", json!({"metadata": {"name": "p".repeat(60), "uid": "1"}}));
        let name = claim(&long, &"c".repeat(20), &template).metadata.generate_name.expect("a name");
        assert_eq!(name, format!("{}-{}", "p".repeat(41), "c".repeat(13)));
    }

    #[test]
    fn claims_are_named_by_the_pod_or_by_its_status() {
        let status =
            json!({"status": {"resourceClaimStatuses": [{"name": "own", "resourceClaimName": "c"}]}});
        let of = |pod: &Pod| claims_of(pod).into_iter().map(|(_, claim)| claim).collect::<Vec<_>>();
        assert_eq!(of(&pod("1", status)), ["c", "s"]);
        assert_eq!(of(&pod("1", json!({}))), ["s"]);
    }

    /// Kept for these pods, by name and uid: for whom it is kept then, whether it is allocated, loses its finalizer,
    /// and is deleted. Nothing about the first two where they stay as they are.
    fn check(
        reserved: &[(&str, &str)],
        claim: Value,
        pods: &[(&str, Option<Pod>)],
        expected: (Option<(Vec<&str>, bool)>, bool, bool),
    ) {
        let mut claim = claim;
        let reserved: Vec<Value> = reserved
            .iter()
            .map(|(name, uid)| json!({"resource": "pods", "name": name, "uid": uid}))
            .collect();
        claim["spec"] = json!({});
        claim["status"] = json!({"allocation": {}, "reservedFor": reserved});
        let claim: ResourceClaim = serde_json::from_value(claim).expect("a claim");
        let pods = pods.iter().map(|(name, pod)| ((*name).to_owned(), pod.clone().map(Arc::new))).collect();
        let found = keeping(&claim, &pods);
        let status = found.status.as_ref().map(|status| {
            let names = status.reserved_for.iter().flatten().map(|it| it.uid.as_str()).collect::<Vec<_>>();
            (names, status.allocation.is_some())
        });
        assert_eq!((status, found.without_finalizer, found.delete), expected);
    }

    #[test]
    fn a_claim_is_kept_for_pods_that_are_there_and_have_not_ended() {
        let plain = json!({"metadata": {"name": "c", "finalizers": [FINALIZER]}});
        let runs = |uid: &str| Some(pod(uid, json!({})));
        let ended = |uid: &str| Some(pod(uid, json!({"status": {"phase": "Succeeded"}})));
        check(&[("p", "1")], plain.clone(), &[("p", runs("1"))], (None, false, false));
        check(&[("p", "1")], plain.clone(), &[("p", runs("2"))], (Some((vec![], false)), true, false));
        check(&[("p", "1")], plain.clone(), &[("p", None)], (Some((vec![], false)), true, false));
        check(
            &[("p", "1"), ("q", "2")],
            plain.clone(),
            &[("p", ended("1")), ("q", runs("2"))],
            (Some((vec!["2"], true)), false, false),
        );
        // On its way out and on no node: it will never run.
        let never = pod(
            "1",
            json!({
                "metadata": {"name": "p", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"containers": []},
            }),
        );
        check(&[("p", "1")], plain, &[("p", Some(never))], (Some((vec![], false)), true, false));
        // On its way out itself.
        let ending = json!({"metadata": {"name": "c", "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        check(&[], ending.clone(), &[], (Some((vec![], false)), true, false));
        check(&[("p", "1")], ending, &[("p", runs("1"))], (None, false, false));
        // Made for a pod that has ended.
        let own = serde_json::to_value(&*made_claim("c", "1", "own")).expect("a value");
        check(&[], own.clone(), &[("p", runs("1"))], (None, false, false));
        check(&[], own.clone(), &[("p", ended("1"))], (None, false, true));
        check(&[], own.clone(), &[("p", runs("2"))], (None, false, true));
        // The garbage collector takes care of those of pods that are gone.
        check(&[], own, &[("p", None)], (None, false, false));
    }
}
