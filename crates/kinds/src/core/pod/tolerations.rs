//! Every pod tolerates, for a while, a node that is not ready or cannot be reached.

use model::Object;
use serde_json::{Value, json};

const SECONDS: i64 = 300;

/// Adds the tolerations that are not there in any form.
pub(super) fn add_defaults(pod: &mut Object) {
    let mut tolerations = pod.get_list(&["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations[..before].iter().any(|t| covers(t, key)) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    if tolerations.len() > before {
        pod.set(&["spec", "tolerations"], tolerations);
    }
}

fn covers(toleration: &Value, key: &str) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
}
