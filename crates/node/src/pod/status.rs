//! A pod's status, worked out from what its containers do: pure.

use std::collections::BTreeMap;

use base::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ephemeral;
use super::groups::all_requested;
use super::plan::{RestartPolicy, Role};
use super::resize::{self, Progress};
use super::resources::quality_of_service;
use crate::runtime::Resources;

/// What is known of one container of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// How often it was started anew.
    pub restarts: u32,
    /// The current run, if there is one.
    pub current: Option<Run>,
    /// The run before.
    pub previous: Option<Run>,
    /// Why there is no current run, or why the next one waits: reason and message.
    pub waiting: Option<(String, String)>,
    /// Its readiness probe passes, or it has none.
    pub ready: bool,
    /// Its startup probe has passed, or it has none.
    pub started: bool,
}

/// One run of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The container's id, with its runtime's name (`gantry://…`).
    pub id: String,
    /// The image's name.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// What it may use, while it runs.
    pub resources: Option<Resources>,
    /// How it ended; `None` while it runs.
    pub end: Option<End>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// The exit code.
    pub code: i32,
    /// When.
    pub at: Option<Timestamp>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// What the container, or the runtime, said last.
    pub message: String,
}

/// Everything that a status is made from.
pub struct View<'a> {
    /// The pod with the status it has now.
    pub pod: &'a Pod,
    /// The time.
    pub now: Timestamp,
    /// This node's address.
    pub host_ip: &'a str,
    /// The sandbox's addresses, while it is up; the host's for pods in its network.
    pub pod_ips: &'a [String],
    /// Whether the sandbox is up.
    pub sandbox_ready: bool,
    /// Facts by container name.
    pub containers: &'a BTreeMap<String, Facts>,
    /// The pod has ended for good.
    pub ended: bool,
    /// Why it has failed, whatever its containers say: reason and message.
    pub failure: Option<(&'a str, &'a str)>,
    /// How far its containers are from what it asks for.
    pub resize: &'a Progress,
    /// What it has as a whole, where something is said of that.
    pub whole: Option<ResourceRequirements>,
}

/// The status that `view` amounts to. Times of conditions that did not change are kept.
pub fn status(view: &View<'_>) -> PodStatus {
    let spec = view.pod.spec.clone().unwrap_or_default();
    let old = view.pod.status.clone().unwrap_or_default();
    let nothing = Facts::default();
    let facts = |name: &str| view.containers.get(name).unwrap_or(&nothing);

    let inits: Vec<_> = spec.init_containers.unwrap_or_default();
    let roles: Vec<Role> = inits.iter().map(role).collect();
    let begun =
        inits.iter().zip(&roles).all(|(container, role)| is_initialised(*role, facts(&container.name)))
            || spec.containers.iter().any(|container| facts(&container.name).current.is_some());
    let waiting_reason = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };

    let init_statuses: Vec<_> = inits
        .iter()
        .zip(&roles)
        .map(|(container, role)| {
            let facts = facts(&container.name);
            let complete =
                facts.current.as_ref().is_some_and(|run| run.end.as_ref().is_some_and(|end| end.code == 0));
            let ready = if *role == Role::Init {
                complete
            } else {
                is_running(facts) && facts.started && facts.ready
            };
            container_status(container, facts, ready, "PodInitializing")
        })
        .collect();
    let main_statuses: Vec<_> = spec
        .containers
        .iter()
        .map(|container| {
            let facts = facts(&container.name);
            container_status(
                container,
                facts,
                is_running(facts) && facts.started && facts.ready,
                waiting_reason,
            )
        })
        .collect();

    let ephemeral_statuses: Vec<_> = ephemeral::containers(view.pod)
        .iter()
        .map(|container| ContainerStatus {
            // Nobody asks whether they are.
            started: None,
            resources: None,
            allocated_resources: None,
            ..container_status(container, facts(&container.name), false, waiting_reason)
        })
        .collect();

    let policy = RestartPolicy::parse(spec.restart_policy.as_deref());
    let mains: Vec<_> = spec.containers.iter().map(|container| facts(&container.name)).collect();
    // While anything runs the pod has not ended: whoever waits for that may make another in its place.
    let ended = view.ended && !view.containers.values().any(is_running);
    let failure = view.failure.filter(|_| ended);
    // An end that was told is the end, whatever is left of it on this node.
    let told = old.phase.as_deref().filter(|phase| is_last(phase));
    let phase = match (told, failure) {
        (Some(told), _) => told,
        (None, Some(_)) => "Failed",
        (None, None) => {
            phase(ended, ended || begun, policy, &mains, &init_failed(&inits, &roles, view.containers))
        }
    };
    let terminal = is_last(phase);
    let initialised = begun || phase == "Succeeded";

    let said = |of: fn((&str, &str)) -> String, old: &Option<String>| failure.map(of).or_else(|| old.clone());
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        reason: said(|(reason, _)| reason.to_owned(), &old.reason),
        message: said(|(_, message)| message.to_owned(), &old.message),
        host_ip: Some(view.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: view.host_ip.to_owned() }]),
        pod_ip: view.pod_ips.first().cloned().or(old.pod_ip.clone()),
        pod_ips: if view.pod_ips.is_empty() {
            old.pod_ips.clone()
        } else {
            Some(view.pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect())
        },
        qos_class: old.qos_class.clone().or_else(|| Some(quality_of_service(view.pod).to_owned())),
        start_time: old.start_time.clone().or(Some(Time(whole_seconds(view.now)))),
        observed_generation: view.pod.metadata.generation,
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        container_statuses: (!main_statuses.is_empty()).then_some(main_statuses),
        ephemeral_container_statuses: (!ephemeral_statuses.is_empty()).then_some(ephemeral_statuses),
        allocated_resources: Some(all_requested(view.pod)).filter(|requested| !requested.is_empty()),
        resources: view.whole.clone(),
        ..old.clone()
    };
    if told.is_some() {
        keep_ends(&mut status.init_container_statuses, old.init_container_statuses.as_deref());
        keep_ends(&mut status.container_statuses, old.container_statuses.as_deref());
    }
    status.conditions = Some(conditions(view, &old, &status, initialised, terminal));
    status
}

/// Whether a pod never leaves a phase.
pub fn is_last(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// How containers ended as it was told, for those of which nobody here knows any more that they did.
fn keep_ends(statuses: &mut Option<Vec<ContainerStatus>>, told: Option<&[ContainerStatus]>) {
    let has_ended =
        |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    for status in statuses.iter_mut().flatten().filter(|status| !has_ended(status)) {
        let known = told.into_iter().flatten().find(|known| known.name == status.name && has_ended(known));
        if let Some(known) = known {
            *status = known.clone();
        }
    }
}

/// Whether an init container is a sidecar.
pub fn role(container: &k8s_openapi::api::core::v1::Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

fn is_initialised(role: Role, facts: &Facts) -> bool {
    match (role, &facts.current) {
        (Role::Sidecar, _) => is_running(facts) && facts.started,
        (_, Some(run)) => run.end.as_ref().is_some_and(|end| end.code == 0),
        (_, None) => false,
    }
}

fn is_running(facts: &Facts) -> bool {
    facts.current.as_ref().is_some_and(|run| run.end.is_none())
}

fn init_failed(
    inits: &[k8s_openapi::api::core::v1::Container],
    roles: &[Role],
    facts: &BTreeMap<String, Facts>,
) -> bool {
    inits.iter().zip(roles).filter(|(_, role)| **role == Role::Init).any(|(container, _)| {
        let run = facts.get(&container.name).and_then(|facts| facts.current.as_ref());
        run.and_then(|run| run.end.as_ref()).is_some_and(|end| end.code != 0)
    })
}

fn phase(
    ended: bool,
    initialised: bool,
    policy: RestartPolicy,
    mains: &[&Facts],
    init_failed: &bool,
) -> &'static str {
    let exit = |facts: &Facts| facts.current.as_ref().and_then(|run| run.end.as_ref()).map(|end| end.code);
    if ended {
        let failed = (*init_failed && policy == RestartPolicy::Never)
            || mains.iter().any(|facts| exit(facts).is_none_or(|code| code != 0));
        return if failed { "Failed" } else { "Succeeded" };
    }
    let ever_ran = |facts: &&Facts| facts.current.is_some() || facts.previous.is_some();
    if initialised && !mains.is_empty() && mains.iter().all(ever_ran) { "Running" } else { "Pending" }
}

fn container_status(
    container: &k8s_openapi::api::core::v1::Container,
    facts: &Facts,
    ready: bool,
    waiting_reason: &str,
) -> ContainerStatus {
    let shown = facts.current.as_ref().or(facts.previous.as_ref());
    let waits = |reason: &str, message: &str| ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..ContainerState::default()
    };
    // A run that has ended and waits for its next one is shown as the state before.
    let (state, last_state) = match (&facts.current, &facts.waiting) {
        (Some(run), Some((reason, message))) if run.end.is_some() => {
            (waits(reason, message), Some(state_of(run)))
        }
        (Some(run), _) => (state_of(run), facts.previous.as_ref().map(state_of)),
        (None, Some((reason, message))) => (waits(reason, message), facts.previous.as_ref().map(state_of)),
        (None, None) => (waits(waiting_reason, ""), facts.previous.as_ref().map(state_of)),
    };
    ContainerStatus {
        name: container.name.clone(),
        image: shown
            .map(|run| run.image.clone())
            .filter(|image| !image.is_empty())
            .unwrap_or_else(|| container.image.clone().unwrap_or_default()),
        image_id: shown.map(|run| run.image_id.clone()).unwrap_or_default(),
        container_id: shown.map(|run| run.id.clone()),
        ready,
        started: Some(is_running(facts) && facts.started),
        restart_count: i32::try_from(facts.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last_state.unwrap_or_default()),
        resources: resize::reported(container, facts.current.as_ref().and_then(|run| run.resources.as_ref())),
        allocated_resources: container
            .resources
            .as_ref()
            .and_then(|granted| granted.requests.clone())
            .filter(|requests| !requests.is_empty()),
        ..ContainerStatus::default()
    }
}

fn state_of(run: &Run) -> ContainerState {
    let time = |at: Option<Timestamp>| at.map(|at| Time(whole_seconds(at)));
    match &run.end {
        None => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(run.started_at) }),
            ..ContainerState::default()
        },
        Some(end) => ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(run.id.clone()),
                exit_code: end.code,
                started_at: time(run.started_at),
                finished_at: time(end.at),
                reason: Some(end.reason.clone()),
                message: (!end.message.is_empty()).then(|| end.message.clone()),
                signal: None,
            }),
            ..ContainerState::default()
        },
    }
}

fn conditions(
    view: &View<'_>,
    old: &PodStatus,
    new: &PodStatus,
    initialised: bool,
    terminal: bool,
) -> Vec<PodCondition> {
    let statuses = new.container_statuses.as_deref().unwrap_or_default();
    let unready: Vec<&str> = statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    let incomplete: Vec<&str> = new
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|s| {
            !s.ready
                && s.state
                    .as_ref()
                    .is_none_or(|state| state.terminated.as_ref().is_none_or(|t| t.exit_code != 0))
        })
        .map(|s| s.name.as_str())
        .collect();
    let succeeded = new.phase.as_deref() == Some("Succeeded");
    let containers_ready = match () {
        () if terminal && succeeded => Err(("PodCompleted", String::new())),
        () if terminal => Err(("PodFailed", String::new())),
        () if unready.is_empty() && initialised => Ok(()),
        () => Err(("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))),
    };
    let ready = containers_ready.clone().and_then(|()| gates(view.pod, old));
    let initialised = match () {
        () if initialised && terminal && succeeded => Ok(Some("PodCompleted")),
        () if initialised => Ok(None),
        () => Err((
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        )),
    };
    let sandbox = if view.sandbox_ready { Ok(()) } else { Err(("", String::new())) };

    let mut conditions = vec![
        condition(view, old, "PodReadyToStartContainers", sandbox.map(|()| None)),
        condition(view, old, "Initialized", initialised),
        condition(view, old, "Ready", ready.map(|()| None)),
        condition(view, old, "ContainersReady", containers_ready.map(|()| None)),
        condition(view, old, "PodScheduled", Ok(None)),
    ];
    conditions.extend(view.resize.conditions());
    // Conditions that others set stay: readiness gates, disruption.
    let ours = |kind: &str| {
        matches!(kind, resize::PENDING | resize::IN_PROGRESS)
            || conditions.iter().any(|condition| condition.type_ == kind)
    };
    let others: Vec<_> =
        old.conditions.iter().flatten().filter(|condition| !ours(&condition.type_)).cloned().collect();
    conditions.extend(others);
    conditions
}

/// Readiness gates: conditions that somebody else has to set to True first.
fn gates(pod: &Pod, old: &PodStatus) -> Result<(), (&'static str, String)> {
    let spec = pod.spec.as_ref();
    let gates = spec.and_then(|spec| spec.readiness_gates.as_ref()).into_iter().flatten();
    let closed = gates.filter_map(|gate| {
        let kind = &gate.condition_type;
        match old.conditions.iter().flatten().find(|condition| condition.type_ == *kind) {
            None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                condition.status
            )),
        }
    });
    let messages: Vec<String> = closed.collect();
    if messages.is_empty() {
        return Ok(());
    }
    Err(("ReadinessGatesNotReady", messages.join(", ")))
}

/// A condition that keeps the time of its last change unless it changes now.
fn condition(
    view: &View<'_>,
    old: &PodStatus,
    kind: &str,
    outcome: Result<Option<&str>, (&str, String)>,
) -> PodCondition {
    let (status, reason, message) = match outcome {
        Ok(reason) => ("True", reason.map(str::to_owned), None),
        Err((reason, message)) => (
            "False",
            (!reason.is_empty()).then(|| reason.to_owned()),
            (!message.is_empty()).then_some(message),
        ),
    };
    let before = old.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let unchanged = before.filter(|condition| condition.status == status);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: unchanged
            .and_then(|condition| condition.last_transition_time.clone())
            .or(Some(Time(whole_seconds(view.now)))),
        last_probe_time: None,
        observed_generation: view.pod.metadata.generation,
    }
}

/// The API's times have whole seconds.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).expect("cutting a time stays in range")
}

#[cfg(test)]
mod tests;
