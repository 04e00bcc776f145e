//! Reading one object, at least as new as the client says.

use http::{Response, StatusCode};
use store::StoreExt;

use crate::body::Body;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::request::revision_named;
use crate::state::object_name;

use super::wait_until_visible;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    if let Some(version) =
        revision_named(call.query.get("resourceVersion").unwrap_or_default())?.filter(|version| *version > 0)
    {
        wait_until_visible(&call.state, version).await?;
    }
    let (namespace, name) = (call.namespace(), &call.target.name);
    if call.partition().is_unreadable(&object_name(namespace, name)) {
        // The store may say why.
        let kept = call.state.store.get(&call.resource.key(namespace, name)).await;
        kept.map_err(|error| Error::store(&error))?;
    }
    Ok(call.answer(StatusCode::OK, &*call.served(call.live()?).await?, &[]))
}
