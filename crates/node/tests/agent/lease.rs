//! The lease that shows that a node lives is the node's.

use client::api::{Patch, PatchOptions};
use client::{Api, Client};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use testkit::wait_until_async;

use crate::cluster::{Cluster, object, on_a_network_of_its_own};

const LEASES: &str = "kube-node-lease";

#[test]
fn a_lease_is_the_nodes_whoever_made_it() {
    on_a_network_of_its_own(|| async {
        let cluster = Cluster::start().await;
        renewed(&cluster, Value::Null).await;
        let node = Api::<Node>::all(&cluster.steady).get("here").await.expect("the node");
        assert_eq!(owners(&cluster.steady).await, [owner(node.metadata.uid.as_deref())]);

        // As an older agent left it, which named no owner.
        let nobodys = json!({"metadata": {"ownerReferences": null}, "spec": {"renewTime": null}});
        renewed(&cluster, nobodys).await;
        assert_eq!(owners(&cluster.steady).await, [owner(node.metadata.uid.as_deref())]);

        // An owner that somebody else gave it stays.
        let other = json!([{"apiVersion": "v1", "kind": "Node", "name": "here", "uid": "another"}]);
        renewed(&cluster, json!({"metadata": {"ownerReferences": other}, "spec": {"renewTime": null}})).await;
        assert_eq!(owners(&cluster.steady).await, [owner(Some("another"))]);
    });
}

/// Runs the node's agent until it has renewed its lease, after `patch` was made of that.
async fn renewed(cluster: &Cluster, patch: Value) {
    let leases = Api::<Lease>::namespaced(&cluster.steady, LEASES);
    if !patch.is_null() {
        leases.patch("here", &Patch::Merge(patch), &PatchOptions::default()).await.expect("patch");
    }
    let renewed = wait_until_async("the lease to be renewed", || async {
        let lease = leases.find("here").await.expect("find");
        let renewed = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        if renewed.is_some() { Ok(()) } else { Err(lease) }
    });
    cluster.run_agent_until(&cluster.refused, renewed).await;
}

async fn owners(client: &Client) -> Vec<OwnerReference> {
    let lease = Api::<Lease>::namespaced(client, LEASES).get("here").await.expect("the lease");
    lease.metadata.owner_references.unwrap_or_default()
}

fn owner(uid: Option<&str>) -> OwnerReference {
    object(json!({"apiVersion": "v1", "kind": "Node", "name": "here", "uid": uid.expect("a uid")}))
}
