//! Who owns a claim of a pod: as text in, as text out.

use serde_json::json;

use super::*;

fn set(deleted: &str, scaled: &str) -> StatefulSet {
    let set = json!({"metadata": {"name": "web", "namespace": "n", "uid": "set"}, "spec": {
        "replicas": 2, "template": {}, "selector": {"matchLabels": {"app": "web"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"of": "template"}}, "spec": {}}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}});
    serde_json::from_value(set).expect("a set")
}

/// `set`, `pod`, or what else has a name and a uid; `!` makes it no controller.
fn owner(text: &str) -> OwnerReference {
    let (text, controls) = text.strip_suffix('!').map_or((text, true), |text| (text, false));
    let (api_version, kind, name) = match text {
        "set" | "old-set" => ("apps/v1", "StatefulSet", "web".to_owned()),
        "pod" | "old-pod" => ("v1", "Pod", "web-N".to_owned()),
        other => ("v1", "ConfigMap", other.to_owned()),
    };
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name,
        uid: text.to_owned(),
        controller: controls.then_some(true),
        block_owner_deletion: None,
    }
}

/// What a claim of a pod of this ordinal is to have, of two pods.
#[track_caller]
fn check((deleted, scaled): (&str, &str), ordinal: u32, owners: &str, expected: Option<&str>) {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "pod"}}))
            .expect("a pod");
    let owners = owners.split_whitespace().map(owner).map(|mut owner| {
        owner.name = owner.name.replace('N', &ordinal.to_string());
        owner
    });
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.owner_references = Some(owners.collect());
    let set = set(deleted, scaled);
    let change = Owners::new(&set, &pod).change(&claim);
    let words = change.map(|change| {
        let owners = change.owners.iter().map(|owner| &*owner.uid);
        owners.chain(change.is_conflict.then_some("conflict")).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(words.as_deref(), expected);
}

#[test]
fn claims_go_with_what_the_policy_says() {
    let (retain, with_set) = (("Retain", "Retain"), ("Delete", "Retain"));
    let (with_pod, with_both) = (("Retain", "Delete"), ("Delete", "Delete"));
    check(retain, 0, "", None);
    check(retain, 0, "set", Some(""));
    check(retain, 5, "pod", Some(""));
    check(with_set, 0, "", Some("set"));
    check(with_set, 0, "set", None);
    check(with_set, 5, "pod", Some("set"));
    check(with_pod, 0, "", None);
    check(with_pod, 0, "pod", Some(""));
    check(with_pod, 5, "", Some("pod"));
    check(with_pod, 5, "set", Some("pod"));
    check(with_both, 0, "", Some("set"));
    check(with_both, 5, "set", Some("pod"));
    check(with_both, 5, "pod", None);
    check(with_both, 5, "set pod", Some("pod"));
}

#[test]
fn what_is_others_is_left_to_them() {
    let (retain, with_set) = (("Retain", "Retain"), ("Delete", "Retain"));
    check(retain, 0, "other", None);
    check(retain, 0, "other set", Some("other"));
    check(with_set, 0, "other", None);
    check(with_set, 0, "other set", Some("other conflict"));
    check(with_set, 0, "other!", Some("other set"));
    // One of ours that does not control it.
    check(with_set, 0, "set!", Some("set"));
    // Of a set or a pod that had the name before.
    check(with_set, 0, "old-set", None);
    check(with_set, 0, "old-pod", None);
}

#[test]
fn claims_have_names_of_template_and_pod_and_the_selectors_labels() {
    let set = set("Retain", "Retain");
    let made = make(&set, "web-3");
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].name(), made[0].namespace()), ("data-web-3", Some("n")));
    assert_eq!(json!(made[0].metadata.labels), json!({"of": "template", "app": "web"}));
    assert_eq!(names(&set, "web-3").collect::<Vec<_>>(), [("data", "data-web-3".to_owned())]);
    for (name, expected) in [
        ("data-web-3", true),
        ("data-web-03", false),
        ("data-web-", false),
        ("logs-web-3", false),
        ("data-other-3", false),
    ] {
        assert_eq!(is_named(&set, name), expected, "{name}");
    }
}
