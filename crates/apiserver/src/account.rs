//! What is kept of one request from its head to the end of its answer: it is counted, and noted in the audit
//! log. Whoever goes on with the request holds it: the answer's body, a stream that has taken over the
//! connection, a computation elsewhere. With the last of them the request is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header};
use model::Status;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::audit::{Level, Record, Stage, as_sent};
use crate::body::Body;
use crate::decode::{self, BodyKind};
use crate::error::Error;
use crate::meters::UnderWay;
use crate::negotiate;
use crate::protobuf;
use crate::service::LIGHT;
use crate::state::State;

/// The longest answer that is noted, and what all that are being noted may hold together.
const NOTED: usize = 16 << 20;
const TOGETHER: usize = 64 << 20;
/// A `Status` is no longer than this.
const STATUS: usize = 64 << 10;

/// What is kept of one request.
pub(crate) struct Account {
    state: Arc<State>,
    started: Duration,
    under_way: UnderWay,
    long_running: bool,
    /// It comes from one of the server's own components.
    own: bool,
    code: AtomicU16,
    sent: AtomicU64,
    over: AtomicBool,
    record: Option<Record>,
    /// Its part of what answers that are being noted may hold.
    share: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What answers that are being noted may hold together, in KiB.
pub(crate) struct Noting(Arc<Semaphore>);

/// An answer that is copied while it is sent, to be noted at its end.
pub(crate) struct Copying {
    account: Arc<Account>,
    text: BytesMut,
    /// It has not become too much.
    fits: bool,
    seen: usize,
    /// How long it is, where that is known: whoever sends it may not ask for more then.
    whole: Option<usize>,
    ended: bool,
}

impl Default for Noting {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER >> 10)))
    }
}

impl Account {
    /// Of a request that began at `started`, by the steady clock.
    pub(crate) fn open(
        state: &Arc<State>,
        started: Duration,
        under_way: UnderWay,
        long_running: bool,
        own: bool,
        record: Option<Record>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: state.clone(),
            started,
            under_way,
            long_running,
            own,
            code: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
            record,
            share: Mutex::new(None),
        })
    }

    /// What is noted of it, if anything is.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Whether the object that is answered is noted: it has to be text then.
    pub(crate) fn wants_object(&self) -> bool {
        !self.long_running
            && self.record.as_ref().is_some_and(|r| r.level() == Level::RequestResponse && r.is_of_object())
    }

    /// So much of the answer was sent.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that the request has come. False where it must not go on, since that is lost.
    pub(crate) async fn received(&self) -> bool {
        let kept = self.note(Stage::RequestReceived).await;
        if !kept {
            self.state.meters.audit_rejected.increment();
            self.over.store(true, Ordering::Relaxed);
        }
        kept
    }

    /// Notes a stage.
    pub(crate) async fn note(&self, stage: Stage) -> bool {
        let Some(record) = &self.record else { return true };
        let Some(noting) = record.stage(stage, &*self.state.clock) else { return true };
        self.state.meters.audit_events.increment();
        noting.await
    }

    /// Notes what was sent, which is in this form, where that is to be noted.
    pub(crate) async fn sends(self: &Arc<Self>, kind: BodyKind, body: &Bytes) {
        let Some(record) = self.record.as_ref().filter(|record| record.level() >= Level::Request) else {
            return;
        };
        if body.is_empty() {
            return;
        }
        // Short JSON is looked through, anything else taken apart.
        if body.len() <= LIGHT && kind == BodyKind::Json {
            record.sent(sent_object(kind, body));
            return;
        }
        let (account, body) = (self.clone(), body.clone());
        let noting = move || {
            if let Some(record) = account.record() {
                record.sent(sent_object(kind, &body));
            }
        };
        self.state.workers.step(self.own, noting).await;
    }

    /// Notes why the request is refused.
    pub(crate) fn refuses(&self, error: &Error) {
        if let Some(record) = &self.record {
            record.answered(error.code().as_u16(), Some(error.status().clone()));
        }
    }

    /// Notes the answer to the request; where it is there as a whole, that is the end of it.
    pub(crate) async fn answered(self: &Arc<Self>, response: &mut Response<Body>, failure: Option<&Status>) {
        let code = response.status().as_u16();
        self.code.store(code, Ordering::Relaxed);
        // Of what was turned back since its beginning is lost, nothing else is noted.
        let Some(record) = self.record.as_ref().filter(|_| !self.over.load(Ordering::Relaxed)) else {
            return;
        };
        record.answered(code, failure.cloned().or_else(|| status_in(response)));
        if self.wants_object() {
            self.keep_object(record, response).await;
        }
        if self.long_running {
            self.note(Stage::ResponseStarted).await;
        } else if response.body().chunks().is_some() && !self.over.swap(true, Ordering::Relaxed) {
            self.note(Stage::ResponseComplete).await;
            self.forget(record);
        }
    }

    /// All is noted: whoever takes long to read the answer holds nothing of what others are noted with.
    fn forget(&self, record: &Record) {
        record.forget_objects();
        drop(self.share.lock().take());
    }

    /// The one who asks cannot show who he is: that is all there is to it.
    pub(crate) async fn turned_away(&self, code: StatusCode, status: Status) {
        self.code.store(code.as_u16(), Ordering::Relaxed);
        if let Some(record) = &self.record {
            record.answered(code.as_u16(), Some(status));
            self.over.store(true, Ordering::Relaxed);
            self.note(Stage::ResponseStarted).await;
        }
    }

    /// The request has met a fault of the server.
    pub(crate) async fn panicked(&self, panic: &base::panics::Panic) {
        self.code.store(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), Ordering::Relaxed);
        let Some(record) = &self.record else { return };
        if !self.over.swap(true, Ordering::Relaxed) {
            note_panic(record, panic);
            self.note(Stage::Panic).await;
            self.forget(record);
        }
    }

    /// The answer has met a fault of the server while it was sent.
    pub(crate) fn broke_off(&self, panic: &base::panics::Panic) {
        let Some(record) = &self.record else { return };
        if !self.over.swap(true, Ordering::Relaxed) {
            note_panic(record, panic);
            self.note_now(record, &[Stage::Panic]);
        }
    }

    /// Keeps the text of the object that is answered.
    async fn keep_object(self: &Arc<Self>, record: &Record, response: &mut Response<Body>) {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| {
            kind.starts_with(negotiate::JSON)
                || kind.starts_with(protobuf::MEDIA_TYPE)
                || kind.starts_with(negotiate::YAML)
        }) {
            return;
        }
        let Some(weight) = response.body().weight().filter(|weight| *weight <= NOTED) else {
            record.truncated();
            return;
        };
        let text = match response.body().chunks() {
            Some([]) => return,
            Some(chunks) if self.takes(weight) => chunks.concat(),
            Some(_) => {
                record.truncated();
                return;
            }
            None => {
                let (account, whole) = (self.clone(), response.body().len());
                let text = BytesMut::new();
                let copying = Copying { account, text, fits: true, seen: 0, whole, ended: false };
                response.body_mut().copy_to(copying);
                return;
            }
        };
        if text.len() <= LIGHT {
            keep(record, &text);
            return;
        }
        let account = self.clone();
        let keeping = move || account.record().map(|record| keep(record, &text));
        self.state.workers.step(self.own, keeping).await;
    }

    /// Whether there is room for so much more of an answer that is noted.
    fn takes(&self, more: usize) -> bool {
        let kib = u32::try_from(more.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(more) = self.state.notes.0.clone().try_acquire_many_owned(kib) else { return false };
        let mut share = self.share.lock();
        match &mut *share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        true
    }

    /// Notes stages from where nobody can wait.
    fn note_now(&self, record: &Record, stages: &[Stage]) {
        for stage in stages {
            if record.stage(*stage, &*self.state.clock).is_some() {
                self.state.meters.audit_events.increment();
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let code = *self.code.get_mut();
        let took = self.state.clock.elapsed().saturating_sub(self.started);
        if code > 0 {
            self.under_way.end(code, took, *self.sent.get_mut());
        }
        let Some(record) = self.record.as_ref().filter(|_| !self.over.load(Ordering::Relaxed)) else {
            return;
        };
        let mut stages = vec![Stage::ResponseComplete];
        if code == 0 {
            // Nobody waited for the answer.
            let status = Status { message: "Connection closed early".to_owned(), ..Status::success(None) };
            record.answered(200, Some(status));
            if self.long_running {
                stages.insert(0, Stage::ResponseStarted);
            }
        }
        self.note_now(record, &stages);
    }
}

impl Copying {
    /// A piece of the answer.
    pub(crate) fn piece(&mut self, piece: &Bytes) {
        self.seen += piece.len();
        self.fits &= self.seen <= NOTED && self.account.takes(piece.len());
        if self.fits {
            self.text.extend_from_slice(piece);
        } else {
            self.text = BytesMut::new();
        }
    }

    /// The answer is over.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let Some(record) = self.account.record() else { return };
        if !(self.fits && (self.ended || self.whole == Some(self.seen))) {
            record.truncated();
            return;
        }
        let text = std::mem::take(&mut self.text).freeze();
        if text.len() <= LIGHT {
            keep(record, &text);
            return;
        }
        // Whoever sends the answer does not wait for it: the request is over once it is noted.
        match Handle::try_current() {
            Ok(handle) => {
                let account = self.account.clone();
                let (state, own) = (account.state.clone(), account.own);
                let tasks = state.tasks.clone();
                let keeping = move || account.record().map(|record| keep(record, &text));
                let keeping = async move { state.workers.step(own, keeping).await };
                tasks.spawn_on(keeping, &handle);
            }
            Err(_) => record.truncated(),
        }
    }
}

fn note_panic(record: &Record, panic: &base::panics::Panic) {
    let status = Status::failure(500, "InternalError", format!("APIServer panic'd: {}", panic.message));
    record.answered(500, Some(status));
}

fn keep(record: &Record, text: &[u8]) {
    let object = if text.starts_with(protobuf::MAGIC) {
        protobuf::readable(text).map(|document| Bytes::from(document.to_string()))
    } else {
        as_sent(text).or_else(|| Some(decode::yaml_value(text)?.to_string().into()))
    };
    match object {
        Some(object) => record.answers_with(object),
        None => record.truncated(),
    }
}

/// What the answer says of itself, if it is a `Status`.
fn status_in(response: &Response<Body>) -> Option<Status> {
    let chunks = response.body().chunks()?;
    let [text] = chunks else { return None };
    let is_status = text.len() <= STATUS && text.starts_with(b"{\"kind\":\"Status\"");
    is_status.then(|| serde_json::from_slice(text).ok()).flatten()
}

/// JSON of a body, or nothing where it cannot be read.
fn sent_object(kind: BodyKind, body: &[u8]) -> Option<Bytes> {
    match kind {
        BodyKind::Json => as_sent(body),
        BodyKind::Yaml => as_sent(body).or_else(|| Some(decode::yaml_value(body)?.to_string().into())),
        BodyKind::Protobuf => Some(protobuf::document(body).ok()?.to_string().into()),
    }
}
