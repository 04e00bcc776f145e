//! Events in the form of the core group, which is the one that is stored.

use apiserver::Resource;
use k8s_openapi::api::core::v1::Event;
use model::validate::Functions;

use crate::event::{Form, LIFETIME, columns, conversion, rules, selectable};

pub(crate) fn resource() -> Resource {
    Resource::of::<Event>()
        .short(&["ev"])
        .rules(Functions::of(rules::any))
        .made_by_update()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(selectable(FORM))
        .kept_for(LIFETIME)
        .stored_as(conversion())
}

/// Where the fields to select by are.
const FORM: Form = Form { object: "involvedObject", controller: "reportingComponent" };
