//! Events in the form of events.k8s.io. They are stored as those of the core group.

use apiserver::Resource;
use k8s_openapi::api::events::v1::Event;
use model::validate::Functions;

use crate::event::{Form, LIFETIME, columns, conversion, rules, selectable};

pub(crate) fn resource() -> Resource {
    Resource::of::<Event>()
        .rules(Functions::of(rules::any).creation(rules::creation).change(rules::change))
        .made_by_update()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(selectable(FORM))
        .kept_for(LIFETIME)
        .stored_as(conversion())
}

/// Where the fields to select by are.
const FORM: Form = Form { object: "regarding", controller: "reportingController" };
