//! What operations come to.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use image::Layer;
use oci::Digest;

use super::SolveError;
use super::job::Job;
use super::source::image::BaseImage;
use super::source::local::LocalDirectory;
use crate::files::{Owner, Target, Tree};
use crate::ignore::Ignore;

/// A root file system: layers on top of each other, or nothing. They stay in the store while this is held. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    top: Option<Arc<Layer>>,
}

/// What an operation comes to.
#[derive(Clone)]
pub(crate) enum Value {
    /// Layers.
    Chain(Chain),
    /// A client's files.
    Local(Arc<LocalDirectory>),
    /// An image whose layers need not be here yet.
    Image(Arc<BaseImage>),
    /// Files that whoever made the job holds.
    Files(Arc<HeldTree>),
}

/// A tree that is looked into.
pub(crate) struct Root {
    pub(crate) fd: OwnedFd,
    /// What keeps it there.
    _held: Value,
}

impl Chain {
    pub(crate) fn new(top: Option<Layer>) -> Self {
        Self { top: top.map(Arc::new) }
    }

    /// The topmost layer; none if it is empty.
    pub fn top(&self) -> Option<&Layer> {
        self.top.as_deref()
    }

    /// What the topmost layer is called; none if it is empty.
    pub fn chain_id(&self) -> Option<&Digest> {
        self.top.as_deref().map(Layer::chain_id)
    }
}

impl From<Chain> for Value {
    fn from(chain: Chain) -> Self {
        Self::Chain(chain)
    }
}

impl Value {
    /// What its topmost layer is called, if it has any; nothing where it is no layers.
    pub(crate) fn chain_id(&self) -> Option<Option<Digest>> {
        match self {
            Self::Chain(chain) => Some(chain.chain_id().cloned()),
            Self::Image(image) => Some(image.chain_id().cloned()),
            Self::Local(_) | Self::Files(_) => None,
        }
    }

    /// What tells it from others, where that is known without looking at files.
    pub(crate) fn identity(&self) -> Option<String> {
        self.chain_id().map(|top| top.map_or("scratch".to_owned(), |top| top.to_string()))
    }

    /// Whether it is here, and not known by its name alone.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Image(image) => image.is_brought(),
            Self::Chain(_) | Self::Local(_) | Self::Files(_) => true,
        }
    }
}

/// A value as layers, which are brought or made if they are not here.
pub(crate) async fn chain(job: &Job, value: &Value) -> Result<Chain, SolveError> {
    match value {
        Value::Chain(chain) => Ok(chain.clone()),
        Value::Image(image) => image.chain(job).await,
        Value::Local(directory) => directory.chain(job).await,
        Value::Files(tree) => layer_of(job, Arc::clone(tree)).await,
    }
}

/// Brings the layers of an image, or makes them: what it is called is no mere promise then.
pub(crate) async fn settle(job: &Job, value: &Value) -> Result<(), SolveError> {
    match value {
        Value::Image(image) => image.chain(job).await.map(drop),
        Value::Chain(_) | Value::Local(_) | Value::Files(_) => Ok(()),
    }
}

/// A value as a tree of files to look into.
pub(crate) async fn root(job: &Job, value: &Value) -> Result<Root, SolveError> {
    let fd = match value {
        Value::Local(directory) => directory.open()?,
        Value::Files(files) => {
            let open = || files.tree.directory(Path::new(""));
            offload::in_place(open).map_err(SolveError::io("open the context"))?
        }
        other => {
            let (chain, store) = (chain(job, other).await?, job.inner.solver.inner.store.clone());
            let mount = move || store.chain_mount(chain.chain_id()).map(|fd| (fd, chain));
            let (fd, chain) = job.blocking(mount).await?;
            return Ok(Root { fd, _held: Value::Chain(chain) });
        }
    };
    Ok(Root { fd, _held: value.clone() })
}

/// A value as a tree of files to copy from, with what keeps it there.
pub(crate) async fn tree(job: &Job, value: &Value) -> Result<Arc<HeldTree>, SolveError> {
    if let Value::Files(files) = value {
        return Ok(Arc::clone(files));
    }
    let root = root(job, value).await?;
    Ok(Arc::new(HeldTree::of(root.fd, root._held, job)))
}

/// A tree of files, and what keeps it there.
pub(crate) struct HeldTree {
    pub(crate) tree: Tree,
    /// Digests of parts of it, where it is asked for more than once and never changes.
    pub(crate) digests: super::usage::Hashes,
    _held: Value,
}

impl HeldTree {
    /// The tree at `root`, which is there as long as `held` is.
    pub(crate) fn of(root: OwnedFd, held: Value, job: &Job) -> Self {
        Self { _held: held, ..Self::new(Tree::new(root, Ignore::default(), &job.inner.cancel)) }
    }

    /// A tree that nothing need be held for.
    pub(crate) fn of_nothing(root: OwnedFd) -> Self {
        Self::new(Tree::new(root, Ignore::default(), &base::cancel::Cancel::default()))
    }

    /// A tree that somebody else holds.
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree, digests: super::usage::Hashes::default(), _held: Value::Chain(Chain::default()) }
    }
}

/// Makes a layer of what `write` writes into a writable copy of `below`; `below` itself where nothing was written.
pub(crate) async fn layer_on(
    job: &Job,
    below: Chain,
    write: impl FnOnce(&Target) -> Result<(), SolveError> + Send + 'static,
) -> Result<Chain, SolveError> {
    let (store, cancel) = (job.inner.solver.inner.store.clone(), job.inner.cancel.clone());
    job.blocking(move || {
        let snapshot = super::attach::Snapshot::new(&store, &below)?;
        // The mount has to be gone before its upper directory becomes a layer.
        write(&Target::new(store.snapshot_mount(snapshot.id())?))?;
        snapshot.seal(&below, &cancel)
    })
    .await
}

/// Makes a layer of a whole tree, the attributes of its root with it.
pub(crate) async fn layer_of(job: &Job, tree: Arc<HeldTree>) -> Result<Chain, SolveError> {
    layer_on(job, Chain::default(), move |target| {
        let entries = tree.tree.entries(Path::new(""), &Ignore::default())?;
        Ok(target.copy(&tree.tree, &entries, Path::new("/"), Owner { kept: true, ..Owner::default() })?)
    })
    .await
}
