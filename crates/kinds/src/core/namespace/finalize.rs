//! Letting go of a namespace: replaces what holds it, and nothing else.

use apiserver::{Body, Call, Result};
use http::Response;
use model::Status;
use model::field::Path;
use model::validate::Errors;
use serde_json::Value;

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let options = call.write_options()?;
    let (object, warnings) = call.decode(&options)?;
    let mut errors = Errors::new();
    let path = Path::root("spec");
    let path = path.child("finalizers");
    let names = object.get_list(&["spec", "finalizers"]).iter().filter_map(Value::as_str);
    for (index, name) in names.enumerate() {
        super::finalizer(name, &path.index(index), &mut errors);
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&call.resource().group_kind(), call.name(), &errors).into());
    }
    let modified = call.modify(&options, |old| {
        let mut new = old.clone();
        new.set(&["spec", "finalizers"], object.get_list(&["spec", "finalizers"]).to_vec());
        for field in ["uid", "resourceVersion", "managedFields"] {
            let given = object.get(&["metadata", field]).cloned();
            let given = given.or_else(|| (field == "managedFields").then(|| Value::Array(Vec::new())));
            match given {
                Some(value) => drop(new.metadata_mut().insert(field.to_owned(), value)),
                None => drop(new.metadata_mut().shift_remove(field)),
            }
        }
        Ok(new)
    });
    Ok(modified.await?.answer(&call, &warnings))
}
