//! Ending a pod, or one container of it: hooks, signals, grace periods, and clearing away.

use std::time::Duration;

use client::api::{DeleteOptions, Preconditions};
use client::{Api, Error};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use tracing::{info, warn};

use super::probing::target;
use super::{Message, Worker, deadline, limits};
use crate::pod::observe::Observation;
use crate::pod::plan::{RestartPolicy, Role};
use crate::probe::{self, Kind, Target};
use crate::runtime::ContainerId;
use crate::words::{self, Condemned};

/// When a pod that could not be cleared away is tried again.
pub(super) const CLEAR_AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    /// Ends the whole pod, clears away everything that was made for it, and tells the API. Gives when
    /// to try again, where something of the pod is left or the API has not heard: it is not told
    /// before everything is gone, and it is told until it knows.
    pub(super) async fn terminate(&mut self) -> Option<Duration> {
        self.probes.stop();
        if !self.cleared
            && let Err(message) = self.end().await
        {
            warn!(pod = %self.name(), error = message, "cannot clear the pod away");
            if !self.gone {
                self.event(true, "FailedKillPod", format!("error killing pod: {message}"));
            }
            return self.after(CLEAR_AGAIN);
        }
        if !self.gone
            && let Err(error) = self.confirm_deletion().await
        {
            let delay = self.end_again.next_delay();
            warn!(pod = %self.name(), error = %base::error::chain(&error), ?delay, "cannot confirm the deletion; trying again");
            return self.after(delay);
        }
        self.confirmed = true;
        self.shared.allocations.forget(&self.uid);
        self.shared.probed.forget(&self.uid);
        None
    }

    /// Ends the containers and clears the pod away.
    async fn end(&mut self) -> Result<(), String> {
        let observation = self.observe().await.map_err(|error| error.full_message())?;
        info!(pod = %self.name(), "ending");
        // What has ended by itself counts as it ended, whatever the policy would have done next.
        self.ended = true;
        self.waiting.clear();
        self.stop_containers(&observation).await;
        // Of a pod of which nothing is left here nothing is known, and what was told before holds.
        if !self.gone && !observation.instances.is_empty() {
            let observation = self.observe().await.map_err(|error| error.full_message())?;
            self.publish(&observation).await;
        }
        self.clear_away().await?;
        self.give_back();
        self.cleared = true;
        self.tell_end();
        Ok(())
    }

    /// Ends the pod's containers as the host goes down, and what holds them; nothing is cleared away.
    pub(crate) async fn end_for_host(mut self, longest: Duration) {
        let Ok(observation) = self.observe().await else { return };
        let Some(sandbox) = observation.sandbox.as_ref().map(|sandbox| sandbox.id.clone()) else { return };
        if tokio::time::timeout(longest, self.stop_containers(&observation)).await.is_err() {
            info!(pod = %self.name(), "did not end in time and is killed");
        }
        if let Err(error) = Self::tolerate(self.shared.runtime().stop_pod_sandbox(&sandbox).await) {
            warn!(pod = %self.name(), error = %error.full_message(), "cannot end the pod's sandbox");
        }
    }

    /// Stops the main containers and those that were added together, then sidecars from the last to the first.
    pub(super) async fn stop_containers(&mut self, observation: &Observation) {
        let grace = if self.evicted.is_some() { limits::GRACE } else { grace_of(&self.pod) };
        let running = |role: Role| -> Vec<(Container, ContainerId)> {
            let of_role =
                self.containers().filter(|(_, found)| *found == role).map(|(container, _)| container.clone());
            of_role
                .filter_map(|container| {
                    let latest = observation.latest(&container.name)?;
                    latest.is_running().then(|| (container, latest.id.clone()))
                })
                .collect()
        };
        let (mut mains, inits, sidecars) = (running(Role::Main), running(Role::Init), running(Role::Sidecar));
        mains.extend(inits);
        mains.extend(running(Role::Ephemeral));
        let target =
            |container: &Container, id: &ContainerId| target(&self.shared, observation, container, id);
        let all: Vec<_> = mains
            .iter()
            .map(|(container, id)| (container.clone(), target(container, id)))
            .chain(sidecars.iter().rev().map(|(container, id)| (container.clone(), target(container, id))))
            .collect();
        let first = mains.len();
        for (container, _) in &all {
            let message = format!("Stopping container {}", container.name);
            self.container_event(container, false, "Killing", message);
        }
        let (shared, pod) = (std::sync::Arc::clone(&self.shared), std::sync::Arc::clone(&self.pod));
        let began = shared.clock.elapsed();
        let left = || grace.saturating_sub(shared.clock.elapsed().saturating_sub(began));
        let stopping = async {
            let stop = |(container, target): &(Container, Target)| {
                let (container, target, shared, pod) =
                    (container.clone(), target.clone(), shared.clone(), pod.clone());
                let grace = left();
                async move { stop_one(&shared, &pod, &container, &target, grace).await }
            };
            join_all(all[..first].iter().map(stop)).await;
            for sidecar in &all[first..] {
                stop(sidecar).await;
            }
        };
        let mut evictions = Vec::new();
        let ended = deadline::until_over(stopping, &mut self.messages, |message| {
            // A second deletion may shorten the grace period, and what it uses does; a removal ends it.
            let shorter = match message {
                Message::Changed(pod) => {
                    self.pod = pod;
                    grace_of(&self.pod)
                }
                Message::Gone => {
                    self.gone = true;
                    Duration::ZERO
                }
                Message::Evict(eviction) => {
                    evictions.push(eviction);
                    limits::GRACE
                }
                Message::Runtime | Message::Verdict(_) | Message::Measured(_) => return None,
            };
            (shorter < grace).then_some(shorter)
        });
        let ended = ended.await;
        for eviction in evictions {
            self.take_eviction(eviction);
        }
        if ended {
            return;
        }
        // No time is left: hooks and signals are no longer waited for.
        let kill = |(container, target): &(Container, Target)| {
            let (name, target) = (container.name.clone(), target.clone());
            async move { stop(&name, &target, Duration::ZERO).await }
        };
        join_all(all.iter().map(kill)).await;
    }

    /// Why a container is to be killed, if it runs and is.
    pub(super) fn why_kill(
        &self,
        container: &Container,
        role: Role,
        observation: &Observation,
    ) -> Option<Condemned> {
        let running = observation.latest(&container.name).filter(|latest| latest.is_running())?;
        // Its image, and what it may use, are all that may change of a pod's container.
        if role == Role::Main && container.image.as_ref().is_some_and(|image| *image != running.image) {
            return Some(Condemned::Changed);
        }
        if role != Role::Ephemeral && self.restarts_to_resize(container, observation) {
            return Some(Condemned::Resized);
        }
        self.probes.condemned_by(&container.name).map(Condemned::Dead)
    }

    /// Ends one running container that is to be killed; the plan starts it again.
    pub(super) async fn kill(
        &mut self,
        container: &Container,
        role: Role,
        id: &ContainerId,
        observation: &Observation,
    ) {
        let Some(why) = self.why_kill(container, role, observation) else { return };
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let again = RestartPolicy::parse(policy) != RestartPolicy::Never;
        let message = words::kills(&container.name, why, role != Role::Main, again);
        self.container_event(container, false, "Killing", message);
        if matches!(why, Condemned::Changed | Condemned::Resized) {
            self.replaced.insert(container.name.clone());
        }
        let Ok(observation) = self.observe().await else { return };
        let target = target(&self.shared, &observation, container, id);
        let probe = match why {
            Condemned::Dead(Kind::Startup) => container.startup_probe.as_ref(),
            Condemned::Dead(Kind::Liveness | Kind::Readiness) => container.liveness_probe.as_ref(),
            Condemned::Changed | Condemned::Resized => None,
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let grace = own
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or_else(|| grace_of(&self.pod), Duration::from_secs);
        let interrupt = self.interrupt.clone();
        tokio::select! {
            () = stop_one(&self.shared, &self.pod, container, &target, grace) => {}
            // The whole pod is to end, perhaps sooner than this container.
            () = interrupt.cancelled() => {}
        }
    }

    /// Runs the `postStart` hook; a container whose hook fails is killed. A pod that is to end does not
    /// wait for it: the hook's process ends with its container.
    pub(super) async fn run_post_start(&mut self, container: &Container, id: &ContainerId) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        let Some(hook) = hook else { return };
        let Ok(observation) = self.observe().await else { return };
        let target = target(&self.shared, &observation, container, id);
        let interrupt = self.interrupt.clone();
        let ran = tokio::select! {
            ran = run_hook(&target, &hook, None) => ran,
            () = interrupt.cancelled() => return,
        };
        if let Err(reason) = ran {
            // What a hook says may be secret, and events are read by many.
            warn!(pod = %self.name(), container = container.name, reason, "the postStart hook failed");
            self.container_event(container, true, "FailedPostStartHook", "PostStartHook failed".to_owned());
            self.container_event(container, false, "Killing", "FailedPostStartHook".to_owned());
            tokio::select! {
                () = stop_one(&self.shared, &self.pod, container, &target, grace_of(&self.pod)) => {}
                () = interrupt.cancelled() => {}
            }
        }
    }

    /// Removes containers, sandboxes, volumes and logs.
    pub(super) async fn clear_away(&mut self) -> Result<(), String> {
        let observation = self.observe().await.map_err(|error| error.full_message())?;
        let sandboxes = observation
            .sandbox
            .iter()
            .map(|sandbox| sandbox.id.clone())
            .chain(observation.remains.iter().cloned());
        for sandbox in sandboxes.collect::<Vec<_>>() {
            Self::tolerate(self.shared.runtime().remove_pod_sandbox(&sandbox).await)
                .map_err(|error| error.full_message())?;
        }
        let removed = self.volumes.remove(&self.shared.files).await;
        removed.map_err(|error| base::error::chain(&error).to_string())
    }

    /// Tells the API that nothing of the pod is left: it may go. It is gone, or another's by now, where
    /// this succeeds.
    async fn confirm_deletion(&mut self) -> Result<(), Error> {
        let metadata = &self.pod.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> =
            Api::namespaced(&self.shared.client, metadata.namespace.as_deref().unwrap_or_default());
        // How it ended is told first, where that is not known yet. What the API will not take however
        // often it is told keeps no pod.
        if let Some(unsent) = self.unsent.take()
            && let Err(error) = self.try_send(&unsent).await
            && (error.is_temporary() || error.status().is_some_and(|status| status.code >= 500))
        {
            self.unsent = Some(unsent);
            return Err(error);
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: Preconditions { uid: Some(self.uid.clone()), ..Preconditions::default() },
            ..DeleteOptions::default()
        };
        match api.delete(&name, &options).await {
            Ok(()) | Err(Error::NotFound(_)) => Ok(()),
            // Another of its name is none of this node's business, and may be on another node.
            Err(error @ (Error::Conflict(_) | Error::Forbidden(_))) => {
                let found = match api.find(&name).await {
                    Err(Error::Forbidden(_)) => None,
                    found => found?,
                };
                let still = found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&self.uid));
                if still { Err(error) } else { Ok(()) }
            }
            Err(error) => Err(error),
        }
    }
}

/// How long the containers of a pod may take to end.
fn grace_of(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Stops one container: its `preStop` hook and its signal share the grace period.
async fn stop_one(
    shared: &crate::agent::Shared,
    pod: &Pod,
    container: &Container,
    target: &Target,
    grace: Duration,
) {
    let began = shared.clock.elapsed();
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(hook) = hook.filter(|_| !grace.is_zero())
        && let Err(reason) = run_hook(target, hook, Some(grace)).await
    {
        warn!(container = container.name, reason, "the preStop hook failed");
        shared.container_event(
            pod,
            &container.name,
            true,
            "FailedPreStopHook",
            "PreStopHook failed".to_owned(),
        );
    }
    let spent = shared.clock.elapsed().saturating_sub(began);
    // A container gets two seconds to end even if its hook took all the time.
    let least = Duration::from_secs(2).min(grace);
    let left = grace.saturating_sub(spent).max(least);
    stop(&container.name, target, left).await;
}

/// Asks a container to end and kills it after `grace`.
async fn stop(name: &str, target: &Target, grace: Duration) {
    let stopped = target.runtime.stop_container(&target.container, grace).await;
    if let Err(error) = Worker::tolerate(stopped) {
        warn!(container = name, error = %error.full_message(), "cannot stop the container");
    }
}

async fn run_hook(target: &Target, hook: &LifecycleHandler, limit: Option<Duration>) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let output = target.runtime.exec_sync(&target.container, command, limit, 4096).await;
        let output = output.map_err(|error| error.full_message())?;
        return match output.exit_code {
            Some(0) => Ok(()),
            Some(code) => {
                Err(format!("command exited with {code}: {}", String::from_utf8_lossy(&output.stderr)))
            }
            None => Err("command took longer than the grace period".to_owned()),
        };
    }
    if let Some(action) = &hook.http_get {
        return probe::http_get(
            target.address,
            &target.ports,
            action,
            limit.unwrap_or(Duration::from_secs(30)),
        )
        .await
        .map(drop);
    }
    if let Some(action) = &hook.sleep {
        let wanted = Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0));
        tokio::time::sleep(limit.map_or(wanted, |limit| wanted.min(limit))).await;
    }
    Ok(())
}
