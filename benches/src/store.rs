//! Durable writes into the embedded store.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use base::SystemClock;
use store::{Embedded, Options, StoreExt};

use crate::load;

const VALUE_BYTES: usize = 1024;

/// Writes into a store of its own below `place`, on whose disk the figures depend.
pub(crate) async fn measure(place: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(place).context("make a directory for the store")?;
    let clock = Arc::new(SystemClock::new());
    let store = Arc::new(Embedded::open(dir.path(), Options::default(), clock)?);
    load::writes(move |key| {
        let store = store.clone();
        async move {
            store.put(&key, vec![0x61; VALUE_BYTES]).await?;
            Ok(())
        }
    })
    .await
}
