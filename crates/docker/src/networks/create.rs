//! `POST /networks/create`.

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::network as convert;
use crate::wire::network::{Create, Created};

/// Makes a network.
pub(crate) async fn create(mut call: Call) -> Answer {
    let spec = convert::spec(call.json::<Create>().await?)?;
    let engine = call.engine().clone();
    let network = call.complete(async move { Ok(engine.network_create(spec).await?) }).await?;
    answer::json_with(StatusCode::CREATED, &Created { id: network.id.to_string(), warning: String::new() })
}
