//! Where everything of the engine, a container, a sandbox or a volume lies: files and control groups.
//!
//! ```text
//! <root>/engine.lock                    held while an engine has the root open
//! <root>/engine.json                    EngineFile: the engine's own id
//! <root>/containers/<id>/state.json     ContainerFile: what it should be
//! <root>/containers/<id>/life.json      LifeFile: what became of it
//! <root>/containers/<id>/{hosts,hostname,resolv.conf,container.log…}
//! <root>/sandboxes/<id>/state.json      SandboxFile (sandboxes made as such)
//! <root>/sandboxes/<id>/{hosts,hostname,resolv.conf}
//! <root>/ids/<first>                    whose block of the host's user ids this is
//! <root>/volumes/<name>/volume.json     VolumeFile; files are in `_data`
//! <root>/…/.<name>.making/              a container, sandbox or volume that is being made
//! <root>/trash/                         what is being removed
//! <root>/images/                        the image store's
//! <root>/network/                       the network's
//! <run>/engine.lock                     held like the root's
//! <run>/shims/<sandbox>.sock            the shims' sockets
//! <run>/netns/<sandbox>                 its network namespace, pinned by the network
//! <run>/sandboxes/<sandbox>/            the shims' own state and logs, shared memory; `owner`
//! <run>/bundles/<container>/            OCI bundles
//! <run>/trash/                          as above
//! ```
//!
//! ```text
//! /<instance>/shims                     the group of the shims, from the root of the hierarchies
//! /<instance>/<container>               that of a container in a sandbox of its own
//! /<instance>/<sandbox>/<container>     that of one in a sandbox that is shared
//! ```
//!
//! Whoever makes a container or a sandbox may say below which group its own is to be.

use std::path::{Path, PathBuf};

use crate::container::ContainerRecord;
use crate::error::Result;
use crate::id::{ContainerId, SandboxId};
use crate::registry::AnySandbox;
use crate::sandbox::SandboxSpec;
use crate::state::make_directory;

/// Where everything lies.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    root: PathBuf,
    run: PathBuf,
    /// The engine's own group.
    group: PathBuf,
}

/// Where below a container's bundle images are put together.
pub(crate) const IMAGES: &str = "images";

impl Places {
    /// The places of the engine that has these directories, and whose groups are named after `instance`.
    pub(crate) fn new(root: &Path, run: &Path, instance: &str) -> Self {
        Self { root: root.to_owned(), run: run.to_owned(), group: Path::new("/").join(instance) }
    }

    /// The engine's own record.
    pub(crate) fn engine(&self) -> PathBuf {
        self.root.join("engine.json")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    /// A container's log.
    pub(crate) fn log(&self, record: &ContainerRecord) -> PathBuf {
        match &record.resolved.log.path {
            Some(path) => path.clone(),
            None => self.container(&record.id).join("container.log"),
        }
    }

    /// A container's OCI bundle.
    pub(crate) fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.run.join("bundles").join(id.as_str())
    }

    /// Where the images are put together that are mounted in a container.
    pub(crate) fn image_mounts(&self, id: &ContainerId) -> PathBuf {
        self.bundle(id).join(IMAGES)
    }

    /// Where that of one of its mounts is.
    pub(crate) fn image_mount(&self, id: &ContainerId, index: usize) -> PathBuf {
        self.image_mounts(id).join(index.to_string())
    }

    /// Where a container's shim writes down how it ended. It is removed before each start.
    pub(crate) fn end(&self, id: &ContainerId, sandbox: &SandboxId) -> PathBuf {
        self.shim_state(sandbox).join(id.as_str()).join(runtime::shim::EXIT_FILE)
    }

    /// Where it writes that down as well when it is told that the machine goes down, so that it outlives that.
    pub(crate) fn lasting_end(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(runtime::shim::EXIT_FILE)
    }

    /// A container's group.
    pub(crate) fn container_group(&self, record: &ContainerRecord, sandbox: &AnySandbox) -> PathBuf {
        let asked = record.spec.cgroup_parent.as_deref().filter(|parent| !parent.is_empty());
        let above = match (asked, sandbox) {
            // Docker takes all of them from the root of the hierarchies.
            (Some(parent), _) => Path::new("/").join(parent.trim_start_matches('/')),
            (None, AnySandbox::Shared(shared)) => self.sandbox_group(&shared.id, &shared.spec),
            (None, AnySandbox::OfOne(_)) => self.group.clone(),
        };
        above.join(record.id.as_str())
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.root.join("sandboxes").join(id.as_str())
    }

    /// The run directory of a sandbox: the shim's state and its log.
    pub(crate) fn sandbox_run(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_runs().join(id.as_str())
    }

    /// Those of all sandboxes.
    pub(crate) fn sandbox_runs(&self) -> PathBuf {
        self.run.join("sandboxes")
    }

    /// The memory that a sandbox's containers share.
    pub(crate) fn shared_memory(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_run(id).join("shm")
    }

    /// The file that says which engine started the shim of a sandbox.
    pub(crate) fn owner(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_run(id).join("owner")
    }

    /// Where a sandbox's shim keeps how its containers ended.
    pub(crate) fn shim_state(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_run(id).join("state")
    }

    pub(crate) fn shim_log(&self, id: &SandboxId) -> PathBuf {
        self.sandbox_run(id).join("shim.log")
    }

    pub(crate) fn shims(&self) -> PathBuf {
        self.run.join("shims")
    }

    /// The socket of a sandbox's shim.
    pub(crate) fn socket(&self, sandbox: &str) -> PathBuf {
        self.shims().join(format!("{sandbox}.sock"))
    }

    /// Where network namespaces are pinned.
    pub(crate) fn netns(&self) -> PathBuf {
        self.run.join("netns")
    }

    /// The bundles of all containers.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.run.join("bundles")
    }

    /// The group of a sandbox that was made as such, which holds those of its containers.
    pub(crate) fn sandbox_group(&self, id: &SandboxId, spec: &SandboxSpec) -> PathBuf {
        self.group(spec.cgroup_parent.as_deref().unwrap_or_default()).join(id.as_str())
    }

    /// The group below which all others are, unless somebody says otherwise.
    pub(crate) fn own_group(&self) -> &Path {
        &self.group
    }

    /// The group of the shims.
    pub(crate) fn shims_group(&self) -> PathBuf {
        self.group("shims")
    }

    /// A group below the engine's own, or at an absolute path.
    pub(crate) fn group(&self, group: &str) -> PathBuf {
        // An absolute path takes the place of what it is joined to.
        self.group.join(group)
    }

    /// Blocks of the host's user ids that are reserved.
    pub(crate) fn ids(&self) -> PathBuf {
        self.root.join("ids")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network")
    }

    /// What is being removed; cleared at every opening.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// As [`Places::trash`], for what is below the run directory.
    pub(crate) fn run_trash(&self) -> PathBuf {
        self.run.join("trash")
    }

    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// The directories that must be there, made.
    pub(crate) fn prepare(&self) -> Result<()> {
        for directory in [
            self.containers(),
            self.sandboxes(),
            self.ids(),
            self.volumes(),
            self.shims(),
            self.sandbox_runs(),
            self.bundles(),
            self.trash(),
            self.run_trash(),
        ] {
            make_directory(&directory, 0o711)?;
        }
        Ok(())
    }
}
