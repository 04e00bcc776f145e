//! Writing a container's OCI bundle.

use std::os::fd::AsFd;
use std::path::Path;

use runtime::shim::descriptors::Descriptors;
use runtime::spec::Spec;

use crate::container::{devices, mounts};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::id_blocks::IdBlock;
use crate::registry::{AnySandbox, ContainerCell};
use crate::rootfs::RootFs;
use crate::spec::{self, Joined, Surroundings};
use crate::state;
use crate::users;

impl Engine {
    /// Writes the container's OCI bundle; gives the configuration, and what of the host is open for it already.
    pub(super) fn write_bundle(&self, cell: &ContainerCell, joined: Joined) -> Result<(Spec, Descriptors)> {
        let (record, bundle) = (cell.record(), self.inner.places.bundle(&cell.id));
        let host_network = self.is_in_host_network(cell);
        let root = RootFs::read_only(&record.layers)?;
        let identity = users::look_up_for(root.as_fd(), &record.resolved.user, &record.spec)?;
        drop(root);
        let mut around = Surroundings {
            identity,
            mounts: mounts::prepare(self, &record, &self.files_directory(cell)?)?,
            devices: devices::of_container(&record.spec)?,
            block_devices: devices::block_numbers(&record.spec.resources)?,
            cgroup: self.inner.places.container_group(&record, &cell.sandbox),
            joined,
            host_network,
            descriptors: self.inner.config.descriptors,
            apparmor: None,
            quotas: self.can_limit_storage(),
            users: self.users_of(&cell.sandbox)?,
            sysctls: Default::default(),
        };
        if let AnySandbox::Shared(shared) = &cell.sandbox
            && !host_network
        {
            around.sysctls.clone_from(&shared.spec.sysctls);
        }
        let host = crate::apparmor::Host::get();
        if let Some(profile) = host.profile(&record.spec.security)? {
            host.ensure(profile)?;
            around.apparmor = Some(profile.to_owned());
        }
        let links = self.link_env(&record)?;
        let (document, descriptors) = match links.is_empty() {
            true => spec::generate(&record.spec, &record.resolved, around)?,
            false => {
                // What it is told by its creator and its image goes over what it is told of others.
                let mut resolved = record.resolved.clone();
                resolved.env = links.into_iter().chain(resolved.env).collect();
                spec::generate(&record.spec, &resolved, around)?
            }
        };
        state::make_directory(&bundle, 0o700)?;
        document
            .save(&bundle.join("config.json"))
            .map_err(|source| Error::internal("write the container's bundle").with_source(source))?;
        Ok((document, descriptors))
    }

    /// The ids of the users of a sandbox that has users of its own. It has a block: without one its containers
    /// must not run, least of all as the host's users.
    pub(crate) fn users_of(&self, sandbox: &AnySandbox) -> Result<Option<IdBlock>> {
        let AnySandbox::Shared(shared) = sandbox else { return Ok(None) };
        if !shared.spec.own_users {
            return Ok(None);
        }
        let block = self.inner.id_blocks.of(&shared.id);
        block.map(Some).ok_or_else(|| {
            Error::internal(format!("sandbox {} has users of its own, but no ids for them", shared.id))
        })
    }
}

/// Opens what a configuration names on the host and is not open yet.
pub(super) fn open_rest(document: &Spec, bundle: &Path, mut descriptors: Descriptors) -> Result<Descriptors> {
    let opened = descriptors.complete(document, bundle);
    opened.context(|| "open what is mounted into the container".to_owned())?;
    Ok(descriptors)
}
