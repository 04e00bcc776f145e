//! Changing a container's limits and restart policy.

use runtime::shim::protocol::Request;

use super::devices;
use super::resources::Resources;
use super::spec::RestartPolicy;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::spec;
use crate::threads::foreign;

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
        let _operation = cell.operation.lock().await;
        if matches!(cell.status(), Status::Removing | Status::Dead) {
            return Err(Error::conflict("container is marked for removal and cannot be \"update\""));
        }
        let record = cell.record();
        if update.restart.is_some_and(|restart| restart != RestartPolicy::No) && record.spec.auto_remove {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        let mut resources = record.spec.resources.clone();
        resources.overlay(update.resources);
        if resources != record.spec.resources && cell.status().is_active() {
            let paths: Vec<String> = spec::throttled(&resources).map(str::to_owned).collect();
            let limits = resources.clone();
            let devices = foreign(paths, move || devices::block_numbers(&limits)).await?;
            let request = Request::Update {
                container: id.to_string(),
                resources: spec::resources_to_oci(&resources, &devices),
            };
            cell.shim()?.tell(&request).await?;
        }
        let record = cell.change(|record| {
            record.spec.resources = resources;
            if let Some(restart) = update.restart {
                record.spec.restart = restart;
            }
        });
        self.save(record).await?;
        self.emit(&cell, "update", &[]);
        Ok(Vec::new())
    }
}

impl Resources {
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
