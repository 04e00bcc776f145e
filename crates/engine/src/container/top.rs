//! Listing a container's processes.

mod columns;

use runtime::shim::protocol::{Request, Response};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::work::foreign;

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
        let cell = self.inner.registry.get(id)?;
        let columns = columns::chosen(arguments)?;
        let pids = match cell.shim()?.query(&Request::Pids { container: id.to_string() }).await? {
            Response::Pids(pids) => pids,
            other => return Err(crate::shim::unexpected(&other)),
        };
        let group = self.inner.places.container_group(&cell.record(), &cell.sandbox);
        // A process may have its own memory answer, or not, for what it was called with.
        let table = foreign([id.to_string()], move || {
            let host = columns::Host::read();
            // A process that ends meanwhile is not there, whoever gets its number.
            let rows = pids.iter().filter_map(|&pid| columns::Process::read(pid, &group));
            let rows =
                rows.map(|process| columns.iter().map(|column| column.text(&process, &host)).collect());
            Ok(Processes {
                titles: columns.iter().map(|column| column.title().to_owned()).collect(),
                rows: rows.collect(),
            })
        })
        .await?;
        if table.rows.is_empty() {
            return Err(Error::conflict(format!("container {id} is not running")));
        }
        self.emit(&cell, "top", &[]);
        Ok(table)
    }
}
