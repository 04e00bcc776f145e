//! Builds that a client asks for in one request of another front: the session is its own, what the build
//! tells comes with the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use build::solve::Upload;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use prost::Message as _;

use crate::progress;
use crate::service::{BuildKit, Caller};
use crate::sessions::Owner;
use crate::wire::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};

/// Names builds that have got no name from a client.
static BUILDS: AtomicU64 = AtomicU64::new(0);

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The session that the files come from.
    pub session: String,
    /// The front end.
    pub front: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Who gets the result, and how; nobody if there is none.
    pub exporter: Option<(String, BTreeMap<String, String>)>,
    /// What the build may have beside what all may.
    pub entitlements: Vec<String>,
    /// The image is to say where the cache finds its layers.
    pub inline_cache: bool,
}

/// What a build tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// A `moby.buildkit.v1.StatusResponse`, encoded.
    Trace(Bytes),
    /// What the exporter says of the result; comes once, if the build succeeds.
    Exported(BTreeMap<String, String>),
}

/// Why a build failed, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildFailed(String);

impl BuildKit {
    /// Builds for `owner`, with the `context` that came along if it is not in the session or at an address; ends
    /// when all is told, or with the failure. Dropping it ends the build.
    pub fn build(
        &self,
        owner: Owner,
        build: Build,
        context: Option<Upload>,
    ) -> impl Stream<Item = Result<Told, BuildFailed>> + Send + use<> {
        let caller = Caller { shared: Arc::clone(self.shared()), owner };
        let id = format!("request-{}", BUILDS.fetch_add(1, Ordering::Relaxed));
        let exporter = build.exporter.into_iter().map(|(kind, attrs)| Exporter { r#type: kind, attrs });
        let inline = CacheOptionsEntry { r#type: "inline".to_owned(), attrs: BTreeMap::new() };
        let exports = if build.inline_cache { vec![inline] } else { Vec::new() };
        let request = SolveRequest {
            r#ref: id.clone(),
            frontend: build.front,
            frontend_attrs: build.options,
            session: build.session,
            exporters: exporter.collect(),
            cache: Some(CacheOptions { exports, ..CacheOptions::default() }),
            entitlements: build.entitlements,
            ..SolveRequest::default()
        };
        let (solving, listening) = (caller.clone(), caller);
        let solved = stream::once(async move {
            match solving.solve_with(request, context).await {
                Ok(answer) => Ok(Told::Exported(answer.exporter_response)),
                Err(status) => Err(BuildFailed(status.message().to_owned())),
            }
        });
        let traces = stream::once(async move {
            let events = listening.shared.builds.events(&id, &listening.owner).await;
            let events = events.unwrap_or_else(|| stream::empty().boxed());
            let messages =
                events.ready_chunks(progress::BATCH).map(progress::messages).flat_map(stream::iter);
            messages.map(|message| Ok(Told::Trace(Bytes::from(message.encode_to_vec()))))
        });
        stream::select(traces.flatten(), solved)
    }
}
