//! PriorityClasses: whose pods go before whose.

use apiserver::Resource;
use apiserver::resource::Permanent;
use apiserver::table::{AGE, Column, NAME, age, boolean, integer, text};
use apiserver::{Admitting, Context, Graceful, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use model::Object;
use model::default::{Fields, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, flag, immutable, number, text as text_of};
use serde_json::{Value, json};

pub(crate) fn resource() -> Resource {
    Resource::of::<PriorityClass>()
        .short(&["pc"])
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .hook("scheduling/bootstrap-system-priority-classes")
        .permanent(|_| SYSTEM.iter().map(system).collect())
        .strategy(PriorityClasses)
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Value", "The priority."),
    boolean("Global-Default", "Whether it is that of pods that name none."),
    AGE,
    text("PreemptionPolicy", "Whether others may have to go for them."),
];
/// What the names of the cluster's own begin with.
const RESERVED: &str = "system-";
/// Higher ones are the cluster's own.
const HIGHEST: i64 = 1_000_000_000;
/// The cluster's own: name, priority and what they are for.
pub(crate) const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2 * HIGHEST + 1000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2 * HIGHEST,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// One that every cluster has.
fn system((name, value, description): &(&str, i64, &str)) -> Permanent {
    Permanent::Made(json!({"metadata": {"name": name}, "value": value, "description": description}))
}

/// Those that every cluster has stay.
struct PriorityClasses;

impl Strategy for PriorityClasses {
    fn counts_generations(&self) -> bool {
        true
    }

    fn begin_delete<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a apiserver::request::DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        let is_system = SYSTEM.iter().any(|(name, ..)| *name == object.name());
        at_once(if is_system {
            Err(context.forbidden(object, "this is a system priority class and cannot be deleted"))
        } else {
            Ok(Graceful::AtOnce)
        })
    }
}

fn defaults(fields: &mut Fields) {
    missing(fields, "value", 0);
    missing(fields, "preemptionPolicy", "PreemptLowerPriority");
}

fn object(object: &Object, errors: &mut Errors) {
    let value = number(object.value(), "value").unwrap_or_default();
    if object.name().starts_with(RESERVED) {
        if let Some(why) = wrong(object, value) {
            let message = format!(
                "priority class names with '{RESERVED}' prefix are reserved for system use only. error: {why}"
            );
            errors.push(FieldError::forbidden(&Path::root("metadata").child("name"), message));
        }
    } else if value > HIGHEST {
        let message = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(FieldError::forbidden(&Path::root("value"), message));
    }
    let path = Path::root("preemptionPolicy");
    match text_of(object.value(), "preemptionPolicy") {
        "PreemptLowerPriority" | "Never" => {}
        "" => errors.push(FieldError::required(&path, "")),
        other => {
            errors.push(FieldError::not_supported(&path, other, &["PreemptLowerPriority", "Never"]));
        }
    }
}

/// Why an object with a reserved name is none of the cluster's own.
fn wrong(object: &Object, value: i64) -> Option<String> {
    let name = object.name();
    let Some((_, own, _)) = SYSTEM.iter().find(|(own, ..)| *own == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *own {
        return Some(format!("value of {name} PriorityClass must be {own}"));
    }
    flag(object.value(), "globalDefault")
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    if object.get(&["value"]) != old.get(&["value"]) {
        errors.push(FieldError::forbidden(&Path::root("value"), "may not be changed in an update."));
    }
    let policy = "preemptionPolicy";
    immutable(errors, object.get(&[policy]), old.get(&[policy]), &Path::root(policy));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![
        object.name().into(),
        number(object.value(), "value").unwrap_or_default().into(),
        flag(object.value(), "globalDefault").into(),
        age(object, now),
        text_of(object.value(), "preemptionPolicy").into(),
    ]
}
