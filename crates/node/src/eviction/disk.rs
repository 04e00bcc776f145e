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
use crate::thresholds::Scarce;

/// So long it is looked how much one pod takes, and at so many at a time.
const TIME: Duration = Duration::from_secs(5);
pub(super) const AT_ONCE: usize = 4;
/// So often it is looked again where somebody has moved what was being looked at.
const TRIES: usize = 3;

/// What a pod takes of `of`, the disk's room or its files.
pub(super) async fn on_disk(shared: &Shared, pod: Arc<Pod>, of: Scarce) -> Candidate {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let (mut names, mut places) = (Vec::new(), vec![shared.config.pod_directory(uid)]);
    let mut known = true;
    match Observation::new(shared.runtime(), uid).await {
        Ok(observation) => {
            for instance in observation.running() {
                // One that was removed meanwhile takes nothing.
                if let Ok(layer) = shared.runtime().container_layer(&instance.id).await {
                    names.push(instance.name.clone());
                    places.push(layer);
                }
            }
        }
        Err(_) => known = false,
    }
    let measured = shared.files.weigh(move || taken(&places, of, TIME)).await;
    let used = measured.iter().try_fold(0_i64, |sum, used| Some(sum.saturating_add((*used)?)));
    let written = names.into_iter().zip(measured.into_iter().skip(1));
    let containers = written.filter_map(|(name, used)| Some((name, used?))).collect();
    Candidate { pod, used: used.filter(|_| known), containers }
}

/// How much is below each of some directories, at least: nothing where there is none, and `None` where it cannot be
/// found.
fn taken(places: &[PathBuf], of: Scarce, time: Duration) -> Vec<Option<i64>> {
    let deadline = Instant::now() + time;
    places.iter().map(|place| below(place, of, deadline)).collect()
}

fn below(place: &Path, of: Scarce, deadline: Instant) -> Option<i64> {
    let counted = |size: Size| amount(if of == Scarce::Inodes { size.entries } else { size.allocated });
    for _ in 0..TRIES {
        let mut so_far = Size::default();
        let measured = base::tree::size_until(place, |found| {
            so_far = found;
            Instant::now() >= deadline
        });
        match measured {
            Ok(size) => return Some(counted(size)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Some(counted(so_far)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(0),
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
        let places = ["full", "none", "file", "full/below"].map(place);
        // A directory, and two files of which one has two names.
        assert_eq!(taken(&places, Scarce::Inodes, TIME), [Some(3), Some(0), None, Some(2)]);
        let [full, none, file, below] = taken(&places, Scarce::Disk, TIME)[..] else { panic!("four") };
        assert_eq!((none, file), (Some(0), None));
        let (full, below) = (full.expect("known"), below.expect("known"));
        assert!((16_384..1 << 20).contains(&full) && below >= 16_384, "{full} {below}");
        assert_eq!(taken(&places, Scarce::Disk, Duration::ZERO), [Some(0), Some(0), None, Some(0)]);
    }
}
