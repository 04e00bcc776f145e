//! What is on disk and could not be taken up: it is left alone, and told.

use std::collections::BTreeSet;
use std::path::Path;

use base::{RecordError, Trouble};

use crate::engine::Engine;
use crate::id::{ContainerId, SandboxId};
use crate::places::Places;
use crate::registry::Registry;
use crate::sandbox::SandboxRecord;
use crate::state::{self, EngineFile, SandboxFile, VolumeFile};

/// Containers and sandboxes that are on disk, but could not be taken up: what belongs to them is
/// left alone.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) containers: BTreeSet<ContainerId>,
    pub(crate) sandboxes: BTreeSet<SandboxId>,
    /// Not even their names could be read: anything may belong to one of them.
    pub(crate) is_blind: bool,
}

impl LeftOut {
    /// Whether what is called `name` may belong to something that was left out.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.is_blind
            || ContainerId::parse(name).is_ok_and(|id| self.containers.contains(&id))
            || SandboxId::parse(name).is_ok_and(|id| self.sandboxes.contains(&id))
    }

    /// Whether anything was left out that may use a volume.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_blind && self.containers.is_empty()
    }
}

impl Engine {
    /// What is on disk and could not be taken up when the engine was opened: containers, sandboxes,
    /// volumes, images, networks. All of it was left as it is.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = self.inner.troubles.lock().clone();
        troubles.extend(self.inner.images.troubles());
        troubles.extend(self.inner.network.troubles());
        troubles
    }

    /// What could not be taken up if an engine were opened at `root` now. Changes nothing, and minds
    /// no engine that is open there.
    pub fn examine(root: &Path) -> Vec<Trouble> {
        let places = Places::new(root, root, "");
        let mut troubles = Vec::new();
        let engine = places.engine();
        match state::load::<EngineFile>(&engine) {
            Ok(_) => {}
            // No engine ever ran here.
            Err(RecordError::Missing) if !places.containers().exists() => return troubles,
            Err(RecordError::Missing) => {}
            Err(error) => troubles.push(Trouble::new("the engine's own name", &engine, &error)),
        }
        let _ = records(&places.containers(), "container", &mut troubles, state::load_container);
        let _ = records(&places.sandboxes(), "sandbox", &mut troubles, load_sandbox);
        let _ = records(&places.volumes(), "volume", &mut troubles, |path| {
            match state::load::<VolumeFile>(&path.join(crate::volume::RECORD)) {
                // One without is adopted.
                Err(RecordError::Missing) if path.join(crate::volume::DATA).is_dir() => Ok(()),
                read => read.map(drop),
            }
        });
        if places.ids().exists() {
            let _ = crate::id_blocks::IdBlocks::open(&places.ids(), None, &mut troubles);
        }
        let images = places.images();
        match ::image::Store::examine(&images) {
            Ok(found) => troubles.extend(found),
            Err(error) => troubles.push(Trouble::new("the image store", &images, &error)),
        }
        troubles.extend(net::troubles(&places.network()));
        troubles
    }

    /// Tells of something that could not be taken up.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        tracing::error!(path = %trouble.path.display(), problem = trouble.problem, "{} is left alone", trouble.subject);
        self.inner.troubles.lock().push(trouble);
    }

    /// Whether what is called `name` belongs to a container or sandbox that is known, or may belong to
    /// one that was left out.
    pub(crate) fn may_belong(&self, name: &str) -> bool {
        known(&self.inner.registry, name) || self.inner.left_out.read().has(name)
    }
}

/// Whether a container or sandbox is called `name`.
fn known(registry: &Registry, name: &str) -> bool {
    ContainerId::parse(name).is_ok_and(|id| registry.get(&id).is_ok())
        || SandboxId::parse(name).is_ok_and(|id| registry.sandbox(&id).is_ok())
}

/// The record of the sandbox in `directory`, which must be named by its id.
pub(crate) fn load_sandbox(directory: &Path) -> Result<SandboxRecord, RecordError> {
    state::load::<SandboxFile>(&directory.join(state::STATE_FILE)).map(Into::into)
}

/// The directories below `parent`, each with what `read` makes of it: `None`, and told, where that
/// fails. An error where not even their names can be read; that is told too.
pub(crate) fn records<T>(
    parent: &Path,
    kind: &str,
    troubles: &mut Vec<Trouble>,
    read: impl Fn(&Path) -> Result<T, RecordError>,
) -> Result<Vec<(String, Option<T>)>, ()> {
    let entries = match base::fs::entries(parent) {
        Ok(entries) => entries,
        Err(error) => {
            troubles.push(Trouble::new(format!("every {kind}"), parent, &error));
            return Err(());
        }
    };
    let mut found = Vec::new();
    for path in entries.iter().filter(|path| !state::is_making(path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = match read(path) {
            Ok(record) => Some(record),
            Err(error) => {
                troubles.push(Trouble::new(format!("{kind} {name}"), path, &error));
                None
            }
        };
        found.push((name, record));
    }
    Ok(found)
}
