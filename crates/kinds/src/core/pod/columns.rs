//! Columns of Pod. The status is a word that sums up what the containers are doing, since the phase
//! alone says little: `Init:0/1`, `CrashLoopBackOff`, `Completed`, `Terminating`.

use std::collections::HashSet;

use base::Timestamp;
use model::{Object, time};
use serde_json::{Value, json};

use apiserver::table::{AGE, Column, NAME, NONE, age, or, since, text, wide};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "How many of its containers are ready."),
    text("Status", "What its containers are doing, in a word."),
    text("Restarts", "How often its containers were restarted, and when last."),
    AGE,
    wide("IP", "Its address."),
    wide("Node", "Where it runs."),
    wide("Nominated Node", "Where it will run once others have made room."),
    wide("Readiness Gates", "How many of its own conditions of readiness hold."),
];

/// What is counted and said while going through the containers.
struct Summary {
    word: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let summary = summarise(object);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => format!("{} ({} ago)", summary.restarts, since(Some(at), now)),
        _ => summary.restarts.to_string(),
    };
    vec![
        object.name().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.word.into(),
        restarts.into(),
        age(object, now),
        or(address(object), NONE).into(),
        or(object.get_str(&["spec", "nodeName"]), NONE).into(),
        or(object.get_str(&["status", "nominatedNodeName"]), NONE).into(),
        gates(object).into(),
    ]
}

/// A finished pod's row says so, which lets clients hide it.
pub(super) fn conditions(object: &Object) -> Vec<Value> {
    let completed = |reason: &str, message: &str| {
        vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
    };
    match object.get_str(&["status", "phase"]) {
        Some("Succeeded") => completed("Succeeded", "The pod has completed successfully."),
        Some("Failed") => completed("Failed", "The pod failed."),
        _ => Vec::new(),
    }
}

fn summarise(object: &Object) -> Summary {
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    let reason = object.get_str(&["status", "reason"]).unwrap_or_default();
    let sidecars = sidecars(object);
    let mut summary = Summary {
        word: if reason.is_empty() { phase.to_owned() } else { reason.to_owned() },
        ready: 0,
        total: object.get_list(&["spec", "containers"]).len() + sidecars.len(),
        restarts: 0,
        last_restart: None,
    };
    let gated =
        |condition: &&Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
    if object.get_list(&["status", "conditions"]).iter().any(|condition| gated(&condition)) {
        summary.word = "SchedulingGated".into();
    }
    let initialising = init_containers(object, &sidecars, &mut summary);
    if !initialising || condition_holds(object, "Initialized") {
        // Restarts of what has long finished tell nothing any more.
        let started = object.get_list(&["status", "initContainerStatuses"]).iter();
        let started =
            started.filter(|status| status["name"].as_str().is_some_and(|name| sidecars.contains(name)));
        (summary.restarts, summary.last_restart) = (0, None);
        for status in started {
            summary.count_restarts(status);
        }
        containers(object, &mut summary);
    }
    if object.is_being_deleted() {
        if reason == "NodeLost" {
            summary.word = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.word = "Terminating".into();
        }
    }
    summary
}

/// Goes through the init containers up to the first that has not done its part. Returns whether there is one.
fn init_containers(object: &Object, sidecars: &HashSet<&str>, summary: &mut Summary) -> bool {
    let total = object.get_list(&["spec", "initContainers"]).len();
    for (index, status) in object.get_list(&["status", "initContainerStatuses"]).iter().enumerate() {
        summary.count_restarts(status);
        let state = &status["state"];
        let sidecar = status["name"].as_str().is_some_and(|name| sidecars.contains(name));
        if state["terminated"]["exitCode"] == 0 {
            continue;
        }
        if sidecar && status["started"] == true {
            summary.ready += usize::from(status["ready"] == true);
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        summary.word = if state["terminated"].is_object() {
            format!("Init:{}", termination(&state["terminated"]))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        };
        return true;
    }
    false
}

fn containers(object: &Object, summary: &mut Summary) {
    let mut running = false;
    // Backwards, so that the first container has the last word.
    for status in object.get_list(&["status", "containerStatuses"]).iter().rev() {
        summary.count_restarts(status);
        let state = &status["state"];
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        if !waiting.is_empty() {
            summary.word = waiting.to_owned();
        } else if state["terminated"].is_object() {
            summary.word = termination(&state["terminated"]);
        } else if status["ready"] == true && state["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.word == "Completed" && running {
        summary.word = if condition_holds(object, "Ready") { "Running" } else { "NotReady" }.into();
    }
}

impl Summary {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or_default();
        let finished = status["lastState"]["terminated"]["finishedAt"].as_str().and_then(time::parse);
        self.last_restart = self.last_restart.max(finished);
    }
}

fn termination(terminated: &Value) -> String {
    match (terminated["reason"].as_str(), terminated["signal"].as_i64()) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
    }
}

/// Init containers that go on beside the others.
fn sidecars(object: &Object) -> HashSet<&str> {
    let init = object.get_list(&["spec", "initContainers"]).iter();
    init.filter(|container| container["restartPolicy"] == "Always")
        .filter_map(|container| container["name"].as_str())
        .collect()
}

fn condition_holds(object: &Object, kind: &str) -> bool {
    let conditions = object.get_list(&["status", "conditions"]);
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn address(object: &Object) -> Option<&str> {
    let first = object.get_list(&["status", "podIPs"]).first();
    first.and_then(|address| address["ip"].as_str()).or_else(|| object.get_str(&["status", "podIP"]))
}

fn gates(object: &Object) -> String {
    let gates = object.get_list(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let holding = gates.iter().filter_map(|gate| gate["conditionType"].as_str());
    let holding = holding.filter(|kind| condition_holds(object, kind)).count();
    format!("{holding}/{}", gates.len())
}
