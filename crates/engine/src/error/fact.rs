//! What is the matter, for fronts that have words of their own for it.

use std::fmt;
use std::path::PathBuf;

use super::{Kind, NetworkFact};
use crate::container::Status;
use crate::id::ContainerId;

/// Something that makes an operation impossible. It prints as the engine says it; a front that has a sentence
/// of its own for it, which programs may look for, takes that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// No container is called so.
    NoContainer {
        /// Id, part of one, or name.
        reference: String,
    },
    /// The ids of several containers begin so.
    ManyContainers {
        /// The part of an id.
        prefix: String,
    },
    /// Another container has the name.
    NameTaken {
        /// Without a slash.
        name: String,
        /// Who has it.
        holder: ContainerId,
    },
    /// The status of a container forbids it.
    Status {
        /// Its id.
        container: ContainerId,
        /// Its name, without a slash.
        name: String,
        /// What it is.
        status: Status,
        /// What was to be done to it.
        operation: Operation,
    },
    /// Nobody joins a namespace of a container that does not run.
    NotJoinable {
        /// As in `/proc/PID/ns`: `net`, `pid`, `ipc`.
        namespace: String,
        /// Whose it is.
        container: ContainerId,
    },
    /// The container does not share its memory.
    MemoryNotShared {
        /// Whose it is.
        container: ContainerId,
    },
    /// There is no further process of this id.
    NoExec {
        /// The id, or the beginning of one.
        reference: String,
    },
    /// A further process is started once.
    ExecStarted {
        /// Its id.
        id: String,
    },
    /// There is no such image here.
    NoImage {
        /// As users name it, with its tag.
        reference: String,
    },
    /// The image that is here is for another platform than was asked for.
    OtherPlatform {
        /// As users name it.
        reference: String,
        /// What it is for.
        has: String,
        /// What was asked for.
        wanted: String,
    },
    /// There is no such image here to push.
    NoImageToPush {
        /// As users name it.
        repository: String,
    },
    /// There are images of the repository here, but none with the tag that is to be pushed.
    NoTagToPush {
        /// As users name it, with its tag.
        reference: String,
    },
    /// There are images of the repository here, but none with a tag.
    NoTagsToPush {
        /// As users name it.
        repository: String,
    },
    /// A repository of a registry has no tags.
    NoTags {
        /// As users name it.
        repository: String,
    },
    /// A registry has no such image.
    NoManifest {
        /// As users name it, with its tag.
        reference: String,
    },
    /// A registry does not know the repository.
    NoRepository {
        /// As users name it.
        repository: String,
    },
    /// A registry does not let the user log in.
    LoginRefused {
        /// What was asked there.
        address: String,
        /// What it says, if anything.
        answer: Option<String>,
    },
    /// A registry does not give the image, or hides that there is none.
    PullDenied {
        /// As users name it.
        repository: String,
    },
    /// Ports of a container cannot be published.
    NotPublished {
        /// Its name.
        name: String,
        /// What has its place in the network.
        endpoint: String,
        /// Why not.
        why: String,
    },
    /// There is no such volume.
    NoVolume {
        /// Its name.
        name: String,
    },
    /// Containers have the volume.
    VolumeInUse {
        /// Its name.
        name: String,
        /// Who has it.
        users: Vec<ContainerId>,
    },
    /// What is to be mounted of the host is not there.
    NoBindSource {
        /// Where it should be.
        path: PathBuf,
    },
    /// What is to be mounted of the host is not said from the root.
    RelativeBindSource {
        /// What is said.
        path: PathBuf,
    },
    /// Where something is to be mounted is not said from the root.
    RelativeTarget {
        /// What is said.
        target: String,
    },
    /// Two things are to be mounted at one place.
    TargetTwice {
        /// The place.
        target: String,
    },
    /// No container lives with so little memory.
    MemoryTooLow {
        /// The least, in bytes.
        least: i64,
    },
    /// The limit of memory and swap together is below that of memory.
    SwapBelowMemory,
    /// A container cannot both go and come back when it ends.
    RemovedAndRestarted,
    /// A container that goes when it ends gets no restart policy.
    RestartOfRemoved,
    /// Something about networks.
    Network(NetworkFact),
}

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Its program is started.
    Start,
    /// A further process is run in it.
    Exec,
    /// It is frozen.
    Pause,
    /// It is thawed.
    Unpause,
    /// It is sent a signal.
    Kill,
    /// It is removed.
    Remove,
    /// Its limits or its policy are changed.
    Update,
    /// An image is made of it.
    Commit,
}

impl Fact {
    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoContainer { .. }
            | Self::NoExec { .. }
            | Self::NoImage { .. }
            | Self::OtherPlatform { .. }
            | Self::NoImageToPush { .. }
            | Self::NoTagToPush { .. }
            | Self::NoTagsToPush { .. }
            | Self::NoRepository { .. }
            | Self::PullDenied { .. }
            | Self::NoTags { .. }
            | Self::NoManifest { .. }
            | Self::NoVolume { .. } => Kind::NotFound,
            Self::NameTaken { .. }
            | Self::Status { .. }
            | Self::ExecStarted { .. }
            | Self::VolumeInUse { .. }
            | Self::RestartOfRemoved => Kind::Conflict,
            // As Docker has it: who asks for a network learns of a conflict, others of a failure.
            Self::NotJoinable { namespace, .. } if namespace != "net" => Kind::Internal,
            Self::NotJoinable { .. } => Kind::Conflict,
            Self::NotPublished { .. } => Kind::Internal,
            Self::Network(fact) => fact.kind(),
            Self::LoginRefused { .. } => Kind::Unauthorized,
            Self::ManyContainers { .. }
            | Self::MemoryNotShared { .. }
            | Self::NoBindSource { .. }
            | Self::RelativeBindSource { .. }
            | Self::RelativeTarget { .. }
            | Self::TargetTwice { .. }
            | Self::MemoryTooLow { .. }
            | Self::SwapBelowMemory
            | Self::RemovedAndRestarted => Kind::Invalid,
        }
    }
}

impl From<NetworkFact> for Fact {
    fn from(fact: NetworkFact) -> Self {
        Self::Network(fact)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoContainer { reference } => write!(f, "there is no container {reference}"),
            Self::ManyContainers { prefix } => write!(f, "the ids of several containers begin with {prefix}"),
            Self::NameTaken { name, holder } => write!(f, "the container {holder} is called {name} already"),
            Self::Status { container, status, operation, .. } => {
                write!(f, "container {container} is {}: it cannot be {operation}", status.as_str())
            }
            Self::NotJoinable { namespace, container } => {
                write!(
                    f,
                    "the {namespace} namespace of container {container} cannot be joined: it does not run"
                )
            }
            Self::MemoryNotShared { container } => {
                write!(f, "container {container} does not share its memory")
            }
            Self::NoExec { reference } => write!(f, "there is no further process {reference}"),
            Self::ExecStarted { id } => write!(f, "the further process {id} was started already"),
            Self::NoImage { reference } => write!(f, "there is no image {reference} here"),
            Self::OtherPlatform { reference, has, wanted } => {
                write!(f, "the image {reference} is for {has}, not for {wanted}")
            }
            Self::NoTagToPush { reference } => write!(f, "there is no tag {reference} here to push"),
            Self::NoTagsToPush { repository } => write!(f, "{repository} has no tag here to push"),
            Self::NoRepository { repository } => write!(f, "the registry has no repository {repository}"),
            Self::LoginRefused { address, answer } => {
                let answer = answer.as_deref().unwrap_or("it does not take this user and password");
                write!(f, "the registry at {address} refuses the login: {answer}")
            }
            Self::NoImageToPush { repository } => write!(f, "there is no image {repository} here to push"),
            Self::NoTags { repository } => write!(f, "the repository {repository} has no tags"),
            Self::NoManifest { reference } => write!(f, "the registry has no image {reference}"),
            Self::PullDenied { repository } => {
                write!(f, "the registry does not give {repository}, or there is no such repository")
            }
            Self::NotPublished { name, why, .. } => {
                write!(f, "the ports of {name} cannot be published: {why}")
            }
            Self::NoVolume { name } => write!(f, "there is no volume {name}"),
            Self::VolumeInUse { name, users } => {
                let users: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
                write!(f, "volume {name} is used by {}", users.join(", "))
            }
            Self::NoBindSource { path } => write!(f, "`{}` is not there to be mounted", path.display()),
            Self::RelativeBindSource { path } => {
                write!(f, "`{}` is no absolute path to mount", path.display())
            }
            Self::RelativeTarget { target } => write!(f, "`{target}` is no absolute path to mount at"),
            Self::TargetTwice { target } => write!(f, "two things are to be mounted at {target}"),
            Self::MemoryTooLow { least } => write!(f, "a container needs {least} bytes of memory at least"),
            Self::SwapBelowMemory => f.write_str("the limit of memory and swap is below that of memory"),
            Self::Network(fact) => fact.fmt(f),
            Self::RemovedAndRestarted | Self::RestartOfRemoved => {
                f.write_str("what is removed when it ends cannot be restarted by a policy")
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "started",
            Self::Exec => "joined by a further process",
            Self::Pause => "paused",
            Self::Unpause => "unpaused",
            Self::Kill => "killed",
            Self::Remove => "removed",
            Self::Update => "updated",
            Self::Commit => "made an image of",
        })
    }
}
