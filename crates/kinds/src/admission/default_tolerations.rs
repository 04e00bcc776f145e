//! Every pod tolerates, for a while, a node that is not ready or cannot be reached.

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;
use serde_json::{Value, json};

const SECONDS: i64 = 300;

/// Lets pods tolerate such a node where they do not say how long.
pub(super) struct DefaultTolerationSeconds;

impl Admission for DefaultTolerationSeconds {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if write.makes("", "pods") {
            add_defaults(object);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Adds the tolerations that are not there in any form.
fn add_defaults(pod: &mut Object) {
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
