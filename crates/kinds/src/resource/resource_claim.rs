//! ResourceClaims: devices that somebody asks for, and got.

use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Resource, Result, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::resource::v1::ResourceClaim;
use model::default::{Fields, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, flag, immutable, list};
use model::{GroupResource, Object, Status};
use serde_json::{Value, json};

use crate::device;
use crate::spec_and_status::KEEPS_METADATA;

pub(crate) fn resource() -> Resource {
    Resource::of::<ResourceClaim>()
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).change(change).status(device::allocation::status))
        .without_effect("no device is given to pods")
        .columns(COLUMNS, cells)
        .strategy(Claims)
}

const COLUMNS: &[Column] = &[NAME, text("State", "Whether there are devices for it."), AGE];

/// The label of namespaces in which devices may be had that others have.
const ADMIN: &str = "resource.kubernetes.io/admin-access";

struct Claims;

impl Strategy for Claims {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        at_once(admin_access(context, object))
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        KEEPS_METADATA
    }
}

/// Devices that others have are had only where the namespace says so.
fn admin_access(context: &Context<'_>, claim: &Object) -> Result<()> {
    let requests = claim.get_list(&["spec", "devices", "requests"]);
    let asks = |request: &Value| request.get("exactly").is_some_and(|exactly| flag(exactly, "adminAccess"));
    if !requests.iter().any(asks) {
        return Ok(());
    }
    let namespace = context.find(&GroupResource::new("", "namespaces"), "", context.namespace());
    if namespace.is_some_and(|namespace| namespace.label(ADMIN) == Some("true")) {
        return Ok(());
    }
    let path = Path::root("spec");
    let path = path.child("devices");
    let path = path.child("requests");
    let message = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the \
                   containing namespace";
    let errors: Vec<FieldError> = requests
        .iter()
        .enumerate()
        .filter(|(_, request)| asks(request))
        .map(|(index, _)| {
            FieldError::forbidden(&path.index(index).child("exactly").child("adminAccess"), message)
        })
        .collect();
    Err(Status::invalid(&context.resource().group_kind(), claim.name(), &errors).into())
}

fn defaults(fields: &mut Fields) {
    device::defaults::claim(inside(fields, "spec"));
    inside(fields, "status");
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    device::claim::spec(object.get(&["spec"]).unwrap_or(&empty), &Path::root("spec"), errors);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["spec"]), old.get(&["spec"]), &Path::root("spec"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let is_allocated = object.get(&["status", "allocation"]).is_some_and(|it| !it.is_null());
    let is_reserved = object.get(&["status"]).is_some_and(|status| !list(status, "reservedFor").is_empty());
    let is_deleted = object.is_being_deleted();
    let states = [
        ("deleted", is_deleted),
        ("pending", !is_allocated && !is_deleted),
        ("allocated", is_allocated),
        ("reserved", is_allocated && is_reserved),
    ];
    let states: Vec<&str> = states.into_iter().filter(|(_, is)| *is).map(|(state, _)| state).collect();
    vec![object.name().into(), states.join(",").into(), age(object, now)]
}
