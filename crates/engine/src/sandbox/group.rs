//! A sandbox's control group, which holds those of its containers.

use std::path::PathBuf;

use runtime::cgroup::Cgroup;

use super::SandboxSpec;
use crate::container::Resources;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::work::blocking;

impl Engine {
    /// Where a sandbox's group is, from the root of the hierarchies.
    pub(crate) fn sandbox_group(&self, id: &SandboxId, spec: Option<&SandboxSpec>) -> PathBuf {
        let parent = spec.and_then(|spec| spec.cgroup_parent.as_deref()).unwrap_or_default();
        self.group_path(parent).join(id.as_str())
    }

    /// Makes a group below the engine's own, or at an absolute path, and limits it: what several
    /// sandboxes whose `cgroup_parent` it is take together.
    pub async fn group_apply(&self, group: &str, resources: Resources) -> Result<()> {
        let path = self.group_path(group);
        blocking(move || apply(&path, &resources)).await
    }

    /// Makes the group of a sandbox that has limits, and puts them in force.
    pub(super) fn limit_sandbox(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<()> {
        if spec.resources == Resources::default() {
            return Ok(());
        }
        apply(&self.sandbox_group(id, Some(spec)), &spec.resources)
    }

    fn group_path(&self, group: &str) -> PathBuf {
        // An absolute path takes the place of what it is joined to.
        PathBuf::from("/").join(&self.inner.config.instance).join(group)
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
