//! PodGroups: pods that are placed together.

use apiserver::Resource;
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use model::Object;
use model::field::{FieldError, Path};
use model::names::{dns1123_label, dns1123_subdomain};
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::conditions;
use crate::features::Features;
use crate::pod_groups::{UNSUPPORTED, changed, named, policy};
use crate::pod_spec::volume::set;
use crate::spec_and_status::{KEEPS_METADATA, SpecAndStatus};

pub(crate) fn resource(features: &Features) -> Option<Resource> {
    let resource = Resource::of::<PodGroup>()
        .status()
        .rules(Functions::of(|_, _| {}).creation(creation).change(change).status(status))
        .drops(drops)
        .strategy(SpecAndStatus::default().with_status().kept_by_status(KEEPS_METADATA));
    features.groups_pods().then_some(resource)
}

fn creation(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let (spec, path) = (object.get(&["spec"]).unwrap_or(&empty), Path::root("spec"));
    if let Some(reference) = set(spec, "podGroupTemplateRef") {
        template(reference, &path.child("podGroupTemplateRef"), errors);
    }
    policy(spec, &path.child("schedulingPolicy"), errors);
}

/// What it was made from.
fn template(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(workload) = set(reference, "workload") else {
        errors.push(FieldError::invalid(path, "", "must specify one of: `workload`"));
        return;
    };
    let path = path.child("workload");
    named(workload, "workloadName", dns1123_subdomain, &path, errors);
    named(workload, "podGroupTemplateName", dns1123_label, &path, errors);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    changed(object, old, &["podGroupTemplateRef", "schedulingPolicy"], errors);
}

fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    conditions::all(object.get(&["status"]).unwrap_or(&empty), &Path::root("status"), errors);
}

/// What is behind gates that are off.
fn drops(object: &mut Object, _: Option<&Object>) {
    for field in UNSUPPORTED {
        object.remove(&["spec", field]);
    }
}
