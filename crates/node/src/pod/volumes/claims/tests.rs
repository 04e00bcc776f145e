//! Claims, volumes and nodes as they are, and whether a pod has its volume.

use serde_json::{Value, json};

use super::*;

fn of<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("it fits the type")
}

fn pod(with: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "p1"},
        "spec": {
            "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    });
    lay_over(&mut pod, with);
    of(pod)
}

fn claim(with: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "u1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv"},
        "status": {"phase": "Bound"},
    });
    lay_over(&mut claim, with);
    of(claim)
}

fn volume(with: Value) -> PersistentVolume {
    let mut volume = json!({
        "metadata": {"name": "pv"},
        "spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u1"}, "volumeMode": "Filesystem"},
    });
    lay_over(&mut volume, with);
    of(volume)
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

fn only_volume(pod: &Pod) -> Volume {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).expect("volumes")[0].clone()
}

#[test]
fn a_pod_waits_for_a_claim_that_is_there_and_bound_and_its_own() {
    let check = |pod: &Pod, claim: Option<Value>, begins: bool, expected: Result<&str, &str>| {
        let claim: Option<PersistentVolumeClaim> = claim.map(self::claim);
        let found = volume_of(pod, &only_volume(pod), claim.as_ref(), begins);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    };
    let plain = pod(json!({}));
    check(&plain, Some(json!({})), true, Ok("pv"));
    let missing = "error processing PVC n/c: failed to fetch PVC from API server: persistentvolumeclaims \"c\" not found";
    check(&plain, None, true, Err(missing));
    let pending = json!({"status": {"phase": "Pending"}});
    check(&plain, Some(pending), true, Err("error processing PVC n/c: PVC is not bound"));
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    check(&plain, Some(going.clone()), true, Err("error processing PVC n/c: PVC is being deleted"));
    check(&plain, Some(going), false, Ok("pv"));
    let own = pod(
        json!({"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}}),
    );
    assert_eq!(claim_of(&own, &only_volume(&own)), Some(("p-v".to_owned(), false)));
    let stranger = "PVC n/p-v was not created for pod n/p (pod is not owner)";
    check(&own, Some(json!({})), true, Err(stranger));
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1", "controller": true}]);
    check(&own, Some(json!({"metadata": {"ownerReferences": owner}})), true, Ok("pv"));
}

#[track_caller]
fn check_volume(
    pod: &Pod,
    claim: Value,
    volume: Option<Value>,
    others: &[Arc<Pod>],
    expected: Result<(), &str>,
) {
    let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), "here".to_owned())]);
    let volume: Option<PersistentVolume> = volume.map(self::volume);
    let found =
        check(pod, &only_volume(pod), &self::claim(claim), volume.as_ref(), ("here", &labels), others);
    assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected);
}

#[test]
fn a_volume_is_the_claim_s_and_used_as_what_it_is_and_where_it_is() {
    let plain = pod(json!({}));
    let nothing = || json!({});
    check_volume(&plain, nothing(), Some(nothing()), &[], Ok(()));
    let gone =
        "error processing PVC n/c: failed to fetch PV pv from API server: persistentvolumes \"pv\" not found";
    check_volume(&plain, nothing(), None, &[], Err(gone));
    let nobody = "error processing PVC n/c: found PV object pv with nil pv.Spec.ClaimRef indicating it is not yet bound to the claim";
    check_volume(&plain, nothing(), Some(json!({"spec": {"claimRef": null}})), &[], Err(nobody));
    let other = "error processing PVC n/c: found PV object pv with a pv.Spec.ClaimRef.UID u0 that does not point to claim.UID u1";
    check_volume(&plain, nothing(), Some(json!({"spec": {"claimRef": {"uid": "u0"}}})), &[], Err(other));
    let block = || Some(json!({"spec": {"volumeMode": "Block"}}));
    let mounted = "volume v has volumeMode Block, but is specified in volumeMounts";
    check_volume(&plain, nothing(), block(), &[], Err(mounted));
    let device = pod(
        json!({"spec": {"containers": [{"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/v"}]}]}}),
    );
    check_volume(&device, nothing(), block(), &[], Ok(()));
    let as_device = "volume v has volumeMode Filesystem, but is specified in volumeDevices";
    check_volume(&device, nothing(), Some(nothing()), &[], Err(as_device));
    let on = |operator: &str, values: Value| {
        let expression = json!({"key": "kubernetes.io/hostname", "operator": operator, "values": values});
        Some(
            json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}}),
        )
    };
    let elsewhere = "MountVolume.NodeAffinity check failed for volume \"pv\" : no matching NodeSelectorTerms";
    for (operator, values, expected) in [
        ("In", json!(["here"]), Ok(())),
        ("In", json!(["there"]), Err(elsewhere)),
        ("NotIn", json!(["there"]), Ok(())),
        ("Exists", Value::Null, Ok(())),
        ("DoesNotExist", Value::Null, Err(elsewhere)),
        ("Gt", json!(["1"]), Err(elsewhere)),
        ("Nonsense", json!(["here"]), Err(elsewhere)),
    ] {
        check_volume(&plain, nothing(), on(operator, values), &[], expected);
    }
}

#[test]
fn one_pod_has_what_only_one_may_have() {
    let once = || json!({"spec": {"accessModes": ["ReadWriteOncePod"]}});
    let at = |name: &str, status: Value| {
        Arc::new(pod(json!({"metadata": {"name": name, "uid": name}, "status": status})))
    };
    let began = || json!({"startTime": "2026-01-01T00:00:00Z"});
    let mine = at("p1", json!({}));
    let used = "MountVolume.SetUp failed for volume \"pv\" : volume uses the ReadWriteOncePod access mode and is already in use by another pod";
    let nothing = || Some(json!({}));
    check_volume(&mine, once(), nothing(), &[mine.clone(), at("p2", began())], Err(used));
    check_volume(&mine, json!({}), nothing(), &[at("p2", began())], Ok(()));
    let over = json!({"phase": "Succeeded", "startTime": "2026-01-01T00:00:00Z"});
    check_volume(&mine, once(), nothing(), &[at("p2", over)], Ok(()));
    check_volume(&at("p1", began()), once(), nothing(), &[at("p2", json!({}))], Ok(()));
    let failed = [("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())];
    assert_eq!(
        ClaimsError::new(&failed).to_string(),
        "Unable to attach or mount volumes: unmounted volumes=[a b], unattached volumes=[], failed to process volumes=[a b]: x, y"
    );
}
