//! `POST /networks/create`.

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::convert::{keys, network as convert};
use crate::wire::network::{Create, Created};

/// Makes a network.
pub(crate) async fn create(mut call: Call) -> Answer {
    let mut document = call.json().await?;
    keys::of_network(&mut document);
    let spec = convert::spec(call::read::<Create>(document)?)?;
    let engine = call.engine().clone();
    let network = call.complete(async move { Ok(engine.network_create(spec).await?) }).await?;
    answer::json_with(StatusCode::CREATED, &Created { id: network.id.to_string(), warning: String::new() })
}
