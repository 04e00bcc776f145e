//! Conditions under which a webhook is asked.

use apiserver::{Error, Write};
use model::{Object, Status};

use super::super::policies::Holder;
use super::hook::Hook;
use super::matching::As;
use super::mutating::name_of;

/// Whether the conditions of a webhook hold. Where that cannot be told, it is not asked, or nothing is written.
pub(super) async fn hold(
    hook: &Hook,
    sort: &'static str,
    write: &Write<'_>,
    of: &As,
    object: Option<&Object>,
    old: Option<&Object>,
) -> Result<bool, Error> {
    let to = match of {
        As::Itself => None,
        As::Equivalent(resource) => Some(&**resource),
    };
    let holder = Holder { name: &hook.name, kind: "webhook", sort };
    match hook.conditions.hold(holder, write, to, object, old).await {
        Ok(hold) => Ok(hold),
        Err(_) if hook.fails_open => Ok(false),
        Err(why) => {
            let resource = write.context.resource().group_resource();
            Err(Status::forbidden(&resource, name_of(write, object), why).into())
        }
    }
}
