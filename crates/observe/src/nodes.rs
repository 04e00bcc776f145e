//! What nodes use, asked when somebody wants to know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::usage::Look;

/// A look so young is good enough: who asks within this time shares it.
const FRESH: Duration = Duration::from_secs(10);
/// A look so old is no beginning of a rate: that would tell of what was, not of what is.
const TOO_OLD: Duration = Duration::from_secs(90);
/// Between two looks at a node at which nobody has looked lately.
const BETWEEN: Duration = Duration::from_millis(1100);
/// What nobody has asked for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// What nodes told, by their names: for each the last look, and the one before.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    asked: Duration,
    looks: Arc<tokio::sync::Mutex<Looks>>,
}

#[derive(Clone, Debug, Default)]
struct Looks {
    last: Option<(Duration, Arc<Look>)>,
    before: Option<(Duration, Arc<Look>)>,
}

impl Nodes {
    /// What a node tells now, and what it told before. `ask` asks it, `now` is the time since some beginning. Nothing
    /// where it cannot be asked. Where nobody has asked lately, it is asked twice, a second apart.
    pub async fn look<E, F: Future<Output = Result<Look, E>>>(
        &self,
        node: &str,
        now: impl Fn() -> Duration,
        ask: impl Fn() -> F,
    ) -> Result<(Arc<Look>, Arc<Look>), E> {
        let looks = self.of(node, now());
        // Whoever wants the same meanwhile waits for it.
        let mut looks = looks.lock().await;
        looks.forget(now());
        if let Some(both) = looks.fresh(now()) {
            return Ok(both);
        }
        let (at, before) = match &looks.last {
            Some((at, last)) => (*at, Arc::clone(last)),
            None => {
                let first = Arc::new(ask().await?);
                let at = now();
                looks.last = Some((at, Arc::clone(&first)));
                (at, first)
            }
        };
        // Whoever asked first may have gone away in between.
        if let Some(short) = BETWEEN.checked_sub(now().saturating_sub(at)) {
            tokio::time::sleep(short).await;
        }
        let last = Arc::new(ask().await?);
        looks.before = looks.last.replace((now(), Arc::clone(&last)));
        Ok((last, before))
    }

    fn of(&self, node: &str, now: Duration) -> Arc<tokio::sync::Mutex<Looks>> {
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, kept| now.saturating_sub(kept.asked) < FORGOTTEN);
        let kept = nodes.entry(node.to_owned()).or_insert_with(|| Kept { asked: now, looks: Arc::default() });
        kept.asked = now;
        Arc::clone(&kept.looks)
    }
}

impl Looks {
    fn forget(&mut self, now: Duration) {
        let young = |(at, _): &(Duration, Arc<Look>)| now.saturating_sub(*at) < TOO_OLD;
        self.last = self.last.take().filter(young);
        self.before = self.before.take().filter(|_| self.last.is_some());
    }

    fn fresh(&self, now: Duration) -> Option<(Arc<Look>, Arc<Look>)> {
        let (at, last) = self.last.as_ref()?;
        let (_, before) = self.before.as_ref()?;
        (now.saturating_sub(*at) < FRESH).then(|| (Arc::clone(last), Arc::clone(before)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_asked_when_somebody_wants_to_know_and_not_too_often() {
        let nodes = Nodes::default();
        let began = tokio::time::Instant::now();
        let now = || began.elapsed();
        let asked = AtomicUsize::new(0);
        let look = || {
            let count = asked.fetch_add(1, Ordering::Relaxed);
            let page = format!("node_cpu_usage_seconds_total {count} {}", count * 1000);
            std::future::ready(Ok::<_, Infallible>(Look::read(&page).expect("a page")))
        };
        let times = async |after: u64| {
            tokio::time::sleep(Duration::from_secs(after)).await;
            let before = asked.load(Ordering::Relaxed);
            nodes.look("a", now, look).await.expect("it tells");
            asked.load(Ordering::Relaxed) - before
        };
        assert_eq!(times(0).await, 2, "the first time twice");
        assert_eq!(times(5).await, 0, "what is young is shared");
        assert_eq!(times(10).await, 1, "and goes on from what is known");
        assert_eq!(times(80).await, 1);
        assert_eq!(times(91).await, 2, "but not from what is old");
        assert_eq!(nodes.nodes.lock().len(), 1);
        tokio::time::sleep(FORGOTTEN).await;
        nodes.of("b", now());
        assert_eq!(nodes.nodes.lock().keys().collect::<Vec<_>>(), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_cannot_be_asked_is_none() {
        let nodes = Nodes::default();
        let outcome = nodes.look("a", || Duration::ZERO, || std::future::ready(Err("gone"))).await;
        assert_eq!(outcome.err(), Some("gone"));
    }
}
