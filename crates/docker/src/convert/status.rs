//! The sentence on a container's state that listings show.

use base::Timestamp;
use engine::container::{ContainerState, HealthStatus, Status};

/// `Up 5 minutes (healthy)`, `Exited (1) 2 hours ago`, `Created` …
pub(crate) fn sentence(state: &ContainerState, now: Timestamp) -> String {
    let since = |at: Option<Timestamp>| {
        at.map_or_else(|| "Less than a second".to_owned(), |at| span(seconds(at, now)))
    };
    match state.status {
        Status::Running => match &state.health {
            Some(health) => {
                let verdict = match health.status {
                    HealthStatus::Starting => "health: starting",
                    other => other.as_str(),
                };
                format!("Up {} ({verdict})", since(state.started_at))
            }
            None => format!("Up {}", since(state.started_at)),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Exited => match state.finished_at {
            Some(_) => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
            None => "Created".to_owned(),
        },
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
    }
}

fn seconds(at: Timestamp, now: Timestamp) -> i64 {
    now.as_second().saturating_sub(at.as_second()).max(0)
}

/// A span in its largest unit, as people say it.
fn span(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match (seconds, minutes) {
        (..1, _) => "Less than a second".to_owned(),
        (1, _) => "1 second".to_owned(),
        (..60, _) => format!("{seconds} seconds"),
        (_, 1) => "About a minute".to_owned(),
        (_, ..60) => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Status, seconds: i64, expected: &str) {
        let at = |seconds| Timestamp::new(1_000_000_000 - seconds, 0).expect("a moment");
        let state = ContainerState {
            status,
            exit_code: 3,
            started_at: Some(at(seconds)),
            finished_at: Some(at(seconds)),
            ..ContainerState::default()
        };
        assert_eq!(sentence(&state, at(0)), expected);
    }

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        check(Status::Running, 0, "Up Less than a second");
        check(Status::Running, 1, "Up 1 second");
        check(Status::Running, 59, "Up 59 seconds");
        check(Status::Running, 70, "Up About a minute");
        check(Status::Running, 3599, "Up 59 minutes");
        check(Status::Running, 3600, "Up About an hour");
        check(Status::Running, 7200, "Up 2 hours");
        check(Status::Running, 3 * 86_400, "Up 3 days");
        check(Status::Running, 20 * 86_400, "Up 2 weeks");
    }

    #[test]
    fn every_state_has_its_words() {
        check(Status::Paused, 5, "Up 5 seconds (Paused)");
        check(Status::Exited, 5, "Exited (3) 5 seconds ago");
        check(Status::Restarting, 5, "Restarting (3) 5 seconds ago");
        check(Status::Created, 5, "Created");
        check(Status::Removing, 5, "Removal In Progress");
    }
}
