//! Claims, volumes and a node in; what is done about them, or why they are not to be had there, out.

use serde_json::{Value, json};

use super::*;

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}")))
}

/// Two nodes' worth of storage, made or found late.
fn volumes() -> Volumes {
    let mut volumes = Volumes::default();
    let class = |name: &str, provisioner: &str, mode: &str| {
        typed(json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode}))
    };
    volumes.set_class(class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"));
    volumes.set_class(class("made", "example.com/made", "WaitForFirstConsumer"));
    volumes.set_class(class("now", "example.com/made", "Immediate"));
    volumes
}

fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"storageClassName": class,
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}})
}

fn volume(name: &str, size: &str, host: &str) -> Value {
    let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]});
    json!({"metadata": {"name": name}, "spec": {"storageClassName": "local", "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"], "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}},
        "status": {"phase": "Available"}})
}

fn node(name: &str) -> NodeFacts {
    NodeFacts::of(&typed(json!({"metadata": {"name": name, "labels": {"host": name}}})))
}

fn pod(claims: &[&str]) -> PodInfo {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    let volumes: Vec<Value> = claims.iter().map(volume).collect();
    PodInfo::of(&typed(json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"containers": [], "volumes": volumes}})))
}

/// What would be done on a node, or why not.
fn plan(volumes: &Volumes, claims: &[&str], on: &str) -> Result<String, String> {
    let pod = pod(claims);
    let sorted = volumes.sort(&pod).map_err(|refusal| refusal.reasons.join(", "))?;
    let plan = volumes.plan(&sorted, &node(on)).map_err(|refusal| refusal.reasons.join(", "))?;
    let bound = plan.bind.iter().map(|(volume, claim)| format!("{volume} for {}", claim.name));
    let made = plan.provision.iter().map(|claim| format!("make {}", claim.name));
    Ok(bound.chain(made).collect::<Vec<_>>().join(", "))
}

fn refused(reason: &str) -> Result<String, String> {
    Err(reason.to_owned())
}

fn found(plan: &str) -> Result<String, String> {
    Ok(plan.to_owned())
}

#[test]
fn a_pod_waits_for_claims_that_others_have_to_bind() {
    let mut volumes = volumes();
    assert_eq!(plan(&volumes, &["none"], "a"), refused("persistentvolumeclaim \"none\" not found"));
    volumes.set_claim(typed(claim("now", "now", "1Gi")));
    assert_eq!(plan(&volumes, &["now"], "a"), refused(UNBOUND_IMMEDIATE));
    volumes.set_claim(typed(claim("unknown", "unknown", "1Gi")));
    assert_eq!(plan(&volumes, &["unknown"], "a"), refused(UNBOUND_IMMEDIATE));
    // One that names its volume is bound by who binds at once, whatever its class.
    let mut named = claim("named", "local", "1Gi");
    named["spec"]["volumeName"] = "pv".into();
    volumes.set_claim(typed(named));
    assert_eq!(plan(&volumes, &["named"], "a"), refused(UNBOUND_IMMEDIATE));
    let mut lost = claim("lost", "now", "1Gi");
    lost["spec"]["volumeName"] = "pv".into();
    lost["status"] = json!({"phase": "Lost"});
    volumes.set_claim(typed(lost));
    let message = "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"pv\"";
    assert_eq!(plan(&volumes, &["lost"], "a"), refused(message));
    let mut going = claim("going", "local", "1Gi");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    volumes.set_claim(typed(going));
    assert_eq!(plan(&volumes, &["going"], "a"), refused("persistentvolumeclaim \"going\" is being deleted"));
    let ephemeral = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"containers": [], "volumes": [{"name": "v", "ephemeral": {}}]}});
    let ephemeral = PodInfo::of(&typed(ephemeral));
    let why = |volumes: &Volumes| volumes.sort(&ephemeral).expect_err("it waits").reasons.join(", ");
    let wait = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert_eq!(why(&volumes), wait);
    volumes.set_claim(typed(claim("p-v", "local", "1Gi")));
    assert_eq!(why(&volumes), "PVC n/p-v was not created for pod n/p (pod is not owner)");
}

#[test]
fn a_bound_volume_is_used_where_it_is() {
    let mut volumes = volumes();
    let mut bound = claim("data", "local", "1Gi");
    bound["spec"]["volumeName"] = "pv".into();
    bound["metadata"]["annotations"] = json!({BIND_COMPLETED: "yes"});
    volumes.set_claim(typed(bound));
    assert_eq!(plan(&volumes, &["data"], "a"), refused(GONE));
    volumes.set_volume(typed(volume("pv", "1Gi", "a")));
    assert_eq!(plan(&volumes, &["data"], "a"), found(""));
    assert_eq!(plan(&volumes, &["data"], "b"), refused(ELSEWHERE));
}

#[test]
fn the_smallest_volume_is_found_that_is_nobodys_and_does() {
    let mut volumes = volumes();
    for (name, size, host) in
        [("large", "9Gi", "a"), ("right", "2Gi", "a"), ("small", "1Gi", "a"), ("far", "2Gi", "b")]
    {
        volumes.set_volume(typed(volume(name, size, host)));
    }
    volumes.set_claim(typed(claim("one", "local", "2Gi")));
    volumes.set_claim(typed(claim("two", "local", "1500Mi")));
    volumes.set_claim(typed(claim("huge", "local", "10Gi")));
    assert_eq!(plan(&volumes, &["one"], "a"), found("right for one"));
    assert_eq!(plan(&volumes, &["one"], "b"), found("far for one"));
    assert_eq!(plan(&volumes, &["one"], "c"), refused(NONE_TO_BIND));
    assert_eq!(plan(&volumes, &["huge"], "a"), refused(NONE_TO_BIND));
    // The smaller claim chooses first.
    assert_eq!(plan(&volumes, &["one", "two"], "a"), found("right for two, large for one"));
    assert_eq!(plan(&volumes, &["one", "two"], "b"), refused(NONE_TO_BIND));
    // One that is kept for a claim is its, and nobody else's.
    let mut kept = volume("kept", "5Gi", "a");
    kept["spec"]["claimRef"] = json!({"namespace": "n", "name": "one"});
    volumes.set_volume(typed(kept.clone()));
    assert_eq!(plan(&volumes, &["one"], "a"), found("kept for one"));
    kept["spec"]["claimRef"]["uid"] = "another".into();
    volumes.set_volume(typed(kept));
    assert_eq!(plan(&volumes, &["one"], "a"), found("right for one"));
    // What was decided counts before it is shown.
    let key = ObjectKey::new("n", "two");
    let decided = Plan { bind: vec![("right".to_owned(), key)], ..Plan::default() };
    volumes.assume(&"other".into(), &"a".into(), decided);
    assert_eq!(plan(&volumes, &["one"], "a"), found("large for one"));
    assert_eq!(plan(&volumes, &["two"], "a"), found("right for two"));
    volumes.release(&"other".into());
    assert_eq!(plan(&volumes, &["one"], "a"), found("right for one"));
    // Nor is one that is not available, of another mode, going, or without the labels.
    let without = |change: &dyn Fn(&mut Value)| {
        let mut volumes = self::volumes();
        volumes.set_claim(typed(claim("one", "local", "2Gi")));
        let mut only = volume("only", "2Gi", "a");
        change(&mut only);
        volumes.set_volume(typed(only));
        plan(&volumes, &["one"], "a").is_err()
    };
    assert!(!without(&|_| {}));
    assert!(without(&|volume| volume["status"]["phase"] = "Released".into()));
    assert!(without(&|volume| volume["spec"]["volumeMode"] = "Block".into()));
    assert!(without(&|volume| volume["spec"]["accessModes"] = json!(["ReadOnlyMany"])));
    assert!(without(&|volume| volume["spec"]["storageClassName"] = "other".into()));
    assert!(without(&|volume| volume["spec"]["volumeAttributesClassName"] = "gold".into()));
    assert!(without(&|volume| volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()));
    let mut picky = claim("one", "local", "2Gi");
    picky["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}});
    let mut selecting = self::volumes();
    selecting.set_claim(typed(picky));
    let mut labelled = volume("only", "2Gi", "a");
    selecting.set_volume(typed(labelled.clone()));
    assert_eq!(plan(&selecting, &["one"], "a"), refused(NONE_TO_BIND));
    labelled["metadata"]["labels"] = json!({"disk": "ssd"});
    selecting.set_volume(typed(labelled));
    assert_eq!(plan(&selecting, &["one"], "a"), found("only for one"));
}

#[test]
fn volumes_are_made_where_their_class_allows_it() {
    let mut volumes = volumes();
    volumes.set_claim(typed(claim("one", "made", "2Gi")));
    assert_eq!(plan(&volumes, &["one"], "a"), found("make one"));
    // Once it is said where, nowhere else.
    let decided = Plan { provision: vec![ObjectKey::new("n", "one")], ..Plan::default() };
    volumes.assume(&"other".into(), &"a".into(), decided);
    assert_eq!(plan(&volumes, &["one"], "b"), refused(NONE_TO_BIND));
    assert_eq!(plan(&volumes, &["one"], "a"), found("make one"));
    volumes.release(&"other".into());
    let mut selected = claim("one", "made", "2Gi");
    selected["metadata"]["annotations"] = json!({SELECTED_NODE: "b"});
    volumes.set_claim(typed(selected));
    assert_eq!(plan(&volumes, &["one"], "a"), refused(NONE_TO_BIND));
    assert_eq!(plan(&volumes, &["one"], "b"), found("make one"));
    volumes.set_claim(typed(claim("one", "made", "2Gi")));
    let topologies = json!([{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}]);
    let class = json!({"metadata": {"name": "made"}, "provisioner": "example.com/made",
        "volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": topologies});
    volumes.set_class(typed(class));
    assert_eq!(plan(&volumes, &["one"], "a"), refused(NONE_TO_BIND));
    assert_eq!(plan(&volumes, &["one"], "b"), found("make one"));
    // A driver that says how much there is is asked.
    let driver = json!({"metadata": {"name": "example.com/made"}, "spec": {"storageCapacity": true}});
    volumes.set_driver(typed(driver));
    assert_eq!(plan(&volumes, &["one"], "b"), refused(NO_SPACE));
    let capacity = |size: &str, most: Value| {
        json!({"metadata": {"name": "c", "namespace": "n"}, "storageClassName": "made", "capacity": size,
               "maximumVolumeSize": most, "nodeTopology": {"matchLabels": {"host": "b"}}})
    };
    volumes.set_capacity(typed(capacity("1Gi", Value::Null)));
    assert_eq!(plan(&volumes, &["one"], "b"), refused(NO_SPACE));
    volumes.set_capacity(typed(capacity("3Gi", Value::Null)));
    assert_eq!(plan(&volumes, &["one"], "b"), found("make one"));
    volumes.set_capacity(typed(capacity("3Gi", json!("1Gi"))));
    assert_eq!(plan(&volumes, &["one"], "b"), refused(NO_SPACE));
}
