//! Multi-version key-value store with revisions, transactions, watch, leases and compaction.
#![forbid(unsafe_code)]
