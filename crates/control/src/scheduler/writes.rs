//! What is being written beside the decisions: many pods at once, of one pod one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::hands::Failure;
use super::pod::PodId;

/// What came of it: nothing where no decision was written.
type Ended = Option<Result<(), Failure>>;

/// The writes that are under way; given up when it is dropped.
#[derive(Default)]
pub(super) struct Writes {
    tasks: JoinSet<(PodId, bool, Ended)>,
    /// How many of them do something, and do not only wait for others.
    busy: usize,
    /// The last write for each pod, by uid: ready once it has ended. That a pod waits must not be written
    /// over that it has a node.
    last: HashMap<Arc<str>, oneshot::Receiver<()>>,
}

impl Writes {
    /// How many are under way that do something, and do not only wait for others.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Writes something about a pod, which may not panic, once what is being written about it already has ended.
    /// If it is `long`, most of it is waiting for others.
    pub(super) fn spawn(
        &mut self,
        pod: PodId,
        long: bool,
        write: impl Future<Output = Ended> + Send + 'static,
    ) {
        self.busy += usize::from(!long);
        let (ends, ended) = oneshot::channel::<()>();
        let before = self.last.insert(pod.uid.clone(), ended);
        self.tasks.spawn(async move {
            if let Some(before) = before {
                // Nothing is ever sent: it ends when the other side is dropped.
                let _ = before.await;
            }
            let written = write.await;
            drop(ends);
            (pod, long, written)
        });
    }

    /// Waits for the next that ends; nothing if none is under way.
    pub(super) async fn next(&mut self) -> Option<(PodId, Ended)> {
        let joined = self.tasks.join_next().await?;
        Some(self.ended(joined.expect("what is written catches its panics, and nobody aborts it")))
    }

    /// One that has ended already.
    pub(super) fn try_next(&mut self) -> Option<(PodId, Ended)> {
        let joined = self.tasks.try_join_next()?;
        Some(self.ended(joined.expect("what is written catches its panics, and nobody aborts it")))
    }

    fn ended(&mut self, (pod, long, ended): (PodId, bool, Ended)) -> (PodId, Ended) {
        self.busy -= usize::from(!long);
        if let Some(last) = self.last.get_mut(&pod.uid)
            && last.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        {
            self.last.remove(&pod.uid);
        }
        (pod, ended)
    }
}

#[cfg(test)]
mod tests {
    use client::ObjectKey;

    use super::*;

    fn pod(name: &str) -> PodId {
        PodId { key: ObjectKey::new("default", name), uid: name.into() }
    }

    #[tokio::test]
    async fn what_is_written_about_one_pod_keeps_its_order_and_holds_up_no_other() {
        let mut writes = Writes::default();
        let (go, wait) = oneshot::channel::<()>();
        let told: Arc<parking_lot::Mutex<Vec<&str>>> = Arc::default();
        let tell = |what: &'static str| {
            let told = Arc::clone(&told);
            move || told.lock().push(what)
        };
        let (first, second, other) = (tell("first"), tell("second"), tell("other"));
        writes.spawn(pod("a"), false, async move {
            wait.await.expect("it is sent");
            first();
            None
        });
        writes.spawn(pod("a"), false, async move {
            second();
            Some(Ok(()))
        });
        writes.spawn(pod("b"), true, async move {
            other();
            None
        });
        assert_eq!(writes.busy(), 2);
        assert_eq!(writes.next().await.expect("one ends").0, pod("b"));
        go.send(()).expect("it waits");
        assert!(writes.next().await.expect("the first").1.is_none());
        assert!(matches!(writes.next().await, Some((_, Some(Ok(()))))));
        assert!(writes.next().await.is_none() && writes.try_next().is_none() && writes.last.is_empty());
        assert_eq!(*told.lock(), ["other", "first", "second"]);
    }
}
