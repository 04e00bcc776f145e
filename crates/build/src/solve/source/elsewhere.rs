//! Layers that are elsewhere, in a registry or with a client, and are brought here when they are needed.

use std::sync::Arc;

use bytes::Bytes;
use engine::image::{Progress as Step_, RegistryAuth};
use futures::StreamExt;
use image::Layer;
use oci::{Descriptor, Digest, Reference};
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::image::tell;
use crate::solve::SolveError;
use crate::solve::job::Job;
use crate::solve::schedule::Progress;
use crate::solve::session::{Session, answered};

/// Bytes of a document: containerd takes as many.
const DOCUMENT_MAX: u64 = 8 << 20;

/// Layers that are elsewhere, lowest first: each as it is there, and the digest of the archive in it.
#[derive(Clone)]
pub(crate) struct Elsewhere {
    pub(crate) layers: Vec<(Descriptor, Digest)>,
    pub(crate) place: Place,
}

/// Where they are.
#[derive(Clone)]
pub(crate) enum Place {
    /// The repository of a name.
    Registry { reference: Reference, auth: Option<RegistryAuth> },
    /// A store of the client's.
    Store { session: Arc<dyn Session>, name: String },
}

impl Elsewhere {
    /// What the topmost is called.
    pub(crate) fn chain_id(&self) -> Option<Digest> {
        Digest::chains(self.layers.iter().map(|(_, diff_id)| diff_id)).pop()
    }

    /// Brings what is not here; gives the topmost, unless there are none. The vertex shows how they come.
    pub(crate) async fn bring(&self, job: &Job, vertex: &Digest) -> Result<Option<Layer>, SolveError> {
        match &self.place {
            Place::Registry { reference, auth } => {
                let (job_, vertex) = (job.clone(), vertex.clone());
                let told = move |step: Step_| tell(&job_, &vertex, step);
                let engine = &job.inner.solver.inner.engine;
                Ok(engine.layers_fetch(reference, &self.layers, auth.clone(), told).await?)
            }
            Place::Store { session, name } => {
                let mut top = None;
                for (form, diff_id) in &self.layers {
                    top = Some(receive(job, vertex, (session, name), top, form, diff_id).await?);
                }
                Ok(top)
            }
        }
    }
}

/// Brings one layer from a client's store, on top of `below`.
async fn receive(
    job: &Job,
    vertex: &Digest,
    (session, name): (&Arc<dyn Session>, &str),
    below: Option<Layer>,
    form: &Descriptor,
    diff_id: &Digest,
) -> Result<Layer, SolveError> {
    let inner = &job.inner.solver.inner;
    let chain_id = Digest::chain(below.as_ref().map(Layer::chain_id), diff_id);
    // Two builds may want the same at a time.
    let key = Digest::sha256_of(format!("layer {chain_id}").as_bytes());
    let _flight = inner.flights.begin(&key, |_| {}).await;
    if let Some(here) = inner.store.layer_hold(&chain_id) {
        return Ok(here);
    }
    let content = session.content_read(name, &form.digest).await?;
    let progress = Progress::new(job, vertex, &form.digest.to_string());
    let (whole, told) = (form.size, progress.clone());
    let mut came = 0;
    // Who reads hears the end when nobody waits for the layer any more.
    let wanted = CancellationToken::new();
    let ends = wanted.clone().cancelled_owned();
    let _wanted = wanted.drop_guard();
    let pieces = content.map(move |piece| {
        let piece = piece.map_err(std::io::Error::other)?;
        came += piece.len() as u64;
        told.tell(came, whole, false);
        Ok::<Bytes, std::io::Error>(piece)
    });
    let reader = StreamReader::new(Box::pin(pieces.take_until(Box::pin(ends))));
    let runtime = tokio::runtime::Handle::current();
    let (store, form, diff_id) = (inner.store.clone(), form.clone(), diff_id.clone());
    let received = job.blocking(move || {
        let reader = SyncIoBridge::new_with_handle(reader, runtime);
        store.layer_receive(below.as_ref(), &form, &diff_id, reader)
    });
    let layer = received.await?;
    progress.tell(whole, whole, true);
    Ok(layer)
}

impl Place {
    /// A document that is there, verified.
    pub(crate) async fn document(&self, job: &Job, digest: &Digest) -> Result<Bytes, SolveError> {
        match self {
            Place::Registry { reference, auth } => {
                let pinned = reference.with_digest(digest.clone());
                let engine = &job.inner.solver.inner.engine;
                Ok(engine.registry_document(&pinned, auth.clone()).await?.1)
            }
            Place::Store { .. } => self.blob(job, digest).await,
        }
    }

    /// Content that is there and no document of a registry's, verified; it is short.
    pub(crate) async fn blob(&self, job: &Job, digest: &Digest) -> Result<Bytes, SolveError> {
        let (session, name) = match self {
            Place::Registry { reference, auth } => {
                let engine = &job.inner.solver.inner.engine;
                return Ok(engine.registry_blob(reference, digest, auth.clone()).await?);
            }
            Place::Store { session, name } => (session, name),
        };
        let none = || SolveError::NotFound(format!("content {digest}: not found"));
        let size = answered(session.content_size(name, digest)).await?.ok_or_else(none)?;
        let too_long = || SolveError::Invalid(format!("{digest} has more than {DOCUMENT_MAX} bytes"));
        if size > DOCUMENT_MAX {
            return Err(too_long());
        }
        let read = async {
            let mut content = session.content_read(name, digest).await?;
            let mut whole = Vec::new();
            while let Some(piece) = content.next().await.transpose()? {
                if whole.len() as u64 + piece.len() as u64 > DOCUMENT_MAX {
                    return Err(too_long());
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole)
        };
        let whole = answered(read).await?;
        let mut hasher = digest.algorithm().hasher();
        hasher.update(&whole);
        digest.expect(hasher.finish()).map_err(|error| {
            SolveError::Invalid(format!("content of the store {name}: {}", base::error::chain(&error)))
        })?;
        Ok(whole.into())
    }
}
