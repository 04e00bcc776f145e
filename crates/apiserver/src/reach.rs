//! What nodes and pods are asked for by those that answer requests out of what they are told there.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use model::{GroupResource, Object, Status};

use crate::call::Call;
use crate::callout::{self, Answered, AskError, Callee};
use crate::error::{Error, Result};
use crate::node::NodeRequest;
use crate::proxy::{Upstream, connect};
use crate::resource::partition;
use crate::state::{State, object_name};

/// A way to nodes and pods. Cheap to clone.
#[derive(Clone)]
pub struct Reach(Arc<State>);

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Its longest text, in bytes.
    pub bytes: usize,
    /// The longest time until its end.
    pub time: Duration,
}

impl Call {
    /// A way to nodes and pods.
    pub fn reach(&self) -> Reach {
        Reach(self.state.clone())
    }
}

impl Reach {
    pub(crate) fn of(state: &Arc<State>) -> Self {
        Self(state.clone())
    }

    /// Asks somebody over TLS, by a POST of JSON, and gives what is answered within `patience`. Nobody is followed
    /// elsewhere.
    pub async fn ask(
        &self,
        callee: &Callee,
        question: Bytes,
        patience: Duration,
    ) -> Result<Answered, AskError> {
        callout::ask(&self.0, callee, question, patience).await
    }

    /// Does with an answer what may take a while: on the threads for long computations, where it is long, so that who
    /// asks for something else does not wait for it.
    pub async fn digest<T: Send + 'static>(
        &self,
        is_long: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if is_long { self.0.workers.step(false, work).await } else { work() }
    }

    /// An object, as it is stored now. The namespace is empty for what is cluster-wide.
    pub fn find(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object> {
        let partition = self.0.cache.partition(&partition(&resource.group, &resource.resource));
        partition.get(&object_name(namespace, name)).map(|stored| stored.object())
    }

    /// All objects of a resource that are in a namespace, in the order of their names.
    pub fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Object> {
        let partition = self.0.cache.partition(&partition(&resource.group, &resource.resource));
        let (found, _) = partition.snapshot(self.0.cache.revision(), &format!("{namespace}/"));
        found.iter().map(|stored| stored.object()).collect()
    }

    /// A new random uid.
    pub fn new_uid(&self) -> String {
        self.0.new_uid()
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        self.0.random.next_u64()
    }

    /// How long the server has run.
    pub fn elapsed(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// The time of day.
    pub fn now(&self) -> base::Timestamp {
        self.0.clock.now()
    }

    /// What the agent of a node says at a path.
    pub async fn node(&self, node: &str, path: &str, bounds: Bounds) -> Result<Bytes> {
        let request = NodeRequest { method: Method::GET, path: path.to_owned(), query: None };
        let asking = async {
            let answer = self.0.nodes.ask(node.to_owned(), request).await?.await?;
            check(answer.status())?;
            let mut pieces = answer.into_body();
            let mut text = BytesMut::new();
            while let Some(piece) = pieces.next().await {
                take(&mut text, &piece, bounds)?;
            }
            Ok(text.freeze())
        };
        tokio::time::timeout(bounds.time, asking).await.unwrap_or_else(|_| Err(failed("it takes too long")))
    }

    /// What a program in a pod says at a path, which may have a query. Nobody is followed elsewhere.
    pub async fn pod(
        &self,
        to: &Upstream,
        path: &str,
        accept: &'static str,
        bounds: Bounds,
    ) -> Result<Bytes> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().map_err(|_| failed("its path is none"))?;
        let headers = request.headers_mut();
        let host =
            HeaderValue::from_str(&to.address.to_string()).map_err(|_| failed("its address is none"))?;
        headers.insert(header::HOST, host);
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("gantry"));
        let asking = async {
            let mut sender = connect(&self.0, to).await.map_err(|why| failed(&why))?;
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| failed(&base::error::chain(&error).to_string()))?;
            check(answer.status())?;
            let mut body = answer.into_body();
            let mut text = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| failed(&base::error::chain(&error).to_string()))?;
                if let Ok(piece) = frame.into_data() {
                    take(&mut text, &piece, bounds)?;
                }
            }
            Ok(text.freeze())
        };
        tokio::time::timeout(bounds.time, asking).await.unwrap_or_else(|_| Err(failed("it takes too long")))
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reach")
    }
}

fn check(code: StatusCode) -> Result<()> {
    if code == StatusCode::OK { Ok(()) } else { Err(failed(&format!("it answers with {code}"))) }
}

fn take(text: &mut BytesMut, piece: &Bytes, bounds: Bounds) -> Result<()> {
    if text.len() + piece.len() > bounds.bytes {
        return Err(failed(&format!("it says more than {} bytes", bounds.bytes)));
    }
    text.extend_from_slice(piece);
    Ok(())
}

fn failed(why: &str) -> Error {
    Status::unavailable(why).into()
}
