//! From a request's body to an object of its kind.

use model::decode::{Decoded, strict_error};
use model::{GroupVersionKind, Object, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::Call;
use crate::error::{Error, Result};
use crate::negotiate::unsupported;
use crate::protobuf;
use crate::request::{DeleteOptions, FieldValidation};
use crate::resource::Resource;

const READ: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The object in the body, its fields checked as the request asks, and what to warn of.
pub(crate) fn object(call: &Call, validation: FieldValidation) -> Result<(Object, Vec<String>)> {
    let gvk = call.resource.gvk();
    if call.body.is_empty() {
        return Err(Error::bad_request("the body of the request is empty"));
    }
    let decoded = match (&call.resource.schema, body_kind(call)?) {
        (Some(schema), BodyKind::Json) => {
            model::decode::slice(schema, &call.body).map_err(|e| wrong(&gvk, &e.0))?
        }
        (schema, kind) => typed(schema.as_ref(), &gvk, parse(&call.body, kind)?)?,
    };
    let warnings = judge(&decoded, &gvk, validation)?;
    let mut object = decoded.object;
    check_kind(&mut object, &gvk)?;
    Ok((object, warnings))
}

/// A document, the outcome of a patch for example, as an object of the resource's kind.
pub(crate) fn value(
    resource: &Resource,
    value: Value,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>)> {
    let gvk = resource.gvk();
    let decoded = typed(resource.schema.as_ref(), &gvk, value)?;
    let warnings = judge(&decoded, &gvk, validation)?;
    let mut object = decoded.object;
    check_kind(&mut object, &gvk)?;
    Ok((object, warnings))
}

/// The body as an object of another kind than the resource's own, such as a `Scale`.
pub(crate) fn other(call: &Call, gvk: &GroupVersionKind) -> Result<Object> {
    let value = parse(&call.body, body_kind(call)?)?;
    let schema = model::schema::builtin(gvk);
    let mut object = typed(schema.as_ref(), gvk, value)?.object;
    check_kind(&mut object, gvk)?;
    Ok(object)
}

/// The options of a deletion, from the body where there is one.
pub(crate) fn delete_options(call: &Call) -> Result<DeleteOptions> {
    let options = if call.body.is_empty() {
        DeleteOptions::parse(&call.query)?
    } else {
        let mut options: DeleteOptions = plain(&call.body, body_kind(call)?)?;
        options.dry_run.extend(call.query.all("dryRun").map(str::to_owned));
        options
    };
    options.check()?;
    Ok(options)
}

/// The document in a body whose type is not said: JSON, YAML or protobuf.
pub(crate) fn document(text: &[u8]) -> Result<Value> {
    let kind = if text.starts_with(protobuf::MAGIC) {
        BodyKind::Protobuf
    } else if first_is_brace(text) {
        BodyKind::Json
    } else {
        BodyKind::Yaml
    };
    parse(text, kind)
}

#[derive(Clone, Copy)]
enum BodyKind {
    Json,
    Yaml,
    Protobuf,
}

fn body_kind(call: &Call) -> Result<BodyKind> {
    match call.content_type().as_str() {
        "" | "application/json" | "*/*" => Ok(BodyKind::Json),
        "application/yaml" | "text/yaml" | "application/x-yaml" => Ok(BodyKind::Yaml),
        PROTOBUF => Ok(BodyKind::Protobuf),
        _ => Err(unsupported(&READ)),
    }
}

fn first_is_brace(text: &[u8]) -> bool {
    text.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['))
}

fn parse(text: &[u8], kind: BodyKind) -> Result<Value> {
    plain(text, kind)
}

fn plain<T: DeserializeOwned>(text: &[u8], kind: BodyKind) -> Result<T> {
    match kind {
        BodyKind::Json => serde_json::from_slice(text)
            .map_err(|e| Error::bad_request(format!("the body is not valid JSON: {e}"))),
        BodyKind::Yaml => {
            let text = std::str::from_utf8(text)
                .map_err(|_| Error::bad_request("the body is not valid YAML: it is not UTF-8"))?;
            serde_saphyr::from_str(text)
                .map_err(|e| Error::bad_request(format!("the body is not valid YAML: {e}")))
        }
        BodyKind::Protobuf => {
            let document = protobuf::document(text).map_err(|e| Error::bad_request(e.to_string()))?;
            serde_json::from_value(document).map_err(|e| Error::bad_request(e.to_string()))
        }
    }
}

fn typed(schema: Option<&Schema>, gvk: &GroupVersionKind, value: Value) -> Result<Decoded> {
    match schema {
        Some(schema) => model::decode::value(schema, value).map_err(|e| wrong(gvk, &e.0)),
        None => Object::from_value(value)
            .map(|object| Decoded { object, problems: Vec::new() })
            .map_err(|e| wrong(gvk, &e.to_string())),
    }
}

fn judge(decoded: &Decoded, gvk: &GroupVersionKind, validation: FieldValidation) -> Result<Vec<String>> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(decoded.problems.clone()),
        FieldValidation::Strict if decoded.problems.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => Err(wrong(gvk, &strict_error(&decoded.problems))),
    }
}

fn wrong(gvk: &GroupVersionKind, why: &str) -> Error {
    let (kind, version) = (&gvk.kind, &gvk.version);
    Error::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

/// The object must be of the kind that the path serves; where it says nothing, it is.
fn check_kind(object: &mut Object, gvk: &GroupVersionKind) -> Result<()> {
    let expected = gvk.api_version();
    let (version, kind) = (object.api_version(), object.kind());
    if !version.is_empty() && version != expected {
        return Err(Error::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    if !kind.is_empty() && kind != gvk.kind {
        return Err(Error::bad_request(format!(
            "the kind in the data ({kind}) does not match the expected kind ({})",
            gvk.kind
        )));
    }
    if version.is_empty() || kind.is_empty() {
        object.set_gvk(gvk);
    }
    Ok(())
}
