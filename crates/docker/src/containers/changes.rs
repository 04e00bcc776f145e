//! `GET /containers/{name}/changes`: what a container changed in its files.

use engine::container::ChangeKind;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::container::Change;

/// The changed paths; `null` where there are none.
pub(crate) async fn changes(call: Call) -> Answer {
    let changes = call.engine().container_changes(&call.container()?).await?;
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|change| Change {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    answer::json(&(!changes.is_empty()).then_some(changes))
}
