//! The cluster's zone.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::DnsTable;

/// The zone as it is now, for the server and for whoever replaces it.
#[derive(Default)]
pub(crate) struct SharedZone {
    zone: RwLock<Arc<DnsTable>>,
}

impl SharedZone {
    /// Answers for `table` from now on.
    pub(crate) fn replace(&self, _domain: &str, table: &DnsTable) {
        *self.zone.write() = Arc::new(table.clone());
    }
}
