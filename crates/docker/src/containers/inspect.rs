//! `GET /containers/{name}/json`: everything about a container.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::inspect as convert;

/// Everything about a container, with its size where `size=1`.
pub(crate) async fn inspect(call: Call) -> Answer {
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
    let size = match call.query.flag("size") {
        true => Some(call.engine().container_size(&id).await?),
        false => None,
    };
    answer::json(&convert::document(&container, size))
}
