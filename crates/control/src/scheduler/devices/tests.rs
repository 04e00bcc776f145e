//! Claims, slices and a node in; which devices they get, or why none, out.

use serde_json::{Value, json};

use super::*;

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}")))
}

fn node(name: &str) -> NodeFacts {
    NodeFacts::of(&typed(json!({"metadata": {"name": name, "labels": {"rack": "1"}}})))
}

fn slice(name: &str, node: &str, devices: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": "d", "nodeName": node, "devices": devices,
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}})
}

fn device(name: &str, model: &str) -> Value {
    json!({"name": name, "attributes": {"model": {"string": model}}})
}

fn claim(name: &str, requests: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"devices": {"requests": requests}}})
}

fn exactly(count: i64) -> Value {
    json!([{"name": "r", "exactly": {"deviceClassName": "c", "count": count}}])
}

fn pod(claims: &[&str]) -> PodInfo {
    let claims: Vec<Value> =
        claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
    PodInfo::of(&typed(json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"containers": [], "resourceClaims": claims}})))
}

fn devices(slices: &[Value], claims: &[Value]) -> Devices {
    let mut devices = Devices::default();
    devices.set_class(typed(json!({"metadata": {"name": "c"}, "spec": {}})));
    slices.iter().for_each(|slice| devices.set_slice(typed(slice.clone())));
    claims.iter().for_each(|claim| devices.set_claim(typed(claim.clone())));
    devices
}

/// What the claims get on a node, or why not.
fn allot(devices: &Devices, claims: &[&str], on: &str) -> Result<String, String> {
    let say = |refusal: Refusal| refusal.reasons.join(", ");
    let pod = pod(claims);
    let wanted = devices.sort(&pod).map_err(say)?;
    let allotments = devices.allot(&wanted, &node(on)).map_err(say)?;
    let shown = allotments.iter().map(|allotment| {
        let results = allotment.allocation.iter().filter_map(|allocation| allocation.devices.as_ref());
        let results = results.flat_map(|devices| devices.results.iter().flatten());
        let results: Vec<String> =
            results.map(|result| format!("{}={}/{}", result.request, result.pool, result.device)).collect();
        format!("{}: {}", allotment.claim.name, results.join(" "))
    });
    Ok(shown.collect::<Vec<_>>().join("; "))
}

fn found(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn refused(text: &str) -> Result<String, String> {
    Err(text.to_owned())
}

const NONE: &str = "cannot allocate all claims";

#[test]
fn devices_are_given_once_and_where_they_are() {
    let slices =
        [slice("a", "a", &[device("1", "x"), device("2", "x")]), slice("b", "b", &[device("1", "y")])];
    let claims = [claim("one", exactly(1)), claim("two", exactly(2)), claim("three", exactly(3))];
    let mut devices = devices(&slices, &claims);
    assert_eq!(allot(&devices, &["one"], "a"), found("one: r=a/1"));
    assert_eq!(allot(&devices, &["two"], "a"), found("two: r=a/1 r=a/2"));
    assert_eq!(allot(&devices, &["two"], "b"), refused(NONE));
    assert_eq!(allot(&devices, &["three"], "a"), refused(NONE));
    assert_eq!(allot(&devices, &["one", "two"], "a"), refused(NONE));
    // What was decided counts before it is shown.
    let (first, wanted) = (pod(&["one"]), "one");
    let allotments = {
        let sorted = devices.sort(&first).unwrap_or_else(|_| panic!("{wanted}"));
        devices.allot(&sorted, &node("a")).expect("it is found")
    };
    let selector = allotments[0].allocation.as_ref().and_then(|allocation| allocation.node_selector.as_ref());
    assert!(selector.is_some_and(|selector| super::super::plugins::matches_any(
        &selector.node_selector_terms,
        &node("a")
    )));
    devices.assume(&"other".into(), &allotments);
    assert_eq!(allot(&devices, &["two"], "a"), refused(NONE));
    assert_eq!(allot(&devices, &["one"], "a"), found("one: "));
    assert_eq!(allot(&devices, &["one"], "b"), refused("resourceclaim not available on the node"));
    devices.release(&"other".into());
    assert_eq!(allot(&devices, &["two"], "a"), found("two: r=a/1 r=a/2"));
    // As does what is shown.
    let mut shown = claim("one", exactly(1));
    shown["status"] =
        json!({"allocation": serde_json::to_value(&allotments[0].allocation).expect("it is JSON")});
    devices.set_claim(typed(shown));
    assert_eq!(allot(&devices, &["two"], "a"), refused(NONE));
}

#[test]
fn a_pod_waits_for_claims_that_are_not_there_or_that_cannot_be_read() {
    let mut picky = claim("picky", exactly(1));
    picky["spec"]["devices"]["requests"][0]["exactly"]["selectors"] =
        json!([{"cel": {"expression": "device.driver == 'd'"}}]);
    let mut unknown = claim("unknown", exactly(1));
    unknown["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = "none".into();
    let mut going = claim("going", exactly(1));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let devices = devices(&[slice("a", "a", &[device("1", "x")])], &[picky, unknown, going]);
    assert_eq!(allot(&devices, &["none"], "a"), refused("resourceclaim \"none\" not found"));
    assert_eq!(allot(&devices, &["going"], "a"), refused("resourceclaim \"going\" is being deleted"));
    assert_eq!(allot(&devices, &["unknown"], "a"), refused("request r: device class none does not exist"));
    let cel = "request r: devices are selected by CEL, which this scheduler does not evaluate";
    assert_eq!(allot(&devices, &["picky"], "a"), refused(cel));
}

#[test]
fn requests_choose_take_all_and_agree_with_each_other() {
    let slices = [slice("a", "a", &[device("1", "x"), device("2", "y"), device("3", "y")])];
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claim = claim("one", exactly(2));
        change(&mut claim["spec"]["devices"]);
        allot(&devices(&slices, &[claim]), &["one"], "a")
    };
    assert_eq!(with(&|_| {}), found("one: r=a/1 r=a/2"));
    let same = json!([{"matchAttribute": "d/model"}]);
    assert_eq!(with(&|devices| devices["constraints"] = same.clone()), found("one: r=a/2 r=a/3"));
    let distinct = json!([{"distinctAttribute": "d/model"}]);
    assert_eq!(with(&|devices| devices["constraints"] = distinct.clone()), found("one: r=a/1 r=a/2"));
    let unknown = json!([{"matchAttribute": "d/colour"}]);
    assert_eq!(with(&|devices| devices["constraints"] = unknown.clone()), refused(NONE));
    let all = json!([{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All"}}]);
    assert_eq!(with(&|devices| devices["requests"] = all.clone()), found("one: r=a/1 r=a/2 r=a/3"));
    let first = json!([{"name": "r", "firstAvailable": [
        {"name": "many", "deviceClassName": "c", "count": 9}, {"name": "few", "deviceClassName": "c", "count": 1}]}]);
    assert_eq!(with(&|devices| devices["requests"] = first.clone()), found("one: r/few=a/1"));
}

#[test]
fn only_whole_pools_and_devices_without_taints_are_looked_at() {
    let mut half = slice("a", "a", &[device("1", "x")]);
    half["spec"]["pool"]["resourceSliceCount"] = 2.into();
    assert_eq!(allot(&devices(&[half.clone()], &[claim("one", exactly(1))]), &["one"], "a"), refused(NONE));
    let mut rest = slice("rest", "a", &[device("2", "x")]);
    rest["spec"]["pool"] = half["spec"]["pool"].clone();
    assert_eq!(
        allot(&devices(&[half, rest], &[claim("one", exactly(2))]), &["one"], "a"),
        found("one: r=a/1 r=a/2")
    );
    let mut tainted = device("1", "x");
    tainted["taints"] = json!([{"key": "broken", "effect": "NoSchedule"}]);
    let slices = [slice("a", "a", &[tainted])];
    let mut one = claim("one", exactly(1));
    assert_eq!(allot(&devices(&slices, std::slice::from_ref(&one)), &["one"], "a"), refused(NONE));
    one["spec"]["devices"]["requests"][0]["exactly"]["tolerations"] = json!([{"operator": "Exists"}]);
    assert_eq!(allot(&devices(&slices, &[one]), &["one"], "a"), found("one: r=a/1"));
    // What every node can reach.
    let mut shared = slice("s", "", &[device("1", "x")]);
    let spec = shared["spec"].as_object_mut().expect("a spec");
    spec.remove("nodeName");
    spec.insert(
        "nodeSelector".to_owned(),
        json!({"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]}]}),
    );
    let devices = devices(&[shared], &[claim("one", exactly(1))]);
    assert_eq!(allot(&devices, &["one"], "z"), found("one: r=s/1"));
}
