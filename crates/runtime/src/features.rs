//! What this runtime can do, as the OCI runtime specification's features document.

/// The features document.
pub fn features() -> serde_json::Value {
    todo!()
}
