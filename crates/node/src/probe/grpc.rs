//! The health protocol of gRPC (`grpc.health.v1.Health/Check`), without encryption, as the kubelet speaks it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::uri::PathAndQuery;
use k8s_openapi::api::core::v1::GRPCAction;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::check::USER_AGENT;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    /// The word of the protocol's definition.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Asks once; `Err` says why it failed, in the words of the kubelet's events.
pub(super) async fn check(address: IpAddr, action: &GRPCAction, timeout: Duration) -> Result<(), String> {
    let port = u16::try_from(action.port).map_err(|_| format!("invalid port {}", action.port))?;
    let address = SocketAddr::new(address, port);
    let end = tokio::time::Instant::now() + timeout;
    let seconds = timeout.as_secs();
    let channel = match tokio::time::timeout_at(end, connect(address)).await {
        Ok(channel) => channel.map_err(|error| {
            format!("error: failed to connect service at \"{address}\": {}", base::error::chain(&error))
        })?,
        Err(_) => {
            return Err(format!(
                "timeout: failed to connect service \"{address}\" within {seconds}s: context deadline exceeded"
            ));
        }
    };
    let service = action.service.clone().unwrap_or_default();
    let status = match tokio::time::timeout_at(end, ask(channel, service)).await {
        Ok(answer) => answer.map_err(|status| refused(&status))?,
        Err(_) => return Err(format!("timeout: health rpc did not complete within {seconds}s")),
    };
    match ServingStatus::try_from(status) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(status) => Err(format!("service unhealthy (responded with \"{}\")", status.as_str())),
        Err(_) => Err(format!("service unhealthy (responded with \"{status}\")")),
    }
}

async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?.user_agent(USER_AGENT)?.connect().await
}

async fn ask(channel: Channel, service: String) -> Result<i32, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(super::check::KEPT);
    client.ready().await.map_err(|error| Status::unavailable(base::error::chain(&error).to_string()))?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthCheckRequest, HealthCheckResponse> = ProstCodec::default();
    let answer = client.unary(tonic::Request::new(HealthCheckRequest { service }), path, codec).await?;
    Ok(answer.into_inner().status)
}

fn refused(status: &Status) -> String {
    match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        ),
        code => {
            format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {}", status.message())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use bytes::{BufMut as _, Bytes, BytesMut};
    use http::{HeaderMap, Response};
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message as _;
    use tokio::net::TcpListener;

    /// What a server that knows the service `shop` makes of a probe.
    async fn probed(service: Option<&str>, status: &'static str, answer: i32) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = hyper::service::service_fn(move |request| serve(request, status, answer));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(stream), service).await
        });
        let action = GRPCAction { port: port.into(), service: service.map(str::to_owned) };
        check(IpAddr::from([127, 0, 0, 1]), &action, Duration::from_secs(20)).await
    }

    type Answer =
        Response<StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>;

    async fn serve(
        request: http::Request<Incoming>,
        status: &'static str,
        answer: i32,
    ) -> Result<Answer, Infallible> {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let asked = HealthCheckRequest::decode(&body[5..]).expect("a request").service;
        let known = asked.is_empty() || asked == "shop";
        let status = if known { status } else { "5" };
        let message = HealthCheckResponse { status: answer }.encode_to_vec();
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(message.len()).expect("short"));
        data.put_slice(&message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().expect("a header"));
        trailers.insert("grpc-message", "told".parse().expect("a header"));
        let frames = if status == "0" {
            vec![Ok(Frame::data(data.freeze())), Ok(Frame::trailers(trailers))]
        } else {
            vec![Ok(Frame::trailers(trailers))]
        };
        let answer = Response::builder().header("content-type", "application/grpc");
        Ok(answer.body(StreamBody::new(futures::stream::iter(frames))).expect("an answer"))
    }

    #[tokio::test]
    async fn a_service_is_healthy_if_it_says_that_it_serves() {
        assert_eq!(probed(None, "0", 1).await, Ok(()));
        assert_eq!(probed(Some("shop"), "0", 1).await, Ok(()));
        let unhealthy = Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned());
        assert_eq!(probed(Some("shop"), "0", 2).await, unhealthy);
    }

    #[tokio::test]
    async fn what_does_not_speak_the_protocol_is_told_in_the_kubelet_s_words() {
        let none =
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): told";
        assert_eq!(probed(None, "12", 1).await, Err(none.to_owned()));
        let unknown = "error: health rpc probe failed: rpc error: code = NotFound desc = told";
        assert_eq!(probed(Some("none"), "0", 1).await, Err(unknown.to_owned()));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_never_answers_fails_the_probe_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let action =
            GRPCAction { port: listener.local_addr().expect("an address").port().into(), service: None };
        let silent = check(IpAddr::from([127, 0, 0, 1]), &action, Duration::from_millis(200)).await;
        assert!(silent.expect_err("it says nothing").starts_with("timeout: health rpc did not complete"));
        drop(listener);
        let gone = check(IpAddr::from([127, 0, 0, 1]), &action, Duration::from_secs(20)).await;
        assert!(gone.expect_err("nobody listens").starts_with("error: failed to connect service at "));
    }
}
