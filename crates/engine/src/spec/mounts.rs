//! Mounts: the default ones, those that are shared by a sandbox, those that were asked for.

use std::os::fd::OwnedFd;

use runtime::defaults;
use runtime::shim::descriptors::Descriptors;
use runtime::spec::Mount;

use super::{PreparedMount, Surroundings};
use crate::container::{ContainerSpec, NamespaceMode, Propagation};

/// The container's mounts in order; the sources of those that are open are handed over by
/// `descriptors`.
pub(super) fn mounts(
    spec: &ContainerSpec,
    around: &mut Surroundings,
    privileged: bool,
    descriptors: &mut Descriptors,
) -> Vec<Mount> {
    let mut asked = std::mem::take(&mut around.mounts);
    let around = &*around;
    let wanted = |target: &str| asked.iter().any(|mount| mount.target() == target);
    let mut mounts: Vec<Mount> = defaults::mounts(spec.shm_size.unwrap_or(defaults::SHM_SIZE))
        .into_iter()
        // What is asked for at the same place replaces the default.
        .filter(|mount| !mount.destination.to_str().is_some_and(wanted))
        .filter(|mount| !spec.no_shared_memory || mount.destination.to_str() != Some("/dev/shm"))
        .collect();
    for mount in &mut mounts {
        match mount.destination.to_str() {
            Some("/dev/shm") => share_memory(mount, spec, around),
            // A queue of messages belongs to the namespace of whoever mounts it, who must own that: of the host's,
            // which a user namespace does not, there is only what the host has mounted.
            Some("/dev/mqueue")
                if spec.namespaces.ipc == NamespaceMode::Host && around.joined.user.is_some() =>
            {
                *mount =
                    Mount::bind("/dev/mqueue", "/dev/mqueue", &["rprivate", "nosuid", "noexec", "nodev"]);
            }
            Some("/sys") if privileged => writable(mount),
            // A sysfs shows the network namespace of who mounts it, which must be its owner.
            // A sysfs shows the network of who mounts it, who must own it: of the host's, which a user
            // namespace does not, there is only the host's own, with all that is mounted below it.
            Some("/sys") if around.host_network && around.joined.user.is_some() => {
                *mount = Mount::bind("/sys", "/sys", &["rprivate", "nosuid", "noexec", "nodev", "rro"]);
            }
            Some("/sys/fs/cgroup") if spec.security.writable_cgroups.unwrap_or(privileged) => writable(mount),
            _ => {}
        }
    }
    // A mount that lies in another comes after it, whatever the order they were asked for in.
    asked.sort_by_key(|mount| mount.target().split('/').filter(|part| !part.is_empty()).count());
    for mount in asked {
        let (mount, open) = to_oci(mount);
        if let Some(open) = open {
            descriptors.mount(mounts.len(), open);
        }
        mounts.push(mount);
    }
    if around.users.is_some() {
        // What comes from the host belongs to whom it does inside.
        for mount in mounts.iter_mut().filter(|mount| mount.kind.as_deref() == Some("bind")) {
            mount.options.push("idmap".to_owned());
        }
    }
    mounts
}

fn share_memory(mount: &mut Mount, spec: &ContainerSpec, around: &Surroundings) {
    let source = match &spec.namespaces.ipc {
        NamespaceMode::Host => Some("/dev/shm".into()),
        NamespaceMode::Default | NamespaceMode::Shareable | NamespaceMode::Container(_) => {
            around.joined.shared_memory.clone()
        }
        NamespaceMode::Private => None,
    };
    if let Some(source) = source {
        *mount = Mount::bind(source, "/dev/shm", &["rprivate", "nosuid", "noexec", "nodev"]);
    }
}

fn writable(mount: &mut Mount) {
    mount.options.retain(|option| option != "ro");
    mount.options.push("rw".to_owned());
}

fn to_oci(mount: PreparedMount) -> (Mount, Option<OwnedFd>) {
    match mount {
        PreparedMount::Bind { open, source, target, read_only, propagation, recursive, writable_below } => {
            let mount = Mount {
                destination: target.into(),
                kind: Some("bind".to_owned()),
                source: Some(source),
                options: vec![
                    if recursive { "rbind" } else { "bind" }.to_owned(),
                    propagation.as_str().to_owned(),
                    match (read_only, writable_below) {
                        (false, _) => "rw",
                        // Nothing that the host has mounted below it can be written either.
                        (true, false) => "rro",
                        (true, true) => "ro",
                    }
                    .to_owned(),
                ],
                ..Mount::default()
            };
            (mount, open)
        }
        PreparedMount::Filesystem { kind, source, target, options } => {
            let mount = Mount {
                destination: target.into(),
                kind: Some(kind),
                source: Some(source.into()),
                options,
                ..Mount::default()
            };
            (mount, None)
        }
    }
}

/// What the root must be, so that mounts can travel the way that was asked for.
pub(super) fn rootfs_propagation(mounts: &[PreparedMount]) -> Option<String> {
    let is = |wanted: &[Propagation]| {
        mounts.iter().any(
            |mount| matches!(mount, PreparedMount::Bind { propagation, .. } if wanted.contains(propagation)),
        )
    };
    if is(&[Propagation::Shared, Propagation::Rshared]) {
        Some("rshared".to_owned())
    } else if is(&[Propagation::Slave, Propagation::Rslave]) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

impl Propagation {
    /// As `mount` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Rprivate => "rprivate",
            Propagation::Private => "private",
            Propagation::Rslave => "rslave",
            Propagation::Slave => "slave",
            Propagation::Rshared => "rshared",
            Propagation::Shared => "shared",
        }
    }
}
