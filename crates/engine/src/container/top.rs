//! Listing a container's processes.

mod columns;
mod format;

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
    /// The processes of a running container, its reaper among them, with the columns that `ps` would show for
    /// `arguments` (`-ef` where empty).
    pub async fn container_top(&self, id: &ContainerId, arguments: &str) -> Result<Processes> {
        let cell = self.inner.registry.get(id)?;
        let format = format::chosen(arguments)?;
        let shim = cell.shim()?;
        let pids = match shim.query(&Request::Pids { container: id.to_string() }).await? {
            Response::Pids(pids) => pids,
            other => return Err(crate::shim::unexpected(&other)),
        };
        let record = cell.record();
        let group = self.inner.places.container_group(&record, &cell.sandbox);
        let with_reaper = record.spec.init && cell.sandbox.is_of_one();
        // A process may have its own memory answer, or not, for what it was called with.
        let table = foreign([id.to_string()], move || {
            let host = columns::Host::read();
            // It is in none of the container's groups, so that no limit of theirs is its own.
            let reaper = if with_reaper { shim.handle.init_process().ok().flatten() } else { None };
            let reaper = reaper.and_then(|(pid, held)| columns::Process::of(pid, &held));
            // A process that ends meanwhile is not there, whoever gets its number.
            let others = pids.iter().filter_map(|&pid| columns::Process::read(pid, &group));
            let mut processes: Vec<columns::Process> = reaper.into_iter().chain(others).collect();
            for (spec, is_down) in format.order.iter().rev() {
                processes.sort_by(|one, other| {
                    let order = spec.order(one, other, &host);
                    if *is_down { order.reverse() } else { order }
                });
            }
            let row = |process: &columns::Process| {
                format.columns.iter().map(|column| column.spec.text(process, &host)).collect()
            };
            Ok(Processes {
                rows: processes.iter().map(row).collect(),
                titles: format.columns.iter().map(|column| column.title.clone()).collect(),
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
