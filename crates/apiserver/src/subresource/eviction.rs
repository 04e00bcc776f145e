//! Evicting a pod: a deletion that asks nicely. Disruption budgets, once there are any, refuse here.

use http::{Response, StatusCode};
use model::{GroupVersionKind, Status};

use crate::body::Body;
use crate::call::{Call, json_response};
use crate::decode;
use crate::error::{Error, Result};
use crate::request::DeleteOptions;
use crate::verbs::delete_object;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let eviction = decode::other(call, &GroupVersionKind::new("policy", "v1", "Eviction"))?;
    if !eviction.name().is_empty() && eviction.name() != call.target.name {
        return Err(Error::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {}",
            call.target.name,
            eviction.name()
        )));
    }
    let mut options = match eviction.get(&["deleteOptions"]) {
        None => DeleteOptions::default(),
        Some(options) => serde_json::from_value(options.clone())
            .map_err(|e| Error::bad_request(format!("deleteOptions: {e}")))?,
    };
    options.dry_run.extend(call.query.all("dryRun").map(str::to_owned));
    options.check()?;
    delete_object(call, &options).await?;
    let status = serde_json::to_vec(&Status { code: 201, ..Status::success(None) });
    Ok(json_response(StatusCode::CREATED, Body::full(status.expect("a status always has a text"))))
}
