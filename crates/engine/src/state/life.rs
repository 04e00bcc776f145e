//! What became of a container.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Life {
    status: Status,
    pid: Option<u32>,
    exit_code: i32,
    error: String,
    oom_killed: bool,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    restart_count: u32,
    short_runs: u32,
    halted: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
    Removing,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Health {
    status: Verdict,
    failing_streak: u32,
    log: Vec<Check>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Serialize, Deserialize)]
struct Check {
    start: Timestamp,
    end: Timestamp,
    exit_code: i32,
    output: String,
}

base::same_fields!(
    Life = container::life::Life {
        status: inner,
        pid,
        exit_code,
        error,
        oom_killed,
        started_at,
        finished_at,
        restart_count,
        short_runs,
        halted,
    }
);

base::same_variants!(
    Status = container::Status { Created, Running, Paused, Restarting, Exited, Dead, Removing }
);

base::same_fields!(Health = container::Health { status: inner, failing_streak, log: each });

base::same_variants!(Verdict = container::HealthStatus { Starting, Healthy, Unhealthy });

base::same_fields!(Check = container::HealthResult { start, end, exit_code, output });
