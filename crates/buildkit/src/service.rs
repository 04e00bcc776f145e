//! The services as a whole: what a connection of a client's leads to.

use std::sync::Arc;

use build::solve::{Entitlement, Solver};
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tower::Service as _;

use crate::builds::Builds;
use crate::channel::{self, Answers, Connection, LONGEST};
use crate::history::History;
use crate::sessions::{Introduction, Owner, Sessions, SessionsError};
use crate::wire::containerd::services::content::v1::content_server::ContentServer;
use crate::wire::grpc::health::v1::health_server::HealthServer;
use crate::wire::moby::buildkit::v1::control_server::ControlServer;
use crate::wire::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridgeServer;
use crate::wire::opentelemetry::proto::collector::trace::v1::trace_service_server::TraceServiceServer;

/// What clients are told of this daemon.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What it is known by, the same after a restart.
    pub id: String,
    /// The program's version.
    pub version: String,
    /// The commit that it was built from, empty where unknown.
    pub revision: String,
    /// The version of the Dockerfile reference that is followed.
    pub dockerfile: String,
    /// The host's name.
    pub hostname: String,
    /// The address by which containers reach the host; empty where there is none.
    pub host_gateway: String,
    /// What builds may have whose clients want it.
    pub allowed: Vec<Entitlement>,
}

/// BuildKit's services before a solver. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct BuildKit {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) solver: Solver,
    pub(crate) about: About,
    pub(crate) sessions: Sessions,
    pub(crate) builds: Builds,
    pub(crate) history: History,
}

/// The calls of one client, over one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Owner,
}

impl BuildKit {
    /// The services before `solver`.
    pub fn new(solver: Solver, about: About) -> Self {
        let shared = Shared {
            solver,
            about,
            sessions: Sessions::new(),
            builds: Builds::new(),
            history: History::new(),
        };
        BuildKit { shared: Arc::new(shared) }
    }

    /// The solver that they are before.
    pub fn solver(&self) -> &Solver {
        &self.shared.solver
    }

    /// Answers the calls of `owner` that come over `io`, until it ends. A call that its client gives up
    /// ends with all that was done for it.
    pub async fn serve(&self, owner: Owner, io: impl Connection) {
        let caller = Caller { shared: Arc::clone(&self.shared), owner };
        if let Err(error) = channel::serve(io, caller).await {
            tracing::debug!(%error, "a connection with calls of builds broke off");
        }
    }

    /// What clients are told of this daemon.
    pub fn about(&self) -> &About {
        &self.shared.about
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether a session that introduces itself so can be opened.
    pub fn check_session(&self, introduction: &Introduction) -> Result<(), SessionsError> {
        self.shared.sessions.check(introduction)
    }

    /// Holds a session of `owner` over `io` until its client is gone: builds ask it for files, secrets and
    /// more.
    pub async fn hold_session(
        &self,
        introduction: Introduction,
        owner: Owner,
        io: impl Connection,
    ) -> Result<(), SessionsError> {
        self.shared.sessions.hold(introduction, owner, io).await
    }
}

macro_rules! answered {
    ($server:ident, $caller:expr, $request:expr) => {{
        let mut server = $server::new($caller).max_decoding_message_size(LONGEST);
        match server.call(channel::boxed($request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }};
}

impl Answers for Caller {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let caller = self.clone();
        match path.split('/').nth(1).unwrap_or_default() {
            "moby.buildkit.v1.Control" => answered!(ControlServer, caller, request),
            "moby.buildkit.v1.frontend.LLBBridge" => answered!(LlbBridgeServer, caller, request),
            "containerd.services.content.v1.Content" => answered!(ContentServer, caller, request),
            "opentelemetry.proto.collector.trace.v1.TraceService" => {
                answered!(TraceServiceServer, caller, request)
            }
            "grpc.health.v1.Health" => answered!(HealthServer, caller, request),
            _ => channel::unimplemented(&path),
        }
    }
}
