//! Tells people what happened to an object, as Events.
//!
//! The same event of the same object is told once and counted from then on, and many that differ
//! in their text only are told as one: a pod that cannot start must not fill the store.

mod correlate;
mod recent;

use std::sync::Arc;

use base::Clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::correlate::{Correlator, Verdict};
use crate::api::{Api, Patch, PatchOptions};
use crate::client::Client;
use crate::error::Error;
use crate::resource::Resource;

/// How many events may wait to be written.
const BUFFER: usize = 1024;
/// How long a message may be.
const MESSAGE_LIMIT: usize = 1024;

/// Whether an event is cause for concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Things go as they should.
    Normal,
    /// Something is wrong.
    Warning,
}

/// Where reconcilers drop what happened. Cheap to clone, never blocks, never fails.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Occurrence>,
}

/// Writes what a [`Recorder`] was given: to be run once.
pub struct EventWriter {
    receiver: mpsc::Receiver<Occurrence>,
    client: Client,
    source: EventSource,
    clock: Arc<dyn Clock>,
    correlator: Correlator,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) object: ObjectReference,
    pub(crate) kind: EventType,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Recorder {
    /// A recorder for a component (`kubelet`, `default-scheduler`) on a host, if it is tied to one;
    /// and what writes for it.
    pub fn new(
        client: &Client,
        component: &str,
        host: Option<&str>,
        clock: Arc<dyn Clock>,
    ) -> (Self, EventWriter) {
        let (sender, receiver) = mpsc::channel(BUFFER);
        let source = EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        let correlator = Correlator::default();
        (Self { sender }, EventWriter { receiver, client: client.clone(), source, clock, correlator })
    }

    /// Tells what happened to `object`; `reason` is one word in camel case.
    pub fn event(&self, object: &impl Resource, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event_on(reference(object), kind, reason, message);
    }

    /// As [`Recorder::event`], for a part of an object: with a `field_path` such as
    /// `spec.containers{web}`.
    pub fn event_on(
        &self,
        object: ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut message: String = message.into();
        if message.len() > MESSAGE_LIMIT {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        }
        if self.sender.try_send(Occurrence { object, kind, reason: reason.to_owned(), message }).is_err() {
            tracing::debug!(reason, "dropped an event: too many wait, or nobody writes them");
        }
    }
}

impl EventWriter {
    /// Writes events until `shutdown` is cancelled or all recorders are gone.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let occurrence = tokio::select! {
                () = shutdown.cancelled() => return,
                received = self.receiver.recv() => match received {
                    Some(occurrence) => occurrence,
                    None => return,
                },
            };
            let written = base::panics::catch_async(self.write(&occurrence)).await;
            if let Err(error) = written.unwrap_or_else(|panic| Err(panic.into())) {
                let reason = occurrence.reason;
                tracing::debug!(reason, error = %base::error::chain(&error), "cannot write an event");
            }
        }
    }

    async fn write(&mut self, occurrence: &Occurrence) -> Result<(), Error> {
        let now = self.clock.now();
        let namespace = namespace_of(&occurrence.object).to_owned();
        let api = Api::<Event>::namespaced(&self.client, &namespace);
        let (message, name, count) = match self.correlator.judge(occurrence, self.clock.elapsed()) {
            Verdict::Drop => return Ok(()),
            Verdict::Create { message } => (message, None, 1),
            Verdict::Count { message, name, count } => (message, Some(name), count),
        };
        if let Some(name) = name {
            let patch =
                Patch::Merge(json!({ "count": count, "message": message, "lastTimestamp": Time(now) }));
            match api.patch(&name, &patch, &PatchOptions::default()).await {
                // It was cleaned away in the meantime.
                Err(Error::NotFound(_)) => {}
                result => return result.map(drop),
            }
        }
        let event = self.event(occurrence, message, &namespace, now);
        let created = api.create(&event).await?;
        self.correlator.created(occurrence, created.name());
        Ok(())
    }

    fn event(
        &self,
        occurrence: &Occurrence,
        message: String,
        namespace: &str,
        now: base::Timestamp,
    ) -> Event {
        let object = &occurrence.object;
        // As client-go names them: unique enough, and sorted by time for each object.
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or_default(), now.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            type_: Some(format!("{:?}", occurrence.kind)),
            reason: Some(occurrence.reason.clone()),
            message: Some(message),
            source: Some(self.source.clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            ..Event::default()
        }
    }
}

/// How an event names its object.
pub fn reference(object: &impl Resource) -> ObjectReference {
    let (api_version, kind) = object.type_of();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(kind),
        name: text(object.name()),
        namespace: object.namespace().map(str::to_owned),
        uid: text(object.uid()),
        resource_version: text(object.resource_version()),
        field_path: None,
    }
}

/// Events of cluster-wide objects live in the default namespace.
fn namespace_of(object: &ObjectReference) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}
