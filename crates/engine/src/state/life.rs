//! What became of a container.

use std::path::PathBuf;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container;
use crate::error;
use crate::id::ContainerId;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Life {
    status: Status,
    pid: Option<u32>,
    exit_code: i32,
    error: String,
    /// What `error` says, if that is a fact. Not written where it is none, which programs take it for that do
    /// not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fact: Option<Fact>,
    oom_killed: bool,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    restart_count: u32,
    short_runs: u32,
    halted: bool,
    /// That its container is kept. What keeps it says so in the container's record too; that of before this was
    /// so is written anew when it changes, and until then this says it. Not written where it is not so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) kept: bool,
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

/// What kept a container from being started; of others the text is enough.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fact {
    NoContainer { reference: String },
    NotJoinable { namespace: String, container: ContainerId },
    MemoryNotShared { container: ContainerId },
    NoBindSource { path: PathBuf },
    NoVolume { name: String },
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

impl From<container::life::Life> for Life {
    fn from(life: container::life::Life) -> Self {
        let container::life::Life {
            status,
            pid,
            exit_code,
            error,
            fact,
            oom_killed,
            started_at,
            finished_at,
            restart_count,
            short_runs,
            halted,
            // Nobody asks for it where the engine was opened anew.
            returns: _,
        } = life;
        Self {
            status: status.into(),
            pid,
            exit_code,
            error,
            fact: fact.and_then(Fact::of),
            oom_killed,
            started_at,
            finished_at,
            restart_count,
            short_runs,
            halted,
            // Known to the record that it is in.
            kept: false,
        }
    }
}

impl From<Life> for container::life::Life {
    fn from(life: Life) -> Self {
        let Life {
            status,
            pid,
            exit_code,
            error,
            fact,
            oom_killed,
            started_at,
            finished_at,
            restart_count,
            short_runs,
            halted,
            kept: _,
        } = life;
        Self {
            status: status.into(),
            pid,
            exit_code,
            error,
            fact: fact.map(Into::into),
            oom_killed,
            started_at,
            finished_at,
            restart_count,
            short_runs,
            halted,
            returns: false,
        }
    }
}

impl Fact {
    fn of(fact: error::Fact) -> Option<Self> {
        Some(match fact {
            error::Fact::NoContainer { reference } => Self::NoContainer { reference },
            error::Fact::NotJoinable { namespace, container } => Self::NotJoinable { namespace, container },
            error::Fact::MemoryNotShared { container } => Self::MemoryNotShared { container },
            error::Fact::NoBindSource { path } => Self::NoBindSource { path },
            error::Fact::NoVolume { name } => Self::NoVolume { name },
            _ => return None,
        })
    }
}

impl From<Fact> for error::Fact {
    fn from(fact: Fact) -> Self {
        match fact {
            Fact::NoContainer { reference } => Self::NoContainer { reference },
            Fact::NotJoinable { namespace, container } => Self::NotJoinable { namespace, container },
            Fact::MemoryNotShared { container } => Self::MemoryNotShared { container },
            Fact::NoBindSource { path } => Self::NoBindSource { path },
            Fact::NoVolume { name } => Self::NoVolume { name },
        }
    }
}

base::same_variants!(
    Status = container::Status { Created, Running, Paused, Restarting, Exited, Dead, Removing }
);

base::same_fields!(Health = container::Health { status: inner, failing_streak, log: each });

base::same_variants!(Verdict = container::HealthStatus { Starting, Healthy, Unhealthy });

base::same_fields!(Check = container::HealthResult { start, end, exit_code, output });
