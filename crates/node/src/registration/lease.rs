//! The lease that shows that the node lives. It is the node's, so that it goes where that is deleted.

use std::time::Duration;

use client::{Api, Error};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use tracing::warn;

use super::Registration;

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";
/// How often the lease is renewed.
const PERIOD: Duration = Duration::from_secs(10);
/// For how long a renewal holds.
const SECONDS: i32 = 40;

impl Registration {
    pub(super) async fn keep_lease(&self) {
        loop {
            if let Err(error) = self.renew_lease().await {
                warn!(error = %base::error::chain(&error), "cannot renew the node's lease");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn renew_lease(&self) -> Result<(), Error> {
        let api: Api<Lease> = Api::namespaced(&self.shared.client, LEASES);
        let name = &self.shared.config.name;
        let now = MicroTime(self.shared.clock.now());
        match api.find(name).await? {
            Some(mut lease) => {
                lease.spec.get_or_insert_default().renew_time = Some(now);
                let owners = lease.metadata.owner_references.get_or_insert_default();
                if owners.is_empty() {
                    // That it lives is said whether or not it is known whose it is.
                    owners.extend(self.owner().await.ok().flatten());
                }
                match api.update(&lease).await {
                    Err(error) if error.is_conflict() => Ok(()),
                    other => other.map(drop),
                }
            }
            None => {
                // One of nobody would stay when the node is gone: the node's object is there again in a moment.
                let Some(owner) = self.owner().await? else { return Ok(()) };
                let spec = LeaseSpec {
                    holder_identity: Some(name.clone()),
                    lease_duration_seconds: Some(SECONDS),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                };
                let metadata = ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(LEASES.to_owned()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                };
                api.create(&Lease { metadata, spec: Some(spec) }).await.map(drop)
            }
        }
    }

    /// The node as an owner; nobody while it has no object.
    async fn owner(&self) -> Result<Option<OwnerReference>, Error> {
        let name = &self.shared.config.name;
        let node = Api::<Node>::all(&self.shared.client).find(name).await?;
        Ok(node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        }))
    }
}
