//! What is on disk when a request has been answered, and what is told when nothing can be.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use store::{Embedded, Error, LeaseId, Range, RangeResult, Revision, Store, Txn, TxnResult, Watch, Watcher};

use crate::cluster::{Cluster, named};

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

async fn lease(cluster: &Cluster, namespace: &str) -> Value {
    cluster.ok("GET", &format!("{}/a", leases(namespace)), &Value::Null).await
}

async fn cluster_with_leases() -> Cluster {
    let cluster = Cluster::start().await;
    let made = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
        "spec": {
            "holderIdentity": "one", "leaseDurationSeconds": 40, "leaseTransitions": 0,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    for namespace in ["kube-node-lease", "kube-system"] {
        cluster.ok("POST", &leases(namespace), &made).await;
    }
    cluster
}

#[tokio::test]
async fn a_change_of_leadership_outlives_sigkill_and_a_restart_wherever_the_lease_is() {
    let cluster = cluster_with_leases().await;
    let changes = [
        json!({"spec": {"renewTime": "2026-01-01T00:00:10.000000Z", "holderIdentity": "two", "leaseTransitions": 1}}),
        json!({"spec": {"renewTime": "2026-01-01T00:00:20.000000Z", "acquireTime": "2026-01-01T00:00:20.000000Z"}}),
        json!({"spec": {"renewTime": "2026-01-01T00:00:30.000000Z"}, "metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"holderIdentity": "three"}}),
    ];
    for change in &changes {
        for namespace in ["kube-node-lease", "kube-system"] {
            cluster.ok("PATCH", &format!("{}/a", leases(namespace)), change).await;
            let before = lease(&cluster, namespace).await;
            assert_eq!(lease(&cluster.killed().await, namespace).await, before, "{change} in {namespace}");
        }
    }
    let before = lease(&cluster, "kube-system").await;
    assert_eq!(lease(&cluster.restart().await, "kube-system").await, before);
}

#[tokio::test]
async fn a_renewal_is_lost_by_sigkill_for_nodes_only_and_by_a_restart_for_nobody() {
    let cluster = cluster_with_leases().await;
    let renewed = "2026-01-01T00:00:10.000000Z";
    for namespace in ["kube-node-lease", "kube-system"] {
        let change = json!({"spec": {"renewTime": renewed}});
        cluster.ok("PATCH", &format!("{}/a", leases(namespace)), &change).await;
        assert_eq!(lease(&cluster, namespace).await["spec"]["renewTime"], renewed);
    }
    let killed = cluster.killed().await;
    assert_eq!(lease(&killed, "kube-system").await["spec"]["renewTime"], renewed);
    // The heartbeat costs no flush; the lease is what it was made as, not gone.
    let heartbeat = lease(&killed, "kube-node-lease").await;
    assert_eq!(heartbeat["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
    let restarted = cluster.restart().await;
    assert_eq!(lease(&restarted, "kube-node-lease").await["spec"]["renewTime"], renewed);
}

/// A store on a full disk.
struct Full(Embedded);

impl Store for Full {
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        self.0.range(request)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        let takes = txn.success.iter().all(|op| !matches!(op, store::Op::Put(put) if !put.urgent));
        let full = || Error::DiskFull { source: Arc::new(std::io::ErrorKind::StorageFull.into()) };
        if takes { self.0.txn(txn) } else { std::future::ready(Err(full())).boxed() }
    }

    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        self.0.watch(request)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.0.compact(revision)
    }

    fn lease_grant(&self, ttl: std::time::Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.0.lease_grant(ttl)
    }

    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.0.lease_renew(lease)
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.0.lease_revoke(lease)
    }

    fn status(&self) -> BoxFuture<'_, Result<store::Status, Error>> {
        let status = self.0.status();
        async { Ok(store::Status { read_only: Some("the disk is full".to_owned()), ..status.await? }) }
            .boxed()
    }
}

#[tokio::test]
async fn on_a_full_disk_readiness_says_so_and_deletions_go_on() {
    let cluster = Cluster::start().await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.org/f"]},
    });
    let maps = "/api/v1/namespaces/default/configmaps";
    cluster.ok("POST", maps, &map).await;
    cluster.ok("POST", maps, &named("ConfigMap", "free")).await;
    assert_eq!(cluster.text("/readyz").await, (200, "ok".to_owned()));
    let (root, store) = cluster.stop().await;
    let cluster = Cluster::over(root, Arc::new(Full(store))).await;
    let (code, told) = cluster.text("/readyz").await;
    assert_eq!(code, 500, "{told}");
    assert!(told.contains("[-]store failed: nothing can be written: the disk is full"), "{told}");
    assert_eq!(cluster.text("/livez").await.0, 200, "a full disk is no reason to be started anew");
    assert_eq!(cluster.send("POST", maps, &named("ConfigMap", "new")).await.0, 503);
    cluster.ok("DELETE", &format!("{maps}/free"), &json!({})).await;
    // What is held is marked, then let go: both are writes on the way to a deletion.
    cluster.ok("DELETE", &format!("{maps}/held"), &json!({})).await;
    let free = json!({"metadata": {"finalizers": null}});
    cluster.ok("PATCH", &format!("{maps}/held"), &free).await;
    assert_eq!(cluster.get(&format!("{maps}/held")).await.0, 404);
}
