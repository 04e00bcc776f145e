//! Evicting a pod: a deletion that asks nicely. Disruption budgets, once there are any, refuse here.

use apiserver::request::DeleteOptions;
use apiserver::{Body, Call, Error, Result};
use http::Response;
use model::GroupVersionKind;

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let eviction = call.decode_as(&GroupVersionKind::new("policy", "v1", "Eviction"))?;
    if !eviction.name().is_empty() && eviction.name() != call.name() {
        return Err(Error::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {}",
            call.name(),
            eviction.name()
        )));
    }
    let mut options = match eviction.get(&["deleteOptions"]) {
        None => DeleteOptions::default(),
        Some(options) => serde_json::from_value(options.clone())
            .map_err(|e| Error::bad_request(format!("deleteOptions: {e}")))?,
    };
    options.dry_run.extend(call.query().all("dryRun").map(str::to_owned));
    options.check()?;
    call.delete(&options).await?;
    Ok(call.answer_created())
}
