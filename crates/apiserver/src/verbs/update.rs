//! Replacing an object by a new form of it.

use http::Response;

use super::{Part, modify};
use crate::body::Body;
use crate::call::Call;
use crate::decode;
use crate::error::{Error, Result};
use crate::request::WriteOptions;

pub(super) async fn handle(call: &Call, part: Part) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, call.user_agent())?;
    let (object, warnings) = decode::object(call, options.field_validation)?;
    super::create::check_namespace(call, &object)?;
    if object.name() != call.target.name {
        return Err(Error::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            call.target.name
        )));
    }
    let modified = modify(call, &options, part, |_| Ok(object.clone())).await?;
    Ok(modified.answer(call, &warnings))
}
