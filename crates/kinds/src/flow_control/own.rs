//! The objects that every cluster has, and how they come back.

use apiserver::resource::Permanent;
use model::Object;
use serde_json::{Value, json};

use crate::flowcontrol::{flow_schema, priority_level_configuration};

/// Says whether the server may bring an object back to its form.
const KEPT: &str = "apf.kubernetes.io/autoupdate-spec";

/// One that is there to begin with, and comes back.
pub(crate) fn made(name: &str, spec: Value) -> Permanent {
    let metadata = json!({"name": name, "annotations": {KEPT: "true"}});
    Permanent::Reconciled(json!({"metadata": metadata, "spec": spec}), reconcile)
}

/// An object as it is to be, where it is not. Those that must be there are as they must be. The others are left
/// alone where their annotation says so, or where it says nothing and somebody has changed them.
pub(crate) fn reconcile(existing: &Object, wanted: &Object) -> Option<Object> {
    let name = wanted.name();
    let must = if wanted.gvk().kind == "FlowSchema" {
        flow_schema::must().iter().any(|(own, _)| *own == name)
    } else {
        priority_level_configuration::must().iter().any(|(own, _)| *own == name)
    };
    let said = existing.annotation(KEPT).and_then(base::truth::parse);
    let kept = must || said.unwrap_or(existing.generation() == 1);
    let mut new = existing.clone();
    new.set_annotation(KEPT, if kept { "true" } else { "false" });
    if kept {
        let mut spec = wanted.get(&["spec"]).cloned().unwrap_or_default();
        // What the one without limits lends is whoever wants it to.
        let own = existing.get(&["spec", "exempt"]).filter(|own| own.is_object());
        if let (Some(own), Some(exempt)) = (own, spec.get_mut("exempt")) {
            *exempt = own.clone();
        }
        new.set(&["spec"], spec);
    }
    (new != *existing).then_some(new)
}
