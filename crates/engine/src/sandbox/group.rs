//! A sandbox's control group, which holds those of its containers.

use runtime::cgroup::Cgroup;

use super::SandboxSpec;
use crate::container::Resources;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::work::blocking;

impl Engine {
    /// Makes a group below the engine's own, or at an absolute path, and limits it: what several
    /// sandboxes whose `cgroup_parent` it is take together.
    pub async fn group_apply(&self, group: &str, resources: Resources) -> Result<()> {
        let path = self.inner.places.group(group);
        blocking(move || apply(&path, &resources)).await
    }

    /// Makes the group of a sandbox that has limits, and puts them in force.
    pub(super) fn limit_sandbox(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<()> {
        if spec.resources == Resources::default() {
            return Ok(());
        }
        apply(&self.inner.places.sandbox_group(id, spec), &spec.resources)
    }
}

fn apply(path: &std::path::Path, resources: &Resources) -> Result<()> {
    let limited = Cgroup::at(path).and_then(|group| {
        group.create()?;
        group.apply(&crate::spec::resources_to_oci(resources, &[]))
    });
    limited.map_err(|source| {
        Error::internal(format!("limit the cgroup `{}`", path.display())).with_source(source)
    })
}
