//! Requests on their way to the writing thread.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::commit::Request;
use crate::Error;

/// How many bytes one group sets, unless a single request sets more.
const BYTES: usize = 8 << 20;

/// A queue that many push to and one thread takes from, in groups.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    woken: bool,
    closed: bool,
}

impl Inbox {
    pub(crate) fn push(&self, request: Request) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.requests.push(request);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes what waits, at most `limit` requests and about [`BYTES`]; waits for something for `wait` at most, for ever if
    /// that is `None`. `None` once the inbox is closed and empty.
    pub(crate) fn take(&self, limit: usize, wait: Option<Duration>) -> Option<Vec<Request>> {
        let mut state = self.state.lock();
        while state.requests.is_empty() && !state.closed && !std::mem::take(&mut state.woken) {
            match wait {
                None => self.changed.wait(&mut state),
                Some(wait) if self.changed.wait_for(&mut state, wait).timed_out() => break,
                Some(_) => {}
            }
        }
        if state.closed && state.requests.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |request: &&Request| {
            bytes += request.bytes();
            bytes <= BYTES
        };
        let limit = state.requests.iter().take(limit).take_while(fits).count().max(1);
        if state.requests.len() <= limit {
            return Some(std::mem::take(&mut state.requests));
        }
        let rest = state.requests.split_off(limit);
        Some(std::mem::replace(&mut state.requests, rest))
    }

    /// Lets [`Inbox::take`] return, with nothing if there is nothing.
    pub(crate) fn wake(&self) {
        self.state.lock().woken = true;
        self.changed.notify_one();
    }

    /// Takes no more requests; those that wait are still handed out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Whether no more requests are taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// As [`Inbox::close`], and drops what waits: there is no one left to take it.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.requests = Vec::new();
    }
}
