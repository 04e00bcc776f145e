//! What a runtime takes for itself, and where it is, is said by its class and goes into the pods that name it.

use apiserver::{Admission, Admitting, Context, Result, Write, at_once};
use model::{GroupResource, Object, Quantity};
use serde_json::{Map, Value};

/// Puts overhead and place of a runtime into pods.
pub(super) struct RuntimeClass;

const OVERHEAD: &[&str] = &["spec", "overhead"];

impl Admission for RuntimeClass {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(if write.makes("", "pods") { admit(&write.context, object) } else { Ok(()) })
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(match object.filter(|_| write.makes("", "pods")) {
            Some(pod) => check(&write.context, pod),
            None => Ok(()),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// The class that a pod names.
fn class(context: &Context<'_>, pod: &Object) -> Result<Option<Object>> {
    let Some(name) = pod.get_str(&["spec", "runtimeClassName"]) else { return Ok(None) };
    let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
    match context.find(&classes, "", name) {
        Some(class) => Ok(Some(class)),
        None => {
            let name = model::field::quote(name);
            Err(context.forbidden(pod, format!("pod rejected: RuntimeClass {name} not found")))
        }
    }
}

fn admit(context: &Context<'_>, pod: &mut Object) -> Result<()> {
    let Some(class) = class(context, pod)? else { return Ok(()) };
    if let Some(overhead) = class.get(&["overhead", "podFixed"]).filter(|it| !it.is_null()) {
        if pod.get(OVERHEAD).is_some_and(|given| !is_same(given, overhead)) {
            return Err(differs(context, pod));
        }
        pod.set(OVERHEAD, overhead.clone());
    }
    if let Some(scheduling) = class.get(&["scheduling"]).filter(|it| !it.is_null()) {
        select(context, pod, scheduling)?;
        tolerate(pod, scheduling);
    }
    Ok(())
}

/// Nodes that have the runtime, by labels.
fn select(context: &Context<'_>, pod: &mut Object, scheduling: &Value) -> Result<()> {
    let Some(wanted) = scheduling.get("nodeSelector").and_then(Value::as_object) else { return Ok(()) };
    let given = pod.get(&["spec", "nodeSelector"]).and_then(Value::as_object);
    let mut selector = given.cloned().unwrap_or_else(Map::new);
    for (key, value) in wanted {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(given) = selector.get(key).filter(|given| *given != value) {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(given)
            );
            return Err(context.forbidden(pod, why));
        }
        selector.insert(key.clone(), value.clone());
    }
    if !selector.is_empty() {
        pod.set(&["spec", "nodeSelector"], selector);
    }
    Ok(())
}

/// Taints of nodes that have it.
fn tolerate(pod: &mut Object, scheduling: &Value) {
    let more = model::validate::list(scheduling, "tolerations");
    let mut all = pod.get_list(&["spec", "tolerations"]).to_vec();
    for toleration in more {
        if !all.contains(toleration) {
            all.push(toleration.clone());
        }
    }
    if !all.is_empty() {
        pod.set(&["spec", "tolerations"], all);
    }
}

fn check(context: &Context<'_>, pod: &Object) -> Result<()> {
    let class = class(context, pod)?;
    let wanted = class.as_ref().and_then(|class| class.get(&["overhead", "podFixed"]));
    let given = pod.get(OVERHEAD).filter(|given| given.as_object().is_some_and(|map| !map.is_empty()));
    match (wanted.filter(|wanted| !wanted.is_null()), given) {
        (Some(wanted), Some(given)) if is_same(given, wanted) => Ok(()),
        (None, None) => Ok(()),
        (Some(_), _) => Err(differs(context, pod)),
        (None, Some(_)) => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(context.forbidden(pod, why))
        }
    }
}

fn differs(context: &Context<'_>, pod: &Object) -> apiserver::Error {
    let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    context.forbidden(pod, why)
}

/// Whether two lists of amounts say the same, in whatever units.
fn is_same(one: &Value, other: &Value) -> bool {
    let read = |list: &Value| -> Vec<(String, Option<Quantity>)> {
        let entries = list.as_object().into_iter().flatten();
        let mut all: Vec<_> =
            entries.map(|(name, amount)| (name.clone(), Quantity::from_json(amount))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    read(one) == read(other)
}
