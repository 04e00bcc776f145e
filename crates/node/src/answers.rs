//! What the agent itself is asked over HTTP, and answers as a kubelet does: paths, forms, codes, words.
//!
//! | path | answer |
//! | --- | --- |
//! | `/healthz`, `/healthz/ping`, `/healthz/log`, `/healthz/syncloop` | whether it works |
//! | `/pods`, `/runningpods/` | the pods that are bound to the node, and those that its runtime has |
//! | `/configz` | what it was told, as a `KubeletConfiguration` |
//! | `/stats/summary` | what the node, its pods and containers use |
//! | `/metrics`, `/metrics/resource`, `/metrics/cadvisor`, `/metrics/probes` | the same and more in the form of Prometheus |
//! | `/containerLogs/NAMESPACE/POD/CONTAINER` | a log |
//! | `/run/NAMESPACE/POD/[UID/]CONTAINER?cmd=…` | what a command says |
//! | `/logs/`, `/debug/…` | that this is off |
//!
//! Conversations (`/exec`, `/attach`, `/portForward`) need the client's connection: whoever has that carries them
//! ([`crate::streams`]). Transport-neutral: whoever asks has been let in before. Source:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/server/server.go>.

mod configuration;
mod health;
mod logs;
mod metrics;
mod pods;
mod probes;
mod sample;
mod summary;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::{HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;

use crate::Agent;

pub(crate) use health::{Beat, TURN};
pub(crate) use probes::Probed;
pub(crate) use sample::{Samples, UsedByPod, supplies};

/// An answer, as far as it is there.
pub type Answer = Response<BoxStream<'static, Bytes>>;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How.
    pub method: Method,
    /// The path as it was written, from its slash on.
    pub path: String,
    /// What is behind the question mark, as it was written.
    pub query: Option<String>,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const NO_SUCH_PAGE: &str = "404: Page Not Found";

impl Agent {
    /// Answers a request as a kubelet does.
    pub async fn answer(&self, asked: &Asked) -> Answer {
        let Some(segments) = segments(&asked.path) else { return said(StatusCode::NOT_FOUND, NO_SUCH_PAGE) };
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let parameters = Parameters::parse(asked.query.as_deref().unwrap_or_default());
        let reads = asked.method == Method::GET;
        let found = match *segments.as_slice() {
            ["healthz"] => self.health(None, parameters.get("verbose").is_some()),
            ["healthz", name] => self.health(Some(name), false),
            ["pods"] if reads => self.bound_pods(),
            ["runningpods"] if reads => self.running_pods().await,
            ["configz"] => self.configuration(),
            ["stats", "summary"] => self.summary(parameters.is_true("only_cpu_and_memory")).await,
            ["metrics"] => self.metrics().await,
            ["metrics", "resource"] => self.resource_metrics().await,
            ["metrics", "cadvisor"] => self.container_metrics().await,
            ["metrics", "probes"] => self.probe_metrics(),
            ["containerLogs", namespace, pod, container] if reads => {
                self.container_log(namespace, pod, container, &parameters).await
            }
            ["run", namespace, pod, container] if asked.method == Method::POST => {
                self.run_command(namespace, pod, None, container, &parameters).await
            }
            ["run", namespace, pod, uid, container] if asked.method == Method::POST => {
                self.run_command(namespace, pod, Some(uid), container, &parameters).await
            }
            ["pods" | "runningpods"] | ["containerLogs", _, _, _] if !reads => only_reads(),
            ["run", _, _, _] | ["run", _, _, _, _] => {
                said(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
            }
            ["exec" | "attach", _, _, _]
            | ["exec" | "attach", _, _, _, _]
            | ["portForward", _, _]
            | ["portForward", _, _, _] => said(StatusCode::BAD_REQUEST, "Upgrade request required"),
            ["logs", ..] => off("logs endpoint is disabled."),
            ["debug", "pprof", ..] => off("profiling endpoint is disabled."),
            ["debug", "flags", "v", ..] => off("flags endpoint is disabled."),
            _ => said(StatusCode::NOT_FOUND, NO_SUCH_PAGE),
        };
        if asked.method == Method::HEAD { found.map(|_| stream::empty().boxed()) } else { found }
    }
}

/// The segments of a path. None where one of them is no name: what leads elsewhere leads nowhere.
fn segments(path: &str) -> Option<Vec<String>> {
    let decoded = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| {
        let segment = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
        let is_name = !matches!(&*segment, "." | "..") && !segment.contains(['/', '\0', '\\']);
        is_name.then_some(segment)
    });
    decoded.collect()
}

/// What is asked for beside the path.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "true" | "1" | "t" | "T" | "True" | "TRUE"))
    }
}

fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let mut answer = Response::new(stream::iter([body]).boxed());
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn said(code: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = answer(code, TEXT, text.into());
    let options = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, options);
    answer
}

fn off(why: &str) -> Answer {
    said(StatusCode::METHOD_NOT_ALLOWED, format!("{why}\n"))
}

fn only_reads() -> Answer {
    let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    answer
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(StatusCode::OK, JSON, bytes),
        Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Answer {
    said(StatusCode::INTERNAL_SERVER_ERROR, base::error::chain(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_leads_nowhere_else() {
        let of = |path: &str| segments(path).map(|segments| segments.join("|"));
        assert_eq!(of("/stats/summary").as_deref(), Some("stats|summary"));
        assert_eq!(of("//stats//summary/").as_deref(), Some("stats|summary"));
        assert_eq!(of("/containerLogs/a/b%20c/d").as_deref(), Some("containerLogs|a|b c|d"));
        assert_eq!(of("/"), Some(String::new()));
        for bad in ["/logs/../stats", "/logs/%2e%2e/stats", "/a%2fb", "/a%00", "/a%5cb", "/%ff", "/./pods"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
