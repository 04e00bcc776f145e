//! Documents about builds.

wire! {
    /// The answer to `POST /build/prune`.
    pub(crate) struct Pruned {
        caches_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }
}
