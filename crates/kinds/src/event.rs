//! What events are in both of their forms: core/v1, which is what is stored, and events.k8s.io/v1.

pub(crate) mod columns;

use std::time::Duration;

use model::Object;
use model::select::Selectable;

/// Events go after so long.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// Fields to select by: each under its names in both forms, read from the stored one.
pub(crate) fn selectable() -> Vec<Selectable> {
    let parts = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let mut fields: Vec<Selectable> = Vec::new();
    for part in parts {
        let place = format!("involvedObject.{part}");
        fields.push(Selectable::text(format!("regarding.{part}")).at(&place));
        fields.push(Selectable::text(place));
    }
    fields.extend(["reason", "reportingComponent", "type"].map(Selectable::text));
    fields.push(Selectable::text("reportingController").at("reportingComponent"));
    fields.push(Selectable::by("source", |event: &Object| {
        let component = event.get_str(&["source", "component"]).filter(|component| !component.is_empty());
        component.or_else(|| event.get_str(&["reportingComponent"])).unwrap_or_default().into()
    }));
    fields
}
