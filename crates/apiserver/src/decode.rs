//! From a request's body to an object of its kind.

use http::{HeaderMap, header};
use model::decode::{Decoded, strict_error};
use model::field::{FieldError, Path};
use model::{GroupKind, GroupVersionKind, Object, Schema, Status};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::Call;
use crate::error::{Error, Result};
use crate::negotiate::unsupported;
use crate::payload::BODY_LIMIT;
use crate::protobuf;
use crate::request::{DeleteOptions, FieldValidation, Verb};

const READ: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The object in the body, its fields checked as the request asks, and what to warn of.
pub(crate) fn object(call: &Call, validation: FieldValidation) -> Result<(Object, Vec<String>)> {
    let gvk = call.resource.gvk();
    if call.body.is_empty() {
        return Err(Error::bad_request("the body of the request is empty"));
    }
    let decoded = match (&call.resource.schema, own_body_kind(call)?) {
        (Some(schema), BodyKind::Json) => {
            model::decode::slice(schema, &call.body).map_err(|e| wrong(&gvk, &e.0))?
        }
        (schema, kind) => typed(schema.as_ref(), &gvk, parse(&call.body, kind)?)?,
    };
    model::depth::check(decoded.object.value()).map_err(|e| wrong(&gvk, &e.to_string()))?;
    let warnings = judge(&decoded.problems, validation, |why| wrong(&gvk, &why))?;
    let mut object = decoded.object;
    check_kind(&mut object, &gvk)?;
    if let Some(record) = call.account.record() {
        record.names(&object);
    }
    Ok((object, warnings))
}

/// What a patch makes of an object. What is wrong with it is said of the patch: `found` in its text, or
/// now that it has been applied.
pub(crate) fn patched(
    call: &Call,
    document: Value,
    found: &[String],
    validation: FieldValidation,
) -> Result<(Object, Vec<String>)> {
    let refused = |why: String| {
        let patch = String::from_utf8_lossy(&call.body);
        let error = FieldError::invalid(&Path::root("patch"), patch.as_ref(), why);
        Error::from(Status::invalid(&GroupKind::new("", ""), "", &[error]))
    };
    let gvk = call.resource.gvk();
    model::depth::check(&document).map_err(|e| refused(e.to_string()))?;
    let mut decoded = match &call.resource.schema {
        Some(schema) => model::decode::value(schema, document).map_err(|e| refused(e.0))?,
        None => typed(None, &gvk, document)?,
    };
    decoded.problems.splice(0..0, found.iter().cloned());
    let warnings = judge(&decoded.problems, validation, refused)?;
    check_kind(&mut decoded.object, &gvk)?;
    Ok((decoded.object, warnings))
}

/// The configuration that is to be applied. What it leaves out stays as it is, so a field that its kind
/// does not have is an error however it is to be validated.
pub(crate) fn applied(call: &Call, validation: FieldValidation) -> Result<(Object, Vec<String>)> {
    let gvk = call.resource.gvk();
    let (document, found) = if first_is_brace(&call.body) {
        model::decode::parse(&call.body)
            .map_err(|e| Error::bad_request(format!("error decoding YAML: {e}")))?
    } else {
        (document(&call.body)?, Vec::new())
    };
    model::depth::check(&document).map_err(|e| wrong(&gvk, &e.to_string()))?;
    let said = kind_of(&document);
    if said != gvk {
        return Err(Error::bad_request(format!("invalid object type: {said}")));
    }
    let decoded = typed(call.resource.schema.as_ref(), &gvk, document)?;
    let unknown: Vec<String> = decoded.problems.iter().filter_map(|problem| undeclared(problem)).collect();
    if !unknown.is_empty() {
        let why = match unknown.as_slice() {
            [one] => one.clone(),
            several => format!("errors:\n  {}", several.join("\n  ")),
        };
        return Err(untyped(&decoded.object, &why));
    }
    let strictly = |why: String| Error::bad_request(format!("error strict decoding YAML: {why}"));
    let warnings = judge(&found, validation, strictly)?;
    Ok((decoded.object, warnings))
}

/// The body as an object of another kind than the resource's own, such as a `Scale`. It may be called by one of
/// `older`, which have the same fields.
pub(crate) fn other(call: &Call, gvk: &GroupVersionKind, older: &[GroupVersionKind]) -> Result<Object> {
    let value = parse_as(&call.body, body_kind(call)?, |said| older.contains(said).then(|| gvk.clone()))?;
    let schema = model::schema::builtin(gvk);
    let mut object = typed(schema.as_ref(), gvk, value)?.object;
    check_kind(&mut object, gvk)?;
    Ok(object)
}

/// Whether the body is read as YAML.
pub(crate) fn is_yaml(call: &Call) -> bool {
    // What is applied is called YAML, and mostly is JSON.
    call.content_type().contains("yaml")
        && !call.body.is_empty()
        && !(call.target.verb == Verb::Patch && first_is_brace(&call.body))
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
fn document(text: &[u8]) -> Result<Value> {
    parse(text, BodyKind::of_text(text))
}

/// The form that a body is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Json,
    Yaml,
    Protobuf,
}

impl BodyKind {
    /// The form that a media type says.
    fn named(media_type: &str) -> Option<Self> {
        match media_type {
            "" | "application/json" | "*/*" => Some(Self::Json),
            "application/yaml" | "text/yaml" | "application/x-yaml" => Some(Self::Yaml),
            PROTOBUF => Some(Self::Protobuf),
            _ => None,
        }
    }

    /// The form that a text has.
    pub(crate) fn of_text(text: &[u8]) -> Self {
        if text.starts_with(protobuf::MAGIC) {
            Self::Protobuf
        } else if first_is_brace(text) {
            Self::Json
        } else {
            Self::Yaml
        }
    }

    /// The form that a body is read in: as its type says, or as it looks where that says something else.
    pub(crate) fn of(headers: &HeaderMap, text: &[u8]) -> Self {
        Self::named(&media_type(headers)).unwrap_or_else(|| Self::of_text(text))
    }
}

/// The media type of a body, without parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_lowercase()
}

fn body_kind(call: &Call) -> Result<BodyKind> {
    BodyKind::named(&call.content_type()).ok_or_else(|| unsupported(&READ))
}

/// As [`body_kind`], for an object of the resource's own kind: not every kind has a protobuf form.
fn own_body_kind(call: &Call) -> Result<BodyKind> {
    match body_kind(call)? {
        BodyKind::Protobuf if !call.resource.protobuf => Err(unsupported(&READ[..2])),
        kind => Ok(kind),
    }
}

fn first_is_brace(text: &[u8]) -> bool {
    text.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['))
}

fn parse(text: &[u8], kind: BodyKind) -> Result<Value> {
    plain(text, kind)
}

/// As [`parse`], where what says that it is of one kind may be read as being of another, with the same fields.
fn parse_as(
    text: &[u8],
    kind: BodyKind,
    other: impl FnOnce(&GroupVersionKind) -> Option<GroupVersionKind>,
) -> Result<Value> {
    if kind == BodyKind::Protobuf {
        return protobuf_value(text, other);
    }
    let mut document = parse(text, kind)?;
    if let Some(other) = other(&kind_of(&document)) {
        document["apiVersion"] = other.api_version().into();
        document["kind"] = other.kind.into();
    }
    Ok(document)
}

fn protobuf_value(
    text: &[u8],
    other: impl FnOnce(&GroupVersionKind) -> Option<GroupVersionKind>,
) -> Result<Value> {
    let document = protobuf::document_as(text, other).map_err(|e| Error::bad_request(e.to_string()))?;
    // Before anything goes through it that calls itself.
    model::depth::check(&document).map_err(|e| Error::bad_request(e.to_string()))?;
    Ok(document)
}

fn plain<T: DeserializeOwned + Send>(text: &[u8], kind: BodyKind) -> Result<T> {
    match kind {
        BodyKind::Json => serde_json::from_slice(text)
            .map_err(|e| Error::bad_request(format!("the body is not valid JSON: {e}"))),
        BodyKind::Yaml => {
            let text = std::str::from_utf8(text)
                .map_err(|_| Error::bad_request("the body is not valid YAML: it is not UTF-8"))?;
            yaml(text)
        }
        BodyKind::Protobuf => serde_json::from_value(protobuf_value(text, |_| None)?)
            .map_err(|e| Error::bad_request(e.to_string())),
    }
}

/// Reads YAML as a body of a request.
pub(crate) fn yaml_value(text: &[u8]) -> Option<Value> {
    plain(text, BodyKind::Yaml).ok()
}

/// YAML nests no deeper than this.
const YAML_DEPTH: usize = 64;

/// What the reader of YAML may need of a stack: for each level much more than others do (30 kB where
/// nothing is optimised).
const YAML_STACK: usize = 8 << 20;

/// Reads YAML, which few clients send, on a thread of its own with a stack for its depth.
fn yaml<T: DeserializeOwned + Send>(text: &str) -> Result<T> {
    let read = || serde_saphyr::from_str_with_options(text, yaml_options());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(YAML_STACK)
            .spawn_scoped(scope, read)
            .map_err(|e| Error::internal(&e))?;
        // Its panic is this request's.
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|e| Error::bad_request(format!("the body is not valid YAML: {e}")))
    })
}

/// What one YAML document may cost: no more than one of JSON, however its aliases are expanded.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: YAML_DEPTH,
            max_aliases: 1000,
            max_total_scalar_bytes: BODY_LIMIT,
            max_documents: 1,
        },
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

fn judge(
    problems: &[String],
    validation: FieldValidation,
    refused: impl FnOnce(String) -> Error,
) -> Result<Vec<String>> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems.to_vec()),
        FieldValidation::Strict if problems.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => Err(refused(strict_error(problems))),
    }
}

/// An unknown field in the words that are said of an applied configuration.
fn undeclared(problem: &str) -> Option<String> {
    let field = problem.strip_prefix("unknown field \"")?.strip_suffix('"')?;
    Some(format!(".{field}: field not declared in schema"))
}

fn untyped(object: &Object, why: &str) -> Error {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name());
    let message =
        format!("failed to create typed patch object ({namespace}/{name}; {}): {why}", object.gvk());
    Status::untyped_patch(message).into()
}

fn wrong(gvk: &GroupVersionKind, why: &str) -> Error {
    let (kind, version) = (&gvk.kind, &gvk.version);
    Error::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

/// The kind that a document says it is of; empty where it says nothing.
fn kind_of(document: &Value) -> GroupVersionKind {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    GroupVersionKind::new(group, version, text("kind"))
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
