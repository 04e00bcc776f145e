//! ClusterRoles: what may be done, wherever it is granted; some gather the rules of others.

use apiserver::Resource;
use apiserver::resource::Permanent;
use k8s_openapi::api::rbac::v1::ClusterRole;
use model::Object;
use model::field::{FieldError, Path};
use model::names::path_segment;
use model::validate::{Errors, Functions, list, metadata};

use super::role::{COLUMNS, Granting};
use crate::access::{reconcile_role, wanted};
use crate::features::Features;
use crate::role_rules::{created, rules};

pub(crate) fn resource(features: &Features) -> Resource {
    let features = features.clone();
    Resource::of::<ClusterRole>()
        .made_by_update()
        .rules(Functions::of(object).name(path_segment))
        .columns(COLUMNS, |role, _| vec![role.name().into(), created(role)])
        .hook("rbac/bootstrap-roles")
        .permanent(move |_| {
            wanted("ClusterRole", &features)
                .into_iter()
                .map(|role| Permanent::AtStart(role, reconcile_role))
                .collect()
        })
        .strategy(Granting)
}

fn object(role: &Object, errors: &mut Errors) {
    rules(role, false, errors);
    let Some(aggregation) = role.get(&["aggregationRule"]).filter(|rule| !rule.is_null()) else { return };
    let rule = Path::root("aggregationRule");
    let path = rule.child("clusterRoleSelectors");
    let selectors = list(aggregation, "clusterRoleSelectors");
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(&path, why));
    }
    for (index, selector) in selectors.iter().enumerate() {
        metadata::selector(selector, &path.index(index), errors);
    }
}
