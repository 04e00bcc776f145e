//! A sandbox's control group, which holds those of its containers.

use std::path::Path;

use runtime::cgroup::Cgroup;

use super::SandboxSpec;
use crate::container::{Resources, Stats};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::work::blocking;

/// What a group takes, all below it included, and what it may take.
#[derive(Clone, Debug, Default)]
pub struct GroupUsage {
    /// What it takes. Of the network, that of a sandbox that has one of its own.
    pub stats: Stats,
    /// Bytes of memory that it may have; `None` is no limit.
    pub memory_limit: Option<u64>,
    /// Microseconds in 100 ms that it may use of processors; `None` is no limit.
    pub cpu_quota: Option<i64>,
    /// How often the kernel killed something in it for want of memory.
    pub oom_kills: u64,
}

impl Engine {
    /// Makes a group below the engine's own, or at an absolute path, and limits it: what several
    /// sandboxes whose `cgroup_parent` it is take together.
    pub async fn group_apply(&self, group: &str, resources: Resources) -> Result<()> {
        let path = self.inner.places.group(group);
        blocking(move || apply(&path, &resources)).await
    }

    /// What a group takes that is below the engine's own or at an absolute path.
    pub async fn group_usage(&self, group: &str) -> Result<GroupUsage> {
        let path = self.inner.places.group(group);
        let now = self.inner.clock.now();
        let mut usage = blocking(move || usage(&path)).await?;
        usage.stats.read = Some(now);
        Ok(usage)
    }

    /// Limits all containers of a ready sandbox together anew; what is `None` stays. It is not kept: a sandbox
    /// that is made anew is made with what its maker says then.
    pub async fn sandbox_update(&self, id: &SandboxId, resources: Resources) -> Result<()> {
        let cell = self.inner.registry.sandbox(id)?;
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            if cell.shim().is_none() {
                return Err(Error::conflict(format!("sandbox {} is not ready", cell.id)));
            }
            let path = engine.inner.places.sandbox_group(&cell.id, &cell.spec);
            blocking(move || apply(&path, &resources)).await
        })
        .await
    }

    /// What all containers of a sandbox take and may take together.
    pub async fn sandbox_usage(&self, id: &SandboxId) -> Result<GroupUsage> {
        let cell = self.inner.registry.sandbox(id)?;
        let path = self.inner.places.sandbox_group(&cell.id, &cell.spec);
        let own_network = cell.spec.network != super::SandboxNetwork::Host;
        let (shim, now) = (cell.shim().filter(|_| own_network), self.inner.clock.now());
        let mut usage = blocking(move || {
            let mut usage = usage(&path)?;
            if let Some(shim) = shim {
                // The shim is in the sandbox's network; whoever has its number after it is not.
                let read = std::fs::read_to_string(format!("/proc/{}/net/dev", shim.handle.pid));
                if shim.handle.is_alive() {
                    usage.stats.networks = crate::container::networks(&read.unwrap_or_default());
                }
            }
            Ok(usage)
        })
        .await?;
        usage.stats.read = Some(now);
        Ok(usage)
    }

    /// Makes the group of a sandbox that has limits, and puts them in force.
    pub(super) fn limit_sandbox(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<()> {
        if spec.resources == Resources::default() {
            return Ok(());
        }
        apply(&self.inner.places.sandbox_group(id, spec), &spec.resources)
    }
}

fn apply(path: &Path, resources: &Resources) -> Result<()> {
    let limited = Cgroup::at(path).and_then(|group| {
        group.create()?;
        group.apply(&crate::spec::resources_to_oci(resources, &[]))
    });
    limited.map_err(|source| {
        Error::internal(format!("limit the cgroup `{}`", path.display())).with_source(source)
    })
}

fn usage(path: &Path) -> Result<GroupUsage> {
    let failed =
        |source| Error::internal(format!("read the cgroup `{}`", path.display())).with_source(source);
    let group = Cgroup::at(path).map_err(failed)?;
    if !group.exists() {
        return Err(Error::not_found(format!("there is no cgroup `{}`", path.display())));
    }
    let used = group.stats().map_err(failed)?;
    let all = crate::host::memory_total();
    Ok(GroupUsage {
        // No limit at all is written as a number that no machine has.
        memory_limit: used.memory.limit.filter(|&limit| limit <= all.saturating_mul(1 << 10)),
        cpu_quota: group.cpu_quota(),
        oom_kills: used.oom_kills,
        stats: crate::container::stats_from_cgroup(used),
    })
}
