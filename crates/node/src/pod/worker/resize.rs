//! Giving a pod what it asks for while it runs: what it is granted, then what its containers get of that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::RecordError;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::{info, warn};

use super::Worker;
use crate::pod::allocation::{Allocation, INFEASIBLE, Refusal, Room};
use crate::pod::groups;
use crate::pod::observe::Observation;
use crate::pod::plan::Role;
use crate::pod::resize::{Difference, Pending, Progress, Together, UnderWay, found, message, processors};
use crate::pod::resources;
use crate::runtime::{ContainerId, PodSandboxId, PodSandboxStatus, Resources};
use crate::state::{self, ResourcesFile};
use crate::words;

/// The record of what a pod was granted, in its directory.
const RECORD: &str = "resources.json";

/// What a worker knows of the resources of its pod.
pub(super) struct Resizing {
    /// The pod as it asks to be; the worker's own has what it was granted.
    pub(super) desired: Arc<Pod>,
    /// What is on disk of what it was granted.
    recorded: Option<Allocation>,
    /// What the worker's pod was granted, and for which generation.
    granted: Option<(Allocation, i64)>,
    /// How far it is.
    pub(super) progress: Progress,
    /// What the sandbox's containers may use together.
    together: Option<(PodSandboxId, Together)>,
    /// The generation of whose failure an event was made.
    told: Option<i64>,
}

/// Why containers do not get what their pod was granted.
#[derive(Debug)]
struct Failed(String);

impl Resizing {
    pub(super) fn new(pod: &Arc<Pod>) -> Self {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
        Self {
            desired: Arc::clone(pod),
            recorded: None,
            granted: None,
            progress: Progress::of(conditions.unwrap_or_default()),
            together: None,
            told: None,
        }
    }

    /// A sandbox was made with these limits.
    pub(super) fn made(&mut self, sandbox: PodSandboxId, resources: &Resources) {
        self.together = Some((sandbox, Together::set(resources)));
    }
}

impl Worker {
    /// Takes the pod as it asks to be from now on.
    pub(super) fn take_pod(&mut self, pod: Arc<Pod>) {
        self.pod = match &self.resizing.granted {
            Some((granted, _)) => granted.applied(&pod),
            None => Arc::clone(&pod),
        };
        self.resizing.desired = pod;
    }

    /// Finds out what the pod was granted, and has it on disk before anything is done about it. Says whether that
    /// worked: it is to be tried again otherwise.
    pub(super) async fn follow_grants(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        if shared.allocations.standing(&self.uid).is_none() {
            let before = self.read_record().await;
            self.resizing.recorded.clone_from(&before);
            let before = match before {
                None => None,
                Some(allocation) => match Observation::new(shared.runtime(), &self.uid).await {
                    Ok(observation) => {
                        let granted = allocation.applied(&self.resizing.desired);
                        let running =
                            |name: &str| observation.latest(name).filter(|latest| latest.is_running());
                        let found = found(&granted, |name| running(name).map(|latest| &latest.resources));
                        Some((allocation, Room::taken(&found)))
                    }
                    Err(error) => {
                        let error = error.full_message();
                        warn!(pod = %self.name(), error, "cannot look at what the pod has; trying again");
                        return false;
                    }
                },
            };
            if before.is_none() && !self.has_begun().await {
                let desired = Arc::clone(&self.resizing.desired);
                if let Err(rejection) = shared.admit(&self.uid, &desired).await {
                    self.refused = Some(rejection);
                    return true;
                }
            }
            shared.allocations.admit(&self.uid, &self.resizing.desired, before);
        }
        let Some(mut standing) = shared.allocations.standing(&self.uid) else { return false };
        let refused = standing.refused.as_ref().map(|(_, generation)| *generation);
        if !standing.allocation.is_all_of(&self.resizing.desired) || refused.is_some() {
            shared.settle_resizes();
            match shared.allocations.standing(&self.uid) {
                Some(again) => standing = again,
                None => return false,
            }
        }
        if self.resizing.recorded.as_ref() != Some(&standing.allocation)
            && let Err(error) = self.write_record(&standing.allocation).await
        {
            warn!(pod = %self.name(), %error, "cannot write down what the pod was granted; trying again");
            return false;
        }
        let before = self.resizing.granted.replace((standing.allocation.clone(), standing.generation));
        self.pod = standing.allocation.applied(&self.resizing.desired);
        let now = self.time();
        if before.is_some_and(|(allocation, _)| allocation != standing.allocation) {
            let generation = standing.generation;
            self.resizing.progress.under_way =
                Some(UnderWay { generation, error: None, since: now.clone(), found: now.clone() });
            self.resizing.told = None;
            self.resize_again.reset();
            self.resize_at = None;
            info!(pod = %self.name(), generation, "granted other resources");
            self.event(false, "ResizeStarted", message("Pod resize started", &self.pod, generation, None));
            self.shared.weigh_groups().await;
        }
        self.take_refusal(standing.refused, now);
        true
    }

    fn take_refusal(&mut self, refused: Option<(Refusal, i64)>, now: Time) {
        let Some((refusal, generation)) = refused else {
            self.resizing.progress.pending = None;
            return;
        };
        let before = self.resizing.progress.pending.as_ref();
        if before.is_some_and(|before| {
            (&*before.reason, &before.message, before.generation)
                == (refusal.reason, &refusal.message, generation)
        }) {
            return;
        }
        let is_news =
            before.is_none_or(|before| (&*before.reason, before.generation) != (refusal.reason, generation));
        let since =
            before.filter(|before| before.reason == refusal.reason).map(|before| before.since.clone());
        self.resizing.progress.pending = Some(Pending {
            reason: refusal.reason.to_owned(),
            message: refusal.message.clone(),
            generation,
            since: since.unwrap_or_else(|| now.clone()),
            found: now,
        });
        if is_news {
            let event = if refusal.reason == INFEASIBLE { "ResizeInfeasible" } else { "ResizeDeferred" };
            let what = format!("Pod resize {}", refusal.reason);
            let said = message(&what, &self.resizing.desired, generation, Some(&refusal.message));
            self.event(true, event, said);
        }
    }

    /// Gives the containers what the pod was granted, as far as that can be done while they run. Says whether
    /// something was done, after which it is looked again.
    pub(super) async fn resize(&mut self, observation: &Observation) -> bool {
        let Some(sandbox) = observation.sandbox.clone() else {
            self.take_end();
            return false;
        };
        let differences = self.differences(observation);
        let wanted = groups::of_pod(&self.pod);
        let there = match self.together(&sandbox, &wanted).await {
            Ok(there) => there,
            Err(error) => {
                self.take_failure(Failed(error));
                return false;
            }
        };
        let settled = there.memory_to(&wanted).is_none()
            && there.quota_to(&wanted).is_none()
            && !there.weighs_otherwise(&wanted);
        if differences.is_empty() && settled {
            // One that was ended for it is there again first.
            if self.replaced.is_empty() {
                self.take_end();
            }
            return false;
        }
        if self.resizing.progress.under_way.is_none() {
            let generation = self.resizing.granted.as_ref().map_or(0, |(_, generation)| *generation);
            let now = self.time();
            self.resizing.progress.under_way =
                Some(UnderWay { generation, error: None, since: now.clone(), found: now });
        }
        match self.try_resize(observation, &sandbox, &differences, there, &wanted).await {
            Ok(acted) => {
                if let Some(under_way) = self.resizing.progress.under_way.as_mut().filter(|_| acted) {
                    under_way.error = None;
                }
                acted
            }
            Err(failed) => {
                self.take_failure(failed);
                false
            }
        }
    }

    /// What is told of what the pod has as a whole: what it was granted, once that is there.
    pub(super) fn whole(&self) -> Option<ResourceRequirements> {
        let granted = self.pod.spec.as_ref().and_then(|spec| spec.resources.clone())?;
        match &self.published.resources {
            Some(before) if self.resizing.progress.under_way.is_some() => Some(before.clone()),
            _ => Some(granted),
        }
    }

    /// What running containers have and are not to, or not yet.
    fn differences(&self, observation: &Observation) -> Vec<(Difference, ContainerId)> {
        let sized = self.containers().filter(|(_, role)| *role != Role::Ephemeral);
        sized.filter_map(|(container, _)| self.difference(container, observation)).collect()
    }

    fn difference(
        &self,
        container: &Container,
        observation: &Observation,
    ) -> Option<(Difference, ContainerId)> {
        let running = observation.latest(&container.name).filter(|latest| latest.is_running())?;
        let wanted = resources::of_container(&self.pod, container, self.shared.capacity.memory);
        Some((Difference::between(container, &running.resources, &wanted)?, running.id.clone()))
    }

    /// Whether a running container has to be started anew to get what it was granted.
    pub(super) fn restarts_to_resize(&self, container: &Container, observation: &Observation) -> bool {
        self.difference(container, observation).is_some_and(|(difference, _)| difference.restarts)
    }

    /// What the containers of the sandbox may use together. Where that is not known it is looked at; their weight,
    /// which cannot be told back in the words in which it was set, is set.
    async fn together(&mut self, sandbox: &PodSandboxStatus, wanted: &Resources) -> Result<Together, String> {
        if let Some((_, known)) = self.resizing.together.as_ref().filter(|(known, _)| *known == sandbox.id) {
            return Ok(known.clone());
        }
        let runtime = self.shared.runtime();
        let found = runtime.pod_sandbox_stats(&sandbox.id).await.map_err(|error| error.full_message())?;
        let weight = Resources { cpu_shares: wanted.cpu_shares, ..Resources::default() };
        let set = runtime.update_pod_sandbox_resources(&sandbox.id, weight).await;
        set.map_err(|error| error.full_message())?;
        let there = Together { shares: wanted.cpu_shares, ..Together::of(&found) };
        self.resizing.together = Some((sandbox.id.clone(), there.clone()));
        Ok(there)
    }

    /// Memory, then processors: the pod's own limit first where it grows and last where it shrinks, and those that
    /// get less before those that get more. What has to be started anew is left alone, and the pod's own limit does
    /// not shrink before that has ended.
    async fn try_resize(
        &mut self,
        observation: &Observation,
        sandbox: &PodSandboxStatus,
        differences: &[(Difference, ContainerId)],
        there: Together,
        wanted: &Resources,
    ) -> Result<bool, Failed> {
        let restarts = differences.iter().any(|(difference, _)| difference.restarts);
        let mut in_place: Vec<&(Difference, ContainerId)> =
            differences.iter().filter(|(difference, _)| !difference.restarts).collect();
        let mut acted = false;

        let memory = there.memory_to(wanted).filter(|(less, _)| !(*less && restarts));
        self.check_memory(sandbox, &in_place, memory).await?;
        let limit = |bytes: u64| {
            let bytes = i64::try_from(bytes).ok();
            Resources { memory: bytes, memory_swap: bytes, ..Resources::default() }
        };
        if let Some((false, bytes)) = memory {
            acted |= self.limit_pod(sandbox, limit(bytes)).await?;
        }
        in_place.sort_by_key(|(difference, _)| !difference.less_memory);
        for (difference, id) in &in_place {
            if let Some(memory) = &difference.memory {
                acted |= self.limit_container(id, memory.clone()).await?;
            }
        }
        if let Some((true, bytes)) = memory {
            acted |= self.limit_pod(sandbox, limit(bytes)).await?;
        }

        let quota = there.quota_to(wanted).filter(|less| !(*less && restarts));
        if quota == Some(false) || (there.weighs_otherwise(wanted) && quota.is_none()) {
            acted |= self.limit_pod(sandbox, processors(wanted)).await?;
        }
        in_place.sort_by_key(|(difference, _)| !difference.less_cpu);
        for (difference, id) in &in_place {
            if let Some(cpu) = &difference.cpu {
                acted |= self.limit_container(id, cpu.clone()).await?;
            }
        }
        if quota == Some(true) {
            acted |= self.limit_pod(sandbox, processors(wanted)).await?;
        }
        if acted {
            info!(pod = %self.name(), running = observation.running().count(), "resized");
        }
        Ok(acted)
    }

    /// Nothing gets less memory than it uses: the kernel would end something for it.
    async fn check_memory(
        &self,
        sandbox: &PodSandboxStatus,
        in_place: &[&(Difference, ContainerId)],
        memory: Option<(bool, u64)>,
    ) -> Result<(), Failed> {
        let runtime = self.shared.runtime();
        let failed = |error: crate::runtime::Error| Failed(words::message(&error));
        let mut below = Vec::new();
        if let Some((true, limit)) = memory {
            let usage = runtime.pod_sandbox_stats(&sandbox.id).await.map_err(failed)?.usage.memory;
            if limit < usage {
                below.push(format!(
                    "attempting to set pod memory limit ({limit}) below current usage ({usage})"
                ));
            }
        }
        for (difference, id) in in_place.iter().filter(|(difference, _)| difference.less_memory) {
            let limit = difference.memory.as_ref().and_then(|memory| memory.memory).unwrap_or(0);
            let usage = runtime.container_stats(id).await.map_err(failed)?.memory;
            if u64::try_from(limit).is_ok_and(|limit| limit < usage) {
                let name = &difference.name;
                below.push(format!(
                    "attempting to set container \"{name}\" memory limit ({limit}) below current usage ({usage})"
                ));
            }
        }
        let told = match below.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Err(Failed(format!("cannot decrease memory limits: {told}")))
    }

    async fn limit_pod(&mut self, sandbox: &PodSandboxStatus, resources: Resources) -> Result<bool, Failed> {
        let limited =
            self.shared.runtime().update_pod_sandbox_resources(&sandbox.id, resources.clone()).await;
        limited.map_err(|error| Failed(words::message(&error)))?;
        if let Some((_, there)) = self.resizing.together.as_mut().filter(|(known, _)| *known == sandbox.id) {
            let set = Together::set(&resources);
            there.shares = set.shares.or(there.shares);
            there.quota = set.quota.or(there.quota);
            there.memory = set.memory.or(there.memory);
        }
        Ok(true)
    }

    async fn limit_container(&self, id: &ContainerId, resources: Resources) -> Result<bool, Failed> {
        let limited = self.shared.runtime().update_container_resources(id, resources).await;
        limited.map_err(|error| Failed(words::message(&error)))?;
        Ok(true)
    }

    /// All that runs has what the pod was granted.
    fn take_end(&mut self) {
        self.resize_again.reset();
        self.resize_at = None;
        if let Some(under_way) = self.resizing.progress.under_way.take() {
            let said = message("Pod resize completed", &self.pod, under_way.generation, None);
            self.event(false, "ResizeCompleted", said);
        }
        if self.shared.allocations.is_there(&self.uid) {
            self.shared.settle_resizes();
        }
    }

    /// The pod takes nothing any more: others may have it.
    pub(super) fn give_back(&mut self) {
        self.resizing.progress = Progress::default();
        self.resize_at = None;
        self.shared.holds.release(&self.uid);
        if self.shared.allocations.release(&self.uid) {
            self.shared.settle_resizes();
        }
    }

    /// Notes why containers did not get what the pod was granted, and when that is tried again.
    fn take_failure(&mut self, Failed(error): Failed) {
        let delay = self.resize_again.next_delay();
        self.resize_at = self.after(delay);
        let now = self.time();
        let Some(under_way) = &mut self.resizing.progress.under_way else {
            warn!(pod = %self.name(), error, ?delay, "cannot look at what the pod's containers may use");
            return;
        };
        let generation = under_way.generation;
        if under_way.error.as_ref() != Some(&error) {
            if under_way.error.is_none() {
                under_way.since = now.clone();
            }
            under_way.found = now;
            under_way.error = Some(error.clone());
        }
        if self.resizing.told.replace(generation) != Some(generation) {
            warn!(pod = %self.name(), error, ?delay, "cannot resize the pod's containers");
            let said = message("Pod resize error", &self.pod, generation, Some(&error));
            self.event(true, "ResizeError", said);
        }
    }

    fn record_path(&self) -> PathBuf {
        self.directory().join(RECORD)
    }

    /// What is written down of what the pod was granted before.
    async fn read_record(&self) -> Option<Allocation> {
        let path = self.record_path();
        match self.shared.files.quick(move || base::record::read::<ResourcesFile>(&path)).await {
            Ok(file) => Some(file.into()),
            Err(RecordError::Missing) => None,
            Err(error) => {
                warn!(pod = %self.name(), error = %base::error::chain(&error), "cannot read what the pod was granted; it gets what it asks for");
                None
            }
        }
    }

    /// Writes down what the pod was granted. What it asks for anyway need not survive a power cut.
    async fn write_record(&mut self, allocation: &Allocation) -> std::io::Result<()> {
        let (path, directory) = (self.record_path(), self.directory());
        let file = ResourcesFile::from(allocation);
        let first = self.resizing.recorded.is_none() && allocation.is_all_of(&self.resizing.desired);
        let written = self.shared.files.quick(move || {
            std::fs::create_dir_all(directory)?;
            if first { state::save(&path, &file) } else { state::save_durably(&path, &file) }
        });
        written.await?;
        self.resizing.recorded = Some(allocation.clone());
        Ok(())
    }

    fn time(&self) -> Time {
        let now = self.shared.clock.now();
        Time(base::Timestamp::from_second(now.as_second()).unwrap_or(now))
    }
}

/// Before containers are given once more what they could not be given: at first, and at most.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
pub(super) const AGAIN_AT_LAST: Duration = Duration::from_secs(60);
