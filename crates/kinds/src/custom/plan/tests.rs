use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a moment")
}

fn definition(change: Value) -> Object {
    let sound = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "as.g.io"},
        "spec": {"group": "g.io", "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList",
                 "shortNames": ["x"]}},
    });
    Object::from_value(model::merge::merge_patch::apply(&sound, &change)).expect("an object")
}

fn taken(names: Value) -> Taken {
    let mut taken = Taken::default();
    taken.add(&Names::of(Some(&names)));
    taken
}

fn conditions(object: &Object) -> Vec<String> {
    let all = object.get_list(&["status", "conditions"]).iter();
    all.map(|c| {
        format!("{} {} {}: {}", text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message"))
    })
    .collect()
}

#[test]
fn a_definition_gets_the_names_that_nobody_has() {
    let check = |others: Value, expected: &[&str], names: Value| {
        let new = amended(&definition(json!({})), &taken(others), now()).expect("news");
        assert_eq!(conditions(&new), expected);
        assert_eq!(accepted(&new).value(), names);
        let again = amended(&new, &Taken::default(), now());
        assert_eq!(again.is_none(), accepted(&new) == wished(&new), "it is told once");
    };
    check(
        json!({"plural": "bs", "kind": "B"}),
        &[
            "NamesAccepted True NoConflicts: no conflicts found",
            "Established True InitialNamesAccepted: the initial names have been accepted",
        ],
        json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"]}),
    );
    let refused = "Established False NotAccepted: not all names are accepted";
    check(
        json!({"plural": "bs", "kind": "B", "shortNames": ["x"]}),
        &["NamesAccepted False ShortNamesConflict: \"x\" is already in use", refused],
        json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}),
    );
    check(
        json!({"plural": "a", "kind": "A"}),
        &["NamesAccepted False KindConflict: \"A\" is already in use", refused],
        json!({"plural": "as", "kind": "", "listKind": "AList", "shortNames": ["x"]}),
    );
}

#[test]
fn what_is_served_stays_so_whatever_it_wishes() {
    let served = amended(&definition(json!({})), &Taken::default(), now()).expect("news");
    let mut wishes = served.clone();
    wishes.set(&["spec", "names", "shortNames"], json!(["x", "y"]));
    let new = amended(&wishes, &taken(json!({"plural": "y"})), now()).expect("news");
    assert_eq!(accepted(&new), accepted(&served));
    assert_eq!(
        conditions(&new),
        [
            "NamesAccepted False ShortNamesConflict: \"y\" is already in use",
            "Established True InitialNamesAccepted: the initial names have been accepted",
        ]
    );
    let freed = amended(&new, &Taken::default(), now()).expect("news");
    assert_eq!(accepted(&freed), wished(&freed));
}

#[test]
fn kinds_of_kubernetes_own_groups_say_who_approved_of_them() {
    let check = |annotation: Value, expected: &str| {
        let own = json!({"metadata": {"annotations": {APPROVED: annotation}}, "spec": {"group": "a.k8s.io"}});
        let new = amended(&definition(own), &Taken::default(), now()).expect("news");
        assert_eq!(conditions(&new)[2].split(": ").next(), Some(expected));
    };
    let kind = |rest: &str| format!("KubernetesAPIApprovalPolicyConformant {rest}");
    check(json!("https://github.com/x"), &kind("True ApprovedAnnotation"));
    check(json!("unapproved, a try"), &kind("False UnapprovedAnnotation"));
    check(json!("yes"), &kind("False InvalidAnnotation"));
    check(Value::Null, &kind("False MissingAnnotation"));
    for (group, expected) in
        [("k8s.io", true), ("a.kubernetes.io", true), ("ak8s.io", false), ("k8s.io.b", false)]
    {
        assert_eq!(is_protected(group), expected, "{group}");
    }
}

#[test]
fn a_definition_ends_when_the_last_object_of_its_kind_is_gone() {
    let served = amended(&definition(json!({})), &Taken::default(), now()).expect("news");
    assert_eq!(ending(&served, 0, now()), None);
    let mut ends = served.clone();
    begin_ending(&mut ends, now());
    assert_eq!(
        conditions(&ends)[2],
        "Terminating True InstanceDeletionPending: CustomResourceDefinition marked \
                                      for deletion; CustomResource deletion will begin soon"
    );
    let Some(Ending::Empties(Some(meanwhile))) = ending(&ends, 2, now()) else { panic!("objects are left") };
    assert_eq!(
        conditions(&meanwhile)[2],
        "Terminating True InstanceDeletionInProgress: CustomResource deletion is \
                                           in progress"
    );
    assert_eq!(ending(&meanwhile, 1, now()), Some(Ending::Empties(None)));
    let Some(Ending::Over(over)) = ending(&meanwhile, 0, now()) else { panic!("nothing is left") };
    assert_eq!(conditions(&over)[2], "Terminating False InstanceDeletionCompleted: removed all instances");
    assert_eq!(over.finalizers().count(), 0);
    let mut never = definition(json!({}));
    begin_ending(&mut never, now());
    let Some(Ending::Over(over)) = ending(&never, 5, now()) else { panic!("it was never served") };
    assert_eq!(conditions(&over), ["Terminating False NeverEstablished: resource was never established"]);
}

#[test]
fn names_are_taken_by_others_and_not_by_oneself() {
    let names = |plural: &str, kind: &str| Names::of(Some(&json!({"plural": plural, "kind": kind})));
    let mut counted = Counted::default();
    let (own, other, twin) = (names("as", "A"), names("bs", "B"), names("cs", "A"));
    [&own, &other].into_iter().for_each(|names| counted.add(names));
    let found = |has: &Names, wished: &Names| {
        let Taken { resources, kinds } = counted.without(has, wished);
        let all: Vec<String> = resources.into_iter().chain(kinds).filter(|name| !name.is_empty()).collect();
        all
    };
    assert_eq!(found(&own, &own), [""; 0]);
    assert_eq!(found(&own, &other), ["bs", "B"]);
    assert_eq!(found(&Names::default(), &own), ["as", "A"]);
    assert_eq!(found(&own, &names("zs", "Z")), [""; 0]);
    counted.add(&twin);
    let Taken { kinds, .. } = counted.without(&own, &own);
    assert!(kinds.contains("A"), "another has it too");
}

#[test]
fn what_is_built_in_is_nobodys_to_define() {
    let mut others = Taken::default();
    others.take("as");
    let new = amended(&definition(json!({})), &others, now()).expect("news");
    assert_eq!(
        conditions(&new),
        [
            "NamesAccepted False PluralConflict: \"as\" is already in use",
            "Established False NotAccepted: not all names are accepted",
        ]
    );
    assert_eq!(accepted(&new).plural, "");
}

#[test]
fn why_the_objects_of_a_kind_stay_is_told_until_they_go() {
    let mut object =
        definition(json!({"status": {"conditions": [{"type": "Established", "status": "True"}]}}));
    begin_ending(&mut object, now());
    let Some(Ending::Empties(Some(begun))) = ending(&object, 1, now()) else { panic!("it has objects") };
    let failed = not_emptied(&begun, "no way", now()).expect("news");
    let said = "Terminating True InstanceDeletionFailed: could not issue all deletes: no way";
    assert!(conditions(&failed).contains(&said.to_owned()), "{:?}", conditions(&failed));
    assert_eq!(not_emptied(&failed, "no way", now()), None);
    assert_eq!(ending(&failed, 1, now()), Some(Ending::Empties(None)));
    assert!(matches!(ending(&failed, 0, now()), Some(Ending::Over(_))));
    assert_eq!(not_emptied(&definition(json!({})), "no way", now()), None, "it is to stay");
}
