//! Nodes: registered by their agents, status included.

mod columns;
mod proxy;
mod rules;

use apiserver::{Resource, Strategy, Subresource};
use k8s_openapi::api::core::v1::Node;
use model::GroupVersionKind;
use model::default::{Fields, inside};
use model::select::Selectable;
use model::validate::Functions;

use crate::amounts::round_up;
use crate::proxied::VERBS;

pub(crate) fn resource() -> Resource {
    Resource::of::<Node>()
        .short(&["no"])
        .subresource(
            Subresource::new("proxy", &VERBS, proxy::handle)
                .kind(GroupVersionKind::new("", "v1", "NodeProxyOptions"))
                .stream(),
        )
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(rules::status))
        .columns(columns::COLUMNS, columns::cells)
        .selectable([Selectable::flag("spec.unschedulable")])
        .strategy(Nodes)
}

struct Nodes;

impl Strategy for Nodes {
    fn keeps_status_on_create(&self) -> bool {
        true
    }
}

/// All that a node has may be given to pods unless it says otherwise.
fn defaults(fields: &mut Fields) {
    let status = inside(fields, "status");
    round_up(status, "capacity");
    round_up(status, "allocatable");
    if let (None, Some(capacity)) = (status.get("allocatable"), status.get("capacity").cloned()) {
        status.insert("allocatable".into(), capacity);
    }
    inside(fields, "spec");
}
