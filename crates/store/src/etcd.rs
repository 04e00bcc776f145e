//! The backend elsewhere: etcd, version 3, on which several servers can stand at a time.
//!
//! Thin: what the trait asks is what etcd gives, so nearly all of it is translation ([`convert`]). What is
//! more is for a network in between: requests that certainly were not taken are sent again for a while,
//! reads in any case; a watch goes on after the last revision that it told when its connection breaks
//! ([`watch`]). What is written and gets no answer is [`Error::Unknown`].
//!
//! Reads are linearizable. A watch asks for its progress when its consumer does: etcd tells the truth about
//! that from 3.4.31 and 3.5.13 on, and an older one is refused.

mod convert;
mod error;
mod watch;
mod watches;

/// etcd's API, made by `build.rs` from `proto/etcd.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
mod api {
    tonic::include_proto!("etcdserverpb");
}

use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use self::api::kv_client::KvClient;
use self::api::lease_client::LeaseClient;
use self::api::maintenance_client::MaintenanceClient;
use self::convert::Prefix;
use self::error::Failure;
use self::watches::Watches;
use crate::{
    Error, KeyRange, LeaseId, Range, RangeResult, Revision, Status, Store, Txn, TxnResult, Watch, Watcher,
};

/// How long one request may take, and how long one that was not taken is sent again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long each member may take to say its version, once one of them has answered.
const LOOK: Duration = Duration::from_secs(3);
/// How long etcd may take to be there at the start, unless it is said.
const ARRIVAL: Duration = Duration::from_secs(30);
/// The time between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often a silent connection is tried, and how long that may take. etcd wants five seconds at least.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// How many items one answer has, where all are asked for.
const PAGE: usize = 2048;

/// Where etcd is, and how it is spoken to.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT` of each member.
    pub endpoints: Vec<String>,
    /// What all keys begin with there.
    pub prefix: String,
    /// Certificates of the authorities that vouch for the members, PEM; the system's where there are none.
    pub authority: Option<Vec<u8>>,
    /// The client's own certificate and its key, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// How long it may take to be there; half a minute where that is not said.
    pub arrival: Option<Duration>,
    /// How long superseded values can still be read and watched; etcd keeps them until somebody says so.
    pub history: Option<Duration>,
}

/// Why etcd cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No member is named.
    #[error("no endpoint of etcd is named")]
    NoEndpoint,
    /// An endpoint is not one, or its certificates are not.
    #[error("the endpoint `{endpoint}` of etcd cannot be used")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// None of the members answers.
    #[error("etcd does not answer at {endpoints}")]
    Silent {
        /// The endpoints.
        endpoints: String,
        /// What the last try gave.
        source: Error,
    },
    /// One of its members is too old.
    #[error(
        "etcd at {endpoint} is of version {version}, which may tell that a watch has come further than it \
         has: 3.4.31, 3.5.13 or a later one is needed"
    )]
    TooOld {
        /// The member's endpoint.
        endpoint: String,
        /// What it says of itself.
        version: String,
    },
}

/// A store that etcd keeps. Dropping it ends all watches; [`Store::close`] waits for them, too.
pub struct Etcd(Arc<Connection>);

/// What is shared with the watches.
struct Connection {
    channel: Channel,
    prefix: Prefix,
    watches: Watches,
    closed: CancellationToken,
    /// The watches, and what forgets history; they end when it is closed.
    tasks: TaskTracker,
}

impl Etcd {
    /// Connects, and waits until one of the members answers. None of those that can be reached may be too
    /// old: a watch may be begun at any of them.
    pub async fn connect(options: EtcdOptions) -> Result<Self, ConnectError> {
        let endpoints = options.endpoints.join(", ");
        let members = members(&options)?;
        let connection = Arc::new(Connection {
            channel: channel(&members)?,
            prefix: Prefix::new(options.prefix.clone()),
            watches: Watches::default(),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let arrival = options.arrival.unwrap_or(ARRIVAL);
        let arrived = connection.patiently(arrival, true, || ask_status(&connection.channel)).await;
        arrived.map_err(|failure| ConnectError::Silent {
            endpoints: endpoints.clone(),
            source: failure.into_error(),
        })?;
        check_versions(&members).await?;
        tracing::debug!(endpoints, "etcd keeps the store");
        if let Some(history) = options.history {
            connection.tasks.spawn(forget(connection.clone(), history));
        }
        Ok(Self(connection))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.closed.cancel();
    }
}

impl Connection {
    /// Sends a request, again where it certainly was not taken; one that only `reads` in any case.
    async fn send<T, F>(&self, reads: bool, request: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        if self.closed.is_cancelled() && !reads {
            return Err(Failure::Closed);
        }
        self.patiently(PATIENCE, reads, request).await
    }

    async fn patiently<T, F>(
        &self,
        patience: Duration,
        reads: bool,
        request: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let end = Instant::now() + patience;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let failure = match tokio::time::timeout_at(end, request()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => Failure::from(status),
                Err(_) => return Err(Failure::silent(reads)),
            };
            let again = failure.was_not_taken() || reads && failure.may_pass();
            let pause = backoff.next_delay();
            if !again || Instant::now() + pause >= end {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn kv(&self) -> KvClient<Channel> {
        // A page of the largest values is more than the default.
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    async fn range(&self, request: &Range) -> Result<RangeResult, Error> {
        let mut asked = request.clone();
        let paged = asked.limit.is_none() && !asked.count_only && asked.keys.single().is_none();
        let mut all = RangeResult::default();
        loop {
            if paged {
                asked.limit = Some(PAGE);
            }
            let mut page = self.page(&asked).await?;
            if !paged {
                return Ok(page);
            }
            // All pages are as of the first one's revision.
            asked.revision = Some(page.revision);
            all.revision = page.revision;
            all.items.append(&mut page.items);
            match all.items.last().filter(|_| page.more) {
                Some(last) => asked.keys = asked.keys.after(last.key.clone()),
                None => break,
            }
        }
        all.count = all.items.len();
        Ok(all)
    }

    async fn page(&self, request: &Range) -> Result<RangeResult, Error> {
        let message = convert::range(&self.prefix, request);
        match self
            .send(true, || {
                let (mut kv, message) = (self.kv(), message.clone());
                async move { kv.range(message).await }
            })
            .await
        {
            Ok(answer) => Ok(convert::ranged(&self.prefix, request, answer)),
            Err(failure) => Err(self.explain(failure, request.revision).await),
        }
    }

    async fn revision(&self) -> Result<Revision, Error> {
        // Of a key that is never there: the head of the answer says the revision.
        let nothing = Range::new(KeyRange::key(Bytes::from_static(b"\0"))).count_only();
        Ok(self.page(&nothing).await?.revision)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        txn.check()?;
        let message = convert::txn(&self.prefix, &txn);
        match self
            .send(txn.only_reads(), || {
                let (mut kv, message) = (self.kv(), message.clone());
                async move { kv.txn(message).await }
            })
            .await
        {
            Ok(answer) => convert::done(&self.prefix, txn, answer),
            Err(Failure::LeaseNotFound) => {
                let lease = txn.leases().next().unwrap_or(LeaseId(0));
                Err(Error::LeaseNotFound { lease })
            }
            Err(Failure::TooLarge) => {
                let (what, size) = ("transaction", txn.bytes());
                Err(Error::TooLarge { what, size, limit: crate::VALUE_LIMIT })
            }
            Err(failure) => Err(self.explain(failure, None).await),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let message = api::CompactionRequest { revision: revision.cast_signed() };
        // Done twice it is as good as once, but for the answer.
        match self
            .send(false, || {
                let mut kv = self.kv();
                async move { kv.compact(message).await }
            })
            .await
        {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain(failure, Some(revision)).await),
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let message = api::LeaseGrantRequest { ttl: seconds };
        let granted = self
            .send(false, || {
                let mut lease = self.lease();
                async move { lease.lease_grant(message).await }
            })
            .await;
        let granted = granted.map_err(Failure::into_error)?;
        if granted.error.is_empty() {
            Ok(LeaseId(granted.id.cast_unsigned()))
        } else {
            Err(Error::Refused { message: granted.error })
        }
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), Error> {
        let message = api::LeaseKeepAliveRequest { id: lease.0.cast_signed() };
        let renewal = || {
            let mut client = self.lease();
            async move {
                // One message each way; the stream has no end of its own.
                let once = futures::stream::iter([message]).chain(futures::stream::pending());
                let answer = client.lease_keep_alive(once).await?.into_inner().message().await?;
                let ended = || tonic::Status::unavailable("the stream has ended");
                answer.map(tonic::Response::new).ok_or_else(ended)
            }
        };
        match self.send(true, renewal).await {
            Ok(renewed) if renewed.ttl > 0 => Ok(()),
            Ok(_) | Err(Failure::LeaseNotFound) => Err(Error::LeaseNotFound { lease }),
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let message = api::LeaseRevokeRequest { id: lease.0.cast_signed() };
        match self
            .send(false, || {
                let mut lease = self.lease();
                async move { lease.lease_revoke(message).await }
            })
            .await
        {
            Ok(_) => Ok(()),
            Err(Failure::LeaseNotFound) => Err(Error::LeaseNotFound { lease }),
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn status(&self) -> Result<Status, Error> {
        let told = self.send(true, || ask_status(&self.channel)).await.map_err(Failure::into_error)?;
        let keys = self.page(&Range::new(KeyRange::prefix("")).count_only()).await?;
        Ok(Status {
            revision: keys.revision,
            compacted: watch::compacted(self).await?,
            keys: keys.count,
            memory_bytes: usize::try_from(told.db_size_in_use).unwrap_or_default(),
            watchers: self.watches.count(),
            read_only: Some(told.errors.join(", ")).filter(|errors| !errors.is_empty()),
        })
    }

    /// Says which revisions there are, where the one that was asked for is not among them.
    fn explain(&self, failure: Failure, requested: Option<Revision>) -> BoxFuture<'_, Error> {
        let requested = requested.unwrap_or_default();
        // Boxed, since it asks in turn.
        async move {
            let found = match failure {
                Failure::Compacted => {
                    let oldest = watch::compacted(self).await;
                    oldest.map(|oldest| Error::Compacted { requested, oldest })
                }
                Failure::Future => {
                    let current = self.revision().await;
                    current.map(|current| Error::Future { requested, current })
                }
                other => Ok(other.into_error()),
            };
            found.unwrap_or_else(|error| error)
        }
        .boxed()
    }
}

impl Store for Etcd {
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        async move { self.0.range(&request).await }.boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        self.0.txn(txn).boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.0.revision().boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        watch::begin(&self.0, request).boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.0.compact(revision).boxed()
    }

    fn purge(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let revision = self.revision().await?;
            match self.compact(revision).await {
                // Somebody else was faster.
                Ok(()) | Err(Error::Compacted { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.0.grant(ttl).boxed()
    }

    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.0.renew(lease).boxed()
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.0.revoke(lease).boxed()
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        self.0.status().boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.closed.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().boxed()
    }
}

/// Compacts what is older than `history`, until the store is closed. Several may do so at a time: none
/// compacts what is younger for any of them.
async fn forget(connection: Arc<Connection>, history: Duration) {
    let forgetting = async {
        let mut before = None;
        loop {
            let now = connection.revision().await;
            if let Some(revision) = before.filter(|&revision| revision > 0)
                && let Err(error) = connection.compact(revision).await
                && !matches!(error, Error::Compacted { .. })
            {
                tracing::warn!(error = %base::error::chain(&error), "etcd's history is not compacted");
            }
            before = now.ok();
            tokio::time::sleep(history).await;
        }
    };
    // Whatever it waits for.
    let _: Option<()> = connection.closed.run_until_cancelled(forgetting).await;
}

/// What a member says of itself.
fn ask_status(
    channel: &Channel,
) -> impl Future<Output = Result<tonic::Response<api::StatusResponse>, tonic::Status>> + use<> {
    let mut client = MaintenanceClient::new(channel.clone());
    async move { client.status(api::StatusRequest {}).await }
}

/// Asks each member for its version. Which does not answer may be down; that is told, and is no obstacle.
async fn check_versions(members: &[(String, Endpoint)]) -> Result<(), ConnectError> {
    let asked = members.iter().map(async |(endpoint, member)| {
        let channel = member.connect_lazy();
        (endpoint, tokio::time::timeout(LOOK, ask_status(&channel)).await)
    });
    for (endpoint, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(Ok(status)) => {
                let version = status.into_inner().version;
                if !tells_progress(&version) {
                    return Err(ConnectError::TooOld { endpoint: endpoint.clone(), version });
                }
            }
            Ok(Err(status)) => tracing::warn!(endpoint, %status, "a member of etcd does not say its version"),
            Err(_) => tracing::warn!(endpoint, "a member of etcd does not say its version in time"),
        }
    }
    Ok(())
}

/// How each member is reached.
fn members(options: &EtcdOptions) -> Result<Vec<(String, Endpoint)>, ConnectError> {
    let members = options.endpoints.iter().map(|text| {
        let wrong = |source| ConnectError::Endpoint { endpoint: text.clone(), source };
        let endpoint = Endpoint::from_shared(text.clone())
            .map_err(wrong)?
            .connect_timeout(PATIENCE / 2)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok((text.clone(), endpoint));
        }
        let mut tls = ClientTlsConfig::new();
        tls = match &options.authority {
            Some(authority) => tls.ca_certificate(Certificate::from_pem(authority)),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = &options.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Ok((text.clone(), endpoint.tls_config(tls).map_err(wrong)?))
    });
    members.collect()
}

/// A channel to any of the members; it connects by itself, again where it broke.
fn channel(members: &[(String, Endpoint)]) -> Result<Channel, ConnectError> {
    match members {
        [] => Err(ConnectError::NoEndpoint),
        [(_, only)] => Ok(only.connect_lazy()),
        several => Ok(Channel::balance_list(several.iter().map(|(_, member)| member.clone()))),
    }
}

/// Whether an etcd of this version tells of a watch's progress only what it has told of its events.
fn tells_progress(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    let version = (next(), next(), next());
    matches!(version, (3, 4, 31..) | (3, 5, 13..) | (3, 6.., _) | (4.., _, _))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etcd_whose_progress_cannot_be_trusted_is_known_by_its_version() {
        for (version, expected) in [
            ("3.3.99", false),
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.5.30", true),
            ("3.6.0-rc.1", true),
            ("4.0.0", true),
            ("", false),
        ] {
            assert_eq!(tells_progress(version), expected, "{version}");
        }
    }
}
