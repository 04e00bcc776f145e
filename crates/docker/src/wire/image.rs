//! Documents about images.

use super::Map;
use super::container::Config;
use super::container::inspect::GraphDriver;

wire! {
    /// An element of `GET /images/json`.
    pub(crate) struct Summary {
        containers: i64,
        created: i64,
        id: String,
        labels: Option<Map<String>>,
        parent_id: String,
        repo_digests: Vec<String>,
        repo_tags: Vec<String>,
        shared_size: i64,
        size: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_size: Option<i64>,
    }

    /// The answer to `GET /images/{name}/json`.
    pub(crate) struct Inspect {
        id: String,
        repo_tags: Vec<String>,
        repo_digests: Vec<String>,
        parent: String,
        comment: String,
        created: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        container_config: Option<Config>,
        docker_version: String,
        author: String,
        config: Config,
        architecture: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        variant: String,
        os: String,
        size: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_size: Option<i64>,
        graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        root_fs: RootFs,
        metadata: Metadata,
        #[serde(skip_serializing_if = "Option::is_none")]
        descriptor: Option<Descriptor>,
    }

    /// The layers of an image.
    pub(crate) struct RootFs {
        #[serde(rename = "Type")]
        kind: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        layers: Vec<String>,
    }

    /// What the host knows of an image beside the image itself.
    pub(crate) struct Metadata {
        last_tag_time: String,
    }

    /// Names content, as the OCI image format does.
    pub(crate) struct Descriptor {
        #[serde(rename = "mediaType")]
        media_type: String,
        #[serde(rename = "digest")]
        digest: String,
        #[serde(rename = "size")]
        size: i64,
    }

    /// The answer to `GET /distribution/{name}/json`.
    pub(crate) struct Distribution {
        descriptor: Descriptor,
        platforms: Vec<engine::image::Platform>,
    }

    /// An element of `GET /images/{name}/history`.
    pub(crate) struct History {
        comment: String,
        created: i64,
        created_by: String,
        id: String,
        size: i64,
        tags: Option<Vec<String>>,
    }

    /// The answer to `POST /images/prune`.
    pub(crate) struct Pruned {
        images_deleted: Option<Vec<Deleted>>,
        space_reclaimed: u64,
    }

    /// One thing that went with an image: a name, or content.
    pub(crate) struct Deleted {
        #[serde(skip_serializing_if = "String::is_empty")]
        untagged: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        deleted: String,
    }

    /// The answer to `POST /commit`.
    pub(crate) struct Committed {
        id: String,
    }
}
