//! A container's life as a pure step function: state and input in, state and effects out.
//!
//! ```text
//!            Started            Frozen
//!  created ───────────▶ running ◀──────▶ paused
//!     │ StartFailed      │    ▲  Thawed     │
//!     ▼                  │    │ Started     │ Exited
//!   exited ◀─────────────┴────┼─────────────┘
//!     ▲    Exited             │
//!     │      └──(policy)──▶ restarting
//!     └── Halted ─────────────┘
//!
//!  any but running, paused ── RemovalBegun ──▶ removing ── RemovalFailed ──▶ dead
//! ```
//!
//! The shell around it ([`crate::engine`] and the operations) persists the new state before it
//! performs the effects.
//!
//! What the specification asks for goes with every step ([`Wishes`]); what somebody wants later is an input,
//! and the specification stays what it is.

use std::time::Duration;

use base::Timestamp;

use super::spec::{ContainerSpec, RestartPolicy};
use super::view::Status;
use crate::error::Fact;

/// The delay before the first restart; it doubles with every run that was short.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run of this length ends a series of short ones.
const LONG_RUN: Duration = Duration::from_secs(10);

/// Where a container is in its life.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Life {
    pub(crate) status: Status,
    pub(crate) pid: Option<u32>,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    /// What `error` says, where fronts have words of their own for it.
    pub(crate) fact: Option<Fact>,
    pub(crate) oom_killed: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// How often the policy has started it since it was last started by hand.
    pub(crate) restart_count: u32,
    /// Short runs in a row: decides the delay.
    pub(crate) short_runs: u32,
    /// Somebody asked it to stop; the policy leaves it alone.
    pub(crate) halted: bool,
    /// Somebody asked it to stop in order to start it again: its end is not the last. Nobody asks for that any
    /// more where the engine was opened anew, so it is not written down.
    pub(crate) returns: bool,
}

impl Life {
    /// Nothing is known but that it was started.
    pub(crate) fn unknown(created: Timestamp) -> Self {
        Self { status: Status::Running, started_at: Some(created), ..Self::default() }
    }
}

/// What its specification wants to happen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) restart: RestartPolicy,
    pub(crate) auto_remove: bool,
}

impl Wishes {
    pub(crate) fn of(spec: &ContainerSpec) -> Self {
        Self { restart: spec.restart, auto_remove: spec.auto_remove }
    }
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// Its program runs; `by_policy` where nobody asked for it.
    Started { pid: u32, at: Timestamp, by_policy: bool },
    /// Its program could not be started.
    StartFailed { code: i32, message: String, fact: Option<Fact>, at: Timestamp, by_policy: bool },
    /// Its program has ended.
    Exited { code: i32, oom_killed: bool, error: Option<String>, at: Timestamp },
    /// Somebody wants it to end, or to stay ended; `returns` where it is to be started again at once.
    Halted { returns: bool },
    /// All processes are frozen.
    Frozen,
    /// They go on.
    Thawed,
    /// The engine was opened and found it alive in its shim.
    Found { pid: u32, frozen: bool },
    /// The engine was opened and the container does not run; `rebooted` if the machine has been off since
    /// it was made.
    Reopened { rebooted: bool },
    /// Its removal begins.
    RemovalBegun,
    /// Its removal failed half-way.
    RemovalFailed { message: String },
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Tell subscribers.
    Emit(&'static str),
    /// Start it after a while, unless its state has changed by then.
    RestartAfter(Duration),
    /// Remove it with its anonymous volumes.
    Remove,
}

/// The step: what `input` makes of `life`, and what is to be done.
pub(crate) fn step(life: &Life, input: &Input, wishes: Wishes) -> (Life, Vec<Effect>) {
    let mut next = life.clone();
    let mut effects = Vec::new();
    match input {
        Input::Started { pid, at, by_policy } => {
            next.status = Status::Running;
            next.pid = Some(*pid);
            next.started_at = Some(*at);
            next.finished_at = None;
            next.exit_code = 0;
            next.error.clear();
            next.fact = None;
            next.oom_killed = false;
            next.halted = false;
            next.returns = false;
            if *by_policy {
                next.restart_count += 1;
            } else {
                next.restart_count = 0;
                next.short_runs = 0;
            }
            effects.push(Effect::Emit("start"));
        }
        Input::StartFailed { code, message, fact, at, by_policy } => {
            next.status = if life.started_at.is_none() { Status::Created } else { Status::Exited };
            next.pid = None;
            next.exit_code = *code;
            next.error.clone_from(message);
            next.fact.clone_from(fact);
            next.returns = false;
            if *by_policy {
                // A start that fails is one more short run: what is missing may come back.
                next.finished_at = Some(*at);
                next.restart_count += 1;
                end(&mut next, &mut effects, wishes, *code);
            } else if wishes.auto_remove {
                effects.push(Effect::Remove);
            }
        }
        Input::Exited { code, oom_killed, error, at } => {
            if !life.status.is_active() {
                return (next, effects);
            }
            let long = life.started_at.is_some_and(|start| {
                Duration::try_from(at.duration_since(start)).unwrap_or_default() >= LONG_RUN
            });
            if long {
                next.short_runs = 0;
            }
            next.status = Status::Exited;
            next.pid = None;
            next.exit_code = *code;
            next.oom_killed = *oom_killed;
            next.error = error.clone().unwrap_or_default();
            next.fact = None;
            next.finished_at = Some(*at);
            if *oom_killed {
                effects.push(Effect::Emit("oom"));
            }
            effects.push(Effect::Emit("die"));
            end(&mut next, &mut effects, wishes, *code);
        }
        Input::Halted { returns } => {
            next.halted = true;
            next.returns = *returns;
            if life.status == Status::Restarting {
                next.status = Status::Exited;
            }
            // Of one that has ended, and was to come back, this is the end.
            let was_to_return =
                life.status == Status::Restarting || life.status == Status::Exited && life.returns;
            if was_to_return && wishes.auto_remove && !returns {
                effects.push(Effect::Remove);
            }
        }
        Input::Frozen if life.status == Status::Running => {
            next.status = Status::Paused;
            effects.push(Effect::Emit("pause"));
        }
        Input::Thawed if life.status == Status::Paused => {
            next.status = Status::Running;
            effects.push(Effect::Emit("unpause"));
        }
        Input::Frozen | Input::Thawed => {}
        Input::Found { pid, frozen } => {
            next.status = if *frozen { Status::Paused } else { Status::Running };
            next.pid = Some(*pid);
        }
        Input::Reopened { rebooted } => reopen(&mut next, &mut effects, wishes, *rebooted),
        Input::RemovalBegun => {
            next.status = Status::Removing;
        }
        Input::RemovalFailed { message } => {
            next.status = Status::Dead;
            next.error.clone_from(message);
            next.fact = None;
        }
    }
    (next, effects)
}

/// What follows the end of a run that ended with `code`.
fn end(next: &mut Life, effects: &mut Vec<Effect>, wishes: Wishes, code: i32) {
    let again = !next.halted
        && match wishes.restart {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { retries } => {
                code != 0 && retries.is_none_or(|most| next.restart_count < most)
            }
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        };
    if again {
        next.status = Status::Restarting;
        effects.push(Effect::RestartAfter(delay(next.short_runs)));
        next.short_runs = next.short_runs.saturating_add(1);
    } else if wishes.auto_remove && !next.returns {
        effects.push(Effect::Remove);
    }
}

/// What an engine does on opening with a container that does not run.
fn reopen(next: &mut Life, effects: &mut Vec<Effect>, wishes: Wishes, rebooted: bool) {
    match next.status {
        Status::Restarting => {
            // A start of the engine is no failure of the container's.
            next.restart_count = 0;
            next.short_runs = 0;
            effects.push(Effect::RestartAfter(Duration::ZERO));
        }
        Status::Exited if wishes.auto_remove => effects.push(Effect::Remove),
        // It may have run, and been removed: what becomes of a container is lost with the machine's power.
        Status::Created if wishes.auto_remove && rebooted => effects.push(Effect::Remove),
        // `always` means also after the engine was started anew, even if it was stopped by hand.
        Status::Exited if wishes.restart == RestartPolicy::Always => {
            next.status = Status::Restarting;
            next.halted = false;
            effects.push(Effect::RestartAfter(Duration::ZERO));
        }
        Status::Removing => effects.push(Effect::Remove),
        _ => {}
    }
}

fn delay(short_runs: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1u32.checked_shl(short_runs.min(20)).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests;
