//! What a build tells, as clients read it.

use base::Timestamp;
use build::solve::{Event, WarningSource};
use bytes::Bytes;
use llb::pb;

use crate::wire::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};

/// How many events go into one message.
pub(crate) const BATCH: usize = 256;
/// How much of what steps write goes into one message; clients take four times as much.
const LOGS: usize = 1 << 20;

/// A time as messages have it.
pub(crate) fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// The messages that tell of `events`.
pub(crate) fn messages(events: Vec<Event>) -> Vec<StatusResponse> {
    let mut messages = vec![StatusResponse::default()];
    let mut logged = 0;
    for event in events {
        if let Event::Log(log) = &event {
            logged += log.bytes.len();
            if logged > LOGS {
                logged = log.bytes.len();
                messages.push(StatusResponse::default());
            }
        }
        if let Some(message) = messages.last_mut() {
            add(message, event);
        }
    }
    messages
}

fn add(message: &mut StatusResponse, event: Event) {
    match event {
        Event::Vertex(vertex) => message.vertexes.push(Vertex {
            digest: vertex.digest.to_string(),
            inputs: vertex.inputs.iter().map(ToString::to_string).collect(),
            name: vertex.name,
            cached: vertex.cached,
            started: vertex.started.map(time),
            completed: vertex.completed.map(time),
            error: vertex.error.unwrap_or_default(),
            progress_group: vertex.progress_group.map(|group| pb::ProgressGroup {
                id: group.id,
                name: group.name,
                weak: group.weak,
            }),
        }),
        Event::Status(status) => message.statuses.push(VertexStatus {
            id: status.id,
            vertex: status.vertex.to_string(),
            name: status.name,
            current: i64::try_from(status.current).unwrap_or(i64::MAX),
            total: i64::try_from(status.total).unwrap_or(i64::MAX),
            timestamp: Some(time(status.at)),
            started: status.started.map(time),
            completed: status.completed.map(time),
        }),
        Event::Log(log) => message.logs.push(VertexLog {
            vertex: log.vertex.to_string(),
            timestamp: Some(time(log.at)),
            stream: log.stream.into(),
            msg: log.bytes,
        }),
        Event::Warning(warning) => {
            let (info, ranges) = warning.source.map(source).unzip();
            message.warnings.push(VertexWarning {
                vertex: warning.vertex.map(|digest| digest.to_string()).unwrap_or_default(),
                level: warning.level,
                short: Bytes::from(warning.short),
                detail: warning.detail.into_iter().map(Bytes::from).collect(),
                url: warning.url,
                info,
                ranges: ranges.unwrap_or_default(),
            });
        }
    }
}

fn source(source: WarningSource) -> (pb::SourceInfo, Vec<pb::Range>) {
    let line = |line: u32| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    let ranges = source
        .lines
        .iter()
        .map(|(first, last)| pb::Range { start: line(*first), end: line(*last) })
        .collect();
    let info = pb::SourceInfo {
        filename: source.filename,
        data: source.data.into(),
        language: source.language,
        definition: None,
    };
    (info, ranges)
}
