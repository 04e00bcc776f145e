//! What people ask of running pods: logs, exec, attach, port-forward.
//!
//! Transport-neutral: the binary puts these behind whatever reaches the node.

mod log;

use base::Timestamp;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::Agent;
use crate::pod::observe::Observation;
use crate::pod::waiting::Reason;
use crate::runtime::{self, Attached, Connection, ContainerStatus, ExecRequest, LogQuery, OutputKind};

/// Why a stream cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The pod does not run here, or has no such container.
    #[error("container \"{container}\" in pod \"{pod}\" is not available")]
    NoContainer {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// The container has not run yet.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {why}")]
    Waiting {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// What it waits for, as Kubernetes words it.
        why: String,
    },
    /// There was no run before the current one.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// The container does not run.
    #[error("container not running ({0})")]
    NotRunning(String),
    /// The pod's port does not answer.
    #[error("failed to connect to localhost:{port} inside the pod")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime refused.
    #[error("{}", .0.full_message())]
    Runtime(runtime::Error),
}

impl From<runtime::Error> for StreamError {
    fn from(error: runtime::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Which container of which pod.
#[derive(Clone, Debug)]
pub struct Target {
    /// The pod's name, for messages.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container.
    pub container: String,
}

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// The run before the current one.
    pub previous: bool,
    /// Go on as the container writes.
    pub follow: bool,
    /// Not older.
    pub since: Option<Timestamp>,
    /// So many lines from the end.
    pub tail: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// So many bytes at most.
    pub limit_bytes: Option<u64>,
    /// One output alone.
    pub stream: Option<OutputKind>,
}

impl Agent {
    /// The log of a container.
    pub async fn pod_logs(
        &self,
        target: &Target,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Bytes>, StreamError> {
        let instance = self.instance(target, options.previous).await?;
        let query = LogQuery {
            stream: options.stream,
            since: options.since,
            tail: options.tail.and_then(|lines| usize::try_from(lines).ok()),
            follow: options.follow && instance.is_running(),
        };
        let lines = self.shared.runtime().container_logs(&instance.id, query).await?;
        Ok(log::text(lines, options.timestamps, options.limit_bytes).boxed())
    }

    /// Starts a command in a container.
    pub async fn pod_exec(&self, target: &Target, request: ExecRequest) -> Result<Attached, StreamError> {
        let instance = self.running(target).await?;
        Ok(self.shared.runtime().exec(&instance.id, request).await?)
    }

    /// Joins the streams of a running container; `stdin` says whether anything will be written.
    pub async fn pod_attach(&self, target: &Target, stdin: bool) -> Result<Attached, StreamError> {
        let instance = self.running(target).await?;
        let attached = self.shared.runtime().attach(&instance.id, stdin).await?;
        // Of one that has ended meanwhile nothing would ever come, and all that it said is in its log.
        if !self.shared.runtime().container_status(&instance.id).await?.is_running() {
            return Err(StreamError::NotRunning(target.container.clone()));
        }
        Ok(attached)
    }

    /// Connects to a TCP port inside the pod.
    pub async fn pod_port_forward(
        &self,
        target: &Target,
        port: u16,
    ) -> Result<Box<dyn Connection>, StreamError> {
        let no_pod =
            || StreamError::NoContainer { pod: target.pod.clone(), container: target.container.clone() };
        let observation = Observation::new(self.shared.runtime(), &target.uid).await?;
        let sandbox = observation.sandbox.ok_or_else(no_pod)?;
        let connecting = self.shared.runtime().port_forward(&sandbox.id, port);
        connecting.await.map_err(|source| StreamError::Port { port, source })
    }

    async fn instance(&self, target: &Target, previous: bool) -> Result<ContainerStatus, StreamError> {
        let observation = Observation::new(self.shared.runtime(), &target.uid).await?;
        let (pod, container) = (target.pod.clone(), target.container.clone());
        if previous {
            return observation
                .previous(&container)
                .cloned()
                .ok_or(StreamError::NoPrevious { pod, container });
        }
        observation.latest(&container).cloned().ok_or_else(|| match self.waits_for(target) {
            Some(why) => StreamError::Waiting { pod, container, why },
            None => StreamError::NoContainer { pod, container },
        })
    }

    /// What a container that has not run yet waits for, as the pod's status has it.
    fn waits_for(&self, target: &Target) -> Option<String> {
        let pods = self.pods.store().list();
        let pod = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(&target.uid))?;
        let status = pod.status.as_ref()?;
        let kinds = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let mut containers = kinds.into_iter().flatten().flatten();
        let container = containers.find(|container| container.name == target.container)?;
        let reason = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
        let says = |known: Reason| reason == known.as_str();
        Some(match reason {
            _ if says(Reason::Pull) => "image can't be pulled".to_owned(),
            _ if says(Reason::PullBackOff) => "trying and failing to pull image".to_owned(),
            other => other.to_owned(),
        })
    }

    async fn running(&self, target: &Target) -> Result<ContainerStatus, StreamError> {
        let instance = self.instance(target, false).await?;
        if instance.is_running() {
            return Ok(instance);
        }
        Err(StreamError::NotRunning(target.container.clone()))
    }
}
