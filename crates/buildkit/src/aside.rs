//! Services that clients expect beside: whether somebody is there, where measurements go.

use tonic::{Request, Response, Status};

use crate::service::Caller;
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
