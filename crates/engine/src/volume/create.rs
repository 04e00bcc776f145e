//! Making and finding volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DATA, Known, RECORD, Volume, VolumeRecord, VolumeSpec};
use crate::engine::Engine;
use crate::error::{Error, Fact, Result};
use crate::event::EventKind;
use crate::id::ContainerId;
use crate::state::{self, Making, VolumeFile};
use crate::work::blocking;

impl Engine {
    /// Makes a volume; the one that exists where its name is taken.
    pub async fn volume_create(&self, spec: VolumeSpec) -> Result<Arc<Volume>> {
        let engine = self.clone();
        blocking(move || engine.volume_make(spec, None)).await
    }

    /// A volume by its name. `get …: no such volume` where there is none.
    pub fn volume_inspect(&self, name: &str) -> Result<Arc<Volume>> {
        let found = self.inner.volumes.known.lock().get(name).map(|known| Arc::clone(&known.view));
        found.ok_or_else(|| no_such_volume(name))
    }

    /// As [`Engine::volume_create`], for threads that may block. From now on `user` has the volume.
    pub(crate) fn volume_make(&self, spec: VolumeSpec, user: Option<&ContainerId>) -> Result<Arc<Volume>> {
        if !matches!(spec.driver.as_str(), "" | "local") {
            return Err(Error::not_found(format!(
                "error looking up volume plugin {0}: plugin \"{0}\" not found",
                spec.driver
            )));
        }
        super::options::check(&spec.options)?;
        let anonymous = spec.name.is_none();
        let name = match &spec.name {
            Some(name) => check_name(name)?.to_owned(),
            None => {
                let mut bytes = [0; 32];
                self.inner.random.fill(&mut bytes);
                hex::encode(bytes)
            }
        };
        // A second request for the same name must not see half a volume.
        let _changing = self.inner.volumes.changing.lock();
        if let Some(known) = self.inner.volumes.known.lock().get_mut(&name) {
            known.users.extend(user.cloned());
            return Ok(Arc::clone(&known.view));
        }
        let place = self.inner.places.volume(&name);
        if place.symlink_metadata().is_ok() {
            return Err(Error::conflict(format!(
                "create {name}: `{}` is there already, and is no volume that can be read",
                place.display()
            )));
        }
        let making = Making::begin(&place, 0o711)?;
        let limit = self.limit_volume(&spec.options, making.directory())?;
        let record = VolumeRecord {
            name: name.clone(),
            created: self.inner.clock.now(),
            spec,
            anonymous,
            filled: false,
            filling: false,
            project: limit,
        };
        let made = state::make_directory(&making.directory().join(DATA), 0o755)
            .and_then(|()| making.place(RECORD, &VolumeFile::from(record.clone())));
        if let Err(error) = made {
            limit.into_iter().for_each(|limit| self.release_storage(limit));
            return Err(error);
        }
        let mut made = Known::new(&self.inner.places, record);
        made.users.extend(user.cloned());
        let view = Arc::clone(&made.view);
        let mut known = self.inner.volumes.known.lock();
        known.insert(name.clone(), made);
        drop(known);
        self.emit_volume("create", &name);
        Ok(view)
    }

    pub(super) fn emit_volume(&self, action: &'static str, name: &str) {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        self.inner.events.emit(EventKind::Volume, action, name, attributes);
    }
}

pub(super) fn no_such_volume(name: &str) -> Error {
    Fact::NoVolume { name: name.to_owned() }.into()
}

pub(super) fn check_name(name: &str) -> Result<&str> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && (2..=255).contains(&name.len()) {
        return Ok(name);
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}
