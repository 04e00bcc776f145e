//! Failures as clients read them: a status, and besides it what the failure is about.
//!
//! A client shows a message as it is where the status is `Unknown`, and with the status before it
//! otherwise. Details are JSON, by the names that BuildKit's types have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::solve::{Location, SolveError};
use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::wire::google::rpc;

/// What a client is told of `error`.
pub(crate) fn status(error: &SolveError) -> Status {
    told(error, None)
}

/// What a client is told of the failure of a command: also what its mounts were and are since, by the names that the
/// client finds that under; the empty name for nothing.
pub(crate) fn of_command(
    error: &SolveError,
    operation: Value,
    inputs: Vec<String>,
    mounts: Vec<String>,
) -> Status {
    let left = json!({"inputIDs": inputs, "mountIDs": mounts, "op": operation});
    told(error, Some(detail("Solve", &left)))
}

fn told(error: &SolveError, more: Option<prost_types::Any>) -> Status {
    let code = match error.cause() {
        SolveError::Cancelled => Code::Cancelled,
        _ => Code::Unknown,
    };
    let mut details = Vec::new();
    let mut at = Some(error);
    while let Some(error) = at {
        at = match error {
            SolveError::Vertex { digest, location, source, .. } => {
                details.extend(location.iter().map(|location| detail("Source", &source_of(location))));
                details.push(detail("Vertex", &json!({"digest": digest.to_string()})));
                Some(source)
            }
            SolveError::Located { locations, source } => {
                details.extend(locations.iter().map(|location| detail("Source", &source_of(location))));
                Some(source)
            }
            SolveError::UnsupportedRequest(name) => {
                details.push(detail("Subrequest", &json!({"name": name})));
                None
            }
            SolveError::UnsupportedCapability(name) => {
                details.push(detail("FrontendCap", &json!({"name": name})));
                None
            }
            _ => None,
        };
    }
    details.extend(more);
    let message = error.to_string();
    with_details(code, message, details)
}

/// The status that a client gave.
pub(crate) fn of_wire(status: rpc::Status) -> Status {
    let code = match Code::from(status.code) {
        Code::Ok => Code::Unknown,
        code => code,
    };
    with_details(code, status.message, status.details)
}

/// A status as messages carry it.
pub(crate) fn to_wire(status: &Status) -> rpc::Status {
    let whole = rpc::Status::decode(status.details());
    let details = whole.map(|whole| whole.details).unwrap_or_default();
    rpc::Status { code: status.code() as i32, message: status.message().to_owned(), details }
}

fn with_details(code: Code, message: String, details: Vec<prost_types::Any>) -> Status {
    let whole = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, Bytes::from(whole.encode_to_vec()))
}

fn detail(name: &str, value: &Value) -> prost_types::Any {
    let type_url = format!("github.com/moby/buildkit/errdefs.{name}+json");
    prost_types::Any { type_url, value: value.to_string().into_bytes() }
}

fn source_of(location: &Location) -> Value {
    let position = |position: Option<llb::pb::Position>| {
        let position = position.unwrap_or_default();
        json!({"line": position.line, "character": position.character})
    };
    let ranges: Vec<Value> = location
        .ranges
        .iter()
        .map(|range| json!({"start": position(range.start), "end": position(range.end)}))
        .collect();
    let mut info = Map::new();
    info.insert("filename".to_owned(), json!(location.info.filename));
    info.insert("data".to_owned(), json!(STANDARD.encode(&location.info.data)));
    if let Some(definition) = &location.info.definition {
        let def: Vec<String> = definition.def.iter().map(|op| STANDARD.encode(op)).collect();
        info.insert("definition".to_owned(), json!({"def": def}));
    }
    if !location.info.language.is_empty() {
        info.insert("language".to_owned(), json!(location.info.language));
    }
    json!({"info": info, "ranges": ranges})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_failed_operation_is_told_with_its_place_in_the_dockerfile() {
        let info = llb::pb::SourceInfo {
            filename: "Dockerfile".to_owned(),
            data: Bytes::from_static(b"RUN false\n"),
            definition: Some(llb::pb::Definition { def: vec![b"op".to_vec().into()], ..Default::default() }),
            ..Default::default()
        };
        let start = Some(llb::pb::Position { line: 1, character: 0 });
        let ranges = vec![llb::pb::Range { start, end: start }];
        let digest = oci::Digest::sha256_of(b"x");
        let error = SolveError::Vertex {
            digest: digest.clone(),
            name: "[2/2] RUN false".to_owned(),
            location: Some(Arc::new(Location { info, ranges })),
            source: Arc::new(SolveError::Exit {
                process: "/bin/sh -c false".to_owned(),
                code: 1,
                out_of_memory: false,
            }),
        };
        let status = status(&error);
        assert_eq!(status.code(), Code::Unknown);
        let message = "process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
        assert_eq!(status.message(), message);
        let whole = rpc::Status::decode(status.details()).expect("a status");
        assert_eq!((whole.code, whole.message.as_str()), (2, message));
        let details: Vec<(String, Value)> = whole
            .details
            .into_iter()
            .map(|any| (any.type_url, serde_json::from_slice(&any.value).expect("JSON")))
            .collect();
        assert_eq!(
            details,
            [
                (
                    "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
                    json!({
                        "info": {
                            "filename": "Dockerfile",
                            "data": "UlVOIGZhbHNlCg==",
                            "definition": {"def": ["b3A="]},
                        },
                        "ranges": [{
                            "start": {"line": 1, "character": 0},
                            "end": {"line": 1, "character": 0},
                        }],
                    }),
                ),
                (
                    "github.com/moby/buildkit/errdefs.Vertex+json".to_owned(),
                    json!({"digest": digest.to_string()}),
                ),
            ]
        );
        assert_eq!(of_wire(to_wire(&status)).details(), status.details());
    }

    #[test]
    fn what_a_front_end_is_not_able_to_is_told_by_its_name() {
        for (error, kind) in [
            (SolveError::UnsupportedRequest("x".to_owned()), "Subrequest"),
            (SolveError::UnsupportedCapability("x".to_owned()), "FrontendCap"),
        ] {
            let whole = rpc::Status::decode(status(&error).details()).expect("a status");
            let [any] = &whole.details[..] else { panic!("{whole:?}") };
            assert_eq!(any.type_url, format!("github.com/moby/buildkit/errdefs.{kind}+json"));
            assert_eq!(any.value, br#"{"name":"x"}"#);
        }
    }

    #[test]
    fn a_build_that_was_ended_is_told_as_that() {
        assert_eq!(super::status(&SolveError::Cancelled).code(), Code::Cancelled);
    }
}
