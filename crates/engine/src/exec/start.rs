//! Starting a further process.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ExecId;
use crate::stream::Attached;

impl Engine {
    /// Starts a prepared process and attaches to it; drop the streams to let it run alone.
    pub async fn exec_start(&self, id: &ExecId) -> Result<Attached> {
        let _ = id;
        todo!()
    }
}
