//! Changing a container's limits and restart policy.

use std::sync::Arc;

use runtime::shim::protocol::Request;

use super::devices;
use super::resources::Resources;
use super::spec::RestartPolicy;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Fact, Operation, Result};
use crate::id::ContainerId;
use crate::registry::ContainerCell;
use crate::spec;
use crate::work::foreign;

/// The weight of a container that asks for none.
const USUAL_SHARES: u64 = 1024;

/// What to change; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ContainerUpdate {
    /// Limits.
    pub resources: Resources,
    /// What happens when the program ends.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes limits (of the running container too) and the restart policy; returns warnings.
    pub async fn container_update(&self, id: &ContainerId, update: ContainerUpdate) -> Result<Vec<String>> {
        let cell = self.inner.registry.get(id)?;
        let engine = self.clone();
        self.detached(async move { engine.update(&cell, update).await }).await
    }

    async fn update(&self, cell: &Arc<ContainerCell>, update: ContainerUpdate) -> Result<Vec<String>> {
        let _operation = cell.operation.lock().await;
        if matches!(cell.status(), Status::Removing | Status::Dead) {
            return Err(cell.refuse(Operation::Update));
        }
        let record = cell.record();
        if update.restart.is_some_and(|restart| restart != RestartPolicy::No) && record.spec.auto_remove {
            return Err(Fact::RestartOfRemoved.into());
        }
        let before = record.spec.resources.clone();
        let mut resources = before.clone();
        spec::check_processors(&update.resources)?;
        resources.overlay(update.resources);
        let is_limited_anew = resources != before && cell.status().is_active();
        self.change_durably(
            cell,
            |record| {
                record.spec.resources = resources.clone();
                if let Some(restart) = update.restart {
                    record.spec.restart = restart;
                }
            },
            async |next| if is_limited_anew { self.limit(cell, &next.spec.resources).await } else { Ok(()) },
            async || {
                if is_limited_anew && let Err(error) = self.limit(cell, &before.over(&resources)).await {
                    tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "limit a container as it was");
                }
            },
        )
        .await?;
        self.emit(cell, "update", &[]);
        Ok(Vec::new())
    }

    /// Gives a running container these limits; where one of them cannot be had, it keeps those of its record.
    async fn limit(&self, cell: &ContainerCell, resources: &Resources) -> Result<()> {
        let limited = self.try_limit(cell, resources).await;
        if limited.is_err() {
            // Some may have been set before the one that cannot be.
            let before = cell.record().spec.resources.over(resources);
            if let Err(error) = self.try_limit(cell, &before).await {
                tracing::debug!(container = %cell.id, error = %base::error::chain(&error), "limit a container as it was");
            }
        }
        limited
    }

    async fn try_limit(&self, cell: &ContainerCell, resources: &Resources) -> Result<()> {
        let paths: Vec<String> = spec::throttled(resources).map(str::to_owned).collect();
        let limits = resources.clone();
        let devices = foreign(paths, move || devices::block_numbers(&limits)).await?;
        let request = Request::Update {
            container: cell.id.to_string(),
            resources: spec::resources_to_oci(resources, &devices),
        };
        cell.shim()?.tell(&request).await
    }
}

impl Resources {
    /// These limits for a container that has `other` ones: where there is no limit here and was one
    /// there, that is said, since an update leaves alone what it says nothing of.
    fn over(&self, other: &Self) -> Self {
        fn lift<T>(limit: Option<T>, other: Option<T>, none: T) -> Option<T> {
            limit.or(other.map(|_| none))
        }
        let had_quota = other.cpu_quota.or(other.nano_cpus);
        let has_quota = self.nano_cpus.is_some() || self.cpu_quota.is_some();
        Self {
            memory: lift(self.memory, other.memory, -1),
            memory_reservation: lift(self.memory_reservation, other.memory_reservation, -1),
            // Who limits memory limits swap with it.
            memory_swap: lift(self.memory_swap, other.memory_swap.or(other.memory), -1),
            cpu_shares: lift(self.cpu_shares, other.cpu_shares, USUAL_SHARES),
            cpu_quota: if has_quota { self.cpu_quota } else { had_quota.map(|_| -1) },
            pids: lift(self.pids, other.pids, -1),
            ..self.clone()
        }
    }

    /// Takes over what `over` says.
    fn overlay(&mut self, over: Resources) {
        fn take<T>(have: &mut Option<T>, over: Option<T>) {
            if over.is_some() {
                *have = over;
            }
        }
        fn take_list<T>(have: &mut Vec<T>, over: Vec<T>) {
            if !over.is_empty() {
                *have = over;
            }
        }
        if over.cpu_quota.is_some_and(|quota| quota != 0) || over.cpu_period.is_some_and(|period| period != 0)
        {
            self.nano_cpus = None;
        }
        if over.nano_cpus.is_some_and(|cpus| cpus != 0) {
            self.cpu_quota = None;
            self.cpu_period = None;
        }
        take(&mut self.memory, over.memory);
        take(&mut self.memory_reservation, over.memory_reservation);
        take(&mut self.memory_swap, over.memory_swap);
        take(&mut self.memory_swappiness, over.memory_swappiness);
        take(&mut self.nano_cpus, over.nano_cpus);
        take(&mut self.cpu_shares, over.cpu_shares);
        take(&mut self.cpu_quota, over.cpu_quota);
        take(&mut self.cpu_period, over.cpu_period);
        take(&mut self.cpu_realtime_runtime, over.cpu_realtime_runtime);
        take(&mut self.cpu_realtime_period, over.cpu_realtime_period);
        take(&mut self.cpuset_cpus, over.cpuset_cpus);
        take(&mut self.cpuset_mems, over.cpuset_mems);
        take(&mut self.pids, over.pids);
        take(&mut self.blkio_weight, over.blkio_weight);
        take(&mut self.oom_score_adj, over.oom_score_adj);
        take_list(&mut self.blkio_weights, over.blkio_weights);
        take_list(&mut self.blkio_read_bps, over.blkio_read_bps);
        take_list(&mut self.blkio_write_bps, over.blkio_write_bps);
        take_list(&mut self.blkio_read_iops, over.blkio_read_iops);
        take_list(&mut self.blkio_write_iops, over.blkio_write_iops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_lifts_what_was_not_limited_before() {
        let before = Resources { pids: Some(7), ..Resources::default() };
        let after =
            Resources { memory: Some(1 << 30), nano_cpus: Some(500), pids: Some(9), ..Resources::default() };
        let back = before.over(&after);
        assert_eq!((back.memory, back.cpu_quota, back.pids), (Some(-1), Some(-1), Some(7)));
        assert_eq!((back.memory_swap, back.cpu_shares), (Some(-1), None));
        let quota = Resources { nano_cpus: Some(100), ..Resources::default() };
        assert_eq!(quota.over(&after).cpu_quota, None, "its own is enough");
    }
}
