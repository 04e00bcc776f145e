//! Reading one object.

use http::{Response, StatusCode};

use crate::body::Body;
use crate::call::Call;
use crate::error::Result;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    Ok(call.answer(StatusCode::OK, &*call.served(call.live()?).await?, &[]))
}
