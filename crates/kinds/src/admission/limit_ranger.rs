//! Pods and claims stay within the limit ranges of their namespace; what they leave open is filled in.

use apiserver::{Admission, Admitting, Operation, Result, Write, at_once};
use model::default::{Fields, inside};
use model::validate::{entries, list, text};
use model::{GroupResource, Object, Quantity};
use serde_json::Value;

use crate::pod_amounts::{Amounts, of, of_pod};

/// What was filled in is told here.
const TOLD: &str = "kubernetes.io/limit-ranger";
/// The kinds of containers that have limits, and what they are called.
const CONTAINERS: [(&str, &str); 2] = [("containers", "container"), ("initContainers", "init container")];

/// Holds pods and claims to limit ranges.
pub(super) struct LimitRanger;

impl Admission for LimitRanger {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let resizes = resizes_pod(write);
        if write.makes("", "pods") || resizes {
            for range in ranges(write) {
                fill_in(object, &range, !resizes);
            }
        }
        at_once(Ok(()))
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(object.map_or(Ok(()), |object| check(write, object)))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Whether what a pod's containers have is changed, and nothing else.
fn resizes_pod(write: &Write<'_>) -> bool {
    let resource = write.context.resource();
    write.operation == Operation::Update
        && write.subresource == "resize"
        && resource.group.is_empty()
        && resource.plural == "pods"
}

/// The limit ranges of a namespace.
fn ranges(write: &Write<'_>) -> Vec<Object> {
    write.context.list(&GroupResource::new("", "limitranges"), write.context.namespace())
}

/// Gives containers what they leave open; `tells` says whether the pod is told so.
fn fill_in(pod: &mut Object, range: &Object, tells: bool) {
    let limits =
        range.get_list(&["spec", "limits"]).iter().filter(|limit| text(limit, "type") == "Container");
    let (mut limited, mut requested) = (Fields::new(), Fields::new());
    for limit in limits {
        for (to, from) in [(&mut limited, "default"), (&mut requested, "defaultRequest")] {
            to.extend(entries(limit, from).map(|(name, amount)| (name.clone(), amount.clone())));
        }
    }
    if limited.is_empty() && requested.is_empty() {
        return;
    }
    let mut told = Vec::new();
    for (kind, called) in CONTAINERS {
        let containers = inside(pod.fields_mut(), "spec")
            .get_mut(kind)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let resources = inside(container, "resources");
            for (side, what, amounts) in [("requests", "request", &requested), ("limits", "limit", &limited)]
            {
                let open = amounts.iter().filter(|(name, _)| {
                    resources.get(side).and_then(|amounts| amounts.get(name.as_str())).is_none()
                });
                let open: Vec<_> = open.map(|(name, amount)| (name.clone(), amount.clone())).collect();
                if open.is_empty() {
                    continue;
                }
                let mut names: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                told.push(format!("{} {what} for {called} {name}", names.join(", ")));
                inside(resources, side).extend(open);
            }
        }
    }
    if tells && !told.is_empty() {
        pod.set_annotation(TOLD, &format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

fn check(write: &Write<'_>, object: &Object) -> Result<()> {
    let is_pod = write.makes("", "pods") || resizes_pod(write);
    // One that is on its way out is let go.
    let is_claim = write.is_of("", "persistentvolumeclaims")
        && write.operation != Operation::Delete
        && !object.is_being_deleted();
    if !is_pod && !is_claim {
        return Ok(());
    }
    for range in ranges(write) {
        let mut refusals = Vec::new();
        for limit in range.get_list(&["spec", "limits"]) {
            if is_pod {
                of_pods(limit, object, &mut refusals);
            } else if text(limit, "type") == "PersistentVolumeClaim" {
                of_claims(limit, object, &mut refusals);
            }
        }
        match refusals.as_slice() {
            [] => {}
            [one] => return Err(write.context.forbidden(object, one)),
            many => return Err(write.context.forbidden(object, format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

fn of_pods(limit: &Value, pod: &Object, refusals: &mut Vec<String>) {
    let empty = Value::Null;
    let spec = pod.get(&["spec"]).unwrap_or(&empty);
    match text(limit, "type") {
        "Container" => {
            for (kind, _) in CONTAINERS {
                for container in list(spec, kind) {
                    let resources = container.get("resources");
                    all(limit, "Container", &of(resources, "requests"), &of(resources, "limits"), refusals);
                }
            }
        }
        "Pod" => all(limit, "Pod", &of_pod(spec, "requests"), &of_pod(spec, "limits"), refusals),
        _ => {}
    }
}

/// What is bounded by a list of a limit.
fn bounds(limit: &Value, list: &str) -> Amounts {
    of(Some(limit), list)
}

fn all(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, refusals: &mut Vec<String>) {
    for (name, least) in bounds(limit, "min") {
        refusals.extend(min(kind, &name, least, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in bounds(limit, "max") {
        refusals.extend(max(kind, &name, most, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in bounds(limit, "maxLimitRequestRatio") {
        refusals.extend(ratio(kind, &name, most, requests.get(&name), limits.get(&name)));
    }
}

/// A claim has no limits, and none are looked for.
fn of_claims(limit: &Value, claim: &Object, refusals: &mut Vec<String>) {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = of(claim.get(&["spec", "resources"]), "requests");
    for (name, least) in bounds(limit, "min") {
        refusals.extend(min(KIND, &name, least, requests.get(&name), None));
    }
    for (name, most) in bounds(limit, "max") {
        let refusal = match requests.get(&name) {
            None => Some(format!("maximum {name} usage per {KIND} is {most}.  No request is specified")),
            Some(request) if *request > most => {
                Some(format!("maximum {name} usage per {KIND} is {most}, but request is {request}"))
            }
            Some(_) => None,
        };
        refusals.extend(refusal);
    }
}

fn min(
    kind: &str,
    name: &str,
    least: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let what = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{what}.  No request is specified")),
        (Some(request), _) if *request < least => Some(format!("{what}, but request is {request}")),
        (_, Some(limit)) if *limit < least => Some(format!("{what}, but limit is {limit}")),
        _ => None,
    }
}

fn max(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let what = format!("maximum {name} usage per {kind} is {most}");
    match (limit, request) {
        (None, _) => Some(format!("{what}.  No limit is specified")),
        (Some(limit), _) if *limit > most => Some(format!("{what}, but limit is {limit}")),
        (_, Some(request)) if *request > most => Some(format!("{what}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let what = format!("{name} max limit to request ratio per {kind} is {most}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{what}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{what}, but no limit is specified or limit is 0"));
    };
    let ratio = limit.as_f64() / request.as_f64();
    (ratio > most.as_f64()).then(|| format!("{what}, but provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).expect("an object")
    }

    #[test]
    fn what_containers_leave_open_is_filled_in_and_told() {
        let range = object(json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}},
            {"type": "Pod", "max": {"cpu": "9"}},
        ]}}));
        let mut pod = object(json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "3", "memory": "1"}}}],
            "initContainers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}],
        }}));
        fill_in(&mut pod, &range, true);
        let containers = pod.get_list(&["spec", "containers"]);
        assert_eq!(
            containers[0]["resources"],
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}})
        );
        assert_eq!(
            containers[1]["resources"],
            json!({"requests": {"cpu": "3"}, "limits": {"cpu": "3", "memory": "1"}})
        );
        assert_eq!(
            pod.annotation(TOLD),
            Some(
                "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
                 cpu request for init container c; memory limit for init container c"
            )
        );
    }

    #[test]
    fn who_is_out_of_bounds_is_told_by_how_much() {
        let check = |limit: Value, resources: Value, expected: &[&str]| {
            let pod = object(json!({"spec": {"containers": [{"name": "a", "resources": resources}]}}));
            let mut refusals = Vec::new();
            of_pods(&limit, &pod, &mut refusals);
            assert_eq!(refusals, expected, "{limit} {resources}");
        };
        let container = |list: &str, amount: &str| json!({"type": "Container", list: {"cpu": amount}});
        let asks =
            |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        check(container("min", "1"), asks("1", "2"), &[]);
        check(
            container("min", "1"),
            json!({}),
            &["minimum cpu usage per Container is 1.  No request is specified"],
        );
        check(
            container("min", "1"),
            asks("500m", "2"),
            &["minimum cpu usage per Container is 1, but request is 500m"],
        );
        check(
            container("max", "1"),
            json!({}),
            &["maximum cpu usage per Container is 1.  No limit is specified"],
        );
        check(
            container("max", "1"),
            asks("1", "2"),
            &["maximum cpu usage per Container is 1, but limit is 2"],
        );
        let ratio = container("maxLimitRequestRatio", "2");
        check(ratio.clone(), asks("1", "2"), &[]);
        check(
            ratio.clone(),
            asks("1", "3"),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
        );
        check(
            ratio,
            json!({"limits": {"cpu": "1"}}),
            &[
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ],
        );
        check(
            json!({"type": "Pod", "max": {"cpu": "1"}, "min": {"memory": "1Gi"}}),
            asks("1", "2"),
            &[
                "minimum memory usage per Pod is 1Gi.  No request is specified",
                "maximum cpu usage per Pod is 1, but limit is 2",
            ],
        );
        let claim = object(json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}}));
        let mut refusals = Vec::new();
        of_claims(&json!({"max": {"storage": "1Gi"}, "min": {"storage": "6Gi"}}), &claim, &mut refusals);
        assert_eq!(
            refusals,
            [
                "minimum storage usage per PersistentVolumeClaim is 6Gi, but request is 5Gi",
                "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 5Gi",
            ]
        );
    }
}
