//! Claims, classes and volumes as they are, and what is next for them.

use serde_json::{Value, json};

use super::*;

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

fn waiting(with: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {
            "name": "c", "namespace": "n", "uid": "u1",
            "annotations": {STORAGE_PROVISIONER: PROVISIONER, SELECTED_NODE: "here"},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "local-path",
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Pending"},
    });
    lay_over(&mut claim, with);
    serde_json::from_value(claim).expect("a claim")
}

fn made(with: Value) -> PersistentVolume {
    let ClaimStep::Make(request) = claim(&waiting(json!({})), Some(&class("local-path")), "here") else {
        panic!("it is made")
    };
    let volume = volume_of(&request, Path::new("/root/local-path/pvc-u1/data"), "here");
    let mut volume = serde_json::to_value(volume).expect("JSON");
    lay_over(&mut volume, with);
    serde_json::from_value(volume).expect("a volume")
}

#[test]
fn a_claim_is_served_where_its_node_is_and_nowhere_else() {
    let check = |with: Value, expected: bool| assert_eq!(is_for(&waiting(with), "here"), expected);
    let annotated = |name: &str, value: Value| json!({"metadata": {"annotations": {name: value}}});
    check(json!({}), true);
    check(annotated(SELECTED_NODE, json!("there")), false);
    check(annotated(STORAGE_PROVISIONER, json!("example.org/p")), false);
    check(json!({"spec": {"volumeName": "pv"}}), false);
    check(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), false);
}

#[test]
fn what_a_claim_asks_for_is_made_or_refused() {
    let check = |with: Value, class_with: Value, expected: Result<(u64, Form), &str>| {
        let mut class = serde_json::to_value(class("local-path")).expect("JSON");
        lay_over(&mut class, class_with);
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        let found = claim(&waiting(with), Some(&class), "here");
        let found = match &found {
            ClaimStep::Make(request) => Ok((request.bytes, request.form)),
            ClaimStep::Refuse(why) => Err(why.as_str()),
            ClaimStep::Nothing => Err("nothing"),
        };
        assert_eq!(found, expected);
    };
    let nothing = || json!({});
    check(nothing(), nothing(), Ok((1 << 30, Form::Directory)));
    check(json!({"spec": {"volumeMode": "Block"}}), nothing(), Ok((1 << 30, Form::File)));
    check(json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}), nothing(), Ok((1 << 30, Form::Directory)));
    let modes = "only the access modes ReadWriteOnce and ReadWriteOncePod are supported";
    check(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), nothing(), Err(modes));
    check(json!({"spec": {"selector": {}}}), nothing(), Err("claim Selector is not supported"));
    let source = json!({"kind": "PersistentVolumeClaim", "name": "other"});
    check(
        json!({"spec": {"dataSource": source}}),
        nothing(),
        Err("a claim with a dataSource is not supported"),
    );
    let attributes = json!({"spec": {"volumeAttributesClassName": "gold"}});
    check(attributes, nothing(), Err("a claim with a volumeAttributesClassName is not supported"));
    let node = "no node was selected: the class needs the volumeBindingMode WaitForFirstConsumer";
    check(json!({"metadata": {"annotations": {SELECTED_NODE: "there"}}}), nothing(), Err(node));
    let huge = json!({"spec": {"resources": {"requests": {"storage": "0"}}}});
    check(huge, nothing(), Err("the size is out of range"));
    let parameters = json!({"parameters": {"nodePath": "/etc"}});
    check(nothing(), parameters, Err("the class has parameters, of which none are known"));
    let options = json!({"mountOptions": ["ro"]});
    check(nothing(), options, Err("the class has mountOptions, which directories of a node cannot have"));
    check(nothing(), json!({"provisioner": "example.org/p"}), Err("nothing"));
}

#[test]
fn a_volume_tells_whose_it_is_and_where() {
    let volume = made(json!({}));
    assert!(is_of_node(&volume, "here") && !is_of_node(&volume, "there"));
    assert_eq!(claim_key(&volume), Some(ObjectKey::new("n", "c")));
    assert_eq!(volume.metadata.name.as_deref(), Some("pvc-u1"));
    let spec = volume.spec.as_ref().expect("a spec");
    assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Delete"));
    assert_eq!(spec.local.as_ref().map(|local| &*local.path), Some("/root/local-path/pvc-u1/data"));
    assert!(!is_of_node(
        &made(json!({"metadata": {"annotations": {PROVISIONED_BY: "example.org/p"}}})),
        "here"
    ));
}

#[test]
fn a_volume_is_removed_by_its_policy_and_when_nobody_has_it() {
    let check = |phase: &str, policy: &str, going: bool, expected: VolumeStep| {
        let gone = going.then_some("2026-01-01T00:00:00Z");
        let with = json!({
            "metadata": {"deletionTimestamp": gone},
            "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase},
        });
        assert_eq!(volume(&made(with)), expected, "{phase} {policy} {going}");
    };
    check("Bound", "Delete", false, VolumeStep::Nothing);
    check("Released", "Delete", false, VolumeStep::Remove);
    check("Released", "Retain", false, VolumeStep::Nothing);
    check("Pending", "Delete", false, VolumeStep::Nothing);
    check("Available", "Delete", false, VolumeStep::Nothing);
    check("Bound", "Delete", true, VolumeStep::Nothing);
    check("Released", "Delete", true, VolumeStep::Remove);
    check("Available", "Delete", true, VolumeStep::Remove);
    check("Released", "Retain", true, VolumeStep::LetGo);
}

#[test]
fn only_a_bound_claim_wants_more() {
    let check = |phase: &str, has: Value, asks: &str, expected: bool| {
        let with = json!({
            "spec": {"resources": {"requests": {"storage": asks}}},
            "status": {"phase": phase, "capacity": has},
        });
        assert_eq!(may_want_more(&waiting(with)), expected, "{phase} {asks}");
    };
    check("Bound", json!({"storage": "1Gi"}), "2Gi", true);
    check("Bound", json!({"storage": "1Gi"}), "1024Mi", false);
    check("Bound", json!({"storage": "2Gi"}), "1Gi", false);
    check("Bound", json!({}), "1Gi", false);
    check("Pending", json!({"storage": "1Gi"}), "2Gi", false);
}

#[test]
fn a_volume_that_a_claim_has_stays_whatever_its_phase_says() {
    let recorded = Claim { namespace: "n".to_owned(), name: "c".to_owned(), uid: "u1".to_owned() };
    let check = |reference: Value, with: Value, expected: bool| {
        let mut volume = made(json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
        let spec = volume.spec.as_mut().expect("a spec");
        spec.claim_ref = serde_json::from_value(reference).expect("a reference");
        volume.status = serde_json::from_value(json!({"phase": "Released"})).expect("a status");
        assert_eq!(super::volume(&volume), VolumeStep::Remove, "its phase alone would have it removed");
        let claim = waiting(with);
        let asked = claims_to_ask(&volume, Some(&recorded));
        let found = asked.contains(&claim.key()) && has(&claim, &volume, Some(&recorded));
        assert_eq!(found, expected, "{:?} {:?}", spec_of(&volume), claim.metadata);
    };
    let to = |name: &str, uid: Value| json!({"namespace": "n", "name": name, "uid": uid});
    let new = || json!({"metadata": {"name": "new", "uid": "u2"}});
    check(to("c", json!("u1")), json!({}), true);
    check(to("c", json!("u0")), json!({}), false);
    // Given to a new claim: by its name alone, or wholly.
    check(to("new", Value::Null), new(), true);
    check(to("new", json!("")), new(), true);
    check(to("new", json!("u2")), new(), true);
    check(to("new", json!("u3")), new(), false);
    // Nobody is named, but the claim that it was made for says that it has it.
    let holds = |uid: &str| json!({"metadata": {"uid": uid}, "spec": {"volumeName": "pvc-u1"}});
    check(Value::Null, holds("u1"), true);
    check(Value::Null, holds("u2"), false);
    check(Value::Null, json!({}), false);
}

fn spec_of(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref())
}

#[test]
fn a_volume_of_that_name_counts_as_made_only_if_it_is_the_claim_s() {
    let ClaimStep::Make(request) = claim(&waiting(json!({})), Some(&class("local-path")), "here") else {
        panic!("it is made")
    };
    let check = |with: Value, node: &str, expected: bool| {
        assert_eq!(is_as_made(&made(with), &request, node), expected);
    };
    check(json!({}), "here", true);
    check(json!({}), "there", false);
    check(json!({"spec": {"claimRef": {"uid": "u2"}}}), "here", false);
    check(json!({"spec": {"claimRef": null}}), "here", false);
    check(json!({"metadata": {"annotations": null}}), "here", false);
}
