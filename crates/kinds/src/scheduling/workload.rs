//! Workloads: templates of the groups that the pods of something are placed in.

use apiserver::Resource;
use k8s_openapi::api::scheduling::v1alpha2::Workload;
use model::Object;
use model::field::{FieldError, Path};
use model::names::{dns1123_label, dns1123_subdomain, path_segment};
use model::validate::{Errors, Functions, invalid, list, text};
use serde_json::Value;

use crate::features::Features;
use crate::pod_groups::{UNSUPPORTED, changed, named, policy};
use crate::pod_spec::volume::set;

pub(crate) fn resource(features: &Features) -> Option<Resource> {
    let resource = Resource::of::<Workload>()
        .rules(Functions::of(|_, _| {}).creation(creation).change(change))
        .drops(drops);
    features.groups_pods().then_some(resource)
}

const MOST_TEMPLATES: usize = 8;

fn creation(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let (spec, path) = (object.get(&["spec"]).unwrap_or(&empty), Path::root("spec"));
    if let Some(reference) = set(spec, "controllerRef") {
        controller(reference, &path.child("controllerRef"), errors);
    }
    let templates = list(spec, "podGroupTemplates");
    let path = path.child("podGroupTemplates");
    if templates.len() > MOST_TEMPLATES {
        errors.push(FieldError::too_many(&path, templates.len(), MOST_TEMPLATES));
        return;
    }
    if templates.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    let is_known =
        |index: usize, name: &str| templates[..index].iter().any(|known| text(known, "name") == name);
    for (index, template) in
        templates.iter().enumerate().filter(|(index, one)| is_known(*index, text(one, "name")))
    {
        errors.push(FieldError::duplicate(&path.index(index), template.clone()));
    }
    for (index, template) in templates.iter().enumerate() {
        let path = path.index(index);
        named(template, "name", dns1123_label, &path, errors);
        policy(template, &path.child("schedulingPolicy"), errors);
    }
}

/// Whose pods they are.
fn controller(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    let group = text(reference, "apiGroup");
    if !group.is_empty() {
        invalid(errors, &path.child("apiGroup"), group, dns1123_subdomain(group));
    }
    named(reference, "kind", path_segment, path, errors);
    named(reference, "name", path_segment, path, errors);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    changed(object, old, &["controllerRef", "podGroupTemplates"], errors);
}

/// What of the templates is behind gates that are off.
fn drops(object: &mut Object, _: Option<&Object>) {
    let spec = object.fields_mut().get_mut("spec");
    let templates = spec.and_then(|spec| spec.get_mut("podGroupTemplates")).and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten().filter_map(Value::as_object_mut) {
        UNSUPPORTED.iter().for_each(|field| drop(template.shift_remove(*field)));
    }
}
