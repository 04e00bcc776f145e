//! What a command has mounted.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use engine::container::{FileKind, Mount, MountSource, Propagation};
use llb::pb::{self, CacheSharingOpt, ExecOp, MountType};

use super::asked::{Asked, agent_name};
use super::forward::{self, Forward};
use crate::solve::SolveError;
use crate::solve::attach::{Attached, Snapshot};
use crate::solve::cache::{CacheUse, Caches, Sharing};
use crate::solve::schedule::Step;
use crate::solve::value::{self, Chain, Value};

/// All that a command has mounted, and what keeps it.
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    /// Before what is mounted in it: it is dropped in this order.
    pub(super) held: Held,
    /// Writable copies whose outcome is kept, with what they are copies of and their outputs' numbers.
    pub(super) written: Vec<(i64, Snapshot, Chain)>,
    /// The root file system: what it is, its output's number, whether nothing may be written.
    pub(super) root: Chain,
    pub(super) root_output: i64,
    pub(super) root_read_only: bool,
}

/// What is there as long as the command runs.
pub(super) struct Held {
    attached: Attached,
    /// Writable copies whose outcome nobody wants.
    discarded: Vec<Snapshot>,
    values: Vec<Value>,
    chains: Vec<Chain>,
    #[expect(dead_code, reason = "held, so that nobody else may have them")]
    caches: Vec<Arc<CacheUse>>,
    agents: Vec<Forward>,
}

/// Caches of a command, by their names, and whether each is still to be filled.
type Taken = BTreeMap<String, (Arc<CacheUse>, bool)>;

/// Makes all of a command's mounts.
pub(super) async fn prepare(
    step: &Step<'_>,
    exec: &ExecOp,
    asked: &Asked,
    mut caches: Taken,
) -> Result<Mounts, SolveError> {
    let attached = offload::in_place(|| Attached::new(&step.job.inner.solver.inner.root))?;
    let mut made = Mounts {
        mounts: Vec::new(),
        written: Vec::new(),
        root: Chain::default(),
        root_output: llb::SKIP_OUTPUT,
        root_read_only: false,
        held: Held {
            attached,
            discarded: Vec::new(),
            values: Vec::new(),
            chains: Vec::new(),
            caches: caches.values().map(|(used, _)| Arc::clone(used)).collect(),
            agents: Vec::new(),
        },
    };
    for mount in &exec.mounts {
        if mount.dest == "/" {
            if mount.mount_type() != MountType::Bind || !matches!(mount.selector.as_str(), "" | "/") {
                return Err(SolveError::Unsupported(
                    "a root file system that is no whole result is not supported".to_owned(),
                ));
            }
            made.root = value::chain(step.job, &step.input(mount.input)?).await?;
            made.root_output = mount.output;
            made.root_read_only = mount.readonly;
            continue;
        }
        let source = match mount.mount_type() {
            MountType::Bind => Some(made.bind(step, mount).await?),
            MountType::Cache => {
                let id = cache_id(step, mount)?;
                let cache =
                    caches.get_mut(&id).ok_or_else(|| SolveError::Failed("a cache is lost".to_owned()))?;
                if cache.1 {
                    fill(step, mount, &cache.0).await?;
                    offload::in_place(|| cache.0.filled())?;
                    cache.1 = false;
                }
                Some(bind(cache.0.path(), &mount.selector, None))
            }
            MountType::Tmpfs => {
                let size = mount.tmpfs_opt.as_ref().and_then(|option| u64::try_from(option.size).ok());
                // As BuildKit's: programs in it can be run.
                let options = vec!["exec".to_owned()];
                Some(MountSource::Tmpfs { size: size.filter(|size| *size > 0), mode: None, options })
            }
            MountType::Secret => made.secret(mount, asked)?,
            MountType::Ssh => made.agent(step, mount, asked)?,
        };
        if let Some(source) = source {
            let read_only = mount.readonly || mount.mount_type() == MountType::Secret;
            made.mounts.push(Mount { target: mount.dest.clone(), read_only, source });
        }
    }
    Ok(made)
}

impl Mounts {
    /// A result, or a part of it.
    async fn bind(&mut self, step: &Step<'_>, mount: &pb::Mount) -> Result<MountSource, SolveError> {
        let value = step.input(mount.input)?;
        let is_read = mount.readonly && mount.output == llb::SKIP_OUTPUT;
        if let (Value::Local(directory), true) = (&value, is_read) {
            let path = directory.path();
            self.held.values.push(value);
            return Ok(bind(path, &mount.selector, None));
        }
        let chain = value::chain(step.job, &value).await?;
        let store = step.job.inner.solver.inner.store.clone();
        if is_read {
            let (top, from) = (chain.chain_id().cloned(), store);
            let tree = step.job.blocking(move || from.chain_mount(top.as_ref())).await?;
            let path = offload::in_place(|| self.held.attached.mount(&tree))?;
            self.held.chains.push(chain);
            return Ok(bind(path, &mount.selector, None));
        }
        let below = chain.clone();
        let (snapshot, tree) = step
            .job
            .blocking(move || {
                let snapshot = Snapshot::new(&store, &below)?;
                let tree = store.snapshot_mount(snapshot.id())?;
                Ok::<_, SolveError>((snapshot, tree))
            })
            .await?;
        let path = offload::in_place(|| self.held.attached.mount(&tree))?;
        match mount.output {
            llb::SKIP_OUTPUT => self.held.discarded.push(snapshot),
            output => self.written.push((output, snapshot, chain)),
        }
        Ok(bind(path, &mount.selector, None))
    }

    /// A secret of the client's, as a file in memory; nothing if it has none and that does not matter.
    fn secret(&mut self, mount: &pb::Mount, asked: &Asked) -> Result<Option<MountSource>, SolveError> {
        let option = mount.secret_opt.clone().unwrap_or_default();
        let Some(content) = asked.secret(&option.id) else { return Ok(None) };
        let path = offload::in_place(|| -> Result<PathBuf, SolveError> {
            let path = self.held.attached.memory()?.join("secret");
            let write = || -> std::io::Result<()> {
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(content)?;
                std::os::unix::fs::fchown(&file, Some(option.uid), Some(option.gid))?;
                let mode = rustix::fs::Mode::from_raw_mode(option.mode & 0o7777);
                Ok(rustix::fs::fchmod(&file, mode)?)
            };
            write().map_err(SolveError::io("keep a secret in memory"))?;
            Ok(path)
        })?;
        Ok(Some(bind(path, "", Some(FileKind::File))))
    }

    /// A socket that leads to an agent of the client's; nothing if it has none and that does not matter.
    fn agent(
        &mut self,
        step: &Step<'_>,
        mount: &pb::Mount,
        asked: &Asked,
    ) -> Result<Option<MountSource>, SolveError> {
        let option = mount.ssh_opt.clone().unwrap_or_default();
        if !asked.has_agent(agent_name(&option)) {
            return Ok(None);
        }
        let session = step.job.session()?;
        let place = offload::in_place(|| self.held.attached.place())?;
        let (path, forward) = forward::forward(session, &option, &place)?;
        self.held.agents.push(forward);
        Ok(Some(bind(path, "", Some(FileKind::Socket))))
    }
}

fn bind(path: PathBuf, part: &str, must_be: Option<FileKind>) -> MountSource {
    let part = crate::ignore::clean(part);
    MountSource::Bind {
        path,
        subpath: (!part.is_empty()).then_some(part),
        must_be,
        propagation: Propagation::Rprivate,
        create: false,
        non_recursive: false,
        writable_below: false,
    }
}

fn cache_id(step: &Step<'_>, mount: &pb::Mount) -> Result<String, SolveError> {
    let id = mount.cache_opt.as_ref().map(|option| option.id.as_str()).unwrap_or_default();
    let id = if id.is_empty() { mount.dest.as_str() } else { id };
    if mount.input == llb::EMPTY {
        return Ok(id.to_owned());
    }
    // What one begins with tells it from others of its name.
    let identity = step.input(mount.input)?.identity();
    Ok(format!("{id}:{}", identity.unwrap_or_else(|| "local".to_owned())))
}

/// Takes the directories of all caches into use, in one order: two commands cannot wait for each other.
pub(super) async fn caches(step: &Step<'_>, exec: &ExecOp) -> Result<Taken, SolveError> {
    let mut wanted: BTreeMap<String, (Sharing, String)> = BTreeMap::new();
    for mount in exec.mounts.iter().filter(|mount| mount.mount_type() == MountType::Cache) {
        let sharing = match mount.cache_opt.as_ref().map(pb::CacheOpt::sharing) {
            Some(CacheSharingOpt::Locked) => Sharing::Locked,
            Some(CacheSharingOpt::Private) => Sharing::Private,
            _ => Sharing::Shared,
        };
        let id = mount.cache_opt.as_ref().map(|option| option.id.as_str()).unwrap_or_default();
        let name = &step.vertex.name;
        let description = format!("cached mount {} from exec {name} with id {id:?}", mount.dest);
        wanted.insert(cache_id(step, mount)?, (sharing, description));
    }
    let mut taken = BTreeMap::new();
    for (id, (sharing, description)) in wanted {
        // Who wants nothing of the cache wants nothing of this one either; what the build puts into it stays.
        if step.vertex.metadata.ignore_cache && step.job.inner.begun_anew.lock().insert(id.clone()) {
            offload::in_place(|| step.job.inner.solver.inner.caches.begin_anew(&id))
                .map_err(SolveError::io("empty a cache mount"))?;
        }
        let used = Caches::take(&step.job.inner.solver, &id, &description, sharing).await?;
        let is_new = used.is_new;
        taken.insert(id, (used, is_new));
    }
    Ok(taken)
}

/// Puts into a new cache what it is to begin with.
async fn fill(step: &Step<'_>, mount: &pb::Mount, cache: &CacheUse) -> Result<(), SolveError> {
    if mount.input == llb::EMPTY {
        let open = || -> std::io::Result<()> {
            let place = base::place::Place::of(crate::context::directory(&cache.path())?);
            place.set_mode(0o755)
        };
        return offload::in_place(open).map_err(SolveError::io("make a cache mount"));
    }
    let tree = value::tree(step.job, &step.input(mount.input)?).await?;
    let path = cache.path();
    step.job
        .blocking(move || {
            let root = crate::context::directory(&path).map_err(SolveError::io("fill a cache mount"))?;
            let target = crate::files::Target::new(root);
            let nothing = crate::ignore::Ignore::default();
            let entries = tree.tree.entries(std::path::Path::new(""), &nothing)?;
            let owner = crate::files::Owner { kept: true, ..crate::files::Owner::default() };
            target.copy(&tree.tree, &entries, std::path::Path::new("/"), owner)?;
            // The root itself was there.
            if let Some(top) = entries.first() {
                let attributes = || -> std::io::Result<()> {
                    let place = base::place::Place::of(crate::context::directory(&path)?);
                    place.set_owner(top.stat.st_uid, top.stat.st_gid)?;
                    place.set_mode(top.stat.st_mode & 0o7777)
                };
                attributes().map_err(SolveError::io("fill a cache mount"))?;
            }
            Ok(())
        })
        .await
}
