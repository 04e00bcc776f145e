//! What a definition or a front end came to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::SolveError;
use super::job::{Asked, Job};
use super::look::{self, FileStat};
use super::value::{Chain, Value};

/// The result of a definition, done when it is asked for something. Cheap to clone.
#[derive(Clone)]
pub struct Ref {
    job: Job,
    graph: Arc<llb::Graph>,
    /// What a front end was asked that made it.
    asked: Option<Arc<Asked>>,
    /// What it is, where that is of no definition.
    made: Option<Value>,
    /// What else a scanner of it is to look into, by name.
    scanned: Arc<[(String, Ref)]>,
}

/// What a build came to.
#[derive(Clone, Default)]
pub struct Outcome {
    /// The result, where there is one for all platforms.
    pub single: Option<Ref>,
    /// The results by platform (`linux/amd64`).
    pub refs: BTreeMap<String, Ref>,
    /// What is said of them: `containerimage.config` (with `/linux/amd64` behind it where there are several),
    /// `refs.platforms`, `containerimage.base.name`, …
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What else is said about results, by platform.
    pub attestations: BTreeMap<String, Vec<Attestation>>,
}

/// A statement about a result that goes out with it.
#[derive(Clone)]
pub struct Attestation {
    /// The type of the predicate.
    pub predicate: String,
    /// Where in `content` it is.
    pub path: String,
    /// What it is in.
    pub content: Option<Ref>,
    /// Whether there are statements in a directory at `path`, instead of a predicate in a file.
    pub is_bundle: bool,
    /// What else than the result it is about: names with digests.
    pub subjects: Vec<(String, BTreeMap<String, String>)>,
    /// Whether it is about the result itself.
    pub of_itself: bool,
    /// What is said besides.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

impl Ref {
    pub(super) fn new(job: &Job, graph: Arc<llb::Graph>) -> Self {
        Self { job: job.clone(), graph, asked: None, made: None, scanned: Arc::default() }
    }

    /// Something that is there, and of no definition.
    pub(super) fn made(job: &Job, made: Value) -> Result<Self, SolveError> {
        Ok(Self { made: Some(made), ..job.nothing()? })
    }

    /// The same, as what a front end made of what it was asked.
    pub(super) fn asked_by(self, asked: &Arc<Asked>) -> Self {
        Self { asked: Some(Arc::clone(asked)), ..self }
    }

    /// The same, with what else a scanner of it is to look into, by name.
    pub(super) fn scanned_with(self, scanned: Vec<(String, Ref)>) -> Self {
        Self { scanned: scanned.into(), ..self }
    }

    /// What else a scanner of it is to look into, by name.
    pub(super) fn scanned(&self) -> &[(String, Ref)] {
        &self.scanned
    }

    /// What a front end was asked that made it; nothing of what a client made itself.
    pub(super) fn asked(&self) -> Option<&Arc<Asked>> {
        self.asked.as_ref()
    }

    /// The job that it is of.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The definition that it is the result of.
    pub fn graph(&self) -> &Arc<llb::Graph> {
        &self.graph
    }

    /// Does what is to be done for it.
    pub async fn evaluate(&self) -> Result<(), SolveError> {
        self.value().await.map(drop)
    }

    /// The layers that it is made of, kept while this is held; it is done, and what is only known by name is
    /// brought here.
    pub async fn chain(&self) -> Result<Chain, SolveError> {
        let value = self.value().await?;
        self.job.until_cancelled(super::value::chain(&self.job, &value)).await
    }

    /// The content of a regular file, or a part of it: `(offset, length)`, to the end where the length is 0.
    pub async fn read_file(&self, path: &str, range: Option<(u64, u64)>) -> Result<Bytes, SolveError> {
        let (value, path) = (self.value().await?, path.to_owned());
        self.look_into(value, move |root| look::read_file(root, &path, range)).await
    }

    /// What is in a directory, sorted; with a pattern those whose names it matches.
    pub async fn read_dir(&self, path: &str, pattern: Option<&str>) -> Result<Vec<FileStat>, SolveError> {
        let (value, path, pattern) = (self.value().await?, path.to_owned(), pattern.map(str::to_owned));
        self.look_into(value, move |root| look::read_dir(root, &path, pattern.as_deref())).await
    }

    /// What is at a path, which is not followed if it is a link.
    pub async fn stat_file(&self, path: &str) -> Result<FileStat, SolveError> {
        let (value, path) = (self.value().await?, path.to_owned());
        self.look_into(value, move |root| look::stat_file(root, &path)).await
    }

    async fn look_into<T: Send + 'static>(
        &self,
        value: Value,
        look: impl FnOnce(&look::Root) -> Result<T, SolveError> + Send + 'static,
    ) -> Result<T, SolveError> {
        let work = async {
            let root = super::value::root(&self.job, &value).await?;
            // What is looked at stays until it has been.
            self.job.blocking(move || look(&root.fd).map(|seen| (seen, root))).await.map(|(seen, _)| seen)
        };
        self.job.until_cancelled(work).await
    }

    pub(crate) async fn value(&self) -> Result<Value, SolveError> {
        if let Some(made) = &self.made {
            return Ok(made.clone());
        }
        let Some(edge) = self.graph.result() else { return Ok(Value::Chain(Chain::default())) };
        let (job, graph) = (self.job.clone(), Arc::clone(&self.graph));
        // As a task of its own, which ends with this: who asks may stand deep in what he does, and what is done for
        // him takes much of a stack too.
        let work = async move { job.until_cancelled(super::schedule::output(&job, &graph, edge)).await };
        let done = AbortOnDropHandle::new(tokio::spawn(work)).await;
        done.map_err(|_| SolveError::Failed("the task of an operation ended".to_owned()))?
    }
}
