//! The log of a container: a body of text, or messages over a WebSocket.

use futures::StreamExt;
use http::{HeaderValue, Response, header};
use model::Object;

use super::{pod, streams};
use crate::body::Body;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::node::LogOptions;
use crate::stream::{self, Upgrade};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>> {
    let pod = call.live()?.object();
    let options = options(&call, &pod)?;
    let target = pod::target(&call, &pod)?;
    let upgrade = call.upgrade.take();
    let chosen = match call.headers.get(header::UPGRADE) {
        Some(_) => Some(Upgrade::negotiate(&call.headers, &stream::LOG_WEBSOCKET, &[])?),
        None => None,
    };
    let lines = call.state.nodes.logs(target, options).await?;
    let stop = call.state.stop.clone();
    let lines = lines.take_until(async move { stop.cancelled().await });
    if let Some(chosen) = chosen {
        return streams::begin(&call, upgrade, chosen, move |_, connection| {
            stream::log(chosen, connection, lines)
        });
    }
    let mut response = Response::new(Body::stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

fn options(call: &Call, pod: &Object) -> Result<LogOptions> {
    let query = &call.query;
    let number = |key: &str, least: i64| -> Result<Option<i64>> {
        match query.filled(key) {
            None => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(n) if n >= least => Ok(Some(n)),
                _ => Err(Error::bad_request(format!(
                    "{key}: Invalid value: {text:?}: must be a whole number of at least {least}"
                ))),
            },
        }
    };
    let unsigned = |n: Option<i64>| n.map(i64::unsigned_abs);
    let since_seconds = number("sinceSeconds", 1)?;
    let since_time = match query.filled("sinceTime") {
        None => None,
        Some(text) => Some(
            model::time::parse(text)
                .ok_or_else(|| Error::bad_request(format!("sinceTime: Invalid value: {text:?}")))?,
        ),
    };
    if since_seconds.is_some() && since_time.is_some() {
        return Err(Error::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    Ok(LogOptions {
        container: pod::container(pod, query.filled("container"))?,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since_seconds,
        since_time,
        timestamps: query.flag("timestamps"),
        tail_lines: unsigned(number("tailLines", 0)?),
        limit_bytes: unsigned(number("limitBytes", 1)?),
        stream: query.filled("stream").filter(|s| *s != "All").map(str::to_owned),
    })
}
