//! The engine as such.

use base::record::Record;
use serde::{Deserialize, Serialize};

/// `engine.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct EngineFile {
    /// The name of the engine, made up at its first start.
    pub(crate) id: String,
}

impl Record for EngineFile {
    const KNOWN: u32 = 1;
}
