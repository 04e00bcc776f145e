//! Server-side apply, and keeping track of who set what.

use jiff::Timestamp;

use crate::object::Object;
use crate::schema::Schema;
use crate::status::Cause;

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
    /// The applied document is malformed, for instance a list-map item without its key.
    #[error("{0}")]
    Malformed(String),
}

/// Merges an applied configuration into the live object, or makes the object where there is none.
/// `applied` is decoded but not defaulted. The outcome has its `managedFields` brought up to date and
/// wants defaulting; [`settle`] tells afterwards whether anything really changed.
pub fn apply(
    schema: &Schema,
    live: Option<&Object>,
    applied: &Object,
    manager: Manager<'_>,
    force: bool,
) -> Result<Object, ApplyError> {
    let _ = (schema, live, applied, manager, force);
    todo!()
}

/// Brings `managedFields` up to date after a create, an update or a patch other than apply. `new` is
/// decoded and defaulted.
pub fn track(schema: &Schema, live: Option<&Object>, new: Object, manager: Manager<'_>) -> Object {
    let _ = (schema, live, manager);
    new
}

/// Undoes changes of nothing but `managedFields` timestamps: an object that is as it was stays as it
/// was, byte for byte. Returns whether it changed. Call it last, before the store.
pub fn settle(live: &Object, new: &mut Object) -> bool {
    let _ = (live, new);
    todo!()
}
