//! A request that somebody else answers: passed on with whose it is, and the answer passed back.
//!
//! It was authenticated, authorised, noted and let in as any other. What goes wrong on the way is told as Kubernetes'
//! own does: as plain text with 503, which says nothing of the cluster's inside.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Incoming};
use model::Status;
use tokio::time::Instant;

use super::peer::{self, Answered, Line, Peer, Sent, Silent};
use super::room::Entered;
use super::{Place, Registration, RemoteServer};
use crate::account::Account;
use crate::body::{Body, BrokenOff};
use crate::call::Takeover;
use crate::connections::Seat;
use crate::deadline;
use crate::error::{Error, Result};
use crate::fairness;
use crate::identity::Identity;
use crate::payload::Payload;
use crate::proxy::{asks_to_upgrade, came_from, passed_back, passed_on, switch};
use crate::request::{ResourceTarget, Verb};
use crate::service::CameFrom;
use crate::state::State;

/// Who serves a group version.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) registration: Arc<Registration>,
    pub(crate) server: Arc<RemoteServer>,
}

/// What may go on for as long as it likes.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl Remote {
    /// Whether a request is a conversation or a watch, which lasts.
    pub(crate) fn lasts(target: &ResourceTarget) -> bool {
        target.verb == Verb::Watch || STREAMS.contains(&target.subresource.as_str())
    }
}

/// Has a request answered by whoever serves it.
pub(crate) async fn forward(
    state: &Arc<State>,
    request: Request<Payload>,
    identity: &Identity,
    remote: &Remote,
    lasts: bool,
    account: &Arc<Account>,
    place: Option<Arc<fairness::Place>>,
) -> Result<Response<Body>> {
    if !is_plain(request.uri().path()) {
        return Err(Error::bad_request("the path cannot be passed on: it can be read in more than one way"));
    }
    if !remote.registration.available {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    }
    let peer = match state.aggregation.peer(&remote.server) {
        Ok(peer) => peer,
        Err(why) => return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, &why)),
    };
    let at = match state.aggregation.source.places(&remote.server.service) {
        Ok(places) if !places.is_empty() => {
            let number = state.random.next_u64() % places.len() as u64;
            places[usize::try_from(number).unwrap_or_default()].clone()
        }
        Ok(_) => return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable")),
        Err(absence) => {
            tracing::debug!(
                name = remote.registration.name,
                why = absence.message,
                "nobody to pass a request on to"
            );
            return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
        }
    };
    let (mut parts, payload) = request.into_parts();
    let upgrades = asks_to_upgrade(&parts.headers);
    let seat = parts.extensions.remove::<Arc<Seat>>();
    let takeover = parts.extensions.remove::<hyper::upgrade::OnUpgrade>().filter(|_| upgrades);
    let takeover = takeover.map(|connection| Takeover { connection, seat });
    if upgrades && takeover.is_none() {
        return Err(Error::bad_request("this connection cannot be upgraded; streams need HTTP/1.1"));
    }
    let came = parts.extensions.get::<CameFrom>().map(|remote| remote.0);
    let malformed = |_| Error::bad_request("the request cannot be passed on: it has what no header may have");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = path.parse().map_err(|_| Error::bad_request("the path cannot be passed on"))?;
    let mut headers = parts.headers;
    passed_on(&mut headers, upgrades);
    if let Some(came) = came {
        came_from(&mut headers, came).map_err(malformed)?;
    }
    peer::introduce(&mut headers, identity).map_err(malformed)?;
    headers.insert(header::HOST, HeaderValue::from_str(&peer::host(&at)).map_err(malformed)?);
    let sends = matches!(&payload, Payload::Arriving(body) if !upgrades && !body.is_end_stream());
    let body = match payload {
        Payload::Arriving(body) if !upgrades => Either::Right(body),
        Payload::Ready(bytes) => Either::Left(Full::new(bytes)),
        Payload::Arriving(_) => Either::Left(Full::default()),
    };
    let mut request: Request<Sent> = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    // Whoever waits for somebody else keeps no other request from being served; that somebody holds only so many. What
    // asks to become a conversation is none before that is granted.
    let is_bounded = !lasts || upgrades;
    let room = match is_bounded.then(|| peer.enter(&identity.user, sends)) {
        None => None,
        Some(Some(room)) => Some(room),
        Some(None) => {
            return Err(Status::too_many_requests(
                "too many requests wait for this API, please try again later",
                1,
            )
            .into());
        }
    };
    match &place {
        Some(place) if lasts => place.release(),
        Some(place) => place.offer(),
        None => {}
    }
    let limit = is_bounded.then(|| state.fairness.timeout());
    let until = limit.map(|limit| Instant::now() + limit);
    let answer = tokio::select! {
        answer = ask(state, &peer, &at, request, upgrades, limit) => answer?,
        () = state.stop.cancelled() => return Err(Status::unavailable("the server has stopped").into()),
    };
    drop(place);
    let Answered { mut answer, line } = match answer {
        Ok(answered) => answered,
        Err(why) => {
            peer.doubt();
            let doing = if upgrades { "error dialing backend" } else { "error trying to reach service" };
            return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{doing}: {why}")));
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match takeover {
            Some(takeover) => {
                line.let_go();
                Ok(switch(state, account, takeover, answer))
            }
            None => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "it switches protocols without being asked")),
        };
    }
    // A client that follows it would take what it shows here to wherever the server likes (CVE-2022-3172).
    if answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION) {
        return Ok(told(
            StatusCode::BAD_GATEWAY,
            "the backend attempted to redirect this request, which is not permitted".to_owned(),
        ));
    }
    passed_back(answer.headers_mut());
    let room = room.map(|mut room| {
        room.answered();
        room
    });
    Ok(carried(state, (peer, line), answer, &parts.method, until, room))
}

/// The head of the answer; fails where it takes too long.
async fn ask(
    state: &Arc<State>,
    peer: &Arc<Peer>,
    at: &Place,
    request: Request<Sent>,
    upgrades: bool,
    limit: Option<Duration>,
) -> Result<Result<Answered, Silent>> {
    let asking = async {
        if upgrades { peer.send_apart(state, at, request).await } else { peer.send(state, at, request).await }
    };
    match limit {
        None => Ok(asking.await),
        Some(limit) => deadline::within(limit, async { Ok(asking.await) }).await,
    }
}

/// The answer, piece by piece, as it comes. One that takes too long breaks off.
fn carried(
    state: &Arc<State>,
    way: (Arc<Peer>, Line),
    answer: Response<Incoming>,
    method: &Method,
    until: Option<Instant>,
    room: Option<Entered>,
) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    // The connection ends with an answer that is not read to its end.
    let pieces = stream::unfold(Some((body, way, room)), move |state| async move {
        let (mut body, (peer, line), room) = state?;
        loop {
            let frame = match until {
                None => body.frame().await,
                Some(until) => match tokio::time::timeout_at(until, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Some((Err(BrokenOff), None)),
                },
            };
            let Some(frame) = frame else {
                peer.keep(line);
                return None;
            };
            match frame {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some((Ok(bytes), Some((body, (peer, line), room))));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "an answer that is passed on broke off");
                    return Some((Err(BrokenOff), None));
                }
            }
        }
    });
    if *method == Method::HEAD {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let stop = state.stop.clone();
    let pieces = pieces.take_until(async move { stop.cancelled().await });
    let body = Body::carried(pieces);
    // What lasts may be read page by page; of the rest something is taken, or it ends.
    Response::from_parts(parts, if until.is_none() { body.patient() } else { body })
}

/// What a client is told in a line of text.
fn plain(code: StatusCode, text: &str) -> Response<Body> {
    told(code, format!("{text}\n"))
}

fn told(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a path has one meaning to whoever reads it: what was authorised is what it was read as here, and who answers
/// may read what is empty, leads upwards or hides a slash as something else.
fn is_plain(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/').all(|segment| {
        let decoded = percent_encoding::percent_decode_str(segment).collect::<Vec<u8>>();
        !matches!(&*decoded, b"" | b"." | b"..")
            && !decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_authorised_is_what_is_passed_on() {
        for plain in [
            "/apis/w.example.com/v1",
            "/apis/w.example.com/v1/flunders/",
            "/apis/w.example.com/v1/namespaces/a/flunders/b%20c/proxy/d.e/..f/%252F",
            "/openapi/v3/apis/w.example.com/v1",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "/apis/w.example.com/v1/namespaces/a/flunders/b%2Fstatus",
            "/apis/w.example.com/v1/namespaces/a/flunders/b%2fstatus",
            "/apis/w.example.com/v1/namespaces/a/flunders/..%2F..%2Fb%2Fflunders",
            "/apis/w.example.com/v1/namespaces/a/flunders/../b",
            "/apis/w.example.com/v1/namespaces/a/flunders/%2e%2E/b",
            "/apis/w.example.com/v1/./flunders",
            "/apis/w.example.com/v1/namespaces//flunders",
            "/apis/w.example.com/v1/flunders//",
            "/apis/w.example.com/v1/flunders/a%5Cb",
            "/apis/w.example.com/v1/flunders/a%00",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
