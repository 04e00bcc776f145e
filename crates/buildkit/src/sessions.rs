//! The sessions that clients have opened: connections over which they serve what builds ask them for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Connection};
use crate::transfer::Memory;
use crate::wire::grpc::health::v1::HealthCheckRequest;
use crate::wire::grpc::health::v1::health_client::HealthClient;

/// How long a build waits for a session that is about to come.
const COMING: Duration = Duration::from_secs(5);
/// How often a client is asked whether it is there, how long it may take to answer, and how often it may
/// fail to. A client that sends a lot answers late.
const ASKED: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);
const FAILURES: u32 = 2;

/// Who opened a connection, as far as that is known: what two connections of one client have in common.
/// A session serves the builds of its own owner and nobody else's, whoever knows its name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner(String);

/// What a client says of a session that it opens.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The session's name, which nobody else's has.
    pub id: String,
    /// What clients that send the same files have in common; empty if nothing is said.
    pub shared_key: String,
    /// What the client serves: `/moby.filesync.v1.FileSync/DiffCopy`, ….
    pub methods: Vec<String>,
}

/// Why a session cannot be opened, or is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionsError {
    /// The client gave it no name.
    #[error("a session needs an id")]
    NoId,
    /// There is one of this name.
    #[error("session {0} already exists")]
    Exists(String),
    /// The client speaks no HTTP/2.
    #[error("the session's connection: {0}")]
    Connection(String),
    /// It did not come in time, or is gone, or is somebody else's.
    #[error("no active session for {0}")]
    None(String),
}

/// All sessions that there are. Cheap to clone: all clones are one.
#[derive(Clone)]
pub(crate) struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    open: Mutex<HashMap<String, Arc<Open>>>,
    /// Told when a session comes.
    came: watch::Sender<()>,
    /// For what all of them send.
    memory: Memory,
}

/// A session that is open.
pub(crate) struct Open {
    id: String,
    shared_key: String,
    owner: Owner,
    /// In lower case.
    methods: HashSet<String>,
    channel: Channel,
    gone: CancellationToken,
}

impl Owner {
    /// The owner of whom this is all that is known.
    pub fn of(known: impl Into<String>) -> Self {
        Owner(known.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Sessions {
    pub(crate) fn new() -> Self {
        let came = watch::Sender::new(());
        Sessions { inner: Arc::new(Inner { open: Mutex::default(), came, memory: Memory::new() }) }
    }

    /// For what builds receive from them.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Whether a session that introduces itself so can be opened.
    pub(crate) fn check(&self, introduction: &Introduction) -> Result<(), SessionsError> {
        if introduction.id.is_empty() {
            return Err(SessionsError::NoId);
        }
        match self.inner.open.lock().contains_key(&introduction.id) {
            true => Err(SessionsError::Exists(introduction.id.clone())),
            false => Ok(()),
        }
    }

    /// Holds a session until its client is gone.
    pub(crate) async fn hold(
        &self,
        introduction: Introduction,
        owner: Owner,
        io: impl Connection,
    ) -> Result<(), SessionsError> {
        self.check(&introduction)?;
        let (channel, connection) =
            Channel::open(io).await.map_err(|error| SessionsError::Connection(error.to_string()))?;
        let Introduction { id, shared_key, methods } = introduction;
        let methods = methods.into_iter().map(|method| method.to_ascii_lowercase()).collect();
        let gone = CancellationToken::new();
        let open = Arc::new(Open { id, shared_key, owner, methods, channel, gone });
        let _place = Place::take(&self.inner, &open)?;
        self.inner.came.send_replace(());
        tracing::debug!(session = open.id, "a session was opened");
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(session = open.id, %error, "a session broke off");
            },
            () = lost(open.channel.clone()) => {
                tracing::warn!(session = open.id, "a session's client does not answer");
            }
        }
        Ok(())
    }

    /// The session `id` of `owner`; waits a while for one that has not come yet.
    pub(crate) async fn find(&self, id: &str, owner: &Owner) -> Result<Arc<Open>, SessionsError> {
        // What stands before a colon tells uses of one session from each other.
        let id = id.split_once(':').map_or(id, |(_, id)| id);
        let none = || SessionsError::None(id.to_owned());
        let mut came = self.inner.came.subscribe();
        let found = async {
            loop {
                if let Some(open) = self.inner.open.lock().get(id) {
                    return (open.owner == *owner).then(|| Arc::clone(open));
                }
                if came.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(COMING, found).await.ok().flatten().ok_or_else(none)
    }
}

/// A session's place among all, which it leaves when it ends.
struct Place<'a> {
    all: &'a Inner,
    open: &'a Arc<Open>,
}

impl<'a> Place<'a> {
    fn take(all: &'a Inner, open: &'a Arc<Open>) -> Result<Self, SessionsError> {
        let mut sessions = all.open.lock();
        if sessions.contains_key(&open.id) {
            return Err(SessionsError::Exists(open.id.clone()));
        }
        sessions.insert(open.id.clone(), Arc::clone(open));
        Ok(Place { all, open })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.open.lock().remove(&self.open.id);
        self.open.gone.cancel();
    }
}

impl Open {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn shared_key(&self) -> &str {
        &self.shared_key
    }

    /// Whether the client serves `method`.
    pub(crate) fn serves(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Returns when the client is gone.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }
}

/// Returns when the client does not answer any more.
async fn lost(channel: Channel) {
    let mut health = HealthClient::with_origin(channel, crate::session::origin());
    let mut failures = 0;
    while failures < FAILURES {
        tokio::time::sleep(ASKED).await;
        let answer = tokio::time::timeout(ANSWER, health.check(HealthCheckRequest::default())).await;
        failures = match answer {
            Ok(Ok(_)) => 0,
            // There is somebody who answers, if not this.
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => 0,
            Ok(Err(_)) | Err(_) => failures + 1,
        };
    }
}

#[cfg(test)]
mod tests;
