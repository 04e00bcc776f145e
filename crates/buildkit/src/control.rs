//! BuildKit's own service: builds, what they tell, sessions, the cache, history.

pub(crate) mod solve;
mod usage;

use build::solve::Upload;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderMap;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use crate::failure::status;
use crate::history::HistoryError;
use crate::progress;
use crate::service::Caller;
use crate::sessions::Introduction;
use crate::wire::moby::buildkit::v1::control_server::Control;
use crate::wire::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse, InfoRequest,
    InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest, SolveResponse,
    StatusRequest, StatusResponse, UpdateBuildHistoryRequest, UpdateBuildHistoryResponse, UsageRecord,
};
use crate::worker;

/// Messages of a session that wait to be sent.
const WAITING: usize = 16;
/// The key of an answer's head that has the time here: clients show times by their own clock.
const NOW: &str = "buildkit-current-timestamp";

impl Caller {
    /// Does a build; its `context` may have come with the request for it.
    pub(crate) async fn solve_with(
        &self,
        request: SolveRequest,
        context: Option<Upload>,
    ) -> Result<SolveResponse, Status> {
        solve::solve(self, request, context).await
    }
}

#[tonic::async_trait]
impl Control for Caller {
    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        self.solve_with(request.into_inner(), None).await.map(Response::new)
    }

    type StatusStream = BoxStream<'static, Result<StatusResponse, Status>>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let id = request.into_inner().r#ref;
        if let Some(told) = self.shared.history.told(&self.owner, &id) {
            return Ok(self.timed(stream::iter(told).map(Ok).boxed()));
        }
        let events = self.shared.builds.events(&id, &self.owner).await;
        let events = events.ok_or_else(|| Status::not_found(format!("no such job {id}")))?;
        let messages = events.ready_chunks(progress::BATCH).map(progress::messages).flat_map(stream::iter);
        Ok(self.timed(messages.map(Ok).boxed()))
    }

    type SessionStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let introduction = introduction(request.metadata());
        let refused = |error: &dyn std::fmt::Display| Status::failed_precondition(error.to_string());
        self.shared.sessions.check(&introduction).map_err(|error| refused(&error))?;
        let inward = request.into_inner().map(|message| match message {
            Ok(message) => Ok(message.data),
            Err(status) => Err(std::io::Error::other(status.message().to_owned())),
        });
        let (sender, outward) = mpsc::channel(WAITING);
        let sender = futures::SinkExt::sink_map_err(sender, std::io::Error::other);
        let sender =
            futures::SinkExt::with(
                sender,
                |data| async move { Ok::<_, std::io::Error>(BytesMessage { data }) },
            );
        let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sender)));
        let io = tokio::io::join(StreamReader::new(Box::pin(inward)), writer);
        // The session lives in its answer: it ends when the client hangs up.
        let (sessions, owner) = (self.shared.sessions.clone(), self.owner.clone());
        let held = stream::once(async move { sessions.hold(introduction, owner, io).await })
            .filter_map(|ended| async move { Some(Err(Status::unknown(ended.err()?.to_string()))) });
        Ok(Response::new(stream::select(outward.map(Ok), held).boxed()))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse { record: vec![worker::record(&self.shared.about)] }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse { buildkit_version: Some(worker::version(&self.shared.about)) }))
    }

    async fn disk_usage(
        &self,
        request: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        let records = self.shared.solver.disk_usage(&request.into_inner().filter).await;
        let records = records.map_err(|error| status(&error))?;
        Ok(Response::new(DiskUsageResponse { record: records.into_iter().map(usage::record).collect() }))
    }

    type PruneStream = BoxStream<'static, Result<UsageRecord, Status>>;

    async fn prune(&self, request: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        let options = usage::options(request.into_inner());
        let records = self.shared.solver.prune(options).await.map_err(|error| status(&error))?;
        Ok(Response::new(stream::iter(records.into_iter().map(usage::record).map(Ok)).boxed()))
    }

    type ListenBuildHistoryStream = BoxStream<'static, Result<BuildHistoryEvent, Status>>;

    async fn listen_build_history(
        &self,
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Ok(self.timed(self.shared.history.listen(&self.owner, request.into_inner()).map(Ok).boxed()))
    }

    async fn update_build_history(
        &self,
        request: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        let request = request.into_inner();
        let id = &request.r#ref;
        let known = match (request.delete, request.finalize) {
            (true, _) => self.shared.history.remove(&self.owner, id),
            // A build is in the history as soon as it has ended.
            (false, true) => Ok(()),
            (false, false) => self.shared.history.pin(&self.owner, id, request.pinned),
        };
        match known {
            Ok(()) => Ok(Response::new(UpdateBuildHistoryResponse {})),
            Err(HistoryError::None) => Err(Status::not_found(format!("build {id} not found"))),
            Err(full @ HistoryError::Full(_)) => Err(Status::resource_exhausted(full.to_string())),
        }
    }
}

impl Caller {
    /// An answer that says what time it is here.
    fn timed<T>(&self, messages: T) -> Response<T> {
        let now = self.shared.solver.engine().now().to_string();
        let mut response = Response::new(messages);
        if let Ok(now) = now.parse::<MetadataValue<Ascii>>() {
            response.metadata_mut().insert(NOW, now);
        }
        response
    }
}

/// How a client introduces a session in a call's head.
fn introduction(head: &MetadataMap) -> Introduction {
    Introduction::read(&head.clone().into_headers())
}

impl Introduction {
    /// How a client introduces a session in the head of a request.
    pub fn read(head: &HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let one = |name: &str| head.get(name).map(text).unwrap_or_default();
        Introduction {
            id: one("x-docker-expose-session-uuid"),
            shared_key: one("x-docker-expose-session-sharedkey"),
            methods: head.get_all("x-docker-expose-session-grpc-method").iter().map(text).collect(),
        }
    }
}
