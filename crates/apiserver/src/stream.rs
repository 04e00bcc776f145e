//! kubectl's streams: what travels over an upgraded connection, taken apart for the nodes.
//!
//! | client asks for | over | protocol |
//! | --- | --- | --- |
//! | exec, attach | WebSocket | `v5.channel.k8s.io`, `v4.channel.k8s.io`, `channel.k8s.io`: a byte names the channel; `v4.base64.channel.k8s.io`, `base64.channel.k8s.io`: a digit does, and the rest is base64; or none, which is `channel.k8s.io` |
//! | exec, attach | SPDY/3.1 | `v4.channel.k8s.io`: a stream a channel |
//! | log | WebSocket | `binary.k8s.io`, `base64.binary.k8s.io`, or none, which is binary |
//! | port-forward | WebSocket | `SPDY/3.1+portforward.k8s.io`: SPDY frames as messages |
//! | port-forward | WebSocket | `v4.channel.k8s.io`, `v4.base64.channel.k8s.io`, or none, which is the first: two channels a port |
//! | port-forward | SPDY/3.1 | `portforward.k8s.io`: two streams a connection |
//!
//! Whatever the client speaks, the node sees [`crate::node::Streams`] or a two-way connection.
//! Sources: Kubernetes enhancement 4006, and package `remotecommand` of client-go.

mod log;
mod outcome;
mod port_channels;
mod port_forward;
mod remote_command;
mod spdy;
mod websocket;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use model::Status;

use crate::body::Body;
use crate::error::{Error, Result};

pub(crate) use log::{WEBSOCKET as LOG_WEBSOCKET, log};
pub(crate) use port_channels::named_ports;
pub(crate) use port_forward::{
    Connect, SPDY as PORT_FORWARD_SPDY, WEBSOCKET as PORT_FORWARD_WEBSOCKET, port_forward,
};
pub(crate) use remote_command::{
    Command, SPDY as COMMAND_SPDY, WEBSOCKET as COMMAND_WEBSOCKET, Wanted, remote_command,
};
pub(crate) use spdy::fuzz as fuzz_spdy;

/// The header by which SPDY clients offer protocols and learn the choice.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// How a client's connection is to be upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// To a WebSocket that speaks this protocol.
    WebSocket(&'static str),
    /// To SPDY, whose streams mean what this protocol says.
    Spdy(&'static str),
}

impl Upgrade {
    /// Picks what both sides can: the first of `websocket` or `spdy` that the client offers.
    pub(crate) fn negotiate(
        headers: &HeaderMap,
        websocket: &[&'static str],
        spdy: &[&'static str],
    ) -> Result<Self> {
        let wanted = text(headers, &header::UPGRADE).to_lowercase();
        let (offered, known) = match wanted.as_str() {
            "websocket" => (listed(headers, &header::SEC_WEBSOCKET_PROTOCOL), websocket),
            "spdy/3.1" => (listed(headers, &STREAM_PROTOCOL), spdy),
            _ => return Err(Error::bad_request("Upgrade request required")),
        };
        // A client that names no protocol takes the one without a name, where there is one.
        let fits = |known: &&'static str| match offered.as_slice() {
            [] => known.is_empty(),
            offered => offered.iter().any(|o| o == *known),
        };
        let chosen = known.iter().copied().find(fits).ok_or_else(|| {
            let why = format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
            );
            Error::from(Status::failure(403, "Forbidden", why))
        })?;
        Ok(if wanted == "websocket" { Self::WebSocket(chosen) } else { Self::Spdy(chosen) })
    }

    /// The answer that switches protocols.
    pub(crate) fn response(self, headers: &HeaderMap) -> Result<Response<Body>> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let answer = response.headers_mut();
        answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket(protocol) => {
                let key = headers
                    .get(header::SEC_WEBSOCKET_KEY)
                    .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|k| k.len() == 16))
                    .ok_or_else(|| Error::bad_request("Sec-WebSocket-Key is missing or malformed"))?;
                if text(headers, &header::SEC_WEBSOCKET_VERSION) != "13" {
                    return Err(Error::bad_request("only version 13 of WebSocket is spoken here"));
                }
                let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
                answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                answer.insert(
                    header::SEC_WEBSOCKET_ACCEPT,
                    HeaderValue::from_str(&accept).expect("base64 text is a header value"),
                );
                if !protocol.is_empty() {
                    answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
                }
            }
            Self::Spdy(protocol) => {
                answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
            }
        }
        Ok(response)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// The values of a header that may come several times or separated by commas.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_owned())
        .collect()
}
