//! One operation on what somebody has already: for who goes through a build step by step, and says what each writes.

use std::sync::OnceLock;

use bytes::Bytes;
use engine::container::NetworkMode;
use engine::{ContainerId, OutputKind};
use image::ImageId;
use llb::pb::{self, op};
use oci::{Digest, Platform};
use prost::Message;
use tokio::sync::mpsc;

use super::SolveError;
use super::event::LogEvent;
use super::job::Job;
use super::schedule::{Done, Step};
use super::value::Value;

/// How a command is done whose client follows it: it is a container like others meanwhile.
pub(crate) struct Followed {
    /// Hears what is said. It is waited for.
    pub(crate) said: mpsc::Sender<Said>,
    /// Hears what another's command says that does the same: no more than is kept of it.
    pub(crate) heard: mpsc::UnboundedSender<Said>,
    /// The image that the container is made of, which has the layers of the operation's root.
    pub(crate) image: Option<ImageId>,
    /// The network, where that is none that definitions have.
    pub(crate) network: Option<NetworkMode>,
    /// The container stays when the command has done what it should.
    pub(crate) keeps: bool,
    /// The container stays when it has not.
    pub(crate) keeps_failed: bool,
    /// What makes the outcome another one than a definition's.
    pub(crate) apart: Option<String>,
}

/// What is said of an operation while it is done.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Said {
    /// A command has this container now; this could not be done as it was said.
    Began(ContainerId, Vec<String>),
    /// A command wrote something.
    Wrote(OutputKind, Bytes),
    /// So much came of what is fetched, of so much, which is 0 where nobody knows.
    Came(u64, u64),
}

impl Job {
    /// Does an operation on these inputs, unless that was done before and what was done before is wanted.
    pub(crate) async fn operate(
        &self,
        op: op::Op,
        metadata: pb::OpMetadata,
        platform: &Platform,
        inputs: Vec<Value>,
        followed: Option<&Followed>,
    ) -> Result<Done, SolveError> {
        let op = pb::Op {
            op: Some(op),
            platform: Some(pb::Platform {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                ..pb::Platform::default()
            }),
            ..pb::Op::default()
        };
        let bytes = Bytes::from(op.encode_to_vec());
        let vertex = llb::Vertex {
            digest: Digest::sha256_of(&bytes),
            name: metadata.description.get(llb::CUSTOM_NAME).cloned().unwrap_or_default(),
            op,
            bytes,
            metadata,
            inputs: Vec::new(),
        };
        let step = Step { job: self, vertex: &vertex, inputs, flight: OnceLock::new(), followed };
        self.until_cancelled(super::schedule::perform(&step)).await
    }
}

impl Said {
    pub(crate) fn wrote(log: LogEvent) -> Self {
        Self::Wrote(if log.stream == 1 { OutputKind::Stdout } else { OutputKind::Stderr }, log.bytes)
    }
}

impl Followed {
    /// Says something, and waits until there is room for it. Nobody may be listening any more: then the build is
    /// about to be dropped.
    pub(crate) async fn say(&self, said: Said) {
        let _ = self.said.send(said).await;
    }

    /// Passes on what was said before.
    pub(crate) fn hear(&self, said: Said) {
        let _ = self.heard.send(said);
    }
}
