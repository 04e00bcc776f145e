//! A node that is new runs nothing before it is known to be ready.

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;
use serde_json::json;

/// Taints new nodes; who looks after them takes it away.
pub(super) struct TaintNodesByCondition;

const KEY: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

impl Admission for TaintNodesByCondition {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if write.makes("", "nodes") {
            taint(object);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn taint(node: &mut Object) {
    let mut taints = node.get_list(&["spec", "taints"]).to_vec();
    if !taints.iter().any(|taint| taint["key"] == KEY && taint["effect"] == EFFECT) {
        taints.push(json!({"key": KEY, "effect": EFFECT}));
        node.set(&["spec", "taints"], taints);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_taint_is_there_once_beside_others() {
        let check = |taints: Value, expected: Value| {
            let mut node = Object::from_value(json!({"spec": {"taints": taints}})).expect("an object");
            taint(&mut node);
            assert_eq!(node.get(&["spec", "taints"]), Some(&expected));
        };
        let own = json!({"key": KEY, "effect": EFFECT});
        check(json!(null), json!([own]));
        check(json!([{"key": "a", "effect": EFFECT}]), json!([{"key": "a", "effect": EFFECT}, own]));
        check(
            json!([{"key": KEY, "effect": "NoExecute"}]),
            json!([{"key": KEY, "effect": "NoExecute"}, own]),
        );
        check(
            json!([{"key": KEY, "effect": EFFECT, "value": "v"}]),
            json!([{"key": KEY, "effect": EFFECT, "value": "v"}]),
        );
    }
}
