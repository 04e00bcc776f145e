//! `GET /containers/json`: what `docker ps` shows.

use engine::container::{ContainerFilter, Status};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::summary;
use crate::fault::Fault;
use crate::filters::Filters;
use crate::version::ApiVersion;

/// The filters that this list knows.
const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// The containers that the query asks for, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let filters = call.filters(FILTERS)?;
    if filters.flag("is-task")? == Some(true) {
        // Tasks are a swarm's.
        return answer::json(&[(); 0]);
    }
    let mut filter = filter(&filters)?;
    filter.all |= call.query.flag("all");
    // Once there were parameters instead of filters; clients still send them.
    let named = |name: &str| Some(call.query.text(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    filter.before = filter.before.or_else(|| named("before"));
    filter.since = filter.since.or_else(|| named("since"));
    filter.limit =
        call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|&limit| limit > 0);
    let containers = call.engine().container_list(&filter)?;
    let now = call.api.now();
    let mut lines = Vec::with_capacity(containers.len());
    for container in &containers {
        let size = match call.query.flag("size") {
            // A container that goes meanwhile is listed without its size.
            true => call.engine().container_size(&container.id).await.ok(),
            false => None,
        };
        let mut line = summary::line(container, size, now);
        if call.version < ApiVersion(1, 46) {
            line.host_config.annotations.clear();
        }
        lines.push(line);
    }
    answer::json(&lines)
}

fn filter(filters: &Filters) -> Result<ContainerFilter, Fault> {
    let statuses = filters.get("status").iter().map(|text| status(text)).collect::<Result<Vec<_>, _>>()?;
    let exit_codes = filters
        .get("exited")
        .iter()
        .map(|text| text.parse().map_err(|_| Fault::invalid(format!("invalid filter 'exited={text}'"))))
        .collect::<Result<Vec<i32>, _>>()?;
    for key in ["publish", "expose"] {
        for value in filters.get(key) {
            if value.contains(':') {
                return Err(Fault::invalid(format!("filter for '{key}' should not contain ':': {value}")));
            }
            if !is_port_range(value) {
                return Err(Fault::invalid(format!(
                    "error while looking up for {key} {value}: invalid port specification: {value}"
                )));
            }
        }
    }
    for health in filters.get("health") {
        if !matches!(health.as_str(), "starting" | "healthy" | "unhealthy" | "none") {
            return Err(Fault::invalid(format!("invalid filter 'health={health}'")));
        }
    }
    Ok(ContainerFilter {
        all: !statuses.is_empty(),
        ids: filters.list("id"),
        names: filters.list("name"),
        labels: filters.list("label"),
        statuses,
        exit_codes,
        ancestors: filters.list("ancestor"),
        volumes: filters.list("volume"),
        networks: filters.list("network"),
        health: filters.list("health"),
        published: filters.list("publish"),
        exposed: filters.list("expose"),
        sandbox: None,
        before: filters.one("before").map(str::to_owned),
        since: filters.one("since").map(str::to_owned),
        limit: None,
    })
}

/// Whether a text is `80`, `80-90` or one of these with `/tcp`.
fn is_port_range(text: &str) -> bool {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
    matches!(protocol, "tcp" | "udp" | "sctp") && range.is_some_and(|(first, last)| first <= last)
}

fn status(text: &str) -> Result<Status, Fault> {
    Ok(match text {
        "created" => Status::Created,
        "running" => Status::Running,
        "paused" => Status::Paused,
        "restarting" => Status::Restarting,
        "exited" => Status::Exited,
        "dead" => Status::Dead,
        "removing" => Status::Removing,
        _ => return Err(Fault::invalid(format!("invalid filter 'status={text}'"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<bool, &str>) {
        let filters = Filters::parse(text, FILTERS).expect("filters");
        match (filter(&filters), expected) {
            (Ok(filter), Ok(all)) => assert_eq!(filter.all, all, "{text}"),
            (Err(fault), Err(message)) => assert_eq!(fault.message, message),
            (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn a_status_asks_for_containers_that_do_not_run_too() {
        check(r#"{"status":["exited"]}"#, Ok(true));
        check(r#"{"name":["web"]}"#, Ok(false));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        check(r#"{"status":["gone"]}"#, Err("invalid filter 'status=gone'"));
        check(r#"{"exited":["x"]}"#, Err("invalid filter 'exited=x'"));
        check(
            r#"{"publish":["127.0.0.1:80"]}"#,
            Err("filter for 'publish' should not contain ':': 127.0.0.1:80"),
        );
        check(
            r#"{"expose":["90-80"]}"#,
            Err("error while looking up for expose 90-80: invalid port specification: 90-80"),
        );
        check(r#"{"publish":["80-90/udp"]}"#, Ok(false));
        check(r#"{"health":["ill"]}"#, Err("invalid filter 'health=ill'"));
    }
}
