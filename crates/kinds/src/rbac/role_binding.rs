//! RoleBindings: to whom a role is granted in a namespace.

use apiserver::resource::Permanent;
use apiserver::table::{AGE, Column, NAME, age, text, wide};
use apiserver::{Admitting, Context, Resource, Strategy};
use base::Timestamp;
use futures::FutureExt as _;
use k8s_openapi::api::rbac::v1::RoleBinding;
use model::Object;
use model::names::path_segment;
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::access::{may_bind, reconcile_binding, wanted};
use crate::features::Features;
use crate::role_rules::{binding, binding_change, binding_defaults, reference, subjects};

pub(crate) fn resource(features: &Features) -> Resource {
    let features = features.clone();
    Resource::of::<RoleBinding>()
        .made_by_update()
        .defaults(binding_defaults)
        .rules(Functions::of(object).name(path_segment).change(binding_change))
        .columns(COLUMNS, cells)
        .hook("rbac/bootstrap-roles")
        .permanent(move |_| {
            let all = wanted("RoleBinding", &features).into_iter();
            all.map(|binding| Permanent::AtStart(binding, reconcile_binding)).collect()
        })
        .strategy(Binding)
}

/// How bindings are shown.
pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Role", "The role that is granted."),
    AGE,
    wide("Users", "The users that it is granted to."),
    wide("Groups", "The groups that it is granted to."),
    wide("ServiceAccounts", "The service accounts that it is granted to."),
];

/// A binding's cells.
pub(crate) fn cells(binding: &Object, now: Timestamp) -> Vec<Value> {
    let [users, groups, accounts] = subjects(binding);
    let name = binding.name().into();
    vec![name, reference(binding).into(), age(binding, now), users.into(), groups.into(), accounts.into()]
}

fn object(object: &Object, errors: &mut Errors) {
    binding(object, &["Role", "ClusterRole"], true, errors);
}

/// Nobody grants more than he has.
pub(crate) struct Binding;

impl Strategy for Binding {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, binding: &'a mut Object) -> Admitting<'a> {
        Admitting::Right(async move { may_bind(context, binding, None).await }.boxed())
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        binding: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        Admitting::Right(async move { may_bind(context, binding, Some(old)).await }.boxed())
    }
}
