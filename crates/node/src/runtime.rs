//! What runs pods, as the node sees it: CRI's verbs, in types that say what the node means.
//!
//! ```text
//!   pod worker ──► Runtime ─┬─ engine         (this process's own)
//!                           └─ a CRI client   (to come: containerd, CRI-O)
//!   pod worker ──► Host     what a kubelet does by itself beside its runtime
//! ```
//!
//! A [`Runtime`] is told what a pod's sandbox and containers should be, and knows their state; it never
//! decides. Everything that it keeps of a pod is found again by the pod's uid, also by a node that was
//! started anew. `runtime/engine.rs` and what is below it know which runtime it is, and nothing else in this crate does.
//!
//! Verbs come when the node uses them. Of CRI's those are missing that nobody asks for yet: checkpoints, the
//! removal of images. Source:
//! <https://github.com/kubernetes/cri-api/blob/v0.36.0/pkg/apis/runtime/v1/api.proto>.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};

pub use container::*;
pub use error::{Error, Fact, Kind};
pub use host::{Host, HostFacts};
pub use image::{Credentials, ImageStatus};
pub use pod::*;
pub use stats::*;
pub use stream::*;

mod container;
mod engine;
mod error;
mod host;
mod image;
mod pod;
mod stats;
mod stream;

/// What comes back from a runtime, in time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// A connection into a pod.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Runs pods and their containers, and has their images.
///
/// What was begun is brought to its end though nobody waits for it any more, unless said otherwise. What is
/// asked for and is so already ([`Kind::Unchanged`]), or is of something that is gone ([`Kind::NotFound`]), is
/// an error that says so.
pub trait Runtime: Send + Sync + 'static {
    /// Its name and version, as the node reports them.
    fn version(&self) -> Version;

    /// What it can do; the same as long as the node runs.
    fn features(&self) -> Features;

    /// Makes a pod's sandbox: its network is up when this returns.
    fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Answer<'_, PodSandboxId>;

    /// Ends what runs in a sandbox, at once, and takes its network down.
    fn stop_pod_sandbox<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, ()>;

    /// Removes a sandbox with its containers, running ones too.
    fn remove_pod_sandbox<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, ()>;

    /// What is known of a sandbox.
    fn pod_sandbox_status<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, PodSandboxStatus>;

    /// The sandboxes of the pod with this uid, or of all pods; newest first. Those of other pods are not
    /// looked at.
    fn list_pod_sandbox<'a>(&'a self, pod: Option<&'a str>) -> Answer<'a, Vec<PodSandbox>>;

    /// Makes a container in a sandbox. Its image is there.
    fn create_container<'a>(
        &'a self,
        sandbox: &'a PodSandboxId,
        config: ContainerConfig,
    ) -> Answer<'a, ContainerId>;

    /// Whether the programs of a container have to leave limits of disk space as they are.
    fn keeps_storage_limits<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, bool>;

    /// Starts a container that was made.
    fn start_container<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Asks a container to end, kills it after `grace`, and waits for its end.
    fn stop_container<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Answer<'a, ()>;

    /// Removes a container that does not run.
    fn remove_container<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// The containers of the pod with this uid, in any state. Those of other pods are not looked at.
    fn list_containers<'a>(&'a self, pod: &'a str) -> Answer<'a, Vec<Container>>;

    /// What is known of a container.
    fn container_status<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ContainerStatus>;

    /// Gives a container other limits, a running one too; what is `None` stays.
    fn update_container_resources<'a>(&'a self, id: &'a ContainerId, resources: Resources) -> Answer<'a, ()>;

    /// Gives the containers of a ready sandbox other limits together; what is `None` stays.
    fn update_pod_sandbox_resources<'a>(
        &'a self,
        id: &'a PodSandboxId,
        resources: Resources,
    ) -> Answer<'a, ()>;

    /// What a container uses; nothing for one that does not run.
    fn container_stats<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, Usage>;

    /// The directory of what a container has written into its own file system.
    fn container_layer<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, PathBuf>;

    /// Waits until what was removed until now takes no room on the disk any more.
    fn removals_done(&self) -> BoxFuture<'_, ()>;

    /// What the containers of a sandbox use and may use together.
    fn pod_sandbox_stats<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, GroupUsage>;

    /// What happens to containers of pods, from this call on. A reader that is too slow gets an error, and
    /// begins anew.
    fn container_events(&self) -> BoxStream<'static, Result<ContainerEvent, Error>>;

    /// The log of a container. CRI has no verb for it: there the node reads the file that the container was
    /// made with; here it is left to whoever writes and turns over that file.
    fn container_logs<'a>(&'a self, id: &'a ContainerId, query: LogQuery) -> Answer<'a, LogLines>;

    /// Runs a command to its end, `timeout` at most, and keeps the first `limit` bytes of each output.
    fn exec_sync<'a>(
        &'a self,
        id: &'a ContainerId,
        command: Vec<String>,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Answer<'a, ExecOutput>;

    /// Starts a command, whose streams the caller has.
    fn exec<'a>(&'a self, id: &'a ContainerId, request: ExecRequest) -> Answer<'a, Attached>;

    /// Joins the streams of a running container; `stdin` says whether anything will be written.
    fn attach<'a>(&'a self, id: &'a ContainerId, stdin: bool) -> Answer<'a, Attached>;

    /// Connects to a TCP port of `localhost` inside a sandbox.
    fn port_forward<'a>(
        &'a self,
        id: &'a PodSandboxId,
        port: u16,
    ) -> BoxFuture<'a, std::io::Result<Box<dyn Connection>>>;

    /// Fetches an image; dropped, it is given up.
    fn pull_image<'a>(&'a self, image: &'a str, credentials: Option<Credentials>) -> Answer<'a, ()>;

    /// An image that is here. [`Kind::Invalid`] says that nothing can be called so.
    fn image_status<'a>(&'a self, image: &'a str) -> Answer<'a, Option<ImageStatus>>;

    /// All images that are here.
    fn list_images(&self) -> Answer<'_, Vec<ImageStatus>>;
}

/// What a node agent works with on its machine; cheap to clone.
#[derive(Clone)]
pub struct Machine {
    /// Runs its pods.
    pub runtime: Arc<dyn Runtime>,
    /// What it does by itself.
    pub host: Arc<dyn Host>,
    /// Programs services and names.
    pub network: net::Network,
}

/// What a runtime is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its name, which container ids begin with in a pod's status.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What a runtime can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// AppArmor is in force, and containers can be confined by its profiles.
    pub apparmor: bool,
    /// SELinux is in force: a process that has no label of its own has less to hold it.
    pub selinux: bool,
    /// Pods can have users of their own.
    pub user_namespaces: bool,
    /// What is mounted below a read-only mount can be read-only too.
    pub recursive_read_only_mounts: bool,
    /// What a container writes into its root file system can be limited.
    pub storage_limits: bool,
}
