//! What a pod takes of the disk: what its containers have written, their logs, and volumes that end with it.
//!
//! Whoever fills it decides how long it takes to look at that, and may move it about meanwhile. So it is looked for a
//! while only: what was found until then is the least that it takes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::tree::Size;
use k8s_openapi::api::core::v1::Pod;

use super::{Candidate, amount};
use crate::agent::Shared;
use crate::pod::observe::Observation;
use crate::pod::volumes::{Volumes, own_on_disk};
use crate::thresholds::Scarce;

/// So long it is looked how much is in one place, and at so many pods at a time.
const TIME: Duration = Duration::from_secs(5);
pub(super) const AT_ONCE: usize = 4;
/// So long it is looked at all places of a pod, and waited for that: a disk may not answer at all.
const ALL: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// So often it is looked again where somebody has moved what was being looked at.
const TRIES: usize = 3;

/// What a pod takes of `of`, the disk's room or its files.
pub(super) async fn on_disk(shared: &Shared, pod: Arc<Pod>, of: Scarce) -> Candidate {
    let unknown = |pod| Candidate { pod, used: None, is_all: true, containers: Vec::new() };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let Ok(observation) = Observation::new(shared.runtime(), uid).await else { return unknown(pod) };
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for instance in observation.running() {
        // One that was removed meanwhile takes nothing.
        if let Ok(layer) = shared.runtime().container_layer(&instance.id).await {
            names.push(instance.name.clone());
            places.push(layer);
        }
    }
    places.extend(own(&pod, &shared.config.pod_directory(uid)));
    let measured = shared.files.weigh(move || all_taken(&places, of));
    let Ok(measured) = tokio::time::timeout(ANSWERS_WITHIN, measured).await else { return unknown(pod) };
    let sum = |sum: i64, taken: &Option<Taken>| Some(sum.saturating_add(taken.as_ref()?.amount));
    let used = measured.iter().try_fold(0, sum);
    let is_all = measured.iter().flatten().all(|taken| taken.is_all);
    let written = names.into_iter().zip(measured);
    let containers = written.filter_map(|(name, taken)| Some((name, taken?.amount))).collect();
    Candidate { pod, used, is_all, containers }
}

/// Where what ends with a pod is, besides the layers of its containers: logs and what it may write. No server and
/// no disk of somebody else is there.
fn own(pod: &Pod, directory: &Path) -> Vec<PathBuf> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let on_disk = volumes.filter(|volume| own_on_disk(volume).is_some());
    let volumes = Volumes::new(directory.to_owned());
    let logs = std::iter::once(directory.join("logs"));
    logs.chain(on_disk.map(|volume| volumes.place(&volume.name))).collect()
}

/// How much is somewhere: all, or as much as was seen until the time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    amount: i64,
    is_all: bool,
}

fn all_taken(places: &[PathBuf], of: Scarce) -> Vec<Option<Taken>> {
    let until = Instant::now() + ALL;
    let left = || TIME.min(until.saturating_duration_since(Instant::now()));
    places.iter().map(|place| taken(place, of, left())).collect()
}

/// How much is below a directory: nothing where there is none, and `None` where it cannot be found.
fn taken(place: &Path, of: Scarce, time: Duration) -> Option<Taken> {
    let deadline = Instant::now() + time;
    let counted = |size: Size| amount(if of == Scarce::Inodes { size.entries } else { size.allocated });
    for _ in 0..TRIES {
        let mut so_far = Size::default();
        let measured = base::tree::size_until(place, |found| {
            so_far = found;
            Instant::now() >= deadline
        });
        match measured {
            Ok(size) => return Some(Taken { amount: counted(size), is_all: true }),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Some(Taken { amount: counted(so_far), is_all: false });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(Taken { amount: 0, is_all: true });
            }
            Err(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_what_is_taken_or_that_it_is_not() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let place = |name: &str| directory.path().join(name);
        for name in ["full", "full/below"] {
            std::fs::create_dir(place(name)).expect("make");
            std::fs::write(place(name).join("file"), vec![1; 8192]).expect("write");
            std::fs::File::open(place(name).join("file")).expect("open").sync_all().expect("flush");
        }
        std::fs::hard_link(place("full/file"), place("full/below/link")).expect("link");
        std::fs::write(place("file"), "no directory").expect("write");
        let all = |amount| Some(Taken { amount, is_all: true });
        let inodes = |name| taken(&place(name), Scarce::Inodes, TIME);
        // A directory, and two files of which one has two names.
        assert_eq!(["full", "none", "full/below"].map(inodes), [all(3), all(0), all(2)]);
        assert_eq!(inodes("file"), None);
        let bytes = |name| taken(&place(name), Scarce::Disk, TIME).expect("known").amount;
        assert!((16_384..1 << 20).contains(&bytes("full")) && bytes("full/below") >= 16_384);
        let no_time = taken(&place("full"), Scarce::Disk, Duration::ZERO);
        assert_eq!(no_time, Some(Taken { amount: 0, is_all: false }));
    }

    #[test]
    fn only_what_ends_with_the_pod_is_looked_at() {
        let pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [], "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "server", "nfs": {"server": "192.0.2.1", "path": "/"}},
            {"name": "claimed", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "host", "hostPath": {"path": "/"}},
        ]}}));
        let places = own(&pod.expect("a pod"), Path::new("/pods/uid"));
        assert_eq!(places, ["/pods/uid/logs", "/pods/uid/volumes/scratch"].map(PathBuf::from));
    }
}
