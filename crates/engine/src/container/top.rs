//! Listing a container's processes.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// Processes as a table of text.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// The column titles.
    pub titles: Vec<String>,
    /// A row for each process.
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a running container, with the columns that `ps` would show for `arguments`
    /// (`-ef` where empty; `aux` and `-o column,…` are understood).
    pub async fn container_top(&self, id: &ContainerId, arguments: &str) -> Result<Processes> {
        let _ = (id, arguments);
        todo!()
    }
}
