//! `GET /events`: what happens, as it happens.

use bytes::Bytes;
use engine::event::{EventKind, EventQuery};
use futures::StreamExt;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::event as convert;
use crate::fault::Fault;
use crate::filters::Filters;
use crate::when;

/// The filters that this stream knows.
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Kinds that other daemons have and this one does not: nothing ever happens to them.
const OTHER_KINDS: &[&str] = &["config", "node", "plugin", "secret", "service"];

/// A line for each event, until the client goes or the moment `until`.
pub(crate) async fn events(call: Call) -> Answer {
    let now = call.api.now();
    let filters = call.filters(FILTERS)?;
    let Some(mut query) = query(&filters)? else {
        return answer::stream("application/json", futures::stream::empty());
    };
    query.since = when::parse("since", call.query.text("since"), now)?;
    query.until = when::parse("until", call.query.text("until"), now)?;
    if query.since.zip(query.until).is_some_and(|(since, until)| until < since) {
        return Err(Fault::invalid("`since` time cannot be after `until` time"));
    }
    let lines = call.engine().events(query).map(|event| {
        let event = event.map_err(std::io::Error::other)?;
        let mut line = serde_json::to_vec(&convert::event(&event)).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok(Bytes::from(line))
    });
    answer::endless("application/json", lines, call.api.closing.clone())
}

/// What the filters let through; none where that is nothing for ever.
fn query(filters: &Filters) -> Result<Option<EventQuery>, Fault> {
    let mut kinds = Vec::new();
    for kind in filters.get("type") {
        match kind.as_str() {
            "container" => kinds.push(EventKind::Container),
            "image" => kinds.push(EventKind::Image),
            "volume" => kinds.push(EventKind::Volume),
            "network" => kinds.push(EventKind::Network),
            "builder" => kinds.push(EventKind::Builder),
            "daemon" => kinds.push(EventKind::Daemon),
            other if OTHER_KINDS.contains(&other) => {}
            other => return Err(Fault::invalid(format!("invalid filter 'type={other}'"))),
        }
    }
    let nothing = (kinds.is_empty() && !filters.get("type").is_empty())
        || OTHER_KINDS.iter().any(|kind| !filters.get(kind).is_empty())
        || !filters.matches("scope", "local");
    if nothing {
        return Ok(None);
    }
    if kinds.is_empty() {
        // Sandboxes are no thing of Docker's.
        kinds = vec![
            EventKind::Container,
            EventKind::Image,
            EventKind::Volume,
            EventKind::Network,
            EventKind::Builder,
            EventKind::Daemon,
        ];
    }
    Ok(Some(EventQuery {
        since: None,
        until: None,
        kinds,
        actions: filters.list("event"),
        containers: filters.list("container"),
        images: filters.list("image"),
        volumes: filters.list("volume"),
        networks: filters.list("network"),
        labels: filters.list("label"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<usize>, &str>) {
        let filters = Filters::parse(text, FILTERS).expect("filters");
        let read = query(&filters).map(|query| query.map(|query| query.kinds.len()));
        assert_eq!(read.map_err(|fault| fault.message), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn kinds_that_are_not_here_give_nothing() {
        check("", Ok(Some(6)));
        check(r#"{"type":["container","plugin"]}"#, Ok(Some(1)));
        check(r#"{"type":["plugin"]}"#, Ok(None));
        check(r#"{"scope":["swarm"]}"#, Ok(None));
        check(r#"{"type":["cloud"]}"#, Err("invalid filter 'type=cloud'"));
    }
}
