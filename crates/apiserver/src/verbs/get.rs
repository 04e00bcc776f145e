//! Reading one object.

use http::{Response, StatusCode};
use store::StoreExt;

use crate::body::Body;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::state::object_name;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let (namespace, name) = (call.namespace(), &call.target.name);
    if call.partition().is_unreadable(&object_name(namespace, name)) {
        // The store may say why.
        let kept = call.state.store.get(&call.resource.key(namespace, name)).await;
        kept.map_err(|error| Error::store(&error))?;
    }
    Ok(call.answer(StatusCode::OK, &*call.served(call.live()?).await?, &[]))
}
