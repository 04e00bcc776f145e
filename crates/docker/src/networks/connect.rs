//! `POST /networks/{name}/connect` and `…/disconnect`.

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::{self, Call};
use crate::convert::{endpoint, keys};
use crate::wire::network::{Connect, Disconnect};

/// Puts a container into a network.
pub(crate) async fn connect(mut call: Call) -> Answer {
    let mut document = call.json().await?;
    keys::of_connect(&mut document);
    let document: Connect = call::read(document)?;
    let engine = call.engine().clone();
    let network = engine.network_find(&call.name)?;
    let container = engine.container_find(&document.container)?;
    let spec = document
        .endpoint_config
        .as_ref()
        .map(|wishes| endpoint::spec(wishes, None))
        .transpose()?
        .unwrap_or_default();
    call.complete(async move { Ok(engine.network_connect(&network, &container, spec).await?) }).await?;
    answer::bare(StatusCode::OK)
}

/// Takes a container out of a network.
pub(crate) async fn disconnect(mut call: Call) -> Answer {
    let document: Disconnect = call.json().await?;
    let engine = call.engine().clone();
    let network = engine.network_find(&call.name)?;
    let container = engine.container_find(&document.container)?;
    // `Force` is for endpoints of which the container is gone: here they go with it.
    call.complete(async move { Ok(engine.network_disconnect(&network, &container).await?) }).await?;
    answer::bare(StatusCode::OK)
}
