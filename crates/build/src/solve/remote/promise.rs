//! What a cache promises that an operation came to: brought when it is needed, and done after all where it is not to
//! be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use image::{Layer, NewResult};
use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::import::CachedOperation;
use crate::solve::SolveError;
use crate::solve::job::Job;
use crate::solve::schedule::{self, Step};
use crate::solve::shown::Shown;
use crate::solve::source::image::BaseImage;
use crate::solve::value::{self, Chain, Value};

/// The sort of a row that a client's cache has said.
pub(crate) const IMPORTED: &str = "imported";

/// What a cache says that an operation of a build came to.
pub(crate) struct Promise {
    pub(crate) said: CachedOperation,
    /// The operation, to do it after all, and what it stands on.
    vertex: llb::Vertex,
    inputs: Mutex<Vec<Value>>,
    /// What those were called.
    below: Vec<String>,
    /// It is remembered here too.
    is_here: AtomicBool,
    /// What it came to when it was done after all.
    anew: OnceCell<Result<Vec<Value>, SolveError>>,
}

/// What is remembered here of a key that a client's cache said something of: that is for the same client's builds
/// alone. Nothing for a build that is nobody's.
pub(crate) fn row_of(job: &Job, key: &Digest) -> Option<Digest> {
    let owner = job.inner.options.session.as_ref()?.owner();
    Some(Digest::sha256_of(format!("said to {}:{owner} of {key}", owner.len()).as_bytes()))
}

impl Promise {
    pub(crate) fn new(said: CachedOperation, step: &Step<'_>) -> Arc<Self> {
        Arc::new(Self {
            said,
            vertex: step.vertex.clone(),
            inputs: Mutex::new(step.inputs.clone()),
            below: step.inputs.iter().filter_map(Value::identity).collect(),
            is_here: AtomicBool::new(false),
            anew: OnceCell::new(),
        })
    }

    /// The vertex that it is of.
    pub(crate) fn vertex(&self) -> &Digest {
        &self.vertex.digest
    }

    /// What it is shown as: as the cache says, if it does.
    pub(crate) fn name(&self) -> &str {
        match self.said.description() {
            "" => &self.vertex.name,
            said => said,
        }
    }

    /// What its outputs are, brought when they are needed.
    pub(crate) fn values(self: &Arc<Self>, job: &Job) -> Vec<Value> {
        let store = &job.inner.solver.inner.store;
        let value = |output: usize| {
            let Some(chain_id) = self.said.chain_id(output) else { return Value::Chain(Chain::default()) };
            match store.layer_hold(&chain_id) {
                Some(layer) => Value::Chain(Chain::new(Some(layer))),
                None => Value::Image(Arc::new(BaseImage::promised(self, output, chain_id))),
            }
        };
        let values = (0..self.said.outputs()).map(value).collect();
        self.remember(job);
        values
    }

    /// What it stands on, which it has no more: nobody asks for it any longer.
    pub(super) fn let_go(&self) -> Vec<Value> {
        std::mem::take(&mut self.inputs.lock())
    }

    /// The layers of an output: brought, or made by the operation where they cannot be.
    pub(crate) fn chain<'a>(
        self: &'a Arc<Self>,
        job: &'a Job,
        output: usize,
        chain_id: &'a Digest,
    ) -> BoxFuture<'a, Result<Chain, SolveError>> {
        async move {
            // What the cache knows the name of alone is done.
            if let (None, Some(layers)) = (self.anew.get(), self.said.elsewhere(output)) {
                // Its operation is over: nobody who follows that looks for more of it.
                let name = format!("bringing the layers of {}", self.name());
                let mut shown = Shown::begin(job, &format!("{name} {chain_id}"), &name);
                let brought = layers.bring(job, shown.vertex()).await;
                shown.end(&brought);
                match brought {
                    Ok(layer) => return Ok(Chain::new(layer)),
                    Err(SolveError::Cancelled) => return Err(SolveError::Cancelled),
                    Err(error) => tracing::info!(%error, "a build does what a cache promised"),
                }
            }
            let anew = self.anew.get_or_init(|| self.perform(job)).await.clone()?;
            match anew.get(output) {
                Some(value) => value::chain(job, value).await,
                None => Err(SolveError::Invalid(format!("there is no output {output} of an operation"))),
            }
        }
        .boxed()
    }

    /// Does the operation, as if no cache had said anything of it.
    async fn perform(self: &Arc<Self>, job: &Job) -> Result<Vec<Value>, SolveError> {
        job.inner.imports.forget(&self.said.key);
        let (promise, job) = (Arc::clone(self), job.clone());
        // As a task of its own: what it stands on may have to be done too, and so on.
        let work = async move {
            let vertex = &promise.vertex;
            let (inputs, flight) = (promise.inputs.lock().clone(), std::sync::OnceLock::new());
            let step = Step { job: &job, vertex, inputs, flight, followed: None };
            match job.until_cancelled(schedule::perform(&step)).await {
                Ok(done) => Ok(done.outputs),
                Err(error @ (SolveError::Cancelled | SolveError::Vertex { .. })) => Err(error),
                Err(error) => Err(SolveError::Vertex {
                    digest: vertex.digest.clone(),
                    name: vertex.name.clone(),
                    location: None,
                    source: Arc::new(error),
                }),
            }
        };
        let done = AbortOnDropHandle::new(tokio::spawn(work)).await;
        done.map_err(|_| SolveError::Failed("the task of an operation ended".to_owned()))?
    }

    /// Remembers it here too, for builds of the same client, as soon as all of its layers are here.
    pub(crate) fn remember(&self, job: &Job) {
        if self.is_here.load(Ordering::Relaxed) {
            return;
        }
        let Some(key) = row_of(job, &self.said.key) else { return };
        let store = &job.inner.solver.inner.store;
        let hold = |output: usize| match self.said.chain_id(output) {
            None => Some(None),
            Some(chain_id) => store.layer_hold(&chain_id).map(Some),
        };
        let held = (0..self.said.outputs()).map(hold).collect::<Option<Vec<Option<Layer>>>>();
        let Some(held) = held else { return };
        // What it added is what lies on the layers that it stands on, whatever is said of that.
        let own = |top: &Layer| {
            let layers = store.layer_chain(top);
            let is_below = |layer: &Layer| self.below.contains(&layer.chain_id().to_string());
            let first = layers.iter().rposition(is_below).map_or(0, |at| at + 1);
            layers[first..].iter().map(Layer::size).fold(0, u64::saturating_add)
        };
        let size = held.iter().flatten().map(own).fold(0, u64::saturating_add);
        let outputs: Vec<Option<&Layer>> = held.iter().map(Option::as_ref).collect();
        let new = NewResult {
            key,
            outputs: &outputs,
            description: self.name(),
            kind: IMPORTED,
            size,
            created: self.said.created(),
            parents: Vec::new(),
        };
        offload::in_place(|| store.result_put(new));
        self.is_here.store(true, Ordering::Relaxed);
    }
}
