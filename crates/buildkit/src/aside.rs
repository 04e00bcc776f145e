//! Services that clients expect beside: whether somebody is there, where measurements go, content.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::service::Caller;
use crate::wire::containerd::services::content::v1::content_server::Content;
use crate::wire::containerd::services::content::v1::{
    InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse,
};
use crate::wire::grpc::health::v1::health_check_response::ServingStatus;
use crate::wire::grpc::health::v1::health_server::Health;
use crate::wire::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use crate::wire::opentelemetry::proto::collector::trace::v1::trace_service_server::TraceService;
use crate::wire::opentelemetry::proto::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};

#[tonic::async_trait]
impl Health for Caller {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
}

#[tonic::async_trait]
impl TraceService for Caller {
    /// What clients measured is of use to who measures, and to nobody here.
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse {}))
    }
}

#[tonic::async_trait]
impl Content for Caller {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(absent(&request.into_inner().digest))
    }

    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(absent(&request.into_inner().digest))
    }
}

/// Builds leave records that name no content.
fn absent(digest: &str) -> Status {
    Status::not_found(format!("content {digest}: not found"))
}
