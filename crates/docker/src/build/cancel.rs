//! `POST /build/cancel`: ends a build that goes on, by the id that its client gave it. All end with the service.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Builds under way.
#[derive(Clone, Default)]
pub(crate) struct Builds {
    /// Those that their clients gave an id (`buildid`).
    by_id: Arc<Mutex<HashMap<String, CancellationToken>>>,
    /// Ends all of them.
    closing: CancellationToken,
}

/// A build under way; forgotten when this goes.
pub(crate) struct Running {
    builds: Builds,
    id: String,
    cancelled: CancellationToken,
}

impl Builds {
    /// None yet; they end when `closing` says so: nobody would wait for what they make.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { by_id: Arc::default(), closing }
    }

    /// A build begins; another of the same id can be cancelled no more.
    pub(crate) fn begin(&self, id: &str) -> Running {
        let cancelled = self.closing.child_token();
        if !id.is_empty() {
            self.by_id.lock().insert(id.to_owned(), cancelled.clone());
        }
        Running { builds: self.clone(), id: id.to_owned(), cancelled }
    }

    /// Ends the build of this id, if there is one.
    fn cancel(&self, id: &str) {
        if let Some(cancelled) = self.by_id.lock().get(id) {
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
        let mut builds = self.builds.by_id.lock();
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
        assert!(builds.by_id.lock().is_empty());
    }
    #[test]
    fn all_builds_end_with_the_service() {
        let closing = CancellationToken::new();
        let builds = Builds::new(closing.clone());
        let (named, nameless) = (builds.begin("a"), builds.begin(""));
        drop(builds.begin("b"));
        assert!(!closing.is_cancelled() && !named.cancelled.is_cancelled());
        closing.cancel();
        let late = builds.begin("c");
        assert!([named, nameless, late].iter().all(|build| build.cancelled.is_cancelled()));
    }
}
