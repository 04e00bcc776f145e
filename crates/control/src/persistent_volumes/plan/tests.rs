//! Claims and volumes as they are, and what is next for them.

use serde_json::{Value, json};

use super::super::changes;
use super::*;

const UID: &str = "u1";

/// A claim of 1 GiB that `with` is laid over.
fn claim(with: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": UID},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Pending"},
    });
    lay_over(&mut claim, with);
    serde_json::from_value(claim).expect("a claim")
}

/// A volume that is free and serves that claim, that `with` is laid over.
fn volume(name: &str, with: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/v"},
        },
        "status": {"phase": "Available"},
    });
    lay_over(&mut volume, with);
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}

fn lay_over(value: &mut Value, with: Value) {
    match (value, with) {
        (Value::Object(value), Value::Object(with)) => {
            for (key, with) in with {
                lay_over(value.entry(key).or_insert(Value::Null), with);
            }
        }
        (value, with) => *value = with,
    }
}

fn of_claim(uid: &str) -> Value {
    json!({"namespace": "n", "name": "c", "uid": uid})
}

fn told(told: &Told) -> String {
    let kind = if told.is_warning { "Warning" } else { "Normal" };
    format!("{kind} {}: {}", told.reason, told.message)
}

/// What is next for a claim among volumes, a line each; `mode` is that of the class that it names.
fn steps(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    class: Option<(&str, &str)>,
    default: Option<&str>,
    waiting: &[&str],
) -> Vec<String> {
    let class: Option<StorageClass> = class.map(|(provisioner, mode)| {
        let class = json!({"metadata": {"name": "k"}, "provisioner": provisioner, "volumeBindingMode": mode});
        serde_json::from_value(class).expect("a class")
    });
    let view = View {
        claim,
        volumes,
        class: class.as_ref(),
        default_class: default.map(str::to_owned),
        waiting: waiting.iter().map(|name| (*name).to_owned()).collect(),
    };
    let line = |step: ClaimStep| match step {
        ClaimStep::Class(name) => format!("class {name}"),
        ClaimStep::Bind(volume) => format!("bind {}", volume.name()),
        ClaimStep::Provisioner(name) => format!("provisioner {name}"),
        ClaimStep::Phase(phase) => phase.to_owned(),
        ClaimStep::Tell(event) => told(&event),
    };
    super::claim(&view).into_iter().map(line).collect()
}

#[track_caller]
fn check_match(with: Value, volumes: &[Arc<PersistentVolume>], expected: Option<&str>) {
    let found = steps(&claim(with), volumes, None, None, &[]);
    let bound = found.first().and_then(|step| step.strip_prefix("bind "));
    assert_eq!(bound, expected, "{found:?}");
}

fn sized(name: &str, size: &str) -> Arc<PersistentVolume> {
    volume(name, json!({"spec": {"capacity": {"storage": size}}}))
}

#[test]
fn a_claim_gets_the_smallest_volume_that_serves() {
    let nothing = || json!({});
    check_match(
        nothing(),
        &[sized("small", "500Mi"), sized("large", "3Gi"), sized("fits", "2Gi")],
        Some("fits"),
    );
    check_match(nothing(), &[sized("small", "500Mi")], None);
    let other = |with: Value| [volume("other", with)];
    for (why, with) in [
        ("modes", json!({"spec": {"accessModes": ["ReadOnlyMany"]}})),
        ("mode", json!({"spec": {"volumeMode": "Block"}})),
        ("class", json!({"spec": {"storageClassName": "k"}})),
        ("attributes", json!({"spec": {"volumeAttributesClassName": "gold"}})),
        ("phase", json!({"status": {"phase": "Released"}})),
        ("going", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        ("somebody's", json!({"spec": {"claimRef": {"namespace": "n", "name": "d"}}})),
        ("an earlier one's", json!({"spec": {"claimRef": of_claim("u0")}})),
    ] {
        let found = steps(&claim(nothing()), &other(with), None, None, &[]);
        assert_eq!(found[1..], ["Pending"], "{why}: {found:?}");
    }
    check_match(
        json!({"spec": {"storageClassName": "k"}}),
        &other(json!({"spec": {"storageClassName": "k"}})),
        Some("other"),
    );
    check_match(
        json!({"spec": {"volumeMode": "Block"}}),
        &other(json!({"spec": {"volumeMode": "Block"}})),
        Some("other"),
    );
    let once = json!({"spec": {"accessModes": ["ReadWriteOncePod"]}});
    check_match(once.clone(), &other(nothing()), None);
    check_match(once.clone(), &other(once), Some("other"));
}

#[test]
fn ways_of_use_labels_and_what_is_for_a_claim_come_before_size() {
    let many = volume("many", json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}));
    check_match(json!({}), &[many.clone(), sized("one-way", "5Gi")], Some("one-way"));
    check_match(
        json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
        &[sized("one", "1Gi"), many],
        Some("many"),
    );
    let labelled = volume(
        "labelled",
        json!({"metadata": {"labels": {"disk": "ssd"}}, "spec": {"capacity": {"storage": "9Gi"}}}),
    );
    let selects = json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}});
    check_match(selects.clone(), &[sized("plain", "1Gi"), labelled], Some("labelled"));
    check_match(selects, &[sized("plain", "1Gi")], None);
    let reserved = volume(
        "reserved",
        json!({"spec": {"capacity": {"storage": "9Gi"}, "claimRef": {"namespace": "n", "name": "c"}}}),
    );
    check_match(json!({}), &[sized("free", "1Gi"), reserved], Some("reserved"));
}

#[test]
fn what_a_claim_without_a_volume_waits_for_is_said() {
    let check = |with: Value, class, default, waiting: &[&str], expected: &[&str]| {
        let found = steps(&claim(with), &[], class, default, waiting);
        assert_eq!(found, expected);
    };
    let none =
        "Normal FailedBinding: no persistent volumes available for this claim and no storage class is set";
    check(json!({}), None, Some("k"), &[], &[none, "Pending"]);
    let unset = json!({"spec": {"storageClassName": null}});
    check(unset.clone(), None, None, &[], &[none, "Pending"]);
    check(unset.clone(), None, Some("k"), &[], &["class k"]);
    let old = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": ""}}, "spec": {"storageClassName": null}});
    check(old, None, Some("k"), &[], &[none, "Pending"]);
    let named = json!({"spec": {"storageClassName": "k"}});
    let missing = "Warning ProvisioningFailed: storageclass.storage.k8s.io \"k\" not found";
    check(named.clone(), None, None, &[], &[missing, "Pending"]);
    let delayed = Some(("example.org/p", "WaitForFirstConsumer"));
    let first = "Normal WaitForFirstConsumer: waiting for first consumer to be created before binding";
    check(named.clone(), delayed, None, &[], &[first, "Pending"]);
    let one = "Normal WaitForPodScheduled: waiting for pod a to be scheduled";
    check(named.clone(), delayed, None, &["a"], &[one, "Pending"]);
    let two = "Normal WaitForPodScheduled: waiting for pods a,b to be scheduled";
    check(named.clone(), delayed, None, &["a", "b"], &[two, "Pending"]);
    let external = "Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.org/p' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.";
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}, "spec": {"storageClassName": "k"}});
    let made = ["provisioner example.org/p", external, "Pending"];
    check(selected, delayed, None, &[], &made);
    check(named.clone(), Some(("example.org/p", "Immediate")), None, &[], &made);
    let none = "Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner";
    check(named, Some(("kubernetes.io/no-provisioner", "Immediate")), None, &[], &[none, "Pending"]);
}

#[test]
fn where_a_pod_decides_only_what_is_for_the_claim_is_bound() {
    let delayed = Some(("kubernetes.io/no-provisioner", "WaitForFirstConsumer"));
    let named = claim(json!({"spec": {"storageClassName": "k"}}));
    let free = volume("free", json!({"spec": {"storageClassName": "k"}}));
    let found = steps(&named, std::slice::from_ref(&free), delayed, None, &[]);
    assert!(found[0].starts_with("Normal WaitForFirstConsumer"), "{found:?}");
    let chosen = volume("chosen", json!({"spec": {"storageClassName": "k", "claimRef": of_claim(UID)}}));
    assert_eq!(steps(&named, &[free, chosen], delayed, None, &[]), ["bind chosen"]);
}

#[test]
fn a_claim_that_names_a_volume_gets_that_one_or_none() {
    let named = json!({"spec": {"volumeName": "v"}});
    let check = |with: Value, expected: &[&str]| {
        assert_eq!(
            steps(&claim(named.clone()), &[sized("a", "1Gi"), volume("v", with)], None, None, &[]),
            expected
        );
    };
    assert_eq!(steps(&claim(named.clone()), &[sized("a", "1Gi")], None, None, &[]), ["Pending"]);
    check(json!({}), &["bind v"]);
    check(json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}}), &["bind v"]);
    let other = "Warning FailedBinding: volume \"v\" already bound to a different claim.";
    check(json!({"spec": {"claimRef": {"namespace": "n", "name": "d"}}}), &[other, "Pending"]);
    check(json!({"spec": {"claimRef": of_claim("u0")}}), &[other, "Pending"]);
    for (with, why) in [
        (json!({"spec": {"capacity": {"storage": "1Mi"}}}), "requested PV is too small"),
        (json!({"spec": {"storageClassName": "k"}}), "storageClassName does not match"),
        (json!({"spec": {"volumeAttributesClassName": "k"}}), "volumeAttributesClassName does not match"),
        (json!({"spec": {"volumeMode": "Block"}}), "incompatible volumeMode"),
        (json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), "incompatible accessMode"),
        (
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            "the volume is marked for deletion \"v\"",
        ),
    ] {
        let message = format!("Warning VolumeMismatch: Cannot bind to requested volume \"v\": {why}");
        check(with, &[&message, "Pending"]);
    }
}

#[test]
fn a_claim_whose_volume_is_gone_or_another_s_is_lost() {
    let with = |name: &str| {
        claim(json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": name}, "status": {"phase": "Bound"},
        }))
    };
    let check = |name: &str, volumes: &[Arc<PersistentVolume>], expected: &[&str]| {
        assert_eq!(steps(&with(name), volumes, None, None, &[]), expected);
    };
    check(
        "",
        &[],
        &[
            "Lost",
            "Warning ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ],
    );
    check(
        "v",
        &[],
        &[
            "Lost",
            "Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ],
    );
    check("v", &[volume("v", json!({"spec": {"claimRef": of_claim(UID)}}))], &["bind v"]);
    check("v", &[volume("v", json!({}))], &["bind v"]);
    let misbound =
        "Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly";
    check("v", &[volume("v", json!({"spec": {"claimRef": of_claim("u0")}}))], &["Lost", misbound]);
}

#[test]
fn what_becomes_of_a_volume_follows_its_claim_and_its_policy() {
    let check = |with: Value, claim: Option<&PersistentVolumeClaim>, expected: &[&str]| {
        let line = |step: VolumeStep| match step {
            VolumeStep::Phase(phase, message) => format!("{phase} {message}").trim_end().to_owned(),
            VolumeStep::Unbind => "unbind".to_owned(),
            VolumeStep::Tell(event) => told(&event),
            VolumeStep::TellClaim(event) => format!("claim: {}", told(&event)),
        };
        let steps: Vec<String> = super::volume(&volume("v", with), claim).into_iter().map(line).collect();
        assert_eq!(steps, expected);
    };
    let of = |with: Value| {
        let mut base = json!({"spec": {"claimRef": of_claim(UID)}, "status": {"phase": "Bound"}});
        lay_over(&mut base, with);
        base
    };
    let has = |name: &str| claim(json!({"spec": {"volumeName": name}}));
    check(json!({}), None, &["Available"]);
    check(json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}}), Some(&has("")), &["Available"]);
    check(of(json!({})), Some(&has("v")), &["Bound"]);
    check(of(json!({})), Some(&has("")), &[]);
    check(of(json!({})), Some(&has("w")), &["unbind", "Available"]);
    let block = of(json!({"spec": {"volumeMode": "Block"}}));
    check(
        block,
        Some(&has("")),
        &[
            "Warning VolumeMismatch: Cannot bind PersistentVolume to requested PersistentVolumeClaim \"c\" due to incompatible volumeMode.",
            "claim: Warning VolumeMismatch: Cannot bind PersistentVolume \"v\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
        ],
    );
    check(of(json!({})), None, &["Released"]);
    let policy = |policy: &str| of(json!({"spec": {"persistentVolumeReclaimPolicy": policy}}));
    let none = "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
    check(
        policy("Delete"),
        None,
        &["Released", &format!("Failed {none}"), &format!("Warning VolumeFailedDelete: {none}")],
    );
    let recycler = "No recycler plugin found for the volume!";
    check(
        policy("Recycle"),
        None,
        &["Released", &format!("Failed {recycler}"), &format!("Warning VolumeFailedRecycle: {recycler}")],
    );
    let made = of(json!({
        "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "example.org/p"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"},
    }));
    check(made.clone(), None, &["Released"]);
    check(made, Some(&has("w")), &["Released"]);
    let failed = json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}, "status": {"phase": "Failed"}});
    check(of(failed), None, &[]);
}

#[test]
fn a_binding_says_who_chose_it_and_is_taken_back_as_it_was_made() {
    const BY: &str = "pv.kubernetes.io/bound-by-controller";
    let wanted = claim(json!({}));
    let free = changes::volume_for_claim(&volume("v", json!({})), &wanted).expect("it is to be written");
    assert!(facts::annotation(&free.metadata, BY).is_some());
    assert_eq!(changes::volume_for_claim(&free, &wanted), None, "it stands there");
    let back = changes::unbound(&free);
    assert!(facts::claim_key(&back).is_none() && facts::annotation(&back.metadata, BY).is_none());
    let reserved = volume("v", json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}}));
    let bound = changes::volume_for_claim(&reserved, &wanted).expect("its uid is to be written");
    assert_eq!((facts::claim_uid(&bound), facts::annotation(&bound.metadata, BY)), (Some(UID), None));
    let back = changes::unbound(&bound);
    assert!(facts::claim_key(&back).is_some() && facts::claim_uid(&back).is_none(), "it stays reserved");
    let done = changes::claim_for_volume(&wanted, &free).expect("it is to be written");
    assert_eq!(facts::volume_name(&done), Some("v"));
    assert!(
        [BY, "pv.kubernetes.io/bind-completed"]
            .iter()
            .all(|key| facts::annotation(&done.metadata, key).is_some())
    );
    assert_eq!(changes::claim_for_volume(&done, &free), None);
    let chosen = claim(json!({"spec": {"volumeName": "v"}}));
    let done = changes::claim_for_volume(&chosen, &free).expect("it is to be written");
    assert_eq!(facts::annotation(&done.metadata, BY), None);
}

#[test]
fn a_claim_has_what_its_volume_gave_when_it_got_it() {
    let large = sized("v", "5Gi");
    let bound = changes::claim_status(&claim(json!({})), "Bound", Some(&large)).expect("it changes");
    assert_eq!(facts::has(&bound), 5 << 30);
    assert_eq!(changes::claim_status(&bound, "Bound", Some(&large)), None);
    assert_eq!(
        changes::claim_status(&bound, "Bound", Some(&sized("v", "9Gi"))),
        None,
        "others make it larger"
    );
    let lost = changes::claim_status(&bound, "Lost", None).expect("it changes");
    let status = lost.status.expect("a status");
    assert_eq!((status.capacity, status.access_modes), (None, None));
}
