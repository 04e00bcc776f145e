//! Documents about volumes.

use super::Map;

wire! {
    /// A volume.
    pub(crate) struct Volume {
        created_at: String,
        driver: String,
        labels: Option<Map<String>>,
        mountpoint: String,
        name: String,
        options: Option<Map<String>>,
        scope: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage_data: Option<Usage>,
    }

    /// How much a volume holds and how many containers refer to it.
    pub(crate) struct Usage {
        ref_count: i64,
        size: i64,
    }

    /// The answer to `GET /volumes`.
    pub(crate) struct List {
        volumes: Vec<Volume>,
        warnings: Option<Vec<String>>,
    }

    /// The body of `POST /volumes/create`.
    pub(crate) struct Create {
        name: String,
        driver: String,
        driver_opts: Map<String>,
        labels: Map<String>,
        cluster_volume_spec: Option<serde_json::Value>,
    }

    /// The answer to `POST /volumes/prune`.
    pub(crate) struct Pruned {
        volumes_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }
}
