//! Everything that is no resource: discovery, health, version, keys.

mod discovery;
mod documents;
mod health;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::Status;
use model::release::{MAJOR, MINOR, VERSION};
use serde_json::{Value, json};

pub(crate) use discovery::Discovery;
pub(crate) use health::{Hooks, Readiness, writable};

use crate::body::Body;
use crate::call::json_response;
use crate::error::Result;
use crate::request::Query;
use crate::state::State;
use crate::style::Document;

/// What is asked of a path, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a Query,
    /// Whether the answer is to be compressed.
    pub(crate) gzip: bool,
}

/// Answers a request to a path.
pub(crate) async fn handle(state: &Arc<State>, path: &str, asked: Asked<'_>) -> Result<Response<Body>> {
    let Asked { method, headers, query, .. } = asked;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed().into());
    }
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    if matches!(segments.first(), Some(&("apis" | "openapi"))) {
        crate::definitions::catch_up_with_others(state).await?;
    }
    match segments.as_slice() {
        ["version"] => Ok(document(&version(&state.commit))),
        ["healthz" | "livez" | "readyz", ..] => Ok(health::answer(state, &segments, query).await),
        ["metrics"] => Ok(numbers(state.metrics.text())),
        ["metrics", "slis"] => {
            let mut text = metrics::Text::default();
            state.meters.write_health(&mut text);
            Ok(numbers(text.finish()))
        }
        ["api" | "apis", ..] => discovery::answer(state, headers, &segments),
        ["openapi", ..] => documents::answer(state, &segments, asked).await,
        ["debug", "api_priority_and_fairness", table] => {
            let details = query.filled("includeRequestDetails").is_some();
            let table = state.fairness.table(table, details);
            table.map(plain).ok_or_else(|| Status::no_such_resource().into())
        }
        ["openid", "v1", "jwks"] => Ok(key_set(state)),
        [".well-known", "openid-configuration"] => Ok(document(&openid_configuration(state))),
        [] => Ok(document(&json!({"paths": [
            "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
        ]}))),
        _ => Err(Status::no_such_resource().into()),
    }
}

/// What is counted, as Prometheus reads it.
fn numbers(text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

/// Writes what program this is.
pub(crate) fn write_build(text: &mut metrics::Text, commit: &str) {
    let version = version(commit);
    let names = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let labels = names.map(|(label, key)| (label, version[key].as_str().unwrap_or_default()));
    let help = "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git \
                tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on \
                which it is running.";
    text.block("kubernetes_build_info", metrics::Kind::Gauge, help).value(&labels, 1);
}

/// Where those who check tokens themselves find what they need.
/// Source: OpenID Connect Discovery 1.0, section 3.
fn openid_configuration(state: &State) -> Value {
    let issuer = &state.issuers[0];
    let keys = state.tokens.key_set_url.clone();
    json!({
        "issuer": issuer,
        "jwks_uri": keys.unwrap_or_else(|| format!("{}/openid/v1/jwks", issuer.trim_end_matches('/'))),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": state.token_keys.algorithms(),
    })
}

fn key_set(state: &State) -> Response<Body> {
    let mut response = document(&state.token_keys.key_set());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response
}

fn plain(text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A document that is JSON for everybody.
fn document(value: &Value) -> Response<Body> {
    let mut response = json_response(StatusCode::OK, Body::full(value.to_string()));
    response.extensions_mut().remove::<Document>();
    response
}

fn version(commit: &str) -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": MINOR,
        "gitVersion": VERSION,
        "gitCommit": commit,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// The machine's architecture by its name in Go, which is what clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
