//! A pod that is at a node gets nothing that the node has not said it can do.
//!
//! Source: <https://github.com/kubernetes/kubernetes/blob/v1.36.0/plugin/pkg/admission/nodedeclaredfeatures/admission.go>.

use apiserver::{Admission, Admitting, Operation, Result, Write, at_once};
use model::validate::text;
use model::{GroupResource, Object, Quantity};
use serde_json::Value;

/// Holds changes of pods against what their nodes declare.
pub(super) struct NodeDeclaredFeatureValidator;

/// The processors of a pod change that has them to itself.
const GUARANTEED_CPU: &str = "GuaranteedQoSPodCPUResize";
/// What is said of the pod as a whole changes.
const POD_LEVEL: &str = "InPlacePodLevelResourcesVerticalScaling";
/// What an init container has changes that runs to its end.
const INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";

impl Admission for NodeDeclaredFeatureValidator {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let (Some(new), Some(old)) = (object, write.old) else { return at_once(Ok(())) };
        at_once(check(write, new, old))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn check(write: &Write<'_>, new: &Object, old: &Object) -> Result<()> {
    let resource = write.context.resource();
    let is_pod = resource.group.is_empty() && resource.plural == "pods";
    let concerns =
        is_pod && write.operation == Operation::Update && matches!(write.subresource, "" | "resize");
    let node = new.get_str(&["spec", "nodeName"]).unwrap_or_default();
    if !concerns || node.is_empty() || new.get(&["spec"]) == old.get(&["spec"]) {
        return Ok(());
    }
    let needs = needs(new, old);
    if needs.is_empty() {
        return Ok(());
    }
    let quoted = model::field::quote(node);
    let Some(found) = write.context.find(&GroupResource::new("", "nodes"), "", node) else {
        return Err(write.context.forbidden(new, format!("node {quoted} not found")));
    };
    let declared = found.get_list(&["status", "declaredFeatures"]);
    let missing: Vec<&str> =
        needs.into_iter().filter(|feature| !declared.iter().any(|declared| declared == feature)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    let why = format!("pod update requires features {missing} which are not available on node {quoted}");
    Err(write.context.forbidden(new, why))
}

/// What a node has to be able to do for a change.
fn needs(new: &Object, old: &Object) -> Vec<&'static str> {
    let amount =
        |container: &Value| container.pointer("/resources/requests/cpu").and_then(Quantity::from_json);
    let pairs = |name: &str| new.get_list(&["spec", name]).iter().zip(old.get_list(&["spec", name]));
    let differ = |new: &Value, old: &Value| new.get("resources") != old.get("resources");
    let mut needs = Vec::new();
    if old.get_str(&["status", "qosClass"]) == Some("Guaranteed")
        && pairs("containers")
            .any(|(new, old)| matches!((amount(new), amount(old)), (Some(new), Some(old)) if new != old))
    {
        needs.push(GUARANTEED_CPU);
    }
    if new.get(&["spec", "resources"]) != old.get(&["spec", "resources"]) {
        needs.push(POD_LEVEL);
    }
    if pairs("initContainers").any(|(new, old)| text(old, "restartPolicy") != "Always" && differ(new, old)) {
        needs.push(INIT_CONTAINERS);
    }
    needs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_needs_to_do_what_the_change_is_about() {
        let pod = |containers: Value, inits: Value, whole: Value, class: &str| {
            let spec = json!({"containers": containers, "initContainers": inits, "resources": whole});
            Object::from_value(json!({"spec": spec, "status": {"qosClass": class}})).expect("an object")
        };
        let cpu = |name: &str, cpu: &str| json!([{"name": name, "resources": {"requests": {"cpu": cpu}}}]);
        let none = || json!([]);
        let check = |new: Object, old: Object, expected: &[&str]| assert_eq!(needs(&new, &old), expected);
        let of_class = |amount: &str, class: &str| pod(cpu("a", amount), none(), Value::Null, class);
        check(of_class("2", "Burstable"), of_class("1", "Burstable"), &[]);
        check(of_class("2", "Guaranteed"), of_class("1", "Guaranteed"), &[GUARANTEED_CPU]);
        check(of_class("1000m", "Guaranteed"), of_class("1", "Guaranteed"), &[]);
        let init = |amount: &str| pod(none(), cpu("i", amount), Value::Null, "Burstable");
        check(init("2"), init("1"), &[INIT_CONTAINERS]);
        let sidecar = |amount: &str| {
            let mut inits = cpu("s", amount);
            inits[0]["restartPolicy"] = json!("Always");
            pod(none(), inits, Value::Null, "Burstable")
        };
        check(sidecar("2"), sidecar("1"), &[]);
        let whole = |amount: &str| pod(none(), none(), json!({"requests": {"cpu": amount}}), "Burstable");
        check(whole("2"), whole("1"), &[POD_LEVEL]);
    }
}
