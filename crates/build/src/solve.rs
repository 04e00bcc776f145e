//! The solver: does the operations of build definitions, each once, and remembers what they came to.
//!
//! A [`Solver`] is one for an engine. A [`Job`] is one build as its client sees it: definitions come in
//! ([`Job::solve`]) or are made by a front end ([`Job::front`]), a [`Ref`] is what one is for, and
//! [`Job::export`] hands it over. What always holds:
//!
//! - What an operation comes to is layers of the image store, named by their content; or, for files of the
//!   client's, a directory that is held while it is used.
//! - An operation is known by a [key]: itself, and what it stands on, by content. It is remembered in the image
//!   store, as crash-safe as names are; there is no second database.
//! - The same operation asked for twice at a time is done once. If who does it goes away, another does.
//! - No process of a job outlives it: everything is done in futures that end when they are dropped, and what
//!   they have under way ends with them.
//! - Files of others are reached through descriptors below a root: no link leads out of it.

mod attach;
pub mod cache;
mod error;
mod event;
mod exec;
mod export;
mod failed;
pub(crate) mod file;
mod flight;
mod front;
mod job;
pub(crate) mod key;
pub(crate) mod look;
mod nested;
pub(crate) mod operate;
pub mod policy;
mod reference;
mod remote;
pub(crate) mod schedule;
mod session;
mod shown;
mod source;
mod stack;
mod usage;
pub(crate) mod value;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use base::{Clock, SystemClock, Timestamp};
use engine::Engine;
use image::Store;
use oci::Digest;
use offload::Threads;

pub use error::{Location, SolveError};
pub use event::{
    Event, EventStream, LogEvent, ProgressGroup, StatusEvent, VertexEvent, WarningEvent, WarningSource,
};
pub use exec::container::{Container, ContainerOptions, Handle, Process, ProcessOptions, Turn};
pub use export::{Exporter, attestations_wanted};
pub use failed::FailedCommand;
pub use job::{Entitlement, Job, JobOptions, ResolveMode, ResolvedImage};
pub use look::FileStat;
pub use policy::{Policies, SourcePolicy};
pub use reference::{Attestation, Outcome, Ref};
pub use remote::RemoteCache;
pub use session::{
    Duplex, FileSelection, FileSink, Session, SessionError, Transferred, Transfers, UPLOADS, Upload,
};
pub use source::git::GitMeta;
pub use source::http::HttpMeta;
pub use usage::{PruneOptions, UsageKind, UsageRecord};
pub use value::Chain;

/// Threads for the files of operations, of all builds together.
static WORK: LazyLock<Threads> = LazyLock::new(|| Threads::new(8));
/// Those of one build: some are left for others.
const WORK_OF_JOB: usize = 6;
/// Commands that run at a time, of all builds together.
const COMMANDS_MAX: usize = 64;
/// Containers that clients have in their builds, of all builds together.
const CONTAINERS_MAX: usize = 64;
/// Commands of one build that run at a time: some are left for others.
const COMMANDS_OF_JOB: usize = 8;

/// Solves definitions. One for an engine; cheap to clone.
#[derive(Clone)]
pub struct Solver {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    /// What is the solver's own below the engine's root.
    pub(crate) root: PathBuf,
    pub(crate) flights: flight::Flights,
    pub(crate) caches: cache::Caches,
    pub(crate) locals: source::local::Locals,
    pub(crate) addresses: source::http::Known,
    pub(crate) commands: tokio::sync::Semaphore,
    pub(crate) containers: Arc<tokio::sync::Semaphore>,
    pub(crate) usage: usage::Usage,
}

impl Solver {
    /// The solver of an engine. What a process before this one left unfinished goes.
    pub fn new(engine: Engine) -> Self {
        let root = engine.config().root.join("builder");
        offload::in_place(|| attach::clear(&root));
        let (caches, locals, addresses) = offload::in_place(|| {
            let (caches, locals) = (cache::Caches::open(&root), source::local::Locals::open(&root));
            (caches, locals, source::http::Known::open(&root))
        });
        let inner = Inner {
            store: engine.images().clone(),
            engine,
            flights: flight::Flights::default(),
            caches,
            locals,
            addresses,
            commands: tokio::sync::Semaphore::new(COMMANDS_MAX),
            containers: Arc::new(tokio::sync::Semaphore::new(CONTAINERS_MAX)),
            usage: usage::Usage::default(),
            root,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A build as one client sees it.
    pub fn job(&self, options: JobOptions) -> Job {
        Job::new(self.clone(), options)
    }

    /// The engine that it is of.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Opens content of the image store by its digest, and tells how long it is; none if it is not there.
    pub fn content_open(&self, digest: &Digest) -> std::io::Result<Option<(File, u64)>> {
        self.inner.store.content_open(digest)
    }

    /// All content of the image store, and how long it is.
    pub fn content_list(&self) -> Vec<(Digest, u64)> {
        self.inner.store.content_list()
    }

    /// What the cache takes, by record; `filter` as clients say it (`id=…`, `type==regular`, `until>24h`).
    pub async fn disk_usage(&self, filter: &[String]) -> Result<Vec<UsageRecord>, SolveError> {
        usage::list(self, filter).await
    }

    /// Takes away what nobody uses; gives what went.
    pub async fn prune(&self, options: PruneOptions) -> Result<Vec<UsageRecord>, SolveError> {
        usage::prune(self, options).await
    }
}

/// Runs work that blocks on files, when a thread is free for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    WORK.run(work).await
}

/// One build's share of the threads for files.
pub(crate) struct Share(Arc<tokio::sync::Semaphore>);

impl Share {
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(threads)))
    }

    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Nobody closes it. It is given back when the work ends, also if nobody waits for that any more.
        let place = Arc::clone(&self.0).acquire_owned().await.ok();
        blocking(move || {
            let done = work();
            drop(place);
            done
        })
        .await
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_takes_of_the_share_until_it_ends() {
        let share = Share::new(1);
        let (begun, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        {
            let mut given_up = Box::pin(share.run(move || (begun.send(()), ends.recv())));
            assert!(futures::poll!(&mut given_up).is_pending());
            has_begun.recv().expect("it has begun");
        }
        let mut next = Box::pin(share.run(|| 7));
        assert!(futures::poll!(&mut next).is_pending());
        assert_eq!(share.0.available_permits(), 0);
        assert_eq!(Share::new(1).run(|| 8).await, 8, "others have theirs");
        end.send(()).expect("it waits");
        assert_eq!(next.await, 7);
    }
}
