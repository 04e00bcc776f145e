//! The builds that are under way, and those that have just ended, by the names that clients gave them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use build::solve::{Event, EventStream, Job};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bridge::Bridge;
use crate::sessions::Owner;

/// How long a call waits for the build that it is about.
const COMING: Duration = Duration::from_secs(5);
/// How many builds that have ended can still be asked what they told, for how long…
const ENDED: usize = 32;
const LATE: Duration = Duration::from_secs(60);
/// …and bytes of what they told.
const TOLD: usize = 64 << 20;
/// What an event takes besides its texts.
const EVENT: usize = 128;

/// All builds. Cheap to clone: all clones are one.
#[derive(Clone)]
pub(crate) struct Builds {
    inner: Arc<Inner>,
}

struct Inner {
    all: Mutex<All>,
    /// Told when a build begins.
    began: watch::Sender<()>,
}

#[derive(Default)]
struct All {
    running: HashMap<String, Arc<Build>>,
    ended: EndedBuilds,
}

/// Those that have ended, the newest last.
#[derive(Default)]
struct EndedBuilds {
    builds: VecDeque<Ended>,
    /// How many there were.
    count: u64,
    bytes: usize,
}

/// A build that is under way.
pub(crate) struct Build {
    pub(crate) id: String,
    owner: Owner,
    pub(crate) job: Job,
    /// What its client drives it by.
    pub(crate) bridge: Option<Arc<Bridge>>,
}

/// A build that has ended, for who asks too late what it tells.
struct Ended {
    number: u64,
    id: String,
    owner: Owner,
    events: EventStream,
    bytes: usize,
}

/// A build's place among all, which it leaves when it ends.
pub(crate) struct Running {
    builds: Builds,
    pub(crate) build: Arc<Build>,
}

impl Builds {
    pub(crate) fn new() -> Self {
        Builds { inner: Arc::new(Inner { all: Mutex::default(), began: watch::Sender::new(()) }) }
    }

    /// Begins a build; nothing if there is one of this name.
    pub(crate) fn begin(
        &self,
        id: String,
        owner: Owner,
        job: Job,
        bridge: Option<Arc<Bridge>>,
    ) -> Option<Running> {
        let build = Arc::new(Build { id, owner, job, bridge });
        let mut all = self.inner.all.lock();
        if all.running.contains_key(&build.id) {
            return None;
        }
        all.running.insert(build.id.clone(), Arc::clone(&build));
        drop(all);
        self.inner.began.send_replace(());
        Some(Running { builds: self.clone(), build })
    }

    /// The build `id` of `owner`; waits a while for one that has not begun.
    pub(crate) async fn find(&self, id: &str, owner: &Owner) -> Option<Arc<Build>> {
        self.wait(|all| all.running.get(id).filter(|build| build.owner == *owner).cloned()).await
    }

    /// What the build `id` of `owner` tells.
    pub(crate) async fn events(&self, id: &str, owner: &Owner) -> Option<EventStream> {
        self.wait(|all| {
            if let Some(build) = all.running.get(id).filter(|build| build.owner == *owner) {
                return Some(build.job.events());
            }
            all.ended.take(id, owner)
        })
        .await
    }

    async fn wait<T>(&self, mut find: impl FnMut(&mut All) -> Option<T>) -> Option<T> {
        let mut began = self.inner.began.subscribe();
        let found = async {
            loop {
                if let Some(found) = find(&mut self.inner.all.lock()) {
                    return Some(found);
                }
                began.changed().await.ok()?;
            }
        };
        tokio::time::timeout(COMING, found).await.ok().flatten()
    }
}

impl EndedBuilds {
    /// Keeps what a build told, which is all there; returns its number.
    fn add(&mut self, id: &str, owner: &Owner, events: EventStream, bytes: usize) -> u64 {
        self.count += 1;
        let (number, id, owner) = (self.count, id.to_owned(), owner.clone());
        self.builds.push_back(Ended { number, id, owner, events, bytes });
        self.bytes += bytes;
        while (self.builds.len() > ENDED || self.bytes > TOLD)
            && let Some(oldest) = self.builds.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
        number
    }

    /// What the newest build of this name told, which is told once.
    fn take(&mut self, id: &str, owner: &Owner) -> Option<EventStream> {
        let place = self.builds.iter().rposition(|ended| ended.id == id && ended.owner == *owner)?;
        self.remove(place)
    }

    /// Forgets a build.
    fn forget(&mut self, number: u64) {
        if let Some(place) = self.builds.iter().position(|ended| ended.number == number) {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: usize) -> Option<EventStream> {
        let ended = self.builds.remove(place)?;
        self.bytes -= ended.bytes;
        Some(ended.events)
    }
}

/// What it takes to keep what a build told that has ended, and tells nothing any more.
fn weight(mut events: EventStream) -> usize {
    let mut bytes = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        bytes += EVENT
            + match event {
                Event::Log(log) => log.bytes.len(),
                Event::Vertex(vertex) => vertex.name.len() + vertex.inputs.len() * EVENT,
                Event::Status(status) => status.name.len() + status.id.len(),
                Event::Warning(warning) => {
                    let source = warning.source.map_or(0, |source| source.data.len());
                    source + warning.short.len() + warning.detail.iter().map(|it| it.len()).sum::<usize>()
                }
            };
    }
    bytes
}

impl Drop for Running {
    fn drop(&mut self) {
        let build = &self.build;
        build.job.close();
        build.job.cancel();
        if let Some(bridge) = &build.bridge {
            bridge.end();
        }
        let bytes = weight(build.job.events());
        let events = build.job.events();
        let mut all = self.builds.inner.all.lock();
        all.running.remove(&build.id);
        let number = all.ended.add(&build.id, &build.owner, events, bytes);
        drop(all);
        // Without a runtime the daemon ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let builds = self.builds.clone();
            runtime.spawn(async move {
                tokio::time::sleep(LATE).await;
                builds.inner.all.lock().ended.forget(number);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[test]
    fn what_builds_told_that_have_ended_is_not_kept_for_ever() {
        let (me, other) = (Owner::of("me"), Owner::of("another"));
        let mut ended = EndedBuilds::default();
        let told = || stream::empty().boxed();
        for at in 0..100 {
            ended.add(&at.to_string(), &me, told(), 1);
        }
        assert_eq!((ended.builds.len(), ended.bytes), (ENDED, ENDED));
        assert!(ended.take("99", &other).is_none() && ended.take("0", &me).is_none());
        assert!(ended.take("99", &me).is_some() && ended.take("99", &me).is_none());
        // As much as all may take: the others go.
        let number = ended.add("large", &me, told(), TOLD);
        assert_eq!((ended.builds.len(), ended.bytes), (1, TOLD));
        ended.forget(number);
        assert_eq!((ended.builds.len(), ended.bytes), (0, 0));
        ended.add("larger", &me, told(), TOLD + 1);
        assert_eq!((ended.builds.len(), ended.bytes), (0, 0));
    }
}
