//! Layers that are elsewhere, in a registry or with a client, and are brought here when they are needed.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::cancel::Cancel;
use base::pace::Pace;
use base::space::Within;
use bytes::Bytes;
use engine::image::{Progress as Step_, RegistryAuth};
use futures::StreamExt;
use image::{Layer, Scratch};
use oci::{Descriptor, Digest, Reference};
use tokio::time::Instant;

use super::image::tell;
use crate::solve::SolveError;
use crate::solve::job::Job;
use crate::solve::schedule::Progress;
use crate::solve::session::{Session, SessionError, Upload, answered};

/// Bytes of a document: containerd takes as many.
const DOCUMENT_MAX: u64 = 8 << 20;
/// How long a client may send nothing, or next to nothing, of a layer.
const SILENCE: Duration = Duration::from_secs(60);

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
    // Two builds of one client may want the same at a time. Others have it from clients of theirs, and wait for no
    // other's.
    let key = Digest::sha256_of(format!("layer {chain_id} of {}", session.owner()).as_bytes());
    let _flight = inner.flights.begin(&key, |_| {}).await;
    if let Some(here) = inner.store.layer_hold(&chain_id) {
        return Ok(here);
    }
    let content = answered(session.content_read(name, &form.digest)).await?;
    let progress = Progress::new(job, vertex, &form.digest.to_string());
    // All of it before anything is made of it: no thread waits for what a client sends.
    let spooled = Spooled::receive(&inner.store, content, form, &progress).await?;
    let (store, form, diff_id) = (inner.store.clone(), form.clone(), diff_id.clone());
    let whole = form.size;
    // Who reads hears the end when nobody waits for the layer any more.
    let cancel = Cancel::default();
    let _wanted = cancel.on_drop();
    let received = job.blocking(move || {
        let file = File::open(spooled.place()).map_err(SolveError::io("read a layer of the client's"))?;
        Ok::<_, SolveError>(store.layer_receive(below.as_ref(), &form, &diff_id, Until { file, cancel })?)
    });
    let layer = received.await?;
    progress.tell(whole, whole, true);
    Ok(layer)
}

/// Content of a client's, in a file that goes with this.
struct Spooled(Scratch);

impl Spooled {
    /// Takes all that the client sends: of what is longer than it should be, so much that it is seen.
    async fn receive(
        store: &image::Store,
        mut content: Upload,
        form: &Descriptor,
        progress: &Progress,
    ) -> Result<Self, SolveError> {
        let failed = |error| SolveError::io(format_args!("keep {} of the client's", form.digest))(error);
        let spooled = Self(store.scratch().map_err(failed)?);
        let file = offload::in_place(|| File::create(spooled.place()).and_then(Within::new));
        let mut file = file.map_err(failed)?;
        let (mut left, mut pace) = (form.size.saturating_add(1), Pace::new(SILENCE));
        while left > 0
            && let Some(mut piece) = next(&mut content, &mut pace).await?
        {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            offload::in_place(|| file.write_all(&piece)).map_err(failed)?;
            left -= piece.len() as u64;
            progress.tell((form.size.saturating_add(1) - left).min(form.size), form.size, false);
        }
        Ok(spooled)
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("layer")
    }
}

/// The next piece of what a client sends, as long as there is patience with it.
async fn next(content: &mut Upload, pace: &mut Pace) -> Result<Option<Bytes>, SessionError> {
    let began = Instant::now();
    let silent = |_| {
        let silence = SILENCE.as_secs();
        SessionError::Failed(format!("the client has sent nothing, or next to nothing, for {silence} s"))
    };
    let piece = tokio::time::timeout(pace.left(), content.next()).await.map_err(silent)?.transpose()?;
    pace.passed(began.elapsed(), piece.as_ref().map_or(0, Bytes::len));
    Ok(piece)
}

/// A file that is read until nobody wants what comes of it.
struct Until {
    file: File,
    cancel: Cancel,
}

impl Read for Until {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.cancel.check()?;
        self.file.read(buffer)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_falls_silent_is_not_waited_for() {
        let piece = |length: usize| Ok::<_, SessionError>(Bytes::from(vec![0; length]));
        let mut content: Upload =
            Box::pin(futures::stream::iter([piece(7), piece(0)]).chain(futures::stream::pending()));
        let mut pace = Pace::new(Duration::from_millis(20));
        assert_eq!(next(&mut content, &mut pace).await.expect("a piece").map(|piece| piece.len()), Some(7));
        next(&mut content, &mut pace).await.expect("a piece");
        assert!(matches!(next(&mut content, &mut pace).await, Err(SessionError::Failed(_))));
        let mut content: Upload = Box::pin(futures::stream::empty());
        assert_eq!(next(&mut content, &mut Pace::new(SILENCE)).await.expect("the end"), None);
    }
}
