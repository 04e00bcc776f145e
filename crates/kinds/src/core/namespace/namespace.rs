//! Namespaces: two-phase deletion, in which everything inside goes first.

mod finalize;

use apiserver::request::{DeleteOptions, Verb};
use apiserver::resource::Permanent;
use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Graceful, Resource, Strategy, Subresource, at_once};
use base::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use model::default::{Fields, inside, text as text_of, unset};
use model::field::{FieldError, Path};
use model::names::{dns1123_label, qualified};
use model::select::Selectable;
use model::validate::{Errors, Functions, invalid, metadata};
use model::{Object, Status};
use serde_json::{Value, json};

/// Namespaces that are always there.
const PERMANENT: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// The finalizer in `spec` that holds a namespace until its content is gone.
const CONTENT: &str = "kubernetes";

pub(crate) fn resource() -> Resource {
    Resource::of::<Namespace>()
        .short(&["ns"])
        .status()
        .subresource(Subresource::new("finalize", &[Verb::Update], finalize::handle))
        .defaults(defaults)
        .rules(Functions::of(object).name(dns1123_label).status(status))
        .warnings(warnings)
        .columns(COLUMNS, cells)
        .selectable([Selectable::text("status.phase")])
        .hook("start-system-namespaces-controller")
        .permanent(|_| {
            PERMANENT.iter().map(|name| Permanent::Made(json!({"metadata": {"name": name}}))).collect()
        })
        .strategy(Namespaces)
}

const COLUMNS: &[Column] = &[NAME, text("Status", "Whether it is active or terminating."), AGE];

/// Labels by which pods of the namespace would be kept from what they might do; nothing looks at them yet.
const LEVELS: [&str; 3] = ["enforce", "audit", "warn"];

fn warnings(object: &Object, old: Option<&Object>) -> Vec<String> {
    let asked = LEVELS.iter().filter_map(|mode| {
        let label = format!("pod-security.kubernetes.io/{mode}");
        let level = object.label(&label).filter(|level| *level != "privileged")?;
        let is_new = old.and_then(|old| old.label(&label)) != Some(level);
        is_new.then(|| {
            format!(
                "metadata.labels[{label}]: pods are not held to a level yet, {level} is stored without effect"
            )
        })
    });
    asked.collect()
}

/// What holds a namespace has a name.
fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let path = path.child("finalizers");
    for name in object.get_list(&["spec", "finalizers"]).iter().filter_map(Value::as_str) {
        finalizer(name, &path, errors);
    }
}

/// What the name of a finalizer may be.
fn finalizer(name: &str, path: &Path<'_>, errors: &mut Errors) {
    invalid(errors, path, name, qualified(name));
    metadata::own_finalizer(name, path, errors);
}

/// A namespace is active until it is deleted.
fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    let (expected, state) =
        if object.is_being_deleted() { ("Terminating", "is not empty") } else { ("Active", "is empty") };
    if phase != expected {
        let path = Path::root("status");
        let message = format!("may only be '{expected}' if `deletionTimestamp` {state}");
        errors.push(FieldError::invalid(&path.child("Phase"), phase, message));
    }
}

struct Namespaces;

impl Strategy for Namespaces {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        label(object);
        object.set(&["spec", "finalizers"], json!([CONTENT]));
        object.set(&["status"], json!({"phase": "Active"}));
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        label(object);
        object.set(&["spec", "finalizers"], old.get_list(&["spec", "finalizers"]).to_vec());
        at_once(Ok(()))
    }

    fn begin_delete<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        if PERMANENT.contains(&object.name()) {
            let resource = context.resource().group_resource();
            let refused = Status::forbidden(&resource, object.name(), "this namespace may not be deleted");
            return at_once(Err(refused.into()));
        }
        object.set(&["status", "phase"], "Terminating");
        at_once(Ok(if self.is_held(object) { Graceful::Held } else { Graceful::AtOnce }))
    }

    fn is_held(&self, object: &Object) -> bool {
        !object.get_list(&["spec", "finalizers"]).is_empty()
    }

    fn answers_deleted_object(&self) -> bool {
        true
    }
}

/// Every namespace carries its name as a label, so that selectors can pick it.
fn label(object: &mut Object) {
    const NAME: &str = "kubernetes.io/metadata.name";
    let name = object.name().to_owned();
    if object.label(NAME) != Some(&name) {
        object.set_label(NAME, &name);
    }
}

/// The name is a label, so that selectors can name it.
fn defaults(fields: &mut Fields) {
    let metadata = inside(fields, "metadata");
    let name = text_of(metadata, "name").to_owned();
    // A name that is still to be generated comes later, and the label with it.
    if !name.is_empty() {
        inside(metadata, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    }
    inside(fields, "spec");
    unset(inside(fields, "status"), "phase", "Active");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    vec![object.name().into(), phase.into(), age(object, now)]
}
