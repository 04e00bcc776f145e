//! Changing a part of an object by a patch, of four kinds.

use http::Response;
use model::field::{FieldError, Path};
use model::merge::apply::Manager;
use model::merge::json_patch::JsonPatchError;
use model::merge::strategic::StrategicError;
use model::merge::{json_patch, merge_patch, strategic};
use model::{GroupKind, Object, Schema, Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::create::make_missing;
use super::modify::{Change, ignored_fields, modify_by};
use super::{Part, managed, modify};
use crate::body::Body;
use crate::call::Call;
use crate::decode;
use crate::error::{Error, Result};
use crate::negotiate::unsupported;
use crate::request::WriteOptions;

/// The media types of patches.
const KINDS: [&str; 4] =
    [JSON_PATCH, "application/merge-patch+json", STRATEGIC, "application/apply-patch+yaml"];
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

pub(super) async fn handle(call: &Call, part: Part) -> Result<Response<Body>> {
    let options = call.write_options()?;
    let kind = call.content_type();
    if kind == APPLY {
        return apply_configuration(call, &options, part).await;
    }
    if !takes_strategic(call) && kind == STRATEGIC {
        return Err(unsupported(&[KINDS[0], KINDS[1], KINDS[3]]));
    }
    if call.query.get("force").is_some() {
        let path = Path::root("force");
        return Err(bad_options(FieldError::forbidden(&path, "may not be specified for non-apply patch")));
    }
    let warnings = Mutex::new(Vec::new());
    let modified = modify(call, &options, part, |old| {
        let (document, found) = patched(call, old.value(), call.resource.schema.as_ref())?;
        let (object, found) = decode::patched(call, document, &found, options.field_validation)?;
        *warnings.lock() = found;
        Ok(object)
    })
    .await?;
    Ok(modified.answer(call, &warnings.into_inner()))
}

/// Whether patches may go by the strategies of the resource's kind: kinds that objects define have none.
fn takes_strategic(call: &Call) -> bool {
    call.resource.schema.as_ref().is_some_and(Schema::is_builtin)
}

/// The document after the patch in the body, of whichever kind but apply.
pub(crate) fn patched_document(call: &Call, document: &Value, schema: Option<&Schema>) -> Result<Value> {
    if call.content_type() == STRATEGIC && !takes_strategic(call) {
        return Err(unsupported(&[KINDS[0], KINDS[1], KINDS[3]]));
    }
    patched(call, document, schema).map(|(document, _)| document)
}

/// As [`patched_document`], with what is wrong with the patch's own text.
fn patched(call: &Call, document: &Value, schema: Option<&Schema>) -> Result<(Value, Vec<String>)> {
    let kind = call.content_type();
    if !KINDS.contains(&kind.as_str()) {
        let is_custom = schema.is_some_and(|schema| !schema.is_builtin());
        return Err(if is_custom {
            unsupported(&[KINDS[0], KINDS[1], KINDS[3]])
        } else {
            unsupported(&KINDS)
        });
    }
    let (patch, mut problems) = model::decode::parse(&call.body)
        .map_err(|e| Error::bad_request(format!("the patch is not valid JSON: {e}")))?;
    if kind == JSON_PATCH {
        problems = problems.iter().map(|problem| format!("json patch {problem}")).collect();
        problems.extend(json_patch::unknown_fields(&patch));
    }
    let document = match kind.as_str() {
        JSON_PATCH => json_patch::apply(document, &patch).map_err(|error| match error {
            JsonPatchError::Malformed(why) => Error::bad_request(why),
            JsonPatchError::Failed(why) | JsonPatchError::TestFailed(why) => {
                Status::failure(422, "Invalid", why).into()
            }
            JsonPatchError::TooLarge(why) => Status::too_large(why).into(),
        }),
        "application/merge-patch+json" => {
            require_object(&patch)?;
            Ok(merge_patch::apply(document, &patch))
        }
        _ => {
            require_object(&patch)?;
            let Some(schema) = schema else { return Err(unsupported(&[KINDS[0], KINDS[1], KINDS[3]])) };
            strategic::apply(schema, document, &patch).map_err(|error| match error {
                StrategicError::Malformed(why) => Error::bad_request(why),
                StrategicError::Unsupported => unsupported(&[KINDS[0], KINDS[1], KINDS[3]]),
            })
        }
    };
    Ok((document?, problems))
}

/// An applied configuration.
#[derive(Clone, Copy)]
struct Configuration<'a> {
    call: &'a Call,
    schema: &'a Schema,
    applied: &'a Object,
    manager: Manager<'a>,
    force: bool,
}

impl Configuration<'_> {
    async fn merge(&self, live: Option<&Object>) -> Result<Object> {
        let Self { call, schema, applied, manager, force } = *self;
        let mut merged = managed::apply(call, schema, live, applied, manager, force).await?;
        // What the client names as its revision is a condition, not a field to own.
        merged.set_resource_version(applied.resource_version());
        Ok(merged)
    }
}

impl Change for Configuration<'_> {
    const TRACKED: bool = true;

    fn make(&self, old: &Object) -> impl Future<Output = Result<Object>> + Send {
        self.merge(Some(old))
    }
}

/// Server-side apply: makes the object where there is none.
async fn apply_configuration(call: &Call, options: &WriteOptions, part: Part) -> Result<Response<Body>> {
    if !options.explicit_manager {
        let path = Path::root("fieldManager");
        return Err(bad_options(FieldError::required(&path, "is required for apply patch")));
    }
    let Some(schema) = &call.resource.schema else { return Err(unsupported(&KINDS[..3])) };
    let (applied, warnings) = decode::applied(call, options.field_validation)?;
    check_applied(call, &applied)?;
    let manager = Manager {
        name: &options.field_manager,
        subresource: &call.target.subresource,
        ignored: ignored_fields(call, part),
        now: call.now,
    };
    let configuration = Configuration { call, schema, applied: &applied, manager, force: options.force };
    loop {
        let missing = match modify_by(call, options, part, configuration).await {
            Ok(modified) => return Ok(modified.answer(call, &warnings)),
            Err(error) if error.status().is_not_found() && part == Part::Whole => error,
            Err(error) => return Err(error),
        };
        if !applied.uid().is_empty() || !applied.resource_version().is_empty() {
            return Err(if applied.uid().is_empty() {
                missing
            } else {
                Status::modified(&call.group_resource(), &call.target.name).into()
            });
        }
        // Where somebody made it in between, it is applied to that.
        if let Some(created) = make_missing(call, options, configuration.merge(None).await?).await? {
            return Ok(created.answer(call, &warnings));
        }
    }
}

fn check_applied(call: &Call, applied: &Object) -> Result<()> {
    super::create::check_namespace(call, applied)?;
    if !applied.name().is_empty() && applied.name() != call.target.name {
        return Err(Error::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            applied.name(),
            call.target.name
        )));
    }
    if !applied.managed_fields().is_empty() {
        return Err(Error::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

fn bad_options(error: FieldError) -> Error {
    Status::invalid(&GroupKind::new("meta.k8s.io", "PatchOptions"), "", &[error]).into()
}

fn require_object(patch: &Value) -> Result<()> {
    if patch.is_object() { Ok(()) } else { Err(Error::bad_request("the patch is not a JSON object")) }
}
