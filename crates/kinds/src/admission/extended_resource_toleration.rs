//! Nodes with devices are kept for pods that ask for them: those tolerate the taint that says so.

use std::collections::BTreeSet;

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;
use serde_json::{Value, json};

use crate::resource_names::is_extended;

/// Lets pods tolerate taints named after what they ask for.
pub(super) struct ExtendedResourceToleration;

impl Admission for ExtendedResourceToleration {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if write.is_of("", "pods") {
            tolerate(object);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn tolerate(pod: &mut Object) {
    let containers =
        ["containers", "initContainers"].into_iter().flat_map(|list| pod.get_list(&["spec", list]));
    let asked = containers.filter_map(|container| container["resources"]["requests"].as_object());
    let names: BTreeSet<&String> =
        asked.flat_map(|requests| requests.keys()).filter(|name| is_extended(name)).collect();
    let mut tolerations = pod.get_list(&["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for name in names {
        let wanted = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
        let same = |known: &Value| {
            ["key", "operator", "effect"].into_iter().all(|field| known[field] == wanted[field])
                && known["value"].as_str().unwrap_or_default().is_empty()
        };
        if !tolerations.iter().any(same) {
            tolerations.push(wanted);
        }
    }
    if tolerations.len() > before {
        pod.set(&["spec", "tolerations"], tolerations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_tolerates_what_it_asks_for_and_nothing_else() {
        let asks = |name: &str| json!({"resources": {"requests": {name: "1", "cpu": "1"}}});
        let pod = json!({"spec": {
            "containers": [asks("example.com/b"), asks("example.com/a")], "initContainers": [asks("example.com/a")],
            "tolerations": [{"key": "example.com/b", "operator": "Exists", "effect": "NoSchedule"}],
        }});
        let mut pod = Object::from_value(pod).expect("an object");
        tolerate(&mut pod);
        let keys: Vec<&str> = pod
            .get_list(&["spec", "tolerations"])
            .iter()
            .filter_map(|toleration| toleration["key"].as_str())
            .collect();
        assert_eq!(keys, ["example.com/b", "example.com/a"]);
    }
}
