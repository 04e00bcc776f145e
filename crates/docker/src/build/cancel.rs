//! `POST /build/cancel`: ends a build that goes on, by the id that its client gave it.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Builds under way that their clients gave an id (`buildid`).
#[derive(Clone, Default)]
pub(crate) struct Builds(Arc<Mutex<HashMap<String, CancellationToken>>>);

/// A build under way; forgotten when this goes.
pub(crate) struct Running {
    builds: Builds,
    id: String,
    cancelled: CancellationToken,
}

impl Builds {
    /// A build begins; another of the same id can be cancelled no more.
    pub(crate) fn begin(&self, id: &str) -> Running {
        let cancelled = CancellationToken::new();
        if !id.is_empty() {
            self.0.lock().insert(id.to_owned(), cancelled.clone());
        }
        Running { builds: self.clone(), id: id.to_owned(), cancelled }
    }

    /// Ends the build of this id, if there is one.
    fn cancel(&self, id: &str) {
        if let Some(cancelled) = self.0.lock().get(id) {
            cancelled.cancel();
        }
    }
}

impl Running {
    /// Waits until somebody ends the build.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is like one that was never there; its place may have been taken.
        let mut builds = self.builds.0.lock();
        self.cancelled.cancel();
        if builds.get(&self.id).is_some_and(CancellationToken::is_cancelled) {
            builds.remove(&self.id);
        }
    }
}

/// Ends a build. As with Docker it is no failure if it has ended.
pub(crate) async fn cancel(call: Call) -> Answer {
    let id = call.query.text("id");
    if id.is_empty() {
        return Err(Fault::invalid("build ID not provided"));
    }
    call.api.builds.cancel(id);
    answer::bare(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_its_id_as_long_as_it_goes_on() {
        let builds = Builds::default();
        let (first, nameless) = (builds.begin("a"), builds.begin(""));
        builds.cancel("b");
        builds.cancel("");
        assert!(!first.cancelled.is_cancelled() && !nameless.cancelled.is_cancelled());
        let second = builds.begin("a");
        drop(first);
        builds.cancel("a");
        assert!(second.cancelled.is_cancelled());
        drop((second, nameless));
        assert!(builds.0.lock().is_empty());
    }
}
