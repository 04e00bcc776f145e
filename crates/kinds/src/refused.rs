//! Kinds that can be read and cannot be made, since an object of them would promise what nobody does yet.

use apiserver::{Admitting, Context, Strategy, at_once};
use model::Object;

/// Refuses every new object for this reason.
pub(crate) struct Refused(pub(crate) &'static str);

impl Strategy for Refused {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        at_once(Err(context.forbidden(object, self.0)))
    }
}

/// Why no policy can be made, nor bound, that changes what is written.
pub(crate) const POLICIES: &str = "mutating admission policies are not evaluated by this server yet: what this one is to change would pass it by";
