//! Replacing an object by a new form of it.

use http::Response;
use model::Status;
use model::field::{FieldError, Path};

use super::create::make_missing;
use super::{Part, modify};
use crate::body::Body;
use crate::call::Call;
use crate::decode;
use crate::error::{Error, Result};

pub(super) async fn handle(call: &Call, part: Part) -> Result<Response<Body>> {
    let options = call.write_options()?;
    let (object, warnings) = decode::object(call, options.field_validation)?;
    super::create::check_namespace(call, &object)?;
    if object.name() != call.target.name {
        return Err(Error::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            call.target.name
        )));
    }
    if call.resource.conditional_update && object.resource_version().is_empty() {
        // Of what is not there that is said first.
        call.live()?;
        let metadata = Path::root("metadata");
        let place = metadata.child("resourceVersion");
        let error = FieldError::invalid(&place, 0, "must be specified for an update");
        return Err(Status::invalid(&call.resource.group_kind(), object.name(), &[error]).into());
    }
    loop {
        match modify(call, &options, part, |_| Ok(object.clone())).await {
            Ok(modified) => return Ok(modified.answer(call, &warnings)),
            Err(error) if !is_to_be_made(call, part, &error) => return Err(error),
            Err(_) if !object.uid().is_empty() => {
                // It means one that was there.
                let why = format!(
                    "Precondition failed: UID in precondition: {}, UID in object meta: ",
                    object.uid()
                );
                return Err(Status::conflict(&call.group_resource(), &call.target.name, why).into());
            }
            Err(_) => {}
        }
        let mut new = object.clone();
        // A revision of what is gone is no condition, as in Kubernetes.
        new.set_resource_version("");
        if let Some(created) = make_missing(call, &options, new).await? {
            return Ok(created.answer(call, &warnings));
        }
    }
}

/// Whether an object could not be changed since it is not there, and so is to be made.
fn is_to_be_made(call: &Call, part: Part, error: &Error) -> bool {
    part == Part::Whole && call.resource.made_by_update && error.status().is_not_found()
}
