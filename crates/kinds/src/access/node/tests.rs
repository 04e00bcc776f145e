use apiserver::{Attributes, Authorizer, Decision, Identity, ResourceAttributes};
use futures::FutureExt as _;
use model::select::FieldSelector;
use serde_json::{Value, json};

use super::Nodes;
use crate::access::testing::Given;

/// Checks what `node` is told of `VERB GROUP RESOURCE/SUBRESOURCE NAMESPACE/NAME`, with a field selector.
#[track_caller]
fn check(nodes: &Nodes, who: &Identity, asked: &str, fields: &str, expected: &str) {
    let [verb, group, path, place] = asked.split(' ').collect::<Vec<_>>()[..] else { panic!("{asked}") };
    let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let group = if group == "core" { "" } else { group };
    let fields: FieldSelector = fields.parse().expect("a selector");
    let asked = ResourceAttributes {
        verb,
        group,
        resource,
        subresource,
        namespace,
        name,
        fields: fields.conditions(),
        ..Default::default()
    };
    let told = match nodes.decide(who, Attributes::Resource(asked)).now_or_never().expect("it asks nobody") {
        Decision::Allowed(_) => "yes".to_owned(),
        Decision::NoOpinion(reason) | Decision::Denied(reason) => reason.into_owned(),
    };
    assert_eq!(told, expected, "{asked:?}");
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "a"},
        "spec": {
            "nodeName": node, "serviceAccountName": "account", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}},
            ]}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
            "volumes": [
                {"name": "claim", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "own", "ephemeral": {}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
            ],
        },
    })
}

const UNRELATED: &str = "no relationship found between node 'n1' and this object";

#[test]
fn a_node_reads_what_its_pods_refer_to_as_long_as_they_are_there() {
    let given = Given::default();
    let nodes = Nodes::new(&given);
    let (own, other) = (Identity::node("n1"), Identity::node("n2"));
    let all = ["pull", "env", "init", "projected"];
    check(&nodes, &own, "get core secrets a/pull", "", UNRELATED);
    given.put("pods", pod("p", "n1"));
    for secret in all {
        check(&nodes, &own, &format!("get core secrets a/{secret}"), "", "yes");
        let unrelated = "no relationship found between node 'n2' and this object";
        check(&nodes, &other, &format!("get core secrets a/{secret}"), "", unrelated);
        // Nor one of the same name elsewhere, nor all of them.
        check(&nodes, &own, &format!("get core secrets b/{secret}"), "", UNRELATED);
    }
    check(&nodes, &own, "list core secrets a/", "", "No Object name found");
    check(&nodes, &own, "list core secrets ", "", "can only read namespaced object of this type");
    check(&nodes, &own, "watch core secrets a/env", "", "yes");
    check(&nodes, &own, "update core secrets a/env", "", "can only read resources of this type");
    check(&nodes, &own, "get core configmaps a/map", "", "yes");
    check(&nodes, &own, "get core persistentvolumeclaims a/data", "", "yes");
    check(&nodes, &own, "get core persistentvolumeclaims a/p-own", "", "yes");
    check(&nodes, &own, "create core serviceaccounts/token a/account", "", "yes");
    check(&nodes, &own, "create core serviceaccounts/token a/other", "", UNRELATED);
    let single = "can only create tokens for individual service accounts";
    check(&nodes, &own, "list core serviceaccounts a/", "", single);
    // A second pod refers to the same; one that goes takes only its own with it.
    given.put("pods", pod("q", "n1"));
    given.remove("pods", "a", "p");
    check(&nodes, &own, "get core secrets a/env", "", "yes");
    check(&nodes, &own, "get core persistentvolumeclaims a/p-own", "", UNRELATED);
    given.remove("pods", "a", "q");
    check(&nodes, &own, "get core secrets a/env", "", UNRELATED);
    assert!(nodes.graph.read().known.referred.is_empty(), "nothing is left");
}

#[test]
fn the_picture_of_a_pod_gives_its_node_nothing() {
    let given = Given::default();
    let nodes = Nodes::new(&given);
    let mut mirror = pod("p", "n1");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    given.put("pods", mirror);
    check(&nodes, &Identity::node("n1"), "get core secrets a/env", "", UNRELATED);
    check(&nodes, &Identity::node("n1"), "get core pods a/p", "", "yes");
}

#[test]
fn a_volume_and_its_secret_come_by_the_claim() {
    let given = Given::default();
    let nodes = Nodes::new(&given);
    let own = Identity::node("n1");
    let volume = |claim: &str| {
        json!({
            "metadata": {"name": "v"},
            "spec": {
                "claimRef": {"namespace": "a", "name": claim},
                "csi": {"nodeStageSecretRef": {"namespace": "system", "name": "stage"}},
            },
        })
    };
    given.put("persistentvolumes", volume("data"));
    check(&nodes, &own, "get core persistentvolumes v", "", UNRELATED);
    given.put("pods", pod("p", "n1"));
    check(&nodes, &own, "get core persistentvolumes v", "", "yes");
    check(&nodes, &own, "get core secrets system/stage", "", "yes");
    given.put("persistentvolumes", volume("other"));
    check(&nodes, &own, "get core persistentvolumes v", "", UNRELATED);
    check(&nodes, &own, "get core secrets system/stage", "", UNRELATED);
}

#[test]
fn a_node_sees_itself_and_its_pods() {
    let given = Given::default();
    let nodes = Nodes::new(&given);
    let own = Identity::node("n1");
    check(&nodes, &own, "get core nodes n1", "", "yes");
    check(&nodes, &own, "get core nodes n2", "", "node 'n1' cannot read 'n2', only its own Node object");
    check(&nodes, &own, "list core nodes ", "", "node 'n1' cannot read all nodes, only its own Node object");
    check(&nodes, &own, "delete core nodes n1", "", "");
    check(&nodes, &own, "patch core nodes/status n1", "", "yes");
    check(&nodes, &own, "watch core pods ", "spec.nodeName=n1", "yes");
    let selector = "can only list/watch pods with spec.nodeName field selector";
    for fields in ["", "spec.nodeName=n2", "spec.nodeName!=n1", "status.phase=Running"] {
        check(&nodes, &own, "list core pods ", fields, selector);
    }
    check(&nodes, &own, "create core pods/exec a/p", "", "");
    check(&nodes, &own, "update coordination.k8s.io leases kube-node-lease/n1", "", "yes");
    check(
        &nodes,
        &own,
        "update coordination.k8s.io leases kube-node-lease/n2",
        "",
        "can only access node lease with the same name as the requesting node",
    );
    let space = "can only access leases in the \"kube-node-lease\" system namespace";
    check(&nodes, &own, "update coordination.k8s.io leases kube-system/n1", "", space);
    check(&nodes, &own, "list core services ", "", "yes");
    check(&nodes, &own, "list discovery.k8s.io endpointslices ", "", "");
    // Whoever is called as a node is none without the group, nor by the group alone.
    check(&nodes, &Identity::new("system:node:n1", ["x"]), "get core nodes n1", "", "");
    check(&nodes, &Identity::new("n1", ["system:nodes"]), "get core nodes n1", "", "");
    let unknown = "unknown node for user \"system:node:\"";
    check(&nodes, &Identity::node(""), "list core services ", "", unknown);
}
