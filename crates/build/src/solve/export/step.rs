//! An export as its client sees it: one vertex of its own.

use base::Timestamp;
use oci::Digest;

use crate::solve::event::{Event, StatusEvent, VertexEvent};
use crate::solve::job::Job;
use crate::solve::{SolveError, now};

/// A vertex that is no operation. It is over when this is dropped.
pub(super) struct Step {
    job: Job,
    view: VertexEvent,
}

/// A part of it that is under way; it is over when this is dropped.
pub(super) struct Part<'a> {
    step: &'a Step,
    id: String,
    started: Timestamp,
}

impl Step {
    pub(super) fn begin(job: &Job, name: &str) -> Self {
        let id = format!("{name} {:016x}", base::Random::next_u64(&base::SystemRandom));
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

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Tells of a part.
    pub(super) fn part(&self, id: impl Into<String>) -> Part<'_> {
        let part = Part { step: self, id: id.into(), started: now() };
        part.tell(0, false);
        part
    }

    /// It is over, and why if it failed.
    pub(super) fn end<T>(&mut self, done: &Result<T, SolveError>) {
        self.view.error = done.as_ref().err().map(ToString::to_string);
    }
}

impl Part<'_> {
    /// How far it is, in bytes.
    pub(super) fn at(&self, bytes: u64) {
        self.tell(bytes, false);
    }

    fn tell(&self, current: u64, is_done: bool) {
        let at = now();
        self.step.job.tell(Event::Status(StatusEvent {
            id: self.id.clone(),
            vertex: self.step.view.digest.clone(),
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

impl Drop for Step {
    fn drop(&mut self) {
        self.view.completed = Some(now());
        self.job.tell(Event::Vertex(self.view.clone()));
    }
}
