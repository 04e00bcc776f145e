//! The log of a container.

use apiserver::node::LogOptions;
use apiserver::{Body, Call, Error, Result};
use http::Response;
use model::Object;

use super::container::{container, target};

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let pod = call.current().await?;
    let options = options(&call, &pod)?;
    let target = target(&call, &pod)?;
    call.log(target, options).await
}

fn options(call: &Call, pod: &Object) -> Result<LogOptions> {
    let query = call.query();
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
        container: container(pod, query.filled("container"))?,
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
