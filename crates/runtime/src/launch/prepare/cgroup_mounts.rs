//! The container's view of the cgroups: one mount of the configuration can become many.

use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::super::ProcessError;
use super::super::plan::{MountPlan, MountSource};
use super::options::{self, MountOptions};
use super::{c_string, host, mounts};
use crate::cgroup::{Cgroup, Version};
use crate::spec::{Linux, Mount, NamespaceKind};
use crate::sys::mount::{MountAttr, attr, set_attributes};

/// Adds the plans for a mount of type `cgroup`. With a cgroup namespace they are file systems made
/// inside it; without one, binds: of the whole v2 hierarchy, or of the container's own part of each
/// of v1, as runc has it.
pub(super) fn prepare(
    mount: &Mount,
    options: &MountOptions,
    cgroup: &Cgroup,
    linux: &Linux,
    plans: &mut Vec<MountPlan>,
) -> Result<(), ProcessError> {
    let namespaced = linux.namespace(NamespaceKind::Cgroup).is_some();
    if cgroup.hierarchies().version() == Version::V2 {
        let whole = cgroup.hierarchies().unified_mount().expect("v2 has a unified hierarchy");
        let plan = if namespaced {
            mounts::filesystem(&Mount { source: Some("cgroup".into()), ..mount.clone() }, "cgroup2", options)?
        } else {
            // Not mounted anew: options that are not given again would be lost for the whole host.
            part(&mount.destination, whole, options)?
        };
        plans.push(plan);
        return Ok(());
    }
    let mut base = base(mount, options)?;
    let mut parts = Vec::new();
    for hierarchy in cgroup.hierarchies().v1() {
        let name = hierarchy.mount.file_name().unwrap_or_default();
        let destination = mount.destination.join(name);
        for controller in hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1) {
            base.links.push((c_string(name)?, c_string(controller)?));
        }
        if namespaced {
            let kind = hierarchy.controllers.iter().map(|controller| match controller.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (controller.clone(), None),
            });
            // A hierarchy of no controllers is known by its name alone.
            let none = hierarchy.controllers.iter().all(|controller| controller.starts_with("name="));
            let rest = none.then(|| ("none".to_owned(), None)).into_iter().chain(kind).collect();
            let options = MountOptions { rest, ..options.clone() };
            let mount = Mount { destination, source: Some("cgroup".into()), ..mount.clone() };
            parts.push(mounts::filesystem(&mount, "cgroup", &options)?);
        } else {
            parts.push(part(&destination, &cgroup.directory_in(hierarchy), options)?);
        }
    }
    plans.push(base);
    plans.extend(parts);
    Ok(())
}

/// The directory that the hierarchies are mounted in.
fn base(mount: &Mount, options: &MountOptions) -> Result<MountPlan, ProcessError> {
    let rest = vec![("mode".to_owned(), Some("755".to_owned()))];
    let options = MountOptions { rest, ..options.clone() };
    let mount = Mount { source: Some("tmpfs".into()), ..mount.clone() };
    mounts::filesystem(&mount, "tmpfs", &options)
}

fn part(destination: &Path, source: &Path, options: &MountOptions) -> Result<MountPlan, ProcessError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags).map_err(|error| host("clone cgroup", source, error))?;
    let asked = options.alone();
    let attributes = MountAttr {
        set: asked.set | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        clear: asked.clear,
        propagation: options.propagation.map_or(options::SLAVE, |(propagation, _)| propagation),
        ..MountAttr::default()
    };
    set_attributes(&tree, false, attributes)
        .map_err(|error| host("set the attributes of cgroup", source, error))?;
    let plan = mounts::tree(destination, tree, true)?;
    debug_assert!(matches!(plan.source, MountSource::Tree(_)), "a tree was given");
    Ok(plan)
}
