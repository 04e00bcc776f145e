//! Changing an object: what update, patch and the subresources have in common.
//!
//! Read from memory, change, admit, store on condition that nobody was faster; where somebody was,
//! start over with the newer object, unless the client has said which one it means.

use std::future::ready;
use std::sync::Arc;

use http::{Response, StatusCode};
use model::merge::apply::{Manager, settle};
use model::{Object, Status};

use super::{managed, phases};
use crate::admission::{Along, Operation, Options, Write};
use crate::body::Body;
use crate::cache::Stored;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::request::WriteOptions;
use crate::resource::{Graceful, Resource, wants_differ};
use crate::storage::{self, Raced};

/// How often a change is tried again after others were faster.
const TRIES: usize = 16;

/// The metadata that only the server decides.
const KEPT: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Which part of an object a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is wanted, and metadata.
    Whole,
    /// Its status, or another part of the name that the subresource has.
    Named,
    /// The number of replicas.
    Scale,
    /// What a subresource changes that knows itself what it may.
    Own,
}

/// What became of an object.
pub struct Modified {
    outcome: Outcome,
    /// What is odd about its new form.
    warnings: Vec<String>,
}

enum Outcome {
    /// It is stored in its new form, or was so already.
    Stored(Arc<Stored>),
    /// It was waiting to go and nothing holds it any more: this is how it went.
    Gone(Object),
    /// It would have this form.
    DryRun(Object),
}

impl Modified {
    /// The answer to the client.
    pub fn answer(&self, call: &Call, warnings: &[String]) -> Response<Body> {
        let warnings = [warnings, &self.warnings].concat();
        match &self.outcome {
            Outcome::Stored(stored) => call.answer(StatusCode::OK, stored, &warnings),
            Outcome::Gone(object) | Outcome::DryRun(object) => {
                call.answer_object(StatusCode::OK, object, &warnings)
            }
        }
    }

    /// The object as it is now.
    pub(crate) fn object(&self) -> Object {
        match &self.outcome {
            Outcome::Stored(stored) => stored.object(),
            Outcome::Gone(object) | Outcome::DryRun(object) => object.clone(),
        }
    }
}

/// Makes the new form of an object from the one there is.
pub(super) trait Change {
    /// Whether it says itself who manages which fields.
    const TRACKED: bool;

    /// Makes it. Called anew when somebody was faster.
    fn make(&self, old: &Object) -> impl Future<Output = Result<Object>> + Send;
}

/// A function that asks nobody.
struct AtOnce<F>(F);

impl<F: Fn(&Object) -> Result<Object>> Change for AtOnce<F> {
    const TRACKED: bool = false;

    fn make(&self, old: &Object) -> impl Future<Output = Result<Object>> + Send {
        ready((self.0)(old))
    }
}

/// Changes the object that the path names. `change` makes the new form from the one there is; it is
/// called anew when somebody was faster.
pub(crate) async fn modify(
    call: &Call,
    options: &WriteOptions,
    part: Part,
    change: impl Fn(&Object) -> Result<Object>,
) -> Result<Modified> {
    modify_by(call, options, part, AtOnce(change)).await
}

/// As [`modify`], for a change that may have to ask somebody.
pub(super) async fn modify_by<C: Change>(
    call: &Call,
    options: &WriteOptions,
    part: Part,
    change: C,
) -> Result<Modified> {
    for _ in 0..TRIES {
        let live = call.live()?;
        let old = call.served(live.clone()).await?.object();
        let new = change.make(&old).await?;
        check_preconditions(call, &new, &old)?;
        match attempt(call, options, part, C::TRACKED, new, &old, &live).await? {
            Ok(modified) => return Ok(modified),
            // The client meant that very revision.
            Err(Raced) => continue,
        }
    }
    Err(Status::modified(&call.group_resource(), &call.target.name).into())
}

/// Fields that a part gives nobody as theirs, since its endpoint does not write them.
pub(super) fn ignored_fields(call: &Call, part: Part) -> &'static [&'static [&'static str]] {
    match part {
        Part::Whole | Part::Scale if call.resource.has_subresource("status") => &[&["status"]],
        Part::Named => call.resource.strategy.kept_by_part(&call.target.subresource),
        _ => &[],
    }
}

async fn attempt(
    call: &Call,
    options: &WriteOptions,
    part: Part,
    tracked: bool,
    new: Object,
    old: &Object,
    live: &Arc<Stored>,
) -> Result<Result<Modified, Raced>> {
    let form = phases::form(call, part);
    let write = phases::write(call, Operation::Update, form, Some(old), Options::Write(options));
    let manager = Manager {
        name: &options.field_manager,
        subresource: &call.target.subresource,
        ignored: ignored_fields(call, part),
        now: call.now,
    };
    let mut new = prepare(call, &write, part, Some(manager).filter(|_| !tracked), new, old).await?;
    phases::validate_by_others(call, &write, Some(&new)).await?;
    let accompanied = phases::accompany(call, &write, &mut new).await?;
    let warnings = phases::warnings(call, &write, part, &new);
    let stored = keep(call, options, new, old, live, &accompanied.along).await?;
    Ok(stored.map(|outcome| Modified { outcome, warnings }))
}

/// Stores the new form, if it is one and in earnest. One that says nothing new is stored where the old one is not as
/// it would be stored today: in another version, or before its definition was changed.
async fn keep(
    call: &Call,
    options: &WriteOptions,
    mut new: Object,
    old: &Object,
    live: &Arc<Stored>,
    along: &[Along],
) -> Result<Result<Outcome, Raced>> {
    if goes_now(&call.resource, &new) {
        if options.dry_run {
            return Ok(Ok(Outcome::DryRun(new)));
        }
        let deleted = storage::delete(&call.state, &call.resource, live, old, along).await?;
        return Ok(deleted.map(|_| Outcome::Gone(new)));
    }
    if !settle(old, &mut new) && storage::is_as_today(&call.resource, &new, live).await? {
        return Ok(Ok(Outcome::Stored(call.served(live.clone()).await?)));
    }
    if options.dry_run {
        return Ok(Ok(Outcome::DryRun(new)));
    }
    let stored = storage::replace(&call.state, &call.resource, &new, old, live.revision(), along).await?;
    Ok(match stored {
        Ok(stored) => Ok(Outcome::Stored(call.served(stored).await?)),
        Err(raced) => Err(raced),
    })
}

/// The new form as it may be stored: what this part may not change is as it was, defaults are filled
/// in, and the rules hold.
async fn prepare(
    call: &Call,
    write: &Write<'_>,
    part: Part,
    manager: Option<Manager<'_>>,
    new: Object,
    old: &Object,
) -> Result<Object> {
    let restore = |new| restored(call, part, new, old);
    let mut new = restore(new);
    phases::default(call, &mut new)?;
    if let Some(manager) = manager {
        new = managed::note(call, Some(old), new, manager).await?;
    }
    phases::mutate(call, write, part, &mut new, restore).await?;
    phases::validate(call, write, part, &new)?;
    // What a subresource does by itself carries out what is wanted: a pod that is bound wants no other thing.
    let counts = part != Part::Own && call.resource.strategy.counts_generations();
    if counts && wants_differ(&new, old, call.resource.has_subresource("status")) {
        new.set_generation(old.generation() + 1);
    }
    Ok(new)
}

/// The new form with what this part may not change as it was.
fn restored(call: &Call, part: Part, mut new: Object, old: &Object) -> Object {
    let resource = &*call.resource;
    keep_identity(&mut new, old);
    match part {
        Part::Whole | Part::Scale if resource.has_subresource("status") => match old.get(&["status"]) {
            Some(status) => new.set(&["status"], status.clone()),
            None => drop(new.fields_mut().shift_remove("status")),
        },
        Part::Named => {
            return resource.strategy.part_update(&call.context(), &call.target.subresource, new, old);
        }
        Part::Whole | Part::Scale | Part::Own => {}
    }
    new
}

/// What an object is, without the rest of it: what [`keep_identity`] keeps.
pub(super) fn identity(object: &Object) -> Object {
    let mut identity = Object::from_fields(serde_json::Map::new());
    keep_identity(&mut identity, object);
    identity
}

/// What an object is never changes, whatever the request says.
pub(super) fn keep_identity(new: &mut Object, old: &Object) {
    for field in KEPT {
        match old.get(&["metadata", field]) {
            Some(value) => drop(new.metadata_mut().insert(field.to_owned(), value.clone())),
            None => drop(new.metadata_mut().shift_remove(field)),
        }
    }
}

fn check_preconditions(call: &Call, new: &Object, old: &Object) -> Result<()> {
    let conflict =
        |why: String| -> Error { Status::conflict(&call.group_resource(), &call.target.name, why).into() };
    if !new.uid().is_empty() && new.uid() != old.uid() {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            new.uid(),
            old.uid()
        )));
    }
    let named = new.resource_version();
    if !named.is_empty() && named != "0" && named != old.resource_version() {
        return Err(Status::modified(&call.group_resource(), &call.target.name).into());
    }
    Ok(())
}

/// Whether an object that is being deleted has nothing left to wait for.
fn goes_now(resource: &Resource, object: &Object) -> bool {
    object.is_being_deleted()
        && object.finalizers().next().is_none()
        && object.deletion_grace_period_seconds().unwrap_or(0) == 0
        && !resource.strategy.is_held(object)
}

/// Whether a deletion may go on at once.
pub(super) fn is_free(resource: &Resource, object: &Object, graceful: Graceful) -> bool {
    graceful == Graceful::AtOnce && object.finalizers().next().is_none() && !resource.strategy.is_held(object)
}
