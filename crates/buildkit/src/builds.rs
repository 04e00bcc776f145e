//! The builds that are under way, and those that have just ended, by the names that clients gave them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use build::solve::{EventStream, Job};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bridge::Bridge;
use crate::sessions::Owner;

/// How long a call waits for the build that it is about.
const COMING: Duration = Duration::from_secs(5);
/// How many builds that have ended can still be asked what they told.
const ENDED: usize = 32;

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
    ended: VecDeque<Ended>,
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
    id: String,
    owner: Owner,
    events: Option<EventStream>,
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
            let mut ended = all.ended.iter_mut().rev();
            ended.find(|ended| ended.id == id && ended.owner == *owner)?.events.take()
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

impl Drop for Running {
    fn drop(&mut self) {
        let build = &self.build;
        let events = Some(build.job.events());
        build.job.close();
        build.job.cancel();
        let mut all = self.builds.inner.all.lock();
        all.running.remove(&build.id);
        all.ended.push_back(Ended { id: build.id.clone(), owner: build.owner.clone(), events });
        if all.ended.len() > ENDED {
            all.ended.pop_front();
        }
    }
}
