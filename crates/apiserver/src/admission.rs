//! Others that are asked of a write: to change what is to be written, and whether it may be.
//!
//! The place of webhooks, policies and quotas. What the resource itself has to say is in its entry of the
//! table.

use futures::future::BoxFuture;
use model::Object;

use crate::error::Result;
use crate::identity::Identity;
use crate::resource::Context;

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

/// A write, as others see it.
pub struct Write<'a> {
    /// The resource, its namespace, other objects, the time.
    pub context: Context<'a>,
    /// Who asks for it.
    pub identity: &'a Identity,
    /// What is to be done.
    pub operation: Operation,
    /// The subresource by which it is done, empty for the object itself.
    pub subresource: &'a str,
    /// How the object is stored now; none where it is to be made.
    pub old: Option<&'a Object>,
    /// Nothing will be stored: whoever is asked must not do anything that lasts either.
    pub dry_run: bool,
}

/// Somebody who is asked of each write. May be asked again about the same one, where others were faster.
pub trait Admission: Send + Sync + 'static {
    /// Changes what is to be written. Comes after the defaults and the resource's own strategy; what it
    /// leaves out is filled in again, and the resource's rules are asked afterwards. Not asked of a
    /// deletion.
    fn mutate<'a>(&'a self, _write: &'a Write<'a>, _object: &'a mut Object) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether it may be written as it now is. `object` is none where it is to be deleted.
    fn validate<'a>(
        &'a self,
        _write: &'a Write<'a>,
        _object: Option<&'a Object>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
