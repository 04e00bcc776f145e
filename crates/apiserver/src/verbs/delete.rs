//! Deleting an object: at once, after a grace period, or when its finalizers are done.

use http::{Response, StatusCode};
use model::status::Details;
use model::{Object, Status};

use super::modify::is_free;
use super::phases;
use crate::admission::{Along, Form, Operation, Options};
use crate::body::Body;
use crate::call::{Call, with_warnings};
use crate::decode;
use crate::error::{Error, Result};
use crate::request::{DeleteOptions, Propagation};
use crate::resource::{Graceful, Resource};
use crate::storage::{self, Raced};

/// The finalizers of the garbage collector.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// How often a deletion is tried again after others were faster.
const TRIES: usize = 16;

/// What became of an object that was to be deleted.
pub(crate) struct Deleted {
    outcome: Outcome,
    /// What whoever asked for it is told by others.
    warnings: Vec<String>,
}

enum Outcome {
    /// It is gone; this is how it was last.
    Gone(Object),
    /// It waits for someone.
    Pending(Object),
}

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = decode::delete_options(call)?;
    let deleted = delete_object(call, &options).await?;
    let warning =
        call.resource.orphans.filter(|warning| !warning.is_empty() && options.propagation().is_none());
    let warnings: Vec<String> = warning.into_iter().map(str::to_owned).chain(deleted.warnings).collect();
    Ok(match deleted.outcome {
        Outcome::Gone(object) if call.resource.strategy.answers_deleted_object() => {
            call.answer_object(StatusCode::OK, &object, &warnings)
        }
        Outcome::Gone(object) => with_warnings(call.answer_status(&success(call, &object)), &warnings),
        Outcome::Pending(object) => call.answer_object(StatusCode::OK, &object, &warnings),
    })
}

/// Deletes the object that the path names.
pub(crate) async fn delete_object(call: &Call, options: &DeleteOptions) -> Result<Deleted> {
    delete_along(call, options, |_, _| Ok(Vec::new())).await
}

/// As [`delete_object`], with what `along` says that is to change with it: it sees the object as it is, and as it
/// will be if it does not go at once. It may refuse, and is asked anew where somebody was faster.
pub(crate) async fn delete_along(
    call: &Call,
    options: &DeleteOptions,
    along: impl Fn(&Object, &mut Object) -> Result<Vec<Along>>,
) -> Result<Deleted> {
    let dry_run = options.is_dry_run();
    // Who was not the fastest waits for the others, which may be many: those who evict share a budget.
    let mut turn = None;
    // Others are asked once of an object as it is, and nobody waits for them in a turn: they may take their time.
    let mut asked: Option<(u64, Vec<String>)> = None;
    for attempt in 0..TRIES {
        let live = call.live()?;
        let old = call.served(live.clone()).await?.object();
        check_preconditions(call, options, &old)?;
        // An eviction is asked of before, by what was sent.
        let form = if call.target.subresource.is_empty() { Form::Own } else { Form::Effect };
        let write = phases::write(call, Operation::Delete, form, Some(&old), Options::Delete(options));
        let warnings = match asked.take().filter(|(revision, _)| *revision == live.revision()) {
            Some((_, warnings)) => warnings,
            None => {
                drop(turn.take());
                phases::validate_by_others(call, &write, None).await?;
                std::mem::take(&mut *write.warnings.lock())
            }
        };
        asked = Some((live.revision(), warnings.clone()));
        if attempt > 0 && turn.is_none() {
            turn = Some(call.state.turns.take(call.namespace()).await?);
        }
        let done = |outcome| Deleted { outcome, warnings };
        let mut new = old.clone();
        let graceful = call.resource.strategy.begin_delete(&write.context, &mut new, options).await?;
        propagate(&call.resource, &mut new, options);
        let along = along(&old, &mut new)?;
        if is_free(&call.resource, &new, graceful) {
            if dry_run {
                return Ok(done(Outcome::Gone(old)));
            }
            match storage::delete(&call.state, &call.resource, &live, &old, &along).await? {
                Ok(_) => return Ok(done(Outcome::Gone(old))),
                Err(Raced) => continue,
            }
        }
        begin(call, &mut new, graceful);
        if dry_run || new == old {
            return Ok(done(Outcome::Pending(new)));
        }
        match storage::replace(&call.state, &call.resource, &new, &old, live.revision(), &along).await? {
            Ok(stored) => {
                let object = call.served(stored).await?.object();
                return Ok(done(Outcome::Pending(object)));
            }
            Err(Raced) => continue,
        }
    }
    Err(Status::modified(&call.group_resource(), &call.target.name).into())
}

/// Marks an object that somebody still has to let go of.
fn begin(call: &Call, object: &mut Object, graceful: Graceful) {
    if !object.is_being_deleted() {
        object.set_deletion_timestamp(call.now);
        if object.generation() > 0 {
            object.set_generation(object.generation() + 1);
        }
    }
    // What waits for its content has no grace period; what waits for a node has set its own.
    if graceful == Graceful::AtOnce {
        object.metadata_mut().insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    }
}

fn propagate(resource: &Resource, object: &mut Object, options: &DeleteOptions) {
    let unsaid = || resource.orphans.filter(|_| !is_settled(object)).map(|_| Propagation::Orphan);
    let Some(propagation) = options.propagation().or_else(unsaid) else { return };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    finalizers.retain(|f| (f != ORPHAN && f != FOREGROUND) || Some(f.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    object.set_finalizers(finalizers);
}

/// Whether it was said before what becomes of the dependents.
fn is_settled(object: &Object) -> bool {
    object.is_being_deleted()
        || object.finalizers().any(|finalizer| finalizer == ORPHAN || finalizer == FOREGROUND)
}

fn check_preconditions(call: &Call, options: &DeleteOptions, old: &Object) -> Result<()> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let conflict = |what: &str, wanted: &str, found: &str| -> Error {
        let why =
            format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
        Status::conflict(&call.group_resource(), &call.target.name, why).into()
    };
    if let Some(uid) = wanted.uid.as_deref().filter(|u| *u != old.uid()) {
        return Err(conflict("UID", uid, old.uid()));
    }
    if let Some(version) = wanted.resource_version.as_deref().filter(|v| *v != old.resource_version()) {
        return Err(conflict("ResourceVersion", version, old.resource_version()));
    }
    Ok(())
}

fn success(call: &Call, object: &Object) -> Status {
    Status::success(Some(Details {
        name: object.name().to_owned(),
        group: call.resource.group.clone(),
        kind: call.resource.plural.clone(),
        uid: object.uid().to_owned(),
        ..Details::default()
    }))
}
