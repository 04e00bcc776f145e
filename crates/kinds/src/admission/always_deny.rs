//! Nothing is written at all.

use apiserver::{Admission, Admitting, Write, at_once};
use model::{Object, Status};

/// Refuses whatever is asked.
pub(super) struct AlwaysDeny;

impl Admission for AlwaysDeny {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let name = object.or(write.old).map(Object::name).unwrap_or_default();
        let resource = write.context.resource().group_resource();
        at_once(Err(
            Status::forbidden(&resource, name, "admission control is denying all modifications").into()
        ))
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        true
    }
}
