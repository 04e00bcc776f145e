//! Roles: what may be done in a namespace.

use apiserver::resource::Permanent;
use apiserver::table::{Column, NAME, text};
use apiserver::{Admitting, Context, Resource, Strategy};
use futures::FutureExt as _;
use k8s_openapi::api::rbac::v1::Role;
use model::Object;
use model::names::path_segment;
use model::validate::{Errors, Functions};

use crate::access::{may_grant, reconcile_role, wanted};
use crate::features::Features;
use crate::role_rules::{created, rules};

pub(crate) fn resource(features: &Features) -> Resource {
    let features = features.clone();
    Resource::of::<Role>()
        .made_by_update()
        .rules(Functions::of(object).name(path_segment))
        .columns(COLUMNS, |role, _| vec![role.name().into(), created(role)])
        .hook("rbac/bootstrap-roles")
        .permanent(move |_| {
            wanted("Role", &features)
                .into_iter()
                .map(|role| Permanent::AtStart(role, reconcile_role))
                .collect()
        })
        .strategy(Granting)
}

/// How roles are shown.
pub(crate) const COLUMNS: &[Column] = &[NAME, text("Created At", "When it was created.")];

fn object(role: &Object, errors: &mut Errors) {
    rules(role, true, errors);
}

/// Nobody grants more than he has.
pub(crate) struct Granting;

impl Strategy for Granting {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, role: &'a mut Object) -> Admitting<'a> {
        Admitting::Right(async move { may_grant(context, role, None).await }.boxed())
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        role: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        Admitting::Right(async move { may_grant(context, role, Some(old)).await }.boxed())
    }
}
