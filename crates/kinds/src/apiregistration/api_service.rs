//! APIServices: which group versions there are, and who serves each.

use apiserver::resource::{Installation, Permanent};
use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use model::default::{Fields, existing, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, flag, invalid, list, number, text as text_of};
use model::{Object, names};
use serde_json::{Value, json};

use crate::aggregation::{LOCAL, available, local_services, managed};
use crate::spec_and_status::KEEPS_METADATA;

pub(crate) fn resource() -> Resource {
    Resource::of::<APIService>()
        .category("api-extensions")
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).name(names::path_segment).status(status))
        .strategy(ApiServices)
        .columns(COLUMNS, cells)
        .permanent(permanent)
        .hook("kube-apiserver-autoregistration")
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Service", "The service behind which the group version is served."),
    text("Available", "Whether it can be asked for."),
    AGE,
];
/// In this order, as Kubernetes names them.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
const MOST_GROUP_PRIORITY: i64 = 20_000;
const MOST_VERSION_PRIORITY: i64 = 1000;

/// What is said of the group versions that the server has from the beginning. It is looked at when the server starts:
/// what somebody else has made of one stays, unless it says that it is the server's own.
fn permanent(_: &Installation) -> Vec<Permanent> {
    let own = |existing: &Object, wanted: &Object| {
        let differs = existing.get(&["spec"]) != wanted.get(&["spec"]);
        let mut changed = existing.clone();
        changed.set(&["spec"], wanted.get(&["spec"]).cloned().unwrap_or_default());
        (managed(existing).is_some() && differs).then_some(changed)
    };
    local_services().map(|object| Permanent::AtStart(object, own)).collect()
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    if let Some(service) = existing(spec, "service") {
        missing(service, "port", 443);
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let (group, version) = (text_of(spec, "group"), text_of(spec, "version"));
    let name = format!("{version}.{group}");
    if names::path_segment(object.name()).is_empty() && object.name() != name {
        let metadata = Path::root("metadata");
        let message = format!("must be `spec.version+\".\"+spec.group`: {}", model::field::quote(&name));
        errors.push(FieldError::invalid(&metadata.child("name"), object.name(), message));
    }
    let group_path = path.child("group");
    if group.is_empty() && version != "v1" {
        let message = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&group_path, message));
    }
    if !group.is_empty() {
        invalid(errors, &group_path, group, names::dns1123_subdomain(group));
    }
    invalid(errors, &path.child("version"), version, names::dns1035_label(version));
    for (field, most) in
        [("groupPriorityMinimum", MOST_GROUP_PRIORITY), ("versionPriority", MOST_VERSION_PRIORITY)]
    {
        let priority = number(spec, field).unwrap_or_default();
        if priority <= 0 || priority > most {
            let message = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&path.child(field), priority, message));
        }
    }
    let bundle = text_of(spec, "caBundle");
    let any_certificate = flag(spec, "insecureSkipTLSVerify");
    let any_path = path.child("insecureSkipTLSVerify");
    let Some(service) = spec.get("service").filter(|service| !service.is_null()) else {
        if !bundle.is_empty() {
            // Four characters of base64 stand for three bytes.
            let padding = bundle.bytes().rev().take_while(|byte| *byte == b'=').count();
            let size = format!("{} bytes", (bundle.len() / 4 * 3).saturating_sub(padding));
            let message = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), size, message));
        }
        if any_certificate {
            let message = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&any_path, true, message));
        }
        return;
    };
    let service_path = path.child("service");
    for field in ["namespace", "name"] {
        if text_of(service, field).is_empty() {
            errors.push(FieldError::required(&service_path.child(field), ""));
        }
    }
    let port = number(service, "port").unwrap_or_default();
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let message = format!("port is not valid: {}", wrong.join(", "));
        errors.push(FieldError::invalid(&service_path.child("port"), port, message));
    }
    if any_certificate && !bundle.is_empty() {
        errors.push(FieldError::invalid(&any_path, true, "may not be true if caBundle is present"));
    }
}

fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let path = Path::root("status");
    let conditions = path.child("conditions");
    let status = object.get(&["status"]).unwrap_or(&empty);
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let holds = text_of(condition, "status");
        if !STATUSES.contains(&holds) {
            let path = conditions.index(index);
            errors.push(FieldError::not_supported(&path.child("status"), holds, &STATUSES));
        }
    }
}

struct ApiServices;

impl Strategy for ApiServices {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        let is_local = object.get(&["spec", "service"]).is_none_or(Value::is_null);
        // What this server serves is there at once.
        let conditions = is_local.then(|| json!({"conditions": [available(&LOCAL, context.now())]}));
        object.set(&["status"], conditions.unwrap_or_else(|| json!({})));
        at_once(Ok(()))
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        KEEPS_METADATA
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let service = object.get(&["spec", "service"]).filter(|service| !service.is_null());
    let service = service.map_or_else(
        || "Local".to_owned(),
        |service| format!("{}/{}", text_of(service, "namespace"), text_of(service, "name")),
    );
    let conditions = object.get_list(&["status", "conditions"]);
    let condition = conditions.iter().find(|condition| text_of(condition, "type") == "Available");
    let available = condition.map_or_else(
        || "Unknown".to_owned(),
        |condition| match (text_of(condition, "status"), text_of(condition, "reason")) {
            (status @ "True", _) | (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    );
    vec![object.name().into(), service.into(), available.into(), age(object, now)]
}
