//! Creating a container.

use std::sync::Arc;

use super::life::Life;
use super::mounts::Volumes;
use super::names;
use super::record::ContainerRecord;
use super::resolve;
use super::spec::{ContainerSpec, MountSource, NetworkMode};
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, Result};
use crate::id::ContainerId;
use crate::network::EndpointSpec;
use crate::registry::{AnySandbox, ContainerCell};
use crate::rootfs::Layers;
use crate::state::{self, ContainerFile, Making};
use crate::work::{blocking, foreign};

/// No program of any use lives with fewer bytes of memory.
const LEAST_MEMORY: i64 = 6 << 20;

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know: wishes that this host cannot fulfil and that were left out.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container of `spec`, ready to be started. The image must be present
    /// ([`crate::Kind::NotFound`], `No such image: …`, otherwise).
    pub async fn container_create(&self, spec: ContainerSpec) -> Result<Created> {
        let engine = self.clone();
        let entry = match &spec.sandbox {
            Some(sandbox) => Some(self.inner.registry.sandbox(sandbox)?.enter().await?),
            None => None,
        };
        let places = places(&spec);
        let create = move || {
            let _entry = entry;
            engine.create(spec)
        };
        if places.is_empty() { blocking(create).await } else { foreign(places, create).await }
    }

    fn create(&self, spec: ContainerSpec) -> Result<Created> {
        let inner = &self.inner;
        check_spec(&spec)?;
        let (image, _held) = self.foundation(&spec)?;
        if let Some(platform) = spec.platform.as_deref().filter(|platform| !platform.is_empty()) {
            let platform = crate::image::parse_platform(platform)?;
            if let Some(other) = self.other_platform(&spec.image, &platform) {
                return Err(other.into());
            }
        }
        let id = ContainerId::random(inner.random.as_ref());
        let created = inner.clock.now();
        let sandbox = match &spec.sandbox {
            Some(sandbox) => AnySandbox::Shared(inner.registry.sandbox(sandbox)?),
            None => AnySandbox::of_container(&id),
        };
        let claim = |name: &str| inner.registry.claim_name(name, &id);
        let (name, _claim) = match &spec.name {
            Some(name) => (names::check(name)?.to_owned(), claim(names::check(name)?)?),
            None => names::make_up(inner.random.as_ref(), |name| claim(name).ok()),
        };
        self.check_name_servers(&spec)?;
        for (name, asked) in &spec.networks {
            self.check_endpoint(name, asked, Some(name))?;
        }
        self.check_storage(&spec)?;
        let host = self.host_name(&spec, &sandbox, &id)?;
        let (resolved, mut warnings) = resolve::resolve(&spec, &image, host, &inner.config.log)?;
        warnings.extend(crate::spec::check_limits(&spec.resources)?);
        let mut half_made =
            HalfMade { engine: self, id: id.clone(), volumes: Vec::new(), limit: None, done: false };
        let record =
            self.container_make(&mut half_made, &id, name, created, &sandbox, spec, resolved, &image)?;
        warnings.extend(self.storage_warning(&record.spec, &record.mounts));
        let cell = Arc::new(ContainerCell::new(record, sandbox));
        inner.registry.add(Arc::clone(&cell))?;
        half_made.done = true;
        self.emit(&cell, "create", &[]);
        Ok(Created { id, warnings })
    }

    /// Makes what a container has on disk; all of it is taken away again if a part cannot be made.
    #[expect(clippy::too_many_arguments, reason = "one caller, which has just worked each of them out")]
    fn container_make(
        &self,
        half_made: &mut HalfMade<'_>,
        id: &ContainerId,
        name: String,
        created: base::Timestamp,
        sandbox: &AnySandbox,
        spec: ContainerSpec,
        resolved: super::ResolvedSpec,
        image: &image::Image,
    ) -> Result<ContainerRecord> {
        let making = Making::begin(&self.inner.places.container(id), 0o710)?;
        let snapshot = match &spec.layers {
            None => self.inner.images.snapshot_create(id.as_str(), Some(&image.id)),
            Some(_) => self.inner.images.snapshot_create_on(id.as_str(), image.layers.last()),
        };
        let snapshot = snapshot.map_err(|source| {
            Error::new(crate::image::kind(source.kind()), "make the container's root file system")
                .with_source(source)
        })?;
        half_made.limit = self.limit_storage(&spec, &[&snapshot.upper, &snapshot.work])?;
        let mut volumes = Volumes::new(self, id, &snapshot.lower);
        let mounts = volumes.resolve(&spec, &resolved);
        half_made.volumes.clone_from(&volumes.made);
        let mounts = mounts?;
        let record = ContainerRecord {
            id: id.clone(),
            name,
            created,
            sandbox: sandbox.id.clone(),
            networks: self.networks_of(&spec),
            spec,
            kept: false,
            resolved,
            life: Life::default(),
            health: None,
            mounts,
            anonymous_volumes: half_made.volumes.clone(),
            layers: Layers { lower: snapshot.lower, upper: snapshot.upper, work: snapshot.work },
            project: half_made.limit,
            made_in: self.inner.boot.clone(),
            boot: String::new(),
        };
        // A created container is acknowledged: it must outlive a crash of the machine. Its snapshot's
        // own record is not flushed, since this one says all that is in it.
        making.place(state::STATE_FILE, &ContainerFile::from(&record))?;
        Ok(record)
    }

    /// What a container is made of, kept while it is made: an image, or layers as if they were one.
    fn foundation(&self, spec: &ContainerSpec) -> Result<(image::Image, Option<image::ImageHold>)> {
        let Some(top) = &spec.layers else {
            let image = self.image_present(&spec.image)?;
            let held = self.inner.images.image_hold(&image.id).map_err(|_| no_such_image(&spec.image))?;
            return Ok((image, Some(held)));
        };
        let invalid = |_| Error::invalid(format!("`{top}` is no layer"));
        let top = (!top.is_empty()).then(|| oci::Digest::parse(top)).transpose().map_err(invalid)?;
        let id = top.clone().unwrap_or_else(|| oci::Digest::sha256_of(b""));
        let image = image::Image {
            id: image::ImageId(id),
            config: Arc::new(oci::ImageConfig::for_platform(&oci::Platform::host())),
            tags: Vec::new(),
            digests: Vec::new(),
            layers: top.into_iter().collect(),
            size: 0,
            parent: None,
            tagged_at: None,
        };
        Ok((image, None))
    }

    /// The image that `reference` names.
    pub(crate) fn image_present(&self, reference: &str) -> Result<image::Image> {
        self.inner.images.image_get(reference).map_err(|source| match crate::image::kind(source.kind()) {
            Kind::NotFound => no_such_image(reference),
            Kind::Invalid if oci::Reference::parse(reference).is_err() => {
                Error::invalid("invalid reference format")
            }
            kind => Error::new(kind, format!("look up the image `{reference}`")).with_source(source),
        })
    }

    /// Refuses servers for names that only the container itself could ask, where the network asks them.
    fn check_name_servers(&self, spec: &ContainerSpec) -> Result<()> {
        let Some(server) = spec.dns.servers.iter().find(|server| server.is_loopback()) else { return Ok(()) };
        let knows_names = |name: &str| {
            let found = self.inner.network.network_find(name);
            found.is_ok_and(|network| self.inner.network.knows_names(&network.id))
        };
        match networks(spec).iter().find(|(name, _)| knows_names(name)) {
            Some((name, _)) => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "the DNS server {server} cannot be asked for the network {name}: it is the container itself there, and the network's own resolver asks"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The networks that a container is to join, by name: whoever names one in two ways means one.
    fn networks_of(&self, spec: &ContainerSpec) -> Vec<(String, EndpointSpec)> {
        let mut named: Vec<(String, EndpointSpec)> = Vec::new();
        for (called, asked) in networks(spec) {
            let name = self.network_name(&called);
            match named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) if *known == EndpointSpec::default() => *known = asked,
                Some(_) => {}
                None => named.push((name, asked)),
            }
        }
        named
    }

    /// What a container calls its host.
    fn host_name(&self, spec: &ContainerSpec, sandbox: &AnySandbox, id: &ContainerId) -> Result<String> {
        if let AnySandbox::Shared(shared) = sandbox {
            let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let name = &shared.spec.hostname;
            return Ok(if name.is_empty() { own } else { name.clone() });
        }
        if let Some(name) = spec.hostname.as_ref().filter(|name| !name.is_empty()) {
            return Ok(name.clone());
        }
        Ok(match &spec.namespaces.network {
            NetworkMode::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            NetworkMode::Container(other) => {
                self.inner.registry.get(other)?.record().resolved.hostname.clone()
            }
            _ => id.short().to_owned(),
        })
    }
}

fn no_such_image(reference: &str) -> Error {
    Fact::NoImage { reference: crate::image::with_tag(reference) }.into()
}

/// What must be taken away again unless the making is completed.
struct HalfMade<'a> {
    engine: &'a Engine,
    id: ContainerId,
    volumes: Vec<String>,
    /// What limits its root file system.
    limit: Option<u32>,
    done: bool,
}

impl Drop for HalfMade<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let inner = &self.engine.inner;
        // The error that led here is what the user must see; leftovers are cleared at the next opening.
        let _ = base::tree::remove(&inner.places.container(&self.id));
        let _ = inner.images.snapshot_remove(self.id.as_str());
        super::images::let_go(self.engine, &self.id);
        if let Some(limit) = self.limit {
            self.engine.release_storage(limit);
        }
        inner.volumes.forget_user(&self.id);
        for name in &self.volumes {
            let _ = self.engine.volume_delete(name);
        }
    }
}

/// The networks that a container is to join, as they were called.
fn networks(spec: &ContainerSpec) -> Vec<(String, EndpointSpec)> {
    let first = match &spec.namespaces.network {
        _ if spec.sandbox.is_some() => return Vec::new(),
        NetworkMode::Bridge => "bridge",
        NetworkMode::Network(name) => name,
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => return Vec::new(),
    };
    let mut own = spec.networks.get(first).cloned().unwrap_or_default();
    if own.mac_address.is_none() {
        own.mac_address.clone_from(&spec.mac_address);
    }
    let mut networks = vec![(first.to_owned(), own)];
    let further = spec.networks.iter().filter(|(name, _)| *name != first);
    networks.extend(further.map(|(name, endpoint)| (name.clone(), endpoint.clone())));
    networks
}

/// The places of the host at which making or starting the container looks.
pub(super) fn places(spec: &ContainerSpec) -> Vec<String> {
    let binds = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } => Some(path.display().to_string()),
        MountSource::Volume { name, options, .. } => {
            options.get("device").or(name.as_ref()).map(|place| format!("volume {place}"))
        }
        MountSource::Image { .. } | MountSource::Tmpfs { .. } => None,
    });
    binds.chain(spec.resources.devices.iter().map(|device| device.host_path.clone())).collect()
}

/// What can be refused before anything is made.
fn check_spec(spec: &ContainerSpec) -> Result<()> {
    if spec.image.is_empty() && spec.layers.is_none() {
        return Err(Error::invalid("no image was named"));
    }
    if spec.auto_remove && spec.restart != super::RestartPolicy::No {
        return Err(Fact::RemovedAndRestarted.into());
    }
    if let Some(memory) = spec.resources.memory
        && memory != 0
        && memory < LEAST_MEMORY
    {
        return Err(Fact::MemoryTooLow { least: LEAST_MEMORY }.into());
    }
    if let (Some(memory), Some(swap)) = (spec.resources.memory, spec.resources.memory_swap)
        && memory > 0
        && swap > 0
        && swap < memory
    {
        return Err(Fact::SwapBelowMemory.into());
    }
    if spec.resources.nano_cpus.is_some_and(|cpus| cpus < 0) {
        return Err(Error::invalid("range of CPUs is from 0.01 upwards"));
    }
    if let Some(signal) = &spec.stop_signal {
        crate::signal::parse(signal)?;
    }
    if let Some(runtime) = spec.runtime.as_deref()
        && !matches!(runtime, "" | "runc" | "gantry" | "io.containerd.runc.v2")
    {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {runtime}")));
    }
    if let Some(parent) = &spec.cgroup_parent
        && std::path::Path::new(parent).components().any(|part| part == std::path::Component::ParentDir)
    {
        return Err(Error::invalid(format!(
            "invalid cgroup parent \"{parent}\": it must not have `..` in it"
        )));
    }
    // These are read again at the start; to be told now is kinder.
    crate::spec::capability_names(&spec.security)?;
    crate::spec::check_security(spec)?;
    for mount in &spec.mounts {
        if !mount.target.starts_with('/') {
            return Err(Fact::RelativeTarget { target: mount.target.clone() }.into());
        }
    }
    let mut targets: Vec<&str> = spec.mounts.iter().map(|mount| mount.target.trim_end_matches('/')).collect();
    targets.sort_unstable();
    if let Some(pair) = targets.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Fact::TargetTwice { target: pair[0].to_owned() }.into());
    }
    Ok(())
}
