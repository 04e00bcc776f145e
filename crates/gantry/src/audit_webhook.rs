//! Events of the audit log are sent to somebody elsewhere: many at a time, or each while its request waits.
//!
//! What waits is bounded, in events and in bytes, and so is how many are sent to at once: an address that hangs or is
//! gone costs events, which are counted and told, and neither memory nor, in [`Mode::Batch`], anybody's time. What
//! cannot be sent is sent again, four times, after a back-off that grows. When the server stops, what is there is sent
//! once more without any.
//!
//! Source: Kubernetes documentation, "Auditing", "Webhook backend".

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::audit::{Backend, Event};
use apiserver::outside::Peer;
use base::Random;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use http::{Request, Uri, header};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Losses, Mode};

/// So many bytes of events may wait, or be on their way.
const WAITING_BYTES: usize = 64 << 20;
/// So many events may wait where requests wait with them, more than there can be requests.
const TOGETHER: usize = 20_000;
/// No more bytes are sent at a time, but for one event that is larger.
const BATCH_BYTES: usize = 10 << 20;
/// So many are being sent at once.
const AT_ONCE: usize = 16;
/// How often one thing is sent, and how long each may take.
const TRIES: u32 = 5;
const TRY: Duration = Duration::from_secs(30);
/// What is answered is not looked at, and read no further.
const ANSWER: usize = 64 << 10;

/// Where events are sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The file that says where, and as whom.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) mode: Mode,
    /// After so long it is tried the second time; half as long again each time after.
    pub(crate) first_back_off: Duration,
    pub(crate) batches: Batches,
}

/// How events are gathered in [`Mode::Batch`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batches {
    /// So many events wait at most.
    pub(crate) buffer: usize,
    /// So many are sent at a time,
    pub(crate) size: usize,
    /// and fewer after so long.
    pub(crate) wait: Duration,
    /// How often something is sent.
    pub(crate) throttle: Option<Throttle>,
}

/// So often a second, and so many at once when nothing was sent for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Throttle {
    pub(crate) rate: f64,
    pub(crate) burst: u32,
}

/// Takes events.
pub(crate) struct Webhook {
    mode: Mode,
    taken: mpsc::Sender<Taken>,
    /// Bytes that wait, or are on their way.
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
}

/// Sends what a [`Webhook`] takes.
pub(crate) struct Sender {
    options: Options,
    taken: mpsc::Receiver<Taken>,
    waiting: Arc<AtomicUsize>,
    way: Arc<Way>,
    pace: Option<Pace>,
}

/// An event, and who waits until it is sent.
struct Taken {
    text: Vec<u8>,
    sent: Option<oneshot::Sender<bool>>,
}

/// The way to whoever is sent them.
struct Way {
    url: Uri,
    peer: Arc<dyn Peer>,
    losses: Arc<Losses>,
    random: Arc<dyn Random>,
    first_back_off: Duration,
    /// Nothing is waited for any more.
    hurry: CancellationToken,
}

/// A bucket of tokens, as the moment at which it would be full again.
struct Pace {
    every: Duration,
    burst: u32,
    full_at: Instant,
}

/// The webhook, and whoever sends what it takes.
pub(crate) fn open(
    options: Options,
    url: Uri,
    peer: Arc<dyn Peer>,
    losses: Arc<Losses>,
    random: Arc<dyn Random>,
) -> (Webhook, Sender) {
    let bound = if options.mode == Mode::Batch { options.batches.buffer } else { TOGETHER };
    let (sender, taken) = mpsc::channel(bound);
    let waiting = Arc::new(AtomicUsize::new(0));
    let webhook =
        Webhook { mode: options.mode, taken: sender, waiting: waiting.clone(), losses: losses.clone() };
    let throttle = options.batches.throttle.filter(|_| options.mode == Mode::Batch);
    let (first_back_off, hurry) = (options.first_back_off, CancellationToken::new());
    let way = Arc::new(Way { url, peer, losses, random, first_back_off, hurry });
    (webhook, Sender { options, taken, waiting, way, pace: throttle.map(Pace::new) })
}

impl Backend for Webhook {
    fn process(&self, event: Event) -> BoxFuture<'static, bool> {
        self.send(event.json())
    }
}

impl Webhook {
    fn send(&self, text: Vec<u8>) -> BoxFuture<'static, bool> {
        if self.mode == Mode::Batch {
            self.take(Taken { text, sent: None });
            return ready(true).boxed();
        }
        let strict = self.mode == Mode::BlockingStrict;
        let (sent, wait) = oneshot::channel();
        self.take(Taken { text, sent: Some(sent) });
        // One that is not taken is not sent.
        async move { wait.await.unwrap_or(false) || !strict }.boxed()
    }

    /// Takes an event where there is room for it; loses it where there is none.
    fn take(&self, taken: Taken) {
        let length = taken.text.len();
        let fits = self.waiting.fetch_add(length, Ordering::Relaxed) + length <= WAITING_BYTES;
        if !fits || self.taken.try_send(taken).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.losses.tell(1, &"audit buffer queue blocked");
        }
    }
}

impl Sender {
    /// Sends until `stop` is cancelled, and what has been taken until then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut sending = JoinSet::new();
        while let Some(batch) = self.gather(&stop).await {
            if let Some(pace) = self.pace.as_mut().filter(|_| !stop.is_cancelled()) {
                let _ = stop.run_until_cancelled(pace.pass()).await;
            }
            while sending.len() >= AT_ONCE {
                tokio::select! {
                    _ = sending.join_next() => {}
                    () = stop.cancelled(), if !self.way.hurry.is_cancelled() => self.way.hurry.cancel(),
                }
            }
            let (way, waiting) = (self.way.clone(), self.waiting.clone());
            sending.spawn(async move {
                let bytes = batch.iter().map(|taken| taken.text.len()).sum();
                let is_sent = way.deliver(&batch).await;
                waiting.fetch_sub(bytes, Ordering::Relaxed);
                for sent in batch.into_iter().filter_map(|taken| taken.sent) {
                    let _ = sent.send(is_sent);
                }
            });
        }
        self.way.hurry.cancel();
        while sending.join_next().await.is_some() {}
    }

    /// What is sent next; none when no more will come.
    async fn gather(&mut self, stop: &CancellationToken) -> Option<Vec<Taken>> {
        let first = tokio::select! {
            first = self.taken.recv() => first?,
            () = stop.cancelled(), if !self.taken.is_closed() => {
                self.taken.close();
                self.taken.recv().await?
            }
        };
        let Batches { size, wait, .. } = self.options.batches;
        let (mut bytes, mut batch) = (first.text.len(), vec![first]);
        let until = Instant::now() + wait;
        while self.options.mode == Mode::Batch && batch.len() < size && bytes < BATCH_BYTES {
            let next = tokio::select! {
                biased;
                next = self.taken.recv() => next,
                () = stop.cancelled() => None,
                () = tokio::time::sleep_until(until) => None,
            };
            let Some(next) = next else { break };
            bytes += next.text.len();
            batch.push(next);
        }
        Some(batch)
    }
}

impl Way {
    /// Sends events, again and again where that fails; says whether they are sent.
    async fn deliver(&self, events: &[Taken]) -> bool {
        let body = list(events);
        let mut back_off = self.first_back_off;
        for tries in 1..=TRIES {
            let Err(why) = self.send(body.clone()).await else { return true };
            if tries == TRIES || self.hurry.is_cancelled() {
                self.losses.tell(events.len(), &format_args!("the audit webhook cannot be reached: {why}"));
                break;
            }
            tracing::debug!(error = %why, events = events.len(), "the audit webhook is asked again");
            let jitter = (self.random.next_u64() % 1000) as f64 / 5000.0;
            let _ = self.hurry.run_until_cancelled(tokio::time::sleep(back_off.mul_f64(1.0 + jitter))).await;
            back_off = back_off.mul_f64(1.5);
        }
        false
    }

    async fn send(&self, body: Bytes) -> Result<(), String> {
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(body)
            .map_err(|error| error.to_string())?;
        let answer = match tokio::time::timeout(TRY, self.peer.ask(request, ANSWER)).await {
            Ok(answer) => answer.map_err(|error| base::error::chain(&error).to_string())?,
            Err(_) => return Err("it does not answer".to_owned()),
        };
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

/// The events as one document, `EventList` of `audit.k8s.io/v1`.
fn list(events: &[Taken]) -> Bytes {
    let texts: Vec<&[u8]> = events.iter().map(|taken| taken.text.as_slice()).collect();
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    [head, texts.join(&b","[..]).as_slice(), b"]}"].concat().into()
}

impl Pace {
    fn new(throttle: Throttle) -> Self {
        let every = Duration::from_secs_f64(1.0 / throttle.rate);
        Self { every, burst: throttle.burst, full_at: Instant::now() }
    }

    /// Waits until something may be sent.
    async fn pass(&mut self) {
        let now = Instant::now();
        let full_at = self.full_at.max(now) + self.every;
        // What is missing of a full bucket is no more than there is in one.
        let missing = full_at - now;
        let most = self.every * self.burst;
        if missing > most {
            tokio::time::sleep(missing - most).await;
        }
        self.full_at = full_at;
    }
}

#[cfg(test)]
mod tests;
