//! The small answers about containers.

wire! {
    /// The answer to `POST /containers/create`.
    pub(crate) struct CreateResponse {
        id: String,
        warnings: Vec<String>,
    }

    /// The answer to `POST /containers/{id}/update`.
    pub(crate) struct Updated {
        warnings: Vec<String>,
    }

    /// The answer to `POST /containers/{id}/wait`.
    pub(crate) struct WaitResponse {
        status_code: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<WaitError>,
    }

    /// Why waiting went wrong.
    pub(crate) struct WaitError {
        message: String,
    }

    /// The answer to `GET /containers/{id}/top`.
    pub(crate) struct Top {
        processes: Vec<Vec<String>>,
        titles: Vec<String>,
    }

    /// One path that differs from the image: 0 changed, 1 added, 2 removed.
    pub(crate) struct Change {
        path: String,
        kind: u8,
    }

    /// The answer to `POST /containers/prune`.
    pub(crate) struct Pruned {
        containers_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }
}
