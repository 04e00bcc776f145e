//! What to do next for a pod: the thinking half of the pod worker, pure.
//!
//! ```text
//!            sandbox missing or down              init containers, in order
//!  Pending ──────────────────────────► sandbox ──────────────────────────────► all containers
//!                                                   │ failed, policy Never          │ all ended, none to
//!                                                   ▼                               ▼ be started again
//!                                                 Failed                   Succeeded or Failed
//! ```
//!
//! The worker gathers a [`View`], carries out the [`Step`]s, and asks again whenever something
//! has changed or [`Plan::wake`] has come. Asking twice does no harm. All moments are those of the steady
//! clock ([`base::Clock::elapsed`]).

use std::time::Duration;

use crate::runtime::{ContainerId, ContainerState, ContainerStatus};

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct View {
    /// The moment.
    pub now: Duration,
    /// When the pod has been active for as long as it may be.
    pub deadline: Option<Duration>,
    /// It has been active for longer than it may be, which is not taken back.
    pub overdue: bool,
    /// It was told that it has ended, which is not taken back either, whatever is known of its containers.
    pub told: bool,
    /// What happens when a container ends.
    pub restart: RestartPolicy,
    /// The sandbox as it is.
    pub sandbox: SandboxState,
    /// Ephemeral containers, init containers in order, then the others.
    pub containers: Vec<ContainerView>,
}

/// A pod's restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// If it failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// Reads the API's word; anything else counts as the default, `Always`.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }
}

/// A pod's sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// There was none yet.
    Missing,
    /// There was one, and it is gone: its shim was killed, or the machine rebooted.
    Down,
    /// Its network is up and containers can be started in it.
    Ready,
}

/// What a container of a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next begins.
    Init,
    /// An init container that goes on running beside the others (`restartPolicy: Always`).
    Sidecar,
    /// The pod's purpose.
    Main,
    /// Runs once, at any time while the pod does, which does not wait for it.
    Ephemeral,
}

/// One container of the pod.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The newest instance, if there ever was one.
    pub latest: Option<Instance>,
    /// The number that the next instance gets: how many there were.
    pub next_attempt: u32,
    /// Not to be started before this moment.
    pub not_before: Option<Duration>,
    /// Its running instance is to be killed: a probe has found it dead, or it is of another image.
    pub condemned: bool,
    /// Its newest instance was killed to make another of it, whatever the policy.
    pub replaced: bool,
    /// Its startup probe has passed, or it has none.
    pub started: bool,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The runtime's id.
    pub id: ContainerId,
    /// Whether it lives in the sandbox that is there now.
    pub in_current_sandbox: bool,
    /// How far it has come.
    pub state: InstanceState,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Made and not started: the daemon ended in between.
    Created,
    /// Its program runs.
    Running,
    /// Its program has ended with this code.
    Exited(i32),
}

impl From<&ContainerStatus> for InstanceState {
    fn from(status: &ContainerStatus) -> Self {
        match status.state {
            ContainerState::Created => Self::Created,
            ContainerState::Running => Self::Running,
            ContainerState::Exited => Self::Exited(status.exit_code),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a new sandbox, after taking away what is left of an old one.
    CreateSandbox,
    /// Make and start an instance of a container.
    Start {
        /// Its place in [`View::containers`].
        container: usize,
        /// The instance's number.
        attempt: u32,
    },
    /// End a running instance, with its grace period.
    Kill {
        /// Its place in [`View::containers`].
        container: usize,
        /// The instance.
        id: ContainerId,
    },
    /// End whatever runs, sidecars last: the pod has ended.
    StopContainers,
    /// Take the sandbox down: the pod has ended.
    StopSandbox,
}

/// What to do now, and when to think again at the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// A back-off ends at this moment, or the pod's time is over.
    pub wake: Option<Duration>,
    /// The pod has ended for good.
    pub ended: bool,
    /// It has, since it has been active for longer than it may be.
    pub overdue: bool,
}

/// Decides what to do next.
pub fn plan(view: &View) -> Plan {
    let late = view.deadline.is_some_and(|deadline| deadline <= view.now);
    match (view.overdue, view.told || ended(view)) {
        (true, _) => return Plan { overdue: true, ..end(view) },
        (false, true) => return end(view),
        (false, false) if late => return Plan { overdue: true, ..end(view) },
        (false, false) => {}
    }
    let plan = go_on(view);
    Plan { wake: plan.wake.into_iter().chain(view.deadline).min(), ..plan }
}

/// What is next for a pod that has not ended.
fn go_on(view: &View) -> Plan {
    if view.sandbox != SandboxState::Ready {
        return Plan { steps: vec![Step::CreateSandbox], ..Plan::default() };
    }
    let mut plan = Plan::default();
    let mut initialised = true;
    for (place, container) in view.containers.iter().enumerate() {
        let wanted = match container.role {
            // What has ended for good is not run again for a new sandbox's sake.
            Role::Main => initialised && !is_over(view.restart, container),
            Role::Ephemeral => never_ran(container),
            Role::Init | Role::Sidecar => initialised && !main_has_started(view),
        };
        // Once the pod is initialised, sidecars are kept running and init containers left alone.
        let wanted = wanted || (container.role == Role::Sidecar && main_has_started(view));
        if wanted {
            step_container(view, place, container, &mut plan);
        }
        initialised = initialised && is_initialised(view, container);
    }
    plan
}

/// Whether an init container lets the next one begin.
pub fn is_initialised(view: &View, container: &ContainerView) -> bool {
    match (container.role, current(container)) {
        (Role::Main | Role::Ephemeral, _) => true,
        (Role::Init, Some(instance)) => instance.state == InstanceState::Exited(0),
        (Role::Sidecar, Some(instance)) => instance.state == InstanceState::Running && container.started,
        // What ran before the main containers did is not run again for its own sake.
        (_, None) => main_has_started(view),
    }
}

/// Whether the pod has ended: no container runs, and none is to be started (again).
fn ended(view: &View) -> bool {
    if init_failed_for_good(view) {
        return true;
    }
    let mut mains = view.containers.iter().filter(|container| container.role == Role::Main);
    mains.all(|container| is_over(view.restart, container))
}

/// Whether a main container has ended for good.
fn is_over(policy: RestartPolicy, container: &ContainerView) -> bool {
    match &container.latest {
        Some(Instance { state: InstanceState::Exited(code), .. }) => {
            !container.replaced && !restarts(policy, *code)
        }
        _ => false,
    }
}

fn init_failed_for_good(view: &View) -> bool {
    view.restart == RestartPolicy::Never
        && view.containers.iter().filter(|container| container.role == Role::Init).any(|container| {
            matches!(container.latest, Some(Instance { state: InstanceState::Exited(code), .. }) if code != 0)
        })
}

/// What still runs ends with the pod; then its network goes.
fn end(view: &View) -> Plan {
    let runs = |container: &ContainerView| {
        container.latest.as_ref().is_some_and(|instance| instance.state == InstanceState::Running)
    };
    let steps = match view.sandbox {
        SandboxState::Ready if view.containers.iter().any(runs) => vec![Step::StopContainers],
        SandboxState::Ready => vec![Step::StopSandbox],
        SandboxState::Missing | SandboxState::Down => Vec::new(),
    };
    Plan { steps, ended: true, ..Plan::default() }
}

fn step_container(view: &View, place: usize, container: &ContainerView, plan: &mut Plan) {
    let start = Step::Start { container: place, attempt: container.next_attempt };
    match current(container).map(|instance| (instance, instance.state)) {
        Some((instance, InstanceState::Running)) => {
            if container.condemned {
                plan.steps.push(Step::Kill { container: place, id: instance.id.clone() });
            }
        }
        Some((_, InstanceState::Exited(code))) => {
            let again = match container.role {
                _ if container.replaced => true,
                Role::Init => code != 0 && view.restart != RestartPolicy::Never,
                Role::Sidecar => true,
                Role::Main => restarts(view.restart, code),
                Role::Ephemeral => false,
            };
            if again {
                start_after_back_off(view, container, start, plan);
            }
        }
        Some((_, InstanceState::Created)) | None => start_after_back_off(view, container, start, plan),
    }
}

fn start_after_back_off(view: &View, container: &ContainerView, start: Step, plan: &mut Plan) {
    match container.not_before.filter(|&moment| moment > view.now) {
        Some(moment) => plan.wake = Some(plan.wake.map_or(moment, |earlier| earlier.min(moment))),
        None => plan.steps.push(start),
    }
}

/// The newest instance, if it lives in the sandbox that is there now.
fn current(container: &ContainerView) -> Option<&Instance> {
    container.latest.as_ref().filter(|instance| instance.in_current_sandbox)
}

/// Whether there never was an instance whose program has begun, in this sandbox or one before.
fn never_ran(container: &ContainerView) -> bool {
    match &container.latest {
        None => container.next_attempt == 0,
        Some(instance) => instance.state == InstanceState::Created,
    }
}

fn main_has_started(view: &View) -> bool {
    let mut mains = view.containers.iter().filter(|container| container.role == Role::Main);
    mains.any(|container| current(container).is_some_and(|instance| instance.state != InstanceState::Created))
}

/// Whether a main container that has ended with `code` runs again.
pub fn restarts(policy: RestartPolicy, code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    }
}

#[cfg(test)]
mod tests;
