//! Letting go of a namespace: replaces what holds it, and nothing else.

use http::Response;

use crate::body::Body;
use crate::call::Call;
use crate::decode;
use crate::error::Result;
use crate::request::WriteOptions;
use crate::verbs::{Part, modify};

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, call.user_agent())?;
    let (object, warnings) = decode::object(call, options.field_validation)?;
    let modified = modify(call, &options, Part::Finalize, false, |_| Ok(object.clone())).await?;
    Ok(modified.answer(call, &warnings))
}
