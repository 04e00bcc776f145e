//! What stages say, in the order of the stages: those that are done at the same time as an earlier one wait with it.

use std::sync::Arc;

use engine::image::{ImageId, Progress};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::request::BuildEvent;

/// Bytes that a stage may say before anybody listens; then it waits.
const ROOM: usize = 1 << 20;
/// What saying something takes besides its text.
const EVENT: usize = 256;

/// Where a stage says what it does.
pub(super) struct Outlet {
    said: mpsc::UnboundedSender<(BuildEvent, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    quiet: bool,
}

/// Hears a stage.
pub(super) struct Listener(mpsc::UnboundedReceiver<(BuildEvent, OwnedSemaphorePermit)>);

/// The two ends of what a stage says; of a quiet build only its results.
pub(super) fn outlet(quiet: bool) -> (Outlet, Listener) {
    let (said, heard) = mpsc::unbounded_channel();
    (Outlet { said, room: Arc::new(Semaphore::new(ROOM)), quiet }, Listener(heard))
}

impl Outlet {
    /// Says a text.
    pub(super) async fn text(&self, text: String) {
        if !self.quiet {
            self.say(text.len(), BuildEvent::Text(text)).await;
        }
    }

    /// Tells of a pull, or of something else that is fetched.
    pub(super) async fn pull(&self, step: Progress) {
        if !self.quiet {
            self.say(0, BuildEvent::Pull(step)).await;
        }
    }

    /// Tells what the stage came to.
    pub(super) async fn built(&self, image: ImageId) {
        self.say(0, BuildEvent::Built(image)).await;
    }

    async fn say(&self, bytes: usize, event: BuildEvent) {
        let wanted = u32::try_from((EVENT + bytes).min(ROOM)).unwrap_or(u32::MAX);
        // Nobody closes it, and if nobody listens any more the build is about to be dropped.
        if let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(wanted).await {
            let _ = self.said.send((event, permit));
        }
    }
}

impl Listener {
    /// What is said next; nothing when the stage has ended.
    pub(super) async fn next(&mut self) -> Option<BuildEvent> {
        self.0.recv().await.map(|(event, _)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_says_much_before_anybody_listens_waits() {
        let (outlet, mut listener) = outlet(false);
        outlet.text("x".repeat(ROOM)).await;
        let mut next = Box::pin(outlet.text("y".to_owned()));
        assert!(futures::poll!(&mut next).is_pending());
        assert!(matches!(listener.next().await, Some(BuildEvent::Text(text)) if text.len() == ROOM));
        next.await;
        assert_eq!(listener.next().await, Some(BuildEvent::Text("y".to_owned())));
        drop(outlet);
        assert_eq!(listener.next().await, None);
    }
}
