//! How the server reaches the node that runs a pod: logs, exec, attach, port-forward, and plain connections.
//!
//! The binary plugs an implementation in: a direct call where the node agent shares the process,
//! a connection where it does not. What travels is the same for every client protocol: the
//! [`crate::stream`] module has taken WebSocket and SPDY apart before it comes here.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::error::Error;

/// No way to any node: for a server without, as many tests have.
#[derive(Clone, Copy, Debug)]
pub struct NoNodes;

/// A pod on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTarget {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid: a pod made again under the same name is another one.
    pub uid: String,
    /// The node that the pod is bound to.
    pub node: String,
}

/// What part of a container's log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; always set, the only one of the pod where the client named none.
    pub container: String,
    /// Go on as the container writes.
    pub follow: bool,
    /// The log of the instance before the current one.
    pub previous: bool,
    /// Begin with lines at most this old, in seconds.
    pub since_seconds: Option<i64>,
    /// Begin with lines written at or after this moment.
    pub since_time: Option<base::Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
    /// `Stdout` or `Stderr` alone; both where absent.
    pub stream: Option<String>,
}

/// A command to run in a container, or the container's own streams to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The container; always set.
    pub container: String,
    /// The command and its arguments; empty for attach.
    pub command: Vec<String>,
    /// Whether a terminal is wanted: then there is no separate stderr.
    pub tty: bool,
}

/// The client's end of an exec or attach.
///
/// Dropping a sender ends that stream for the client. A closed receiver means that the client has
/// closed it or is gone.
#[derive(Debug)]
pub struct Streams {
    /// What the client types; the end of the channel is the end of input.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Where output goes.
    pub stdout: Option<mpsc::Sender<Bytes>>,
    /// Where error output goes; absent with a terminal.
    pub stderr: Option<mpsc::Sender<Bytes>>,
    /// Sizes of the client's terminal, as they change.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

/// What a node's agent is asked itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRequest {
    /// How.
    pub method: http::Method,
    /// The path as it was written, from its slash on.
    pub path: String,
    /// What is behind the question mark, as it was written.
    pub query: Option<String>,
}

/// What a node's agent answers: the body may go on for as long as is asked for.
pub type NodeAnswer = http::Response<BoxStream<'static, Bytes>>;

/// An agent that was found and asked. It takes what it needs to answer; what it does ends when this is dropped.
pub type Answering = BoxFuture<'static, Result<NodeAnswer, Error>>;

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width", alias = "width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height", alias = "height")]
    pub height: u16,
}

/// A two-way byte connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> Duplex for T {}

/// How the server reaches the nodes.
///
/// Each call is made on behalf of one client; dropping the returned future or stream means that
/// the client is gone, and the implementation must then let go of whatever it holds.
pub trait NodeTransport: Send + Sync + 'static {
    /// The log of a container; the stream goes on for as long as `follow` asks.
    fn logs(
        &self,
        pod: PodTarget,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, Error>>;

    /// Runs a command in a container until it ends; gives its exit code.
    fn exec(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>>;

    /// Joins the streams of a running container until the client leaves or the container ends, which
    /// both give 0: how a container ended is in its pod's status.
    fn attach(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, Error>>;

    /// Connects to a TCP port inside the pod.
    fn port_forward(&self, pod: PodTarget, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, Error>>;

    /// Finds the agent of the node `node` to ask it itself; whoever waits for that does not wait for ever. Where there
    /// is no way to it, that is an error: an agent's own refusals are answers.
    fn ask(&self, node: String, request: NodeRequest) -> BoxFuture<'static, Result<Answering, Error>> {
        let _ = (node, request);
        no_nodes()
    }

    /// Connects from the node `node` to an address that is reached from there, such as that of one of its pods.
    fn dial(
        &self,
        node: String,
        address: std::net::SocketAddr,
    ) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>>;
}

impl NodeTransport for NoNodes {
    fn logs(
        &self,
        _: PodTarget,
        _: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, Error>> {
        no_nodes()
    }

    fn exec(&self, _: PodTarget, _: StreamOptions, _: Streams) -> BoxFuture<'static, Result<i32, Error>> {
        no_nodes()
    }

    fn attach(&self, _: PodTarget, _: StreamOptions, _: Streams) -> BoxFuture<'static, Result<i32, Error>> {
        no_nodes()
    }

    fn port_forward(&self, _: PodTarget, _: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, Error>> {
        no_nodes()
    }

    fn dial(
        &self,
        _: String,
        _: std::net::SocketAddr,
    ) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        Box::pin(std::future::ready(Err(std::io::Error::other("there are no nodes"))))
    }
}

fn no_nodes<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    Box::pin(std::future::ready(Err(Error::bad_request("there are no nodes"))))
}
