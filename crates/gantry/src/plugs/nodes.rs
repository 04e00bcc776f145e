//! The node of this process as the API server reaches it: by a call, which is answered on the node's
//! own runtime.

use std::sync::{Arc, OnceLock};

use apiserver::node::{
    Answering, Duplex, LogOptions, NodeRequest, NodeTransport, PodTarget, StreamOptions, Streams,
};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use node::answers::Asked;
use node::runtime::{Attached, EndOfInput, ExecRequest, OutputKind, TerminalSize};
use node::streams::{StreamError, Target};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// The agent of this process's node. The API server starts before the agent, which needs it.
#[derive(Clone)]
pub(crate) struct LocalNode {
    agent: Arc<OnceLock<Arc<node::Agent>>>,
    runtime: Handle,
}

impl LocalNode {
    /// The node whose agent runs on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { agent: Arc::default(), runtime }
    }

    /// Puts the agent in place.
    pub(crate) fn set(&self, agent: Arc<node::Agent>) {
        let _ = self.agent.set(agent);
    }

    fn agent(&self) -> Result<Arc<node::Agent>, apiserver::Error> {
        self.agent
            .get()
            .cloned()
            .ok_or_else(|| apiserver::Error::bad_request("the node agent is not running yet"))
    }

    /// Runs `work` on the node's runtime; it ends when nobody waits for it any more.
    fn there<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, apiserver::Error>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, apiserver::Error>> {
        let running = AbortOnDropHandle::new(self.runtime.spawn(work));
        async move {
            match running.await {
                Ok(result) => result,
                Err(error) => Err(apiserver::Error::internal(&error)),
            }
        }
        .boxed()
    }
}

impl NodeTransport for LocalNode {
    fn logs(
        &self,
        pod: PodTarget,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, apiserver::Error>> {
        let agent = self.agent();
        self.there(async move {
            let agent = agent?;
            let wanted = node::streams::LogOptions {
                previous: options.previous,
                follow: options.follow,
                since: options.since_time.or_else(|| since(agent.now(), options.since_seconds)),
                tail: options.tail_lines,
                timestamps: options.timestamps,
                limit_bytes: options.limit_bytes,
                stream: match options.stream.as_deref() {
                    Some("Stdout") => Some(OutputKind::Stdout),
                    Some("Stderr") => Some(OutputKind::Stderr),
                    _ => None,
                },
            };
            agent.pod_logs(&target(&pod, &options.container), &wanted).await.map_err(refused)
        })
    }

    fn exec(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, apiserver::Error>> {
        let agent = self.agent();
        self.there(async move {
            let request = ExecRequest {
                command: options.command,
                tty: options.tty,
                stdin: streams.stdin.is_some(),
                stdout: streams.stdout.is_some(),
                stderr: streams.stderr.is_some(),
            };
            let target = target(&pod, &options.container);
            let attached = agent?.pod_exec(&target, request).await.map_err(refused)?;
            carry(attached, streams).await
        })
    }

    fn attach(
        &self,
        pod: PodTarget,
        options: StreamOptions,
        streams: Streams,
    ) -> BoxFuture<'static, Result<i32, apiserver::Error>> {
        let agent = self.agent();
        self.there(async move {
            let attached = agent?
                .pod_attach(&target(&pod, &options.container), streams.stdin.is_some())
                .await
                .map_err(refused)?;
            // How the container ended is the pod's affair: who was attached to it to the end has succeeded.
            carry(attached, streams).await.map(|_| 0)
        })
    }

    fn port_forward(
        &self,
        pod: PodTarget,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Duplex>, apiserver::Error>> {
        let agent = self.agent();
        self.there(async move {
            let connected = agent?.pod_port_forward(&target(&pod, ""), port).await.map_err(refused)?;
            Ok(Box::new(connected) as Box<dyn Duplex>)
        })
    }

    fn ask(
        &self,
        node: String,
        request: NodeRequest,
    ) -> BoxFuture<'static, Result<Answering, apiserver::Error>> {
        let here = self.clone();
        async move {
            let agent = here.agent()?;
            if agent.name() != node {
                let why = format!("error trying to reach service: there is no way to node {node:?}");
                return Err(apiserver::Error::unavailable(why));
            }
            let asked = Asked { method: request.method, path: request.path, query: request.query };
            Ok(here.there(async move { Ok(agent.answer(&asked).await) }))
        }
        .boxed()
    }

    fn dial(
        &self,
        _: String,
        address: std::net::SocketAddr,
    ) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        // Its pods are reached from the host, as it reaches them itself.
        async move { Ok(Box::new(tokio::net::TcpStream::connect(address).await?) as Box<dyn Duplex>) }.boxed()
    }
}

fn target(pod: &PodTarget, container: &str) -> Target {
    Target { pod: pod.name.clone(), uid: pod.uid.clone(), container: container.to_owned() }
}

fn since(now: base::Timestamp, seconds: Option<i64>) -> Option<base::Timestamp> {
    let seconds = u64::try_from(seconds?).ok()?;
    now.checked_sub(std::time::Duration::from_secs(seconds)).ok()
}

fn refused(error: StreamError) -> apiserver::Error {
    let message = base::error::chain(&error).to_string();
    match error {
        StreamError::Runtime(_) => apiserver::Error::internal(&std::io::Error::other(message)),
        _ => apiserver::Error::bad_request(message),
    }
}

/// Carries bytes both ways until the process ends or the client leaves; gives the process's exit code, or 0.
async fn carry(attached: Attached, streams: Streams) -> Result<i32, apiserver::Error> {
    let Attached { at_end, input, mut output, exit } = attached;
    let terminal = Arc::clone(&input);
    let Streams { stdin, stdout, stderr, resize: sizes } = streams;
    let leaving = async move {
        let Some(mut stdin) = stdin else { return std::future::pending().await };
        while let Some(bytes) = stdin.recv().await {
            if input.write(bytes).await.is_err() {
                // The process has ended, and what it wrote is still on its way.
                return std::future::pending().await;
            }
        }
        if at_end == EndOfInput::Closes {
            let _ = input.close().await;
            std::future::pending().await
        }
    };
    let sizing = async move {
        let Some(mut sizes) = sizes else { return std::future::pending::<()>().await };
        while let Some(size) = sizes.recv().await {
            if terminal.resize(TerminalSize { columns: size.width, rows: size.height }).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    };
    let back = async move {
        while let Some(piece) = output.next().await {
            let (kind, bytes) = piece.map_err(|error| apiserver::Error::internal(&error))?;
            let sender = match kind {
                OutputKind::Stdout => &stdout,
                OutputKind::Stderr => &stderr,
            };
            if let Some(sender) = sender
                && sender.send(bytes).await.is_err()
            {
                // The client is gone; the process is not waited for.
                return Ok(None);
            }
        }
        let code = exit.await.map_err(|error| apiserver::Error::internal(&error))?;
        Ok(Some(code))
    };
    let code: Result<Option<i32>, apiserver::Error> = tokio::select! {
        code = back => code,
        () = leaving => Ok(None),
        () = sizing => Ok(None),
    };
    Ok(code?.unwrap_or(0))
}
