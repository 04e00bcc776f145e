//! A connection that breaks, stalls and lies when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use client::Transport;
use client::transport::{Body, TransportError, body};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use tokio::sync::watch;

/// What is wrong with the connection. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    /// Counts up to cut all watches that are open.
    cuts: watch::Sender<u32>,
    /// Nothing arrives of watches of this resource; of any, if it is empty.
    stalled: watch::Sender<Option<&'static str>>,
    /// So many requests fail.
    refusals: AtomicU32,
    /// The next watch is told that its revision is too old.
    expire: AtomicBool,
    lists: AtomicU32,
    watches: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        let shared = Shared {
            cuts: watch::Sender::new(0),
            stalled: watch::Sender::new(None),
            refusals: AtomicU32::new(0),
            expire: AtomicBool::new(false),
            lists: AtomicU32::new(0),
            watches: AtomicU32::new(0),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Faults {
    /// Breaks all watches that are open.
    pub fn cut_watches(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Holds back what watches of a resource tell, of all if it is empty; or lets it go.
    pub fn stall_watches(&self, resource: Option<&'static str>) {
        self.shared.stalled.send_replace(resource);
    }

    /// Makes the next `count` requests fail as if there were no server.
    pub fn refuse(&self, count: u32) {
        self.shared.refusals.store(count, Ordering::SeqCst);
    }

    /// Makes the next watch fail with 410.
    pub fn expire_next_watch(&self) {
        self.shared.expire.store(true, Ordering::SeqCst);
    }

    /// How many lists were asked for.
    pub fn lists(&self) -> u32 {
        self.shared.lists.load(Ordering::SeqCst)
    }

    /// How many watches were asked for.
    pub fn watches(&self) -> u32 {
        self.shared.watches.load(Ordering::SeqCst)
    }
}

/// A transport with faults.
pub struct Faulty<T> {
    inner: T,
    faults: Faults,
}

impl<T> Faulty<T> {
    pub fn new(inner: T, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl<T: Transport> Transport for Faulty<T> {
    fn send(&self, mut request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let shared = &self.faults.shared;
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let one_less = |left: u32| left.checked_sub(1);
            if shared.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                return Err(broken());
            }
            if !watches {
                if request.method() == "GET" {
                    shared.lists.fetch_add(1, Ordering::SeqCst);
                }
                return self.inner.send(request).await;
            }
            shared.watches.fetch_add(1, Ordering::SeqCst);
            if shared.expire.swap(false, Ordering::SeqCst) {
                let status =
                    serde_json::to_vec(&model::Status::expired("too old resource version")).expect("encodes");
                let mut response = Response::new(body(Full::new(Bytes::from(status))));
                *response.status_mut() = http::StatusCode::GONE;
                return Ok(response);
            }
            let resource = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            // As over a connection: it is a text that is held back and cut.
            request.extensions_mut().clear();
            let response = self.inner.send(request).await?;
            Ok(response.map(|inner| disturbed(inner, resource, &self.faults)))
        })
    }
}

/// A watch's body that can be held back and cut.
fn disturbed(inner: Body, resource: String, faults: &Faults) -> Body {
    let mut cuts = faults.shared.cuts.subscribe();
    let stalled = faults.shared.stalled.subscribe();
    let cut = async move {
        // The sender lives as long as the faults do.
        let _ = cuts.changed().await;
    };
    let frames = BodyStream::new(inner).then(move |frame| {
        let (mut stalled, resource) = (stalled.clone(), resource.clone());
        async move {
            let flows = |stalled: &Option<&str>| stalled.is_none_or(|of| !of.is_empty() && of != resource);
            let _ = stalled.wait_for(flows).await;
            frame
        }
    });
    let until_cut = frames.take_until(Box::pin(cut)).chain(futures::stream::iter([Err(broken())]));
    StreamBody::new(until_cut).boxed_unsync()
}

fn broken() -> TransportError {
    let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    TransportError::Broken { server: "test".to_owned(), source: source.into() }
}
