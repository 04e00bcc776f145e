//! Revisions and a template in, what becomes of them as a line of text out.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};

use super::*;

fn template(image: &str) -> PodTemplateSpec {
    let template = json!({"metadata": {"labels": {"app": "x"}},
                          "spec": {"containers": [{"name": "c", "image": image}]}});
    serde_json::from_value(template).expect("a template")
}

/// `image@number`, which is its name too.
fn revision(text: &str) -> Arc<ControllerRevision> {
    let (image, number) = text.split_once('@').expect("image@number");
    Arc::new(ControllerRevision {
        metadata: ObjectMeta { name: Some(text.to_owned()), ..ObjectMeta::default() },
        data: Some(RawExtension(patch(&template(image)))),
        revision: number.parse().expect("a number"),
    })
}

fn revisions(text: &str) -> Vec<Arc<ControllerRevision>> {
    text.split_whitespace().map(revision).collect()
}

#[track_caller]
fn check(known: &str, image: &str, expected: &str) {
    let words = match wanted(&revisions(known), &template(image)) {
        Wanted::Kept(revision) => format!("keep {}", revision.name()),
        Wanted::Renumbered(revision, number) => format!("{} becomes {number}", revision.name()),
        Wanted::New(number) => format!("make {number}"),
    };
    assert_eq!(words, expected);
}

#[test]
fn every_template_has_one_revision_which_is_the_newest_while_it_is_wanted() {
    check("", "a", "make 1");
    check("a@1", "a", "keep a@1");
    check("a@1", "b", "make 2");
    check("a@1 b@2 c@7", "d", "make 8");
    check("a@1 b@2", "b", "keep b@2");
    // Back to an earlier one: it is no second one.
    check("a@1 b@2", "a", "a@1 becomes 3");
    check("a@1 a@2 b@3", "a", "a@2 becomes 4");
    check("a@1 a@5 b@3", "a", "keep a@5");
    // Numbers that others have written.
    check("a@-3", "b", "make 1");
    check("a@9223372036854775807", "b", "make 9223372036854775807");
}

#[test]
fn what_is_the_same_is_told_by_the_template_and_not_by_its_text() {
    let mut other = ControllerRevision::clone(&revision("a@1"));
    other.data = Some(RawExtension(json!({"spec": {"template": {
        "spec": {"containers": [{"image": "a", "name": "c"}]},
        "metadata": {"creationTimestamp": null, "labels": {"app": "x"}}, "$patch": "replace"}}})));
    assert_eq!(template_of(&other), Some(template("a")));
    for data in [json!(null), json!({"spec": {}}), json!({"spec": {"template": {"spec": 3}}})] {
        other.data = Some(RawExtension(data));
        assert_eq!(template_of(&other), None, "{other:?}");
    }
}

#[test]
fn a_revision_is_a_patch_that_leads_back_named_by_its_hash() {
    let set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "annotations": {"kubernetes.io/change-cause": "why"}},
        "spec": {"selector": {}, "template": template("a")},
    });
    let stateful: StatefulSet = serde_json::from_value(set.clone()).expect("a set");
    let made = make(&stateful, 3, 0);
    let hash = made.label("controller.kubernetes.io/hash").expect("a hash").to_owned();
    assert_eq!(made.name(), format!("web-{hash}"));
    // The same in every version: an upgrade must make no history.
    assert_eq!(hash, "6fc858bbb");
    assert_eq!(
        (made.revision, made.label("app"), made.controller().expect("an owner").uid),
        (3, Some("x"), "u".into())
    );
    assert_eq!(json!(made.metadata.annotations), json!({"kubernetes.io/change-cause": "why"}));
    let text = r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"image":"a","name":"c"}]}}}}"#;
    assert_eq!(made.data.as_ref().map(|data| data.0.to_string()).as_deref(), Some(text));
    assert_ne!(make(&stateful, 3, 1).name(), made.name(), "another name where that one is taken");

    let daemon: DaemonSet = serde_json::from_value(set).expect("a set");
    assert_eq!(make(&daemon, 1, 0).label("controller-revision-hash"), Some(&*hash));
    assert!(is_same(&make(&daemon, 1, 0), &daemon));
    let mut others = make(&daemon, 1, 0);
    others.metadata.owner_references.as_mut().expect("owners")[0].uid = "other".to_owned();
    assert!(!is_same(&others, &daemon), "it is somebody else's");
    let mut long = stateful;
    long.metadata.name = Some("x".repeat(253));
    assert_eq!(make(&long, 1, 0).name().len(), 223 + 1 + hash.len());
}

#[test]
fn the_oldest_go_beyond_the_limit_but_for_those_that_pods_are_of() {
    let check = |limit: i32, live: &str, counts_live: bool, expected: &str| {
        let old = revisions("a@1 b@2 c@3 d@4");
        let is_live =
            |revision: &ControllerRevision| live.split_whitespace().any(|name| name == revision.name());
        let surplus = Surplus { old: &old, limit: Some(limit), is_live: &is_live, counts_live };
        let names: Vec<String> = surplus.revisions().iter().map(|found| found.name().to_owned()).collect();
        assert_eq!(names.join(" "), expected);
    };
    check(4, "", false, "");
    check(2, "", false, "a@1 b@2");
    check(2, "a@1", false, "b@2");
    check(2, "a@1", true, "b@2 c@3");
    check(0, "d@4", false, "a@1 b@2 c@3");
    check(0, "a@1 b@2 c@3 d@4", true, "");
}
