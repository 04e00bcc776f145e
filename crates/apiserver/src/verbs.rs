//! What can be done to every resource, a file a verb.

mod create;
mod delete;
mod delete_collection;
mod get;
mod list;
mod managed;
mod modify;
mod patch;
mod phases;
mod update;
mod watch;

use http::Response;

use crate::body::Body;
use crate::call::Call;
use crate::error::Result;
use crate::request::Verb;

pub(crate) use delete::{delete_along, delete_object};
pub(crate) use list::{respond_whole as respond, wait_until_visible};
pub use modify::Modified;
pub(crate) use modify::{Part, modify};
pub(crate) use patch::patched_document;
pub(crate) use phases::admit_sent;
pub(crate) use watch::Room;

/// Does to the resource itself, or to its status or another part, what the request asks.
pub(crate) async fn handle(call: Call) -> Result<Response<Body>> {
    let part = if call.target.subresource.is_empty() { Part::Whole } else { Part::Named };
    match call.target.verb {
        Verb::Get => get::handle(&call).await,
        Verb::List => list::handle(&call).await,
        Verb::Watch => watch::handle(call).await,
        // Writes go through many phases: what they hold is kept apart, so that reads need not carry room
        // for it along.
        Verb::Create => Box::pin(create::handle(&call)).await,
        Verb::Update => Box::pin(update::handle(&call, part)).await,
        Verb::Patch => Box::pin(patch::handle(&call, part)).await,
        Verb::Delete => Box::pin(delete::handle(&call)).await,
        Verb::DeleteCollection => Box::pin(delete_collection::handle(&call)).await,
    }
}
