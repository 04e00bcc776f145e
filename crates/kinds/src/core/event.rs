//! Events in the form of the core group, which is the one that is stored.

use apiserver::Resource;
use apiserver::request::Verb;
use k8s_openapi::api::core::v1::Event;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions};

use crate::event::{Form, LIFETIME, columns, conversion, selectable};

pub(crate) fn resource() -> Resource {
    Resource::of::<Event>()
        .short(&["ev"])
        .rules(Functions::of(object))
        .made_by_update()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(selectable(FORM))
        .nodes_may(&[Verb::Create, Verb::Update, Verb::Patch])
        .kept_for(LIFETIME)
        .stored_as(conversion())
}

/// Where the fields to select by are.
const FORM: Form = Form { object: "involvedObject", controller: "reportingComponent" };

fn object(object: &Object, errors: &mut Errors) {
    let involved = object.get_str(&["involvedObject", "namespace"]).unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    // What is cluster-wide has its events in the default namespace.
    let fits = if involved.is_empty() {
        matches!(namespace, "default" | "kube-system")
    } else {
        involved == namespace
    };
    if !fits {
        let path = Path::root("involvedObject");
        errors.push(FieldError::invalid(
            &path.child("namespace"),
            involved,
            "does not match event.namespace",
        ));
    }
}
