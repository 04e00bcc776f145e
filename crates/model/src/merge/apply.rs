//! Server-side apply, and keeping track of who set what.
//!
//! Every field has managers: who applied a configuration that names it, or who changed it by another
//! request. Applying sets the named fields, refuses to change what others manage unless forced, and
//! removes what the same manager named before and no longer does, if nobody else manages it. The types
//! say what a field is: items of keyed lists are fields of their own, atomic values are taken whole.
//! See Kubernetes' page on server-side apply, and its structured-merge-diff for `fieldsV1`.

mod client_side;
mod field_set;
mod managed;
mod overlay;
mod typed;
mod versions;

use std::ops::ControlFlow;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value};

use self::field_set::{Element, FieldSet};
use self::managed::{Managed, ManagerId, Owned};
use self::versions::{Changes, View};
use crate::object::Object;
use crate::schema::{Schema, TypeRef};
use crate::status::Cause;

pub(crate) use field_set::fuzz as fuzz_field_set;
pub use overlay::{OverlayError, overlay};
pub use versions::{Versions, Wanted};

/// Who makes a request, and by which endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// The field manager's name.
    pub name: &'a str,
    /// The subresource, such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// Fields that this endpoint does not write (`&[&["status"]]` for the object itself), and so
    /// gives nobody as theirs.
    pub ignored: &'a [&'a [&'a str]],
    /// The time of the request.
    pub now: Timestamp,
}

/// Why an object could not be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that it would change: becomes [`crate::Status::apply_conflict`].
    #[error("{message}")]
    Conflict {
        /// Kubernetes' message for all conflicts together.
        message: String,
        /// One cause for each field.
        causes: Vec<Cause>,
    },
    /// The applied document has what must not be in it.
    #[error("{0}")]
    Malformed(String),
    /// It is not of its kind's types, for instance a list-map item without its key: becomes
    /// [`crate::Status::untyped_patch`].
    #[error("{0}")]
    Untyped(String),
    /// It has to be known what an object is in another version: [`Versions::learn`] it, and apply again.
    #[error("an object is wanted as {}", .0.version)]
    Wanted(Box<Wanted>),
}

impl From<Wanted> for ApplyError {
    fn from(wanted: Wanted) -> Self {
        Self::Wanted(Box::new(wanted))
    }
}

/// Fields that the server sets or that name the object: nobody's.
static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut set = FieldSet::default();
    for field in ["apiVersion", "kind", "metadata"] {
        set.insert(&[Element::field(field)]);
    }
    for field in metadata {
        set.insert(&[Element::field("metadata"), Element::field(field)]);
    }
    set
});

/// The manager of what was there before anybody was kept track of.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Merges an applied configuration into the live object, or makes the object where there is none.
/// `applied` is decoded but not defaulted. The outcome has its `managedFields` brought up to date and
/// wants defaulting; [`settle`] tells afterwards whether anything really changed.
///
/// The live object is in the version of the applied one. `versions` has it in those of its managers.
pub fn apply(
    schema: &Schema,
    live: Option<&Object>,
    applied: &Object,
    manager: Manager<'_>,
    force: bool,
    versions: &Versions,
) -> Result<Object, ApplyError> {
    if applied.get(&["metadata", "managedFields"]).is_some() {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".into()));
    }
    let ty = Some(schema.root());
    let version = applied.api_version().to_owned();
    let view = View { ty, version: applied.api_version(), versions };
    let mut managers = live.map(Managed::of).unwrap_or_default();
    let old = live.map_or_else(|| blank(applied), without_managers);
    if managers.0.is_empty() && live.is_some() {
        let before = Manager { name: BEFORE_FIRST_APPLY, subresource: "", ..manager };
        record(view, &blank(applied), &old, &mut managers, before)?;
    }
    managers.forget_unknown(view);

    let untyped = |error: typed::ListError| {
        let namespace = applied.namespace().unwrap_or_default();
        ApplyError::Untyped(format!(
            "failed to create typed patch object ({namespace}/{}; {}): {error}",
            applied.name(),
            applied.gvk()
        ))
    };
    let id = ManagerId {
        applied: true,
        name: named(manager.name),
        api_version: String::new(),
        subresource: manager.subresource.into(),
    };
    let set = typed::fields_of(ty, applied.value()).map_err(untyped)?.without(manager.ignored);
    let merged = typed::merge(ty, &old, applied.value()).map_err(untyped)?;
    let last = managers.0.get(&id).cloned().unwrap_or_default();
    managers.0.insert(id.clone(), Owned { set, api_version: version, time: last.time.clone() });
    let new = prune(view, merged, &managers, &last).map_err(|stop| match stop {
        Stop::Malformed(error) => untyped(error),
        Stop::Wanted(wanted) => wanted.into(),
    })?;

    let changes = view.changes(&old, &new, &managers, manager)?;
    let mut conflicts = conflicts(&managers, &id, &changes);
    if !force && !conflicts.is_empty() {
        if let Some(own) = live.and_then(|live| client_side::unchanged(ty, live, manager.name)) {
            conflicts.iter_mut().for_each(|(_, set)| set.subtract(&own));
            conflicts.retain(|(_, set)| !set.is_empty());
        }
        if !conflicts.is_empty() {
            return Err(conflict_error(&conflicts));
        }
    }
    managers.take(Some(&id), &changes);
    if let Some(own) = managers.0.get_mut(&id) {
        own.set.subtract(&NOBODYS);
        if old != new {
            own.time = managed::written(manager.now);
        }
    }
    managers.drop_empty();
    let mut object = Object::from_fields(into_fields(new));
    managers.write(&mut object);
    client_side::note(&mut object, applied, manager.name);
    Ok(object)
}

/// Brings `managedFields` up to date after a create, an update or a patch other than apply. `new` is
/// decoded and defaulted, and of the version of the live object, which `versions` has in those of its
/// managers. Where it lacks one, it says so: [`Versions::learn`] it, and track again.
pub fn track(
    schema: &Schema,
    live: Option<&Object>,
    new: Object,
    manager: Manager<'_>,
    versions: &Versions,
) -> Result<Object, Wanted> {
    let ty = Some(schema.root());
    let live_managers = || live.map(Managed::of).unwrap_or_default();
    let mut managers = if !manager.subresource.is_empty() {
        live_managers()
    } else if Managed::is_reset(&new) {
        Managed::default()
    } else {
        // Clients send back what they read, and may edit it; those that know nothing of managers lose none.
        let sent = Managed::of(&new);
        if sent.0.is_empty() { live_managers() } else { sent }
    };
    let mut new = new;
    // What was there before managers were kept track of stays nobody's until it is applied.
    if managers.0.is_empty() && live.is_some() {
        new.remove(&["metadata", "managedFields"]);
        return Ok(new);
    }
    let nothing = blank(&new);
    let old = live.map_or(&nothing, Object::value);
    let view = View { ty, version: new.api_version(), versions };
    managers.forget_unknown(view);
    record(view, old, new.value(), &mut managers, manager)?;
    managers.cap();
    managers.write(&mut new);
    Ok(new)
}

/// Undoes changes of nothing but `managedFields` timestamps: an object that is as it was stays as it
/// was, byte for byte. Returns whether it changed. Call it last, before the store.
pub fn settle(live: &Object, new: &mut Object) -> bool {
    if live == new {
        return false;
    }
    if !same_content(live, new) {
        return true;
    }
    let timeless = |object: &Object| {
        let mut managers = Managed::of(object);
        for owned in managers.0.values_mut() {
            owned.time = None;
        }
        managers
    };
    if timeless(live) != timeless(new) {
        return true;
    }
    *new = live.clone();
    false
}

/// Whether two objects are the same but for their managers and their revisions.
fn same_content(a: &Object, b: &Object) -> bool {
    let same = |a: &Map<String, Value>, b: &Map<String, Value>, besides: &[&str]| {
        let counted = |fields: &Map<String, Value>| {
            fields.keys().filter(|name| !besides.contains(&name.as_str())).count()
        };
        let mut fields = a.iter().filter(|(name, _)| !besides.contains(&name.as_str()));
        counted(a) == counted(b) && fields.all(|(name, value)| b.get(name) == Some(value))
    };
    let empty = Map::new();
    let a_metadata = a.fields().get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let b_metadata = b.fields().get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    same(a.fields(), b.fields(), &["metadata"])
        && same(a_metadata, b_metadata, &["managedFields", "resourceVersion"])
}

/// Gives a manager by update what it changed, and takes that from all others.
fn record<'a>(
    view: View<'a>,
    old: &'a Value,
    new: &'a Value,
    managers: &mut Managed,
    manager: Manager<'_>,
) -> Result<(), Wanted> {
    let version = view.version;
    let changes = view.changes(old, new, managers, manager)?;
    managers.take(None, &changes);
    managers.drop_empty();
    let set = changes.changed.difference(&NOBODYS);
    if set.is_empty() {
        return Ok(());
    }
    let id = ManagerId {
        applied: false,
        name: named(manager.name),
        api_version: version.into(),
        subresource: manager.subresource.into(),
    };
    let owned = managers.0.entry(id).or_default();
    owned.set.absorb(set);
    owned.api_version = version.into();
    owned.time = managed::written(manager.now);
    Ok(())
}

/// Why a merged object could not be pruned.
enum Stop {
    Malformed(typed::ListError),
    Wanted(Wanted),
}

impl From<typed::ListError> for Stop {
    fn from(error: typed::ListError) -> Self {
        Self::Malformed(error)
    }
}

impl From<Wanted> for Stop {
    fn from(wanted: Wanted) -> Self {
        Self::Wanted(wanted)
    }
}

/// Removes what the manager applied last time and no longer does, unless somebody else manages it.
/// Fields that nobody manages stay.
///
/// What was applied last is in the version of that time, and what others manage in theirs.
fn prune(view: View<'_>, merged: Value, managers: &Managed, last: &Owned) -> Result<Value, Stop> {
    if last.set.is_empty() {
        return Ok(merged);
    }
    let nothing = || Value::Object(Map::new());
    let Some((ty, everything)) = view.to(&merged, &last.api_version)? else { return Ok(merged) };
    let (last_set, fields) = (typed::with_parents(ty, &last.set), all_fields(ty, everything)?);
    // First all that was applied goes, then what is somebody's comes back, then what was nobody's.
    let mut pruned = typed::remove(ty, everything, &last_set).unwrap_or_else(nothing);
    for (version, owned) in managers.by_version(&last.api_version, view.has_several()) {
        let Some((ty, whole)) = view.to(&merged, version)? else { continue };
        let Some((_, rest)) = view.to(&pruned, version)? else { continue };
        let mut kept = all_fields(ty, rest)?;
        kept.absorb(typed::with_parents(ty, &owned));
        let all = if version == last.api_version { fields.clone() } else { all_fields(ty, whole)? };
        pruned = typed::remove(ty, whole, &all.difference(&kept)).unwrap_or_else(nothing);
    }
    let Some((_, rest)) = view.to(&pruned, &last.api_version)? else { return Ok(merged) };
    let gone = fields.difference(&all_fields(ty, rest)?).intersection(&last_set);
    let pruned = typed::remove(ty, everything, &gone).unwrap_or_else(nothing);
    let Some((_, pruned)) = view.to(&pruned, view.version)? else { return Ok(merged) };
    Ok(pruned.clone())
}

fn all_fields(ty: Option<TypeRef<'_>>, value: &Value) -> Result<FieldSet, typed::ListError> {
    fields_of_live(ty, value).map(|set| typed::with_parents(ty, &set))
}

/// The fields of a document that may hold what an applied one may not, such as items that occur twice.
fn fields_of_live(ty: Option<TypeRef<'_>>, value: &Value) -> Result<FieldSet, typed::ListError> {
    match typed::fields_of(ty, value) {
        Ok(set) => Ok(set),
        // The difference from nothing names the same fields and takes what is malformed as it is.
        Err(_) => Ok(typed::compare(ty, &Value::Object(Map::new()), value).added),
    }
}

fn conflicts(managers: &Managed, own: &ManagerId, changes: &Changes<'_>) -> Vec<(ManagerId, FieldSet)> {
    let others = managers.0.iter().filter(|(id, _)| *id != own);
    let overlaps = others.filter_map(|(id, owned)| {
        let (changed, _) = changes.seen_in(&owned.api_version)?;
        Some((id.clone(), owned.set.intersection(changed)))
    });
    overlaps.filter(|(_, set)| !set.is_empty()).collect()
}

/// How much is told of conflicts, in bytes: one object may have a hundred thousand, each with a long name.
const TOLD: usize = 64 << 10;

fn conflict_error(conflicts: &[(ManagerId, FieldSet)]) -> ApplyError {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    let total: usize = conflicts.iter().map(|(_, set)| set.count()).sum();
    let mut room = TOLD;
    for (id, set) in conflicts {
        let with = format!("conflict with {}", id.describe());
        lines.push(format!("conflicts with {}:", id.describe()));
        let told = set.each(&mut Vec::new(), &mut |path| {
            let field = managed::print(path);
            let size = with.len() + 2 * field.len();
            // The first one is told however long it is.
            if size > room && !causes.is_empty() {
                return ControlFlow::Break(());
            }
            room = room.saturating_sub(size);
            lines.push(format!("- {field}"));
            causes.push(Cause { reason: "FieldManagerConflict".into(), message: with.clone(), field });
            ControlFlow::Continue(())
        });
        if told.is_break() {
            break;
        }
    }
    if causes.len() < total {
        lines.push(format!("and {} more", total - causes.len()));
    }
    let message = match causes.as_slice() {
        [one] if total == 1 => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        _ => format!("Apply failed with {total} conflicts: {}", lines.join("\n")),
    };
    ApplyError::Conflict { message, causes }
}

/// An object of the same kind with nothing in it.
fn blank(like: &Object) -> Value {
    serde_json::json!({"apiVersion": like.api_version(), "kind": like.kind(), "metadata": {}})
}

fn without_managers(object: &Object) -> Value {
    let mut value = object.value().clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    value
}

fn into_fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn named(manager: &str) -> String {
    if manager.is_empty() { "unknown".into() } else { manager.into() }
}

#[cfg(test)]
mod tests;
