//! Claims, volumes and classes against a real API server: what is bound to what, and what becomes of it.
#![forbid(unsafe_code)]

mod support;

use client::api::{Patch, PatchOptions};
use client::{Api, Client, DeleteOptions, Resource as _};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

struct Objects {
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
    events: Api<Event>,
}

impl Objects {
    fn new(client: &Client) -> Self {
        Self {
            claims: Api::namespaced(client, "default"),
            volumes: Api::all(client),
            events: Api::namespaced(client, "default"),
        }
    }

    async fn claim(&self, name: &str, with: Value) {
        let mut spec =
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        spec.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
        let claim = object(json!({"metadata": {"name": name}, "spec": spec}));
        self.claims.create(&claim).await.expect("make a claim");
    }

    async fn volume(&self, name: &str, with: Value) {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/v"},
        });
        spec.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
        let volume = object(json!({"metadata": {"name": name}, "spec": spec}));
        self.volumes.create(&volume).await.expect("make a volume");
    }

    async fn until_claim(&self, name: &str, expected: (&str, &str)) {
        wait_until_async("the claim to be so", || async {
            let claim = self.claims.get(name).await.expect("the claim");
            let phase = claim.status.and_then(|status| status.phase).unwrap_or_default();
            let volume = claim.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
            if (phase.as_str(), volume.as_str()) == expected { Ok(()) } else { Err((phase, volume)) }
        })
        .await;
    }

    async fn until_volume(&self, name: &str, expected: &str) {
        wait_until_async("the volume to be so", || async {
            let volume = self.volumes.get(name).await.expect("the volume");
            let phase = volume.status.and_then(|status| status.phase).unwrap_or_default();
            if phase == expected { Ok(()) } else { Err(phase) }
        })
        .await;
    }

    async fn until_told(&self, object: &str, reason: &str, message: &str) {
        wait_until_async("the event", || async {
            let events = self.events.list_all(&client::ListOptions::default()).await.expect("list").items;
            let of_object = |event: &&Event| event.involved_object.name.as_deref() == Some(object);
            let told: Vec<_> =
                events.iter().filter(of_object).map(|event| (&event.reason, &event.message)).collect();
            let is_told = told.iter().any(|(found, text)| {
                found.as_deref() == Some(reason)
                    && text.as_deref().is_some_and(|text| text.starts_with(message))
            });
            if is_told { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_get_volumes_and_let_go_of_them() {
    let cluster = Cluster::start().await;
    let all = Objects::new(&cluster.steady);
    let no_class = || json!({"storageClassName": ""});
    // A volume that is there, one that comes later, and one that is for a claim.
    all.volume("retained", json!({"capacity": {"storage": "2Gi"}})).await;
    all.until_volume("retained", "Available").await;
    all.claim("first", no_class()).await;
    all.until_claim("first", ("Bound", "retained")).await;
    all.until_volume("retained", "Bound").await;
    let claim = all.claims.get("first").await.expect("the claim");
    let capacity = claim.status.and_then(|status| status.capacity).expect("a capacity");
    assert_eq!(capacity["storage"].0, "2Gi");
    all.claim("second", no_class()).await;
    let none = "no persistent volumes available for this claim and no storage class is set";
    all.until_told("second", "FailedBinding", none).await;
    all.volume("reserved", json!({"claimRef": {"namespace": "default", "name": "third"}})).await;
    all.volume("later", json!({"persistentVolumeReclaimPolicy": "Recycle"})).await;
    all.until_claim("second", ("Bound", "later")).await;
    all.claim("third", no_class()).await;
    all.until_claim("third", ("Bound", "reserved")).await;
    // What becomes of them is what their policies say.
    for claim in ["first", "second"] {
        all.claims.delete(claim, &DeleteOptions::default()).await.expect("delete the claim");
    }
    all.until_volume("retained", "Released").await;
    all.until_volume("later", "Failed").await;
    all.until_told("later", "VolumeFailedRecycle", "No recycler plugin found for the volume!").await;
    // A claim of the same name is another claim.
    all.claim("first", no_class()).await;
    all.until_told("first", "FailedBinding", none).await;
    let free = Patch::Merge(json!({"spec": {"claimRef": null}}));
    all.volumes.patch("retained", &free, &PatchOptions::default()).await.expect("free it");
    all.until_claim("first", ("Bound", "retained")).await;
    // A volume that somebody takes away while a claim has it stays as long as that does.
    all.volumes.delete("reserved", &DeleteOptions::default()).await.expect("delete the volume");
    assert!(all.volumes.get("reserved").await.expect("it is held").is_being_deleted());
    all.claims.delete("third", &DeleteOptions::default()).await.expect("delete the claim");
    wait_until_async("the volume to go", || async {
        all.volumes.find("reserved").await.expect("find").map_or(Ok(()), |left| Err(left.status))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_for_its_pod_its_class_and_who_makes_volumes() {
    let cluster = Cluster::start().await;
    let all = Objects::new(&cluster.steady);
    // Without a class, and then with the one that becomes the default.
    all.claim("late", json!({})).await;
    all.until_told("late", "FailedBinding", "no persistent volumes available").await;
    let class: StorageClass = object(json!({
        "metadata": {"name": "made", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.org/p", "volumeBindingMode": "WaitForFirstConsumer",
    }));
    Api::<StorageClass>::all(&cluster.steady).create(&class).await.expect("make a class");
    let message = "waiting for first consumer to be created before binding";
    all.until_told("late", "WaitForFirstConsumer", message).await;
    let given =
        all.claims.get("late").await.expect("the claim").spec.and_then(|spec| spec.storage_class_name);
    assert_eq!(given.as_deref(), Some("made"));
    // A pod with a volume of its own makes its claim, and waits for a node.
    let template =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let pod: Pod = object(json!({
        "metadata": {"name": "own"},
        "spec": {
            "containers": [{"name": "c", "image": "i"}], "schedulerName": "nobody",
            "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}],
        },
    }));
    let pods: Api<Pod> = Api::namespaced(&cluster.steady, "default");
    let pod = pods.create(&pod).await.expect("make a pod");
    wait_until_async("the claim of the pod", || async {
        let claim = all.claims.find("own-v").await.expect("find");
        let owner = claim.as_ref().and_then(|claim| claim.controller());
        if owner.is_some_and(|owner| owner.uid == pod.uid()) { Ok(()) } else { Err(claim) }
    })
    .await;
    all.until_told("own-v", "WaitForPodScheduled", "waiting for pod own to be scheduled").await;
    // The node is selected, and somebody makes a volume.
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}});
    let patch = Patch::Merge(selected);
    all.claims.patch("late", &patch, &PatchOptions::default()).await.expect("select a node");
    let message = "Waiting for a volume to be created either by the external provisioner 'example.org/p'";
    all.until_told("late", "ExternalProvisioning", message).await;
    let claim = all.claims.get("late").await.expect("the claim");
    let annotations = claim.metadata.annotations.clone().expect("annotations");
    assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], "example.org/p");
    let made = object(json!({
        "metadata": {"name": "made", "annotations": {"pv.kubernetes.io/provisioned-by": "example.org/p"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/v"},
            "storageClassName": "made", "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"namespace": "default", "name": "late", "uid": claim.uid()},
        },
    }));
    all.volumes.create(&made).await.expect("make a volume");
    all.until_claim("late", ("Bound", "made")).await;
    all.claims.delete("late", &DeleteOptions::default()).await.expect("delete the claim");
    all.until_volume("made", "Released").await;
    // A volume that is not there any more is lost to its claim.
    all.volume("lost", json!({})).await;
    all.claim("loses", json!({"storageClassName": ""})).await;
    all.until_claim("loses", ("Bound", "lost")).await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    all.volumes.delete("lost", &DeleteOptions::default()).await.expect("delete the volume");
    all.volumes.patch("lost", &free, &PatchOptions::default()).await.expect("let it go");
    all.until_claim("loses", ("Lost", "lost")).await;
    all.until_told("loses", "ClaimLost", "Bound claim has lost its PersistentVolume.").await;
}
