//! Labels of the pod's own that its wishes for neighbours speak of by their keys alone: what they are is put
//! into the selectors when the pod is made.

use model::Object;
use serde_json::{Map, Value, json};

const AFFINITIES: [&str; 2] = ["podAffinity", "podAntiAffinity"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Puts the values of the pod's labels into the selectors that name only their keys.
pub(super) fn merge(pod: &mut Object) {
    let labels: Map<String, Value> =
        pod.labels().iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    let Some(spec) = pod.fields_mut().get_mut("spec") else { return };
    for kind in AFFINITIES {
        for (list, inner) in [(REQUIRED, None), (PREFERRED, Some("podAffinityTerm"))] {
            let terms = spec.pointer_mut(&format!("/affinity/{kind}/{list}"));
            for term in terms.and_then(Value::as_array_mut).into_iter().flatten() {
                let term = match inner {
                    Some(inner) => term.get_mut(inner),
                    None => Some(term),
                };
                if let Some(term) = term {
                    of_term(term, "matchLabelKeys", "In", &labels);
                    of_term(term, "mismatchLabelKeys", "NotIn", &labels);
                }
            }
        }
    }
    let constraints = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    for constraint in constraints.into_iter().flatten() {
        of_term(constraint, "matchLabelKeys", "In", &labels);
    }
}

fn of_term(term: &mut Value, keys: &str, operator: &str, labels: &Map<String, Value>) {
    let keys: Vec<String> =
        model::validate::list(term, keys).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let Some(Value::Object(selector)) = term.get_mut("labelSelector") else { return };
    for key in keys {
        let Some(value) = labels.get(&key) else { continue };
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Value::Array(expressions) = expressions {
            expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
        }
    }
}
