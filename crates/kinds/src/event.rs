//! What events are in both of their forms: core/v1, which is what is stored, and events.k8s.io/v1.

pub(crate) mod columns;

use std::time::Duration;

use model::Object;
use model::select::Selectable;

/// Events go after so long.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// Where one of the forms has what the other has elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) object: &'static str,
    pub(crate) controller: &'static str,
}

/// Fields to select by: each under its names in both forms, read from the form that is selected from.
pub(crate) fn selectable(form: Form) -> Vec<Selectable> {
    let parts = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let mut fields: Vec<Selectable> = Vec::new();
    for part in parts {
        let place = format!("{}.{part}", form.object);
        for object in ["regarding", "involvedObject"] {
            fields.push(Selectable::text(format!("{object}.{part}")).at(&place));
        }
    }
    fields.extend(["reason", "type"].map(Selectable::text));
    fields.extend(
        ["reportingComponent", "reportingController"].map(|name| Selectable::text(name).at(form.controller)),
    );
    fields.push(Selectable::by("source", |event: &Object| {
        let component = event.get_str(&["source", "component"]);
        let component = component.or_else(|| event.get_str(&["deprecatedSource", "component"]));
        let controller = || event.get_str(&["reportingComponent"]);
        let controller = || controller().or_else(|| event.get_str(&["reportingController"]));
        component.filter(|component| !component.is_empty()).or_else(controller).unwrap_or_default().into()
    }));
    fields
}
