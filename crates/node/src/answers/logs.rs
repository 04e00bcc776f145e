//! Logs of containers, and commands in them that say something and end.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::pods::no_pod;
use super::{Answer, JSON, Parameters, answer, failed, said};
use crate::Agent;
use crate::pod::observe::Observation;
use crate::runtime::OutputKind;
use crate::streams::{LogOptions, Target};

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(120);
/// So much of what it says is told.
const OUTPUT: usize = 16 << 20;

impl Agent {
    pub(super) async fn container_log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        parameters: &Parameters,
    ) -> Answer {
        let options = match options(parameters, self.now()) {
            Ok(options) => options,
            Err(refusal) => return refusal,
        };
        let Some(found) = self.pod_named(namespace, pod) else {
            return said(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
        };
        let spec = found.spec.as_ref();
        let mains = spec.iter().flat_map(|spec| &spec.containers).map(|container| &container.name);
        let inits = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let added = spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let mut names = mains.chain(inits.map(|init| &init.name)).chain(added.map(|added| &added.name));
        if !names.any(|name| name == container) {
            return said(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}"));
        }
        let target = Target {
            pod: pod.to_owned(),
            uid: found.metadata.uid.clone().unwrap_or_default(),
            container: container.to_owned(),
        };
        match self.pod_logs(&target, &options).await {
            Ok(lines) => {
                let mut answer = Response::new(lines);
                let kind = HeaderValue::from_static("text/plain");
                answer.headers_mut().insert(header::CONTENT_TYPE, kind);
                answer
            }
            Err(error) => said(StatusCode::BAD_REQUEST, base::error::chain(&error).to_string()),
        }
    }

    pub(super) async fn run_command(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
        parameters: &Parameters,
    ) -> Answer {
        let Some(found) = self.pod_named(namespace, pod) else { return no_pod() };
        let own = found.metadata.uid.as_deref().unwrap_or_default();
        if uid.is_some_and(|uid| uid != own) {
            return said(StatusCode::INTERNAL_SERVER_ERROR, format!("pod \"{pod}_{namespace}\" not found"));
        }
        let observation = match Observation::new(self.shared.runtime(), own).await {
            Ok(observation) => observation,
            Err(error) => return failed(&error),
        };
        let Some(instance) = observation.latest(container).filter(|latest| latest.is_running()) else {
            let why = format!("container not found (\"{container}\")");
            return said(StatusCode::INTERNAL_SERVER_ERROR, why);
        };
        let command = parameters.get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
        let ran = self.shared.runtime().exec_sync(&instance.id, command, Some(COMMAND), OUTPUT).await;
        match ran {
            Ok(output) if output.exit_code == Some(0) => {
                answer(StatusCode::OK, JSON, Bytes::from([output.stdout, output.stderr].concat()))
            }
            Ok(output) => {
                let said_last =
                    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                let why = match output.exit_code {
                    Some(code) => format!(
                        "command '{}' exited with {code}: {said_last}",
                        parameters.get("cmd").unwrap_or_default()
                    ),
                    None => format!("command '{}' timed out", parameters.get("cmd").unwrap_or_default()),
                };
                said(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
            Err(error) => failed(&error),
        }
    }
}

fn options(parameters: &Parameters, now: base::Timestamp) -> Result<LogOptions, Answer> {
    let unreadable = || said(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
    let invalid = || said(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
    let number = |name: &str, least: i64| -> Result<Option<i64>, Answer> {
        match parameters.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(number) if number < least => Err(invalid()),
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(unreadable()),
            },
        }
    };
    let tail = match parameters.get("tail") {
        Some("all") => None,
        Some("") | None => number("tailLines", 0)?,
        Some(_) => number("tail", 0)?,
    };
    let seconds = number("sinceSeconds", 1)?;
    let time = match parameters.get("sinceTime").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(model::time::parse(text).ok_or_else(unreadable)?),
    };
    if seconds.is_some() && time.is_some() {
        return Err(invalid());
    }
    let ago = seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    let stream = match parameters.get("stream") {
        None | Some("" | "All") => None,
        Some("Stdout") => Some(OutputKind::Stdout),
        Some("Stderr") => Some(OutputKind::Stderr),
        Some(_) => return Err(invalid()),
    };
    if stream.is_some() && tail.is_some() {
        return Err(invalid());
    }
    Ok(LogOptions {
        previous: parameters.is_true("previous"),
        follow: parameters.is_true("follow"),
        since: time.or_else(|| ago.and_then(|ago| now.checked_sub(ago).ok())),
        tail: tail.map(i64::unsigned_abs),
        timestamps: parameters.is_true("timestamps"),
        limit_bytes: number("limitBytes", 1)?.map(i64::unsigned_abs),
        stream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_a_log_makes_sense_or_is_refused() {
        let code = |query: &str| {
            let now = base::Timestamp::from_second(1_800_000_000).expect("in range");
            options(&Parameters::parse(query), now).map_err(|refusal| refusal.status().as_u16())
        };
        let good = code("tail=5&follow=true&sinceSeconds=60").expect("it makes sense");
        assert_eq!((good.tail, good.follow), (Some(5), true));
        assert_eq!(good.since.map(|since| since.as_second()), Some(1_799_999_940));
        assert_eq!(code("tail=all").expect("all").tail, None);
        for (query, refused) in [
            ("tailLines=x", 400),
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=1&sinceTime=2026-11-29T10:00:00Z", 422),
            ("stream=Both", 422),
            ("sinceTime=now", 400),
        ] {
            assert_eq!(code(query).map(drop), Err(refused), "{query}");
        }
    }
}
