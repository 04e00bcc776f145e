//! `GET /containers/{name}/top`: a container's processes.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::container::Top;

/// The processes as a table.
pub(crate) async fn top(call: Call) -> Answer {
    let processes = call.engine().container_top(&call.container()?, call.query.text("ps_args")).await?;
    answer::json(&Top { processes: processes.rows, titles: processes.titles })
}
