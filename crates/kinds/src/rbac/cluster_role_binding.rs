//! ClusterRoleBindings: to whom a role is granted everywhere.

use apiserver::Resource;
use apiserver::resource::Permanent;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use model::Object;
use model::names::path_segment;
use model::validate::{Errors, Functions};

use super::role_binding::{Binding, COLUMNS, cells};
use crate::access::{reconcile_binding, wanted};
use crate::features::Features;
use crate::role_rules::{binding, binding_change, binding_defaults};

pub(crate) fn resource(features: &Features) -> Resource {
    let features = features.clone();
    Resource::of::<ClusterRoleBinding>()
        .made_by_update()
        .defaults(binding_defaults)
        .rules(Functions::of(object).name(path_segment).change(binding_change))
        .columns(COLUMNS, cells)
        .hook("rbac/bootstrap-roles")
        .permanent(move |_| {
            let all = wanted("ClusterRoleBinding", &features).into_iter();
            all.map(|binding| Permanent::AtStart(binding, reconcile_binding)).collect()
        })
        .strategy(Binding)
}

fn object(object: &Object, errors: &mut Errors) {
    binding(object, &["ClusterRole"], false, errors);
}
