//! What one resource does differently from the others.

use std::future::{Ready, ready};

use futures::future::{BoxFuture, Either};
use model::field::FieldError;
use model::{GroupResource, Object};

use super::Context;
use crate::allocation::Claim;
use crate::error::Result;
use crate::request::DeleteOptions;

/// What a strategy comes to: at once where nobody has to be asked, so that most writes cost no allocation
/// ([`at_once`]), otherwise by a future.
pub type Admitting<'a, T = ()> = Either<Ready<Result<T>>, BoxFuture<'a, Result<T>>>;

/// What a strategy came to without asking anybody.
pub fn at_once<'a, T>(outcome: Result<T>) -> Admitting<'a, T> {
    Either::Left(ready(outcome))
}

/// What a strategy comes to after it has asked somebody, or waited.
pub fn after_asking<'a, T>(outcome: impl Future<Output = Result<T>> + Send + 'a) -> Admitting<'a, T> {
    Either::Right(Box::pin(outcome))
}

/// What one resource does differently from the others. Each method has what most resources do.
///
/// Those that admit may take their time and fail; the others look at the object, and at what is in memory.
///
/// Here stands what needs the request, other objects, or the subresources' division of the object;
/// what can be said of an object alone is said by the resource's defaults and rules.
pub trait Strategy: Send + Sync + 'static {
    /// Admits an object that is to be made and fills in what depends on other objects. It has its
    /// name, and a wiped status. May be called for a request that fails afterwards.
    fn admit_create<'a>(&'a self, _context: &'a Context<'_>, _object: &'a mut Object) -> Admitting<'a> {
        at_once(Ok(()))
    }

    /// Admits a new form of an object; the status is still the old one.
    fn admit_update<'a>(
        &'a self,
        _context: &'a Context<'_>,
        _object: &'a mut Object,
        _old: &'a Object,
    ) -> Admitting<'a> {
        at_once(Ok(()))
    }

    /// What is wrong with an object besides what its kind's rules find.
    fn validate(&self, _object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// Whether an object may bring its status along when it is made.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Whether `metadata.generation` counts the changes of what is wanted.
    fn counts_generations(&self) -> bool {
        false
    }

    /// What the status subresource leaves as it is: what is wanted, and the parts of the metadata that are
    /// not its writers' either. Labels and annotations mostly are.
    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        &[&["spec"]]
    }

    /// As [`Strategy::kept_by_status`], for any subresource that is a part of the object, by its name. What is
    /// kept becomes no field of whoever sends it.
    fn kept_by_part(&self, _part: &str) -> &'static [&'static [&'static str]] {
        self.kept_by_status()
    }

    /// Takes from `new` only what a subresource that is a part of the object may change, by its name; the rest
    /// is from `old`. What `new` says of who manages which fields is always taken.
    fn part_update(&self, _context: &Context<'_>, part: &str, new: Object, old: &Object) -> Object {
        status_and_metadata(new, old, self.kept_by_part(part))
    }

    /// How long an object may take to end after it was deleted, and what changes when that begins.
    fn begin_delete<'a>(
        &'a self,
        _context: &'a Context<'_>,
        _object: &'a mut Object,
        _options: &'a DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        at_once(Ok(Graceful::AtOnce))
    }

    /// Whether something of the resource's own still holds an object that is being deleted.
    fn is_held(&self, _object: &Object) -> bool {
        false
    }

    /// The resource whose next change may make an object admissible that is not yet.
    fn awaits(&self, _context: &Context<'_>, _object: &Object) -> Option<GroupResource> {
        None
    }

    /// Whether objects take something that no other may have: see [`Strategy::claims`].
    fn has_claims(&self) -> bool {
        false
    }

    /// What an object takes that no other may have. It is stored in the same transaction as the object;
    /// where somebody was faster, the object is admitted anew.
    fn claims(&self, _object: &Object) -> Vec<Claim> {
        Vec::new()
    }

    /// The answer to a deletion is the object, not a `Status`.
    fn answers_deleted_object(&self) -> bool {
        false
    }
}

/// How a deletion goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graceful {
    /// The object may go now.
    AtOnce,
    /// Someone else deletes it, at the latest after so many seconds.
    Within(i64),
    /// It stays until [`Strategy::is_held`] says no more.
    Held,
}

/// Resources with nothing particular.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Strategy for Plain {}

/// `old` with the status and the metadata of `new`, but for what is `kept`.
pub fn status_and_metadata(mut new: Object, old: &Object, kept: &[&[&str]]) -> Object {
    let mut updated = old.clone();
    for part in ["metadata", "status"] {
        match new.fields_mut().shift_remove(part) {
            Some(value) => drop(updated.fields_mut().insert(part.to_owned(), value)),
            None => drop(updated.fields_mut().shift_remove(part)),
        }
    }
    for path in kept.iter().filter(|path| path.first() == Some(&"metadata")) {
        match old.get(path) {
            Some(value) => updated.set(path, value.clone()),
            None => drop(updated.remove(path)),
        }
    }
    updated
}

/// Whether what is wanted differs: everything but metadata and, where it is a part of its own, the status.
pub(crate) fn wants_differ(a: &Object, b: &Object, has_status: bool) -> bool {
    let is_wanted = |name: &str| match name {
        "metadata" | "kind" | "apiVersion" => false,
        "status" => !has_status,
        _ => true,
    };
    let count = |object: &Object| object.fields().keys().filter(|name| is_wanted(name)).count();
    let mut all = a.fields().iter().filter(|(name, _)| is_wanted(name));
    count(a) != count(b) || all.any(|(k, v)| b.fields().get(k) != Some(v))
}
