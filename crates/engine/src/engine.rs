//! The engine itself: opening, sharing and closing it.

use std::sync::Arc;

use base::{Clock, Random};

use crate::config::Config;
use crate::error::Result;

/// A handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
}

impl Engine {
    /// Opens the engine at `config.root`: finds its containers again, learns what ended meanwhile,
    /// starts those whose restart policy says so, clears away what was half made.
    ///
    /// Fails with [`crate::Kind::Conflict`] while another process has the same root open.
    pub async fn open(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        let _ = (config, clock, random);
        todo!()
    }

    /// Closes the engine: ends its tasks and lets go of the root. Stops no container.
    pub async fn close(&self) {
        todo!()
    }

    /// What the engine was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }
}
