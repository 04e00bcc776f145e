//! Leases: what running work has brought here or stands on is not taken away from under it.
//!
//! A lease is held while the work runs. That of a pull is written down as well, so that what a killed
//! process had brought is there for the next pull, which goes on with it; if none comes, it is collected.
//! Nothing of it is flushed: after another boot it counts for nothing, and in the same one it is flushed before
//! an image stands on it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oci::Digest;

use crate::state::{self, LeaseRecord};
use crate::store::Inner;

/// How long what was left unfinished waits for somebody who goes on with it. containerd's pulls have as
/// long.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps content from being collected while it is held. Whoever drops it does not hold the tables.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Arc<Inner>,
    content: BTreeSet<Digest>,
    written: Option<(PathBuf, LeaseRecord)>,
}

impl Lease {
    /// A lease that ends with the process.
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self { inner: inner.clone(), content: BTreeSet::new(), written: None }
    }

    /// A lease that is there for whoever goes on with the work, should the process end before.
    pub(crate) fn lasting(inner: &Arc<Inner>) -> Self {
        let record = LeaseRecord {
            boot: inner.boot.clone(),
            until: inner.clock.now() + LIFE,
            content: BTreeSet::new(),
            layers: BTreeSet::new(),
        };
        let path = inner.root.join("leases").join(format!("{}.json", crate::store::unique_name()));
        let mut lease = Self::new(inner);
        lease.written = Some((path, record));
        lease
    }

    /// Keeps content of these digests from now on, here or yet to come.
    pub(crate) fn content(&mut self, digests: impl IntoIterator<Item = Digest>) {
        // Each once, however often it is named: it is let go of once.
        let new: BTreeSet<Digest> =
            digests.into_iter().filter(|digest| !self.content.contains(digest)).collect();
        self.inner.tables().pin(&new);
        if let Some((_, record)) = &mut self.written {
            record.content.extend(new.iter().cloned());
        }
        self.content.extend(new);
    }

    /// Writes down that a layer has come; in this process, it is held by whoever brought it. Losing this
    /// costs one download, so failure is no error.
    pub(crate) fn layer(&mut self, chain_id: &Digest) {
        let Some((path, record)) = &mut self.written else { return };
        if !record.layers.insert(chain_id.clone()) {
            return;
        }
        let bytes = state::encode(record);
        if let Err(error) = base::fs::write_atomic_unsynced(path, &bytes, 0o600) {
            tracing::debug!(path = %path.display(), %error, "a lease could not be written down");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((path, record)) = &self.written
            && !record.layers.is_empty()
        {
            let _ = std::fs::remove_file(path);
        }
        let mut tables = self.inner.tables();
        tables.unpin(&self.content);
        self.inner.content_sweep(&mut tables, std::mem::take(&mut self.content));
    }
}

impl Inner {
    /// Gives up what an earlier process had left unfinished, where the time is over or something whole has
    /// come of it: an image has each of its layers.
    pub(crate) fn leases_expire(&self) {
        let now = self.clock.now();
        let mut tables = self.tables();
        if tables.leases.is_empty() {
            return;
        }
        let over: Vec<String> = {
            let whole: BTreeSet<&Digest> = tables.images.values().flat_map(|image| &image.layers).collect();
            let is_over = |lease: &LeaseRecord| {
                lease.until <= now || lease.layers.iter().all(|chain_id| whole.contains(chain_id))
            };
            tables.leases.iter().filter(|(_, lease)| is_over(lease)).map(|(id, _)| id.clone()).collect()
        };
        for id in over {
            let Some(lease) = tables.leases.remove(&id) else { continue };
            let _ = std::fs::remove_file(self.root.join("leases").join(&id));
            for chain_id in &lease.layers {
                self.layer_release(&mut tables, Some(chain_id));
            }
            self.content_sweep(&mut tables, lease.content);
        }
    }
}
