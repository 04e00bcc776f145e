//! Watches of etcd: one stream each, begun anew after the last told revision when it breaks.

use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::api::watch_client::WatchClient;
use super::api::watch_request::RequestUnion;
use super::error::Failure;
use super::{Connection, PAUSES, api, convert};
use crate::watch::{self, Sender};
use crate::{Error, Event, KeyRange, Range, Revision, Watch, WatchError, Watcher};

/// How often progress is asked for until there is an answer: etcd gives none while the watch still catches
/// up with what happened before it began.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// One watch, from its side of etcd.
struct Task {
    connection: Arc<Connection>,
    sender: Arc<Sender>,
    keys: KeyRange,
    /// The consumer waits to hear how far the watch has come.
    asked: bool,
}

/// A stream of etcd's with one watch on it.
struct Stream {
    requests: mpsc::Sender<api::WatchRequest>,
    answers: Streaming<api::WatchResponse>,
}

/// Why a stream is over.
enum End {
    /// The consumer wants no more, or was told why it gets none.
    Told,
    /// Nobody wants any of it any more.
    Closed,
    /// The history does not reach back to where it was to begin.
    Compacted { requested: Revision, oldest: Revision },
    /// It broke; how far it had come is known.
    Broken(String),
}

/// Begins a watch. What is compacted is known by then, what is in the future is waited for.
pub(super) async fn begin(connection: &Arc<Connection>, request: Watch) -> Result<Watcher, Error> {
    let start = match request.start {
        None => connection.revision().await? + 1,
        Some(start) => {
            // A read at that revision fails as the watch would, but at once.
            let probe = Range::new(KeyRange::key("\0")).at(start).count_only();
            match connection.page(&probe).await {
                Ok(_) | Err(Error::Future { .. }) => start,
                Err(error) => return Err(error),
            }
        }
    };
    let keys = request.keys.clone();
    let (sender, watcher) = watch::remote(request, start.saturating_sub(1));
    let sender = Arc::new(sender);
    connection.watches.add(sender.clone());
    let tasks = connection.tasks.clone();
    let task = Task { connection: connection.clone(), sender, keys, asked: false };
    tasks.spawn(task.run());
    Ok(watcher)
}

/// Before which revision all is forgotten, 0 if nothing is: only a watch that begins there is told.
pub(super) async fn compacted(connection: &Connection) -> Result<Revision, Error> {
    let asking = async {
        let mut stream = Stream::open(connection, &KeyRange::key("\0"), 1).await?;
        loop {
            stream.ask().await?;
            let answer = match tokio::time::timeout(ASK_AGAIN, stream.answers.message()).await {
                Err(_) => continue,
                Ok(answer) => answer?.ok_or_else(|| Status::unavailable("the stream has ended"))?,
            };
            if answer.canceled || !answer.created {
                return Ok(answer.compact_revision.cast_unsigned());
            }
        }
    };
    let told = tokio::time::timeout(super::PATIENCE, asking).await;
    told.unwrap_or_else(|_| Err(Failure::silent(true))).map_err(Failure::into_error)
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let before = self.sender.revision();
            let closed = self.connection.closed.clone();
            let end = closed.run_until_cancelled(self.follow(before + 1)).await.unwrap_or(End::Closed);
            match end {
                End::Told => return,
                End::Closed => return self.sender.close(WatchError::Closed),
                End::Compacted { requested, oldest } => {
                    return self.sender.close(WatchError::Compacted { requested, oldest });
                }
                End::Broken(why) => {
                    if self.sender.revision() > before {
                        backoff.reset();
                    }
                    tracing::debug!(why, told = self.sender.revision(), "a watch of etcd is begun anew");
                    let pause = tokio::time::sleep(backoff.next_delay());
                    if closed.run_until_cancelled(pause).await.is_none() {
                        return self.sender.close(WatchError::Closed);
                    }
                    if self.sender.is_abandoned() {
                        return;
                    }
                }
            }
        }
    }

    /// Passes on what one stream tells from the revision `start` on.
    async fn follow(&mut self, start: Revision) -> End {
        let broken = |failure: Failure| End::Broken(failure.into_error().to_string());
        let mut stream = match Stream::open(&self.connection, &self.keys, start).await {
            Ok(stream) => stream,
            Err(status) => return broken(status.into()),
        };
        let mut again = tokio::time::interval(ASK_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.sender.asked() => {
                    if self.sender.is_abandoned() {
                        return End::Told;
                    }
                    self.asked = true;
                    again.reset();
                    if let Err(status) = stream.ask().await {
                        return broken(status.into());
                    }
                }
                _ = again.tick(), if self.asked => {
                    if self.is_at_the_end().await {
                        continue;
                    }
                    if let Err(status) = stream.ask().await {
                        return broken(status.into());
                    }
                }
                answer = stream.answers.message() => {
                    let end = match answer {
                        Ok(Some(answer)) => self.take(answer, start),
                        Ok(None) => Some(End::Broken("the stream has ended".to_owned())),
                        Err(status) => Some(broken(status.into())),
                    };
                    if let Some(end) = end {
                        return end;
                    }
                }
            }
        }
    }

    /// Whether all has been told that there is, and says so. Of a watch that begins after that etcd tells
    /// no progress.
    async fn is_at_the_end(&mut self) -> bool {
        let told = self.sender.revision();
        let Ok(now) = self.connection.revision().await else { return false };
        if now <= told {
            self.asked = false;
            self.sender.progress(told);
        }
        now <= told
    }

    fn take(&mut self, answer: api::WatchResponse, start: Revision) -> Option<End> {
        if answer.canceled {
            let oldest = answer.compact_revision.cast_unsigned();
            return Some(if oldest > 0 {
                End::Compacted { requested: start, oldest }
            } else {
                End::Broken(answer.cancel_reason)
            });
        }
        if answer.created {
            return None;
        }
        let prefix = &self.connection.prefix;
        let events: Vec<Event> = answer.events.into_iter().filter_map(|event| prefix.event(event)).collect();
        match events.last().map(Event::revision) {
            // One revision is never told by halves.
            Some(revision) => (!self.sender.send(&events, revision)).then_some(End::Told),
            None => {
                self.asked = false;
                self.sender.progress(convert::revision(answer.header));
                None
            }
        }
    }
}

impl Stream {
    /// Opens a stream with one watch, from a member that has a leader as long as it lasts.
    async fn open(connection: &Connection, keys: &KeyRange, start: Revision) -> Result<Self, Status> {
        let (key, range_end) = connection.prefix.range(keys);
        let create =
            api::WatchCreateRequest { key, range_end, start_revision: start.cast_signed(), prev_kv: true };
        let (mut requests, outgoing) = mpsc::channel(4);
        let first = api::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(first).await.map_err(|_| Status::cancelled("the stream has ended"))?;
        let mut request = Request::new(outgoing.fuse());
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut client = WatchClient::new(connection.channel.clone()).max_decoding_message_size(usize::MAX);
        let answers = client.watch(request).await?.into_inner();
        Ok(Self { requests, answers })
    }

    /// Asks how far it has come.
    async fn ask(&mut self) -> Result<(), Status> {
        let progress = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
        let request = api::WatchRequest { request_union: Some(progress) };
        self.requests.send(request).await.map_err(|_| Status::cancelled("the stream has ended"))
    }
}
