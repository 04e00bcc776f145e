//! `GET /containers/{name}/export`: a container's files as an archive.

use crate::answer::{self, Answer};
use crate::call::Call;

/// The whole root file system.
pub(crate) async fn export(call: Call) -> Answer {
    let archive = call.engine().container_export(&call.container()?).await?;
    answer::stream("application/octet-stream", archive)
}
