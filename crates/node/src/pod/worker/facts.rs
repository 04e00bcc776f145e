//! From what the runtime has to what the status says.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Container;

use super::Worker;
use crate::pod::observe::Observation;
use crate::pod::plan::{self, RestartPolicy, Role};
use crate::pod::status::{End, Facts, Run};
use crate::runtime::{ContainerId, ContainerState, ContainerStatus};
use crate::words;

/// So much of a termination message is kept.
const MESSAGE: usize = 4096;
/// So much of the log stands in for one.
const MESSAGE_FROM_LOG: usize = 2048;
/// From so many of its last lines.
const LINES_FROM_LOG: usize = 80;
/// So much of a log holds both.
const LOG_END: usize = 4 * MESSAGE_FROM_LOG;

/// How many instances of a container there were, by the number of the latest that there is: no fewer than was told, though the runtime may have lost the last.
pub(super) fn instances(latest: Option<u32>, told: u32) -> u32 {
    latest.map_or(0, |latest| latest.saturating_add(1)).max(told)
}

impl Worker {
    /// Facts about every container of the pod.
    pub(super) fn facts(&self, observation: &Observation) -> BTreeMap<String, Facts> {
        self.containers()
            .map(|(container, role)| (container.name.clone(), self.fact(observation, container, role)))
            .collect()
    }

    fn fact(&self, observation: &Observation, container: &Container, role: Role) -> Facts {
        let name = &container.name;
        // One that was made only, by a daemon that ended then, is started yet.
        let latest = observation.latest(name).filter(|latest| latest.state != ContainerState::Created);
        let in_current_sandbox =
            observation.instance(name).is_some_and(|instance| instance.in_current_sandbox);
        let ended_for_good = self.ended || observation.sandbox.is_none() || role == Role::Ephemeral;
        // One that was killed to make another of it waits for that. To those who wait for its end it has none.
        let replaced = !self.ended && self.replaced.contains(name);
        let exited = latest.filter(|latest| latest.state == ContainerState::Exited);
        let over = role == Role::Main
            && exited.is_some_and(|exited| !plan::restarts(self.restart_policy(), exited.exit_code));
        let current = latest.filter(|_| in_current_sandbox || ended_for_good || over);
        let current = current.filter(|current| !(replaced && current.state == ContainerState::Exited));
        let previous = if current.is_some() { observation.previous(name) } else { latest };
        Facts {
            restarts: instances(latest.map(|latest| latest.attempt), self.known_restarts(name))
                .saturating_sub(1),
            current: current.map(|instance| self.run_of(container, instance)),
            previous: previous.map(|instance| self.run_of(container, instance)),
            waiting: self.waiting_reason(container, role, current),
            ready: self.probes.is_ready(name),
            started: self.probes.is_started(name),
        }
    }

    fn run_of(&self, container: &Container, instance: &ContainerStatus) -> Run {
        let end = match instance.state {
            ContainerState::Created | ContainerState::Running => None,
            ContainerState::Exited if instance.start_failed => Some(End {
                code: instance.exit_code,
                at: instance.finished_at,
                reason: "StartError".to_owned(),
                message: instance.message.clone(),
            }),
            ContainerState::Exited => Some(End {
                code: instance.exit_code,
                at: instance.finished_at,
                reason: reason(instance.exit_code, instance.oom_killed).to_owned(),
                message: self.termination_message(container, instance),
            }),
        };
        Run {
            id: self.shared.container_uri(&instance.id),
            image: instance.image.clone(),
            image_id: instance.image_id.clone(),
            started_at: instance.started_at,
            resources: instance.is_running().then(|| instance.resources.clone()),
            end,
        }
    }

    /// Why a container that is to run does not.
    fn waiting_reason(
        &self,
        container: &Container,
        role: Role,
        current: Option<&ContainerStatus>,
    ) -> Option<(String, String)> {
        if let Some(waiting) = self.waiting.get(&container.name) {
            return Some((waiting.reason.to_string(), waiting.message.clone()));
        }
        self.backs_off(container, role, current)?;
        let delay = self.back_offs.delay(&container.name).unwrap_or_default();
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            words::duration(delay),
            container.name,
            self.full_name()
        );
        Some(("CrashLoopBackOff".to_owned(), message))
    }

    /// Tells in an event of each container whose next start has to wait, and again while it does: who looks
    /// at the event sees by its count and time that it is still so.
    pub(super) fn announce_back_offs(&mut self, observation: &Observation) {
        let waiting: Vec<(Container, ContainerId)> = self
            .containers()
            .filter_map(|(container, role)| {
                let here = observation.instance(&container.name)?.in_current_sandbox;
                let current = observation.latest(&container.name).filter(|_| here);
                Some((container.clone(), self.backs_off(container, role, current)?))
            })
            .collect();
        let now = self.now();
        let due = self.announced.due(waiting.iter().map(|(container, ended)| (&*container.name, ended)), now);
        for (container, _) in waiting.iter().filter(|(container, _)| due.contains(&container.name)) {
            let name = &container.name;
            let message = format!("Back-off restarting failed container {name} in pod {}", self.full_name());
            self.container_event(container, true, "BackOff", message);
        }
    }

    /// The instance of a container that has ended and is to run again, but not yet.
    fn backs_off(
        &self,
        container: &Container,
        role: Role,
        current: Option<&ContainerStatus>,
    ) -> Option<ContainerId> {
        let now = self.now();
        let ended = current.filter(|instance| instance.state == ContainerState::Exited)?;
        let at = *self.ended_at.get(&container.name)?;
        let until = self.back_offs.not_before(&container.name, at)?;
        let policy = self.restart_policy();
        let failed = ended.exit_code != 0;
        let again = match (role, policy) {
            (Role::Sidecar, _) => true,
            (Role::Main, RestartPolicy::Always) => true,
            (Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure)
            | (Role::Main, RestartPolicy::OnFailure) => failed,
            (Role::Ephemeral, _) | (_, RestartPolicy::Never) => false,
        };
        (!self.ended && again && until > now).then(|| ended.id.clone())
    }

    fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy::parse(self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()))
    }

    /// The pod's name as Kubernetes' messages have it.
    fn full_name(&self) -> String {
        let metadata = &self.pod.metadata;
        let (name, namespace) = (metadata.name.as_deref(), metadata.namespace.as_deref());
        format!("{}_{}({})", name.unwrap_or_default(), namespace.unwrap_or_default(), self.uid)
    }

    /// What the container left in its message file, or the end of its log where it asks for that.
    fn termination_message(&self, container: &Container, instance: &ContainerStatus) -> String {
        let path = self.message_path(&container.name, instance.attempt);
        let left = read_end(&path, MESSAGE);
        let from_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
            && instance.exit_code != 0;
        if !left.is_empty() || !from_log {
            return left;
        }
        last_words(&read_end(&self.log_path(&container.name, instance.attempt), LOG_END))
    }
}

/// What a log's last lines say, as the kubelet cuts it.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(LINES_FROM_LOG)..] {
        // Each begins with its time, stream and tag; a part of a line has no end.
        let mut fields = line.splitn(4, ' ').skip(2);
        if let (Some(tag), Some(words)) = (fields.next(), fields.next()) {
            text.push_str(words);
            text.push_str(if tag == "P" { "" } else { "\n" });
        }
    }
    let cut = text.len().saturating_sub(MESSAGE_FROM_LOG);
    let cut = (cut..=text.len()).find(|&place| text.is_char_boundary(place)).unwrap_or(cut);
    text.split_off(cut)
}

/// The kubelet's word for how a container ended.
fn reason(code: i32, oom_killed: bool) -> &'static str {
    match (oom_killed, code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    }
}

/// The last `limit` bytes of a file of ours as text; nothing where there is none.
fn read_end(path: &Path, limit: usize) -> String {
    offload::in_place(|| read_end_now(path, limit))
}

fn read_end_now(path: &Path, limit: usize) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else { return String::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(limit as u64);
    let mut bytes = Vec::new();
    match file.seek(SeekFrom::Start(from)).and_then(|_| file.take(limit as u64).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: impl Iterator<Item = String>) -> String {
        lines.map(|line| format!("2026-11-29T10:00:00.000000000Z stdout {line}\n")).collect()
    }

    #[test]
    fn the_last_lines_stand_in_for_a_message_with_the_ends_that_they_have() {
        let said = ["F one".to_owned(), "P tw".to_owned(), "P o".to_owned()];
        assert_eq!(last_words(&log(said.into_iter())), "one\ntwo");
        let many = last_words(&log((0..100).map(|number| format!("F {number}"))));
        assert!(many.starts_with("20\n21\n") && many.ends_with("\n99\n"), "{many}");
    }

    #[test]
    fn so_much_of_them_as_the_kubelet_keeps_and_no_half_characters() {
        let long = last_words(&log((0..3).map(|_| format!("F {}", "é".repeat(500)))));
        assert_eq!((long.len(), long.chars().filter(|c| *c == '\n').count()), (2047, 3));
    }

    #[test]
    fn restarts_that_were_told_are_not_taken_back() {
        assert_eq!((instances(None, 0), instances(None, 2)), (0, 2));
        assert_eq!((instances(Some(0), 0), instances(Some(3), 3)), (1, 4));
        // The second was told of, and the runtime has the first alone.
        assert_eq!(instances(Some(0), 2), 2);
    }
}
