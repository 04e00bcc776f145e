//! What is no operation and is shown as one while it goes on: an export, a look at a registry.

use base::Timestamp;
use oci::Digest;

use super::event::{Event, StatusEvent, VertexEvent};
use super::job::Job;
use super::{SolveError, now};

/// A vertex that is no operation. It is over when this is dropped.
pub(crate) struct Shown {
    job: Job,
    view: VertexEvent,
}

/// A part of it that is under way; it is over when this is dropped.
pub(crate) struct Part<'a> {
    shown: &'a Shown,
    id: String,
    started: Timestamp,
}

impl Shown {
    /// It begins. What has the same `id` is one to who looks.
    pub(crate) fn begin(job: &Job, id: &str, name: &str) -> Self {
        let view = VertexEvent {
            digest: Digest::sha256_of(id.as_bytes()),
            inputs: Vec::new(),
            name: name.to_owned(),
            started: Some(now()),
            completed: None,
            cached: false,
            error: None,
            progress_group: None,
        };
        job.tell(Event::Vertex(view.clone()));
        Self { job: job.clone(), view }
    }

    /// What it is known by.
    pub(crate) fn vertex(&self) -> &Digest {
        &self.view.digest
    }

    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// What it is known by.
    pub(crate) fn digest(&self) -> &Digest {
        &self.view.digest
    }

    /// Tells of a part.
    pub(crate) fn part(&self, id: impl Into<String>) -> Part<'_> {
        let part = Part { shown: self, id: id.into(), started: now() };
        part.tell(0, false);
        part
    }

    /// It is over, and why if it failed.
    pub(crate) fn end<T>(&mut self, done: &Result<T, SolveError>) {
        self.view.error = done.as_ref().err().map(ToString::to_string);
    }
}

impl Part<'_> {
    /// How far it is, in bytes.
    pub(crate) fn at(&self, bytes: u64) {
        self.tell(bytes, false);
    }

    fn tell(&self, current: u64, is_done: bool) {
        let at = now();
        self.shown.job.tell(Event::Status(StatusEvent {
            id: self.id.clone(),
            vertex: self.shown.view.digest.clone(),
            name: String::new(),
            current,
            total: 0,
            at,
            started: Some(self.started),
            completed: is_done.then_some(at),
        }));
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.tell(0, true);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.view.completed = Some(now());
        self.job.tell(Event::Vertex(self.view.clone()));
    }
}
