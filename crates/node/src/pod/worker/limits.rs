//! Volumes of a pod's own that may be so large and no larger: a pod that writes more into one is ended.
//!
//! Volumes in memory are limited by the kernel; for those on disk it is looked now and then, as a kubelet does.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::warn;

use super::{AGAIN, Message, Worker};
use crate::eviction::{EVICTED, Eviction};
use crate::pod::volumes;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(10);
/// How long it is looked at one volume at most, and how often it is looked at those that take longer.
const TIME: Duration = Duration::from_secs(60);
const PERIOD_OF_LARGE: Duration = Duration::from_secs(300);
/// How long the containers of such a pod may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// The condition of a pod that is ended for what it uses, and its reason: the kubelet's.
pub(super) const DISRUPTION: &str = "DisruptionTarget";
pub(super) const BY_KUBELET: &str = "TerminationByKubelet";

/// What was found of a pod's volumes.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// One that is larger than it may be, and the limit as the pod has it.
    over: Option<(String, String)>,
    /// Those that it took too long to look at.
    unknown: Vec<String>,
}

/// Whether what is below a directory takes more of the disk than so much; it is not looked further when that is known.
fn is_larger(place: &Path, bytes: u64, time: Duration) -> io::Result<bool> {
    let began = Instant::now();
    let mut larger = false;
    let measured = base::tree::size_until(place, |so_far| {
        larger = so_far.allocated > bytes;
        larger || began.elapsed() >= time
    });
    if larger { Ok(true) } else { measured.map(|size| size.allocated > bytes) }
}

/// Why a pod was to end for what it uses, as a daemon before this one said: at first in a condition, and once it had
/// ended as its reason.
pub(super) fn evicted_before(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let said = conditions.find(|condition| is_disruption(condition)).map(|said| said.message.clone());
    let told = (status.reason.as_deref() == Some(EVICTED)).then(|| status.message.clone());
    told.or(said.filter(|_| status.phase.as_deref() != Some("Succeeded"))).map(Option::unwrap_or_default)
}

/// Whether a condition says that the node ends a pod for what it uses.
fn is_disruption(condition: &PodCondition) -> bool {
    condition.type_ == DISRUPTION
        && condition.reason.as_deref() == Some(BY_KUBELET)
        && condition.status == "True"
}

impl Worker {
    /// The limits of volumes on disk: name, limit as the pod has it, bytes.
    fn limited(&self) -> Vec<(String, String, u64)> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let limited = volumes.filter_map(|volume| {
            let limit = volumes::own_on_disk(volume)?.size_limit.as_ref()?;
            let bytes = limit.0.parse::<model::Quantity>().ok()?.value();
            let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)?;
            Some((volume.name.clone(), limit.0.clone(), bytes))
        });
        limited.collect()
    }

    /// Has it looked how large they are, where that is due.
    pub(super) fn check_limits(&mut self) {
        if self.ended || self.evicted.is_some() || self.limits_next.is_none_or(|next| next > self.now()) {
            return;
        }
        // The next time is when this has come to something.
        self.limits_next = None;
        let limited = self.limited();
        if limited.is_empty() {
            return;
        }
        let limited: Vec<_> = limited
            .into_iter()
            .map(|(name, limit, bytes)| (self.volumes.place(&name), name, limit, bytes))
            .collect();
        let (shared, interrupt, mail) = (Arc::clone(&self.shared), self.interrupt.clone(), self.mail.clone());
        while self.measuring.try_join_next().is_some() {}
        // Nothing else of the pod waits for it, and nothing of others.
        self.measuring.spawn(async move {
            let mut measured = Measured::default();
            for (place, name, limit, bytes) in limited {
                let larger = shared.files.measure(move || is_larger(&place, bytes, TIME));
                let larger = tokio::select! {
                    larger = larger => larger,
                    () = interrupt.cancelled() => return,
                };
                match larger {
                    Ok(true) => {
                        measured.over = Some((name, limit));
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => measured.unknown.push(name),
                    Ok(false) | Err(_) => {}
                }
            }
            // A worker that has ended does not need it.
            let _ = mail.send(Message::Measured(measured));
        });
    }

    /// Ends the pod if a volume is larger than it may be.
    pub(super) fn take_measured(&mut self, measured: Measured) {
        self.limits_next = self.after(if measured.unknown.is_empty() { PERIOD } else { PERIOD_OF_LARGE });
        for name in measured.unknown {
            let message = format!(
                "EmptyDir volume \"{name}\" holds so many files that its size is not known after {TIME:?}: its limit \
                 is not enforced"
            );
            self.event(true, "StorageLimitNotEnforced", message);
        }
        if let Some((name, limit)) = measured.over {
            self.evict(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "));
        }
    }

    /// Ends the pod as the node runs short.
    pub(super) fn take_eviction(&mut self, eviction: Eviction) {
        self.told_to_end = true;
        self.evict(eviction.why);
        self.wait_for_end.push(eviction.over);
        let goes = self.gone || self.pod.metadata.deletion_timestamp.is_some();
        // It has ended by itself, or takes nothing any more.
        if self.cleared || self.ended && self.evicted.is_none() && !goes {
            self.tell_end();
        }
    }

    /// Tells all who wait for it that the pod is cleared away.
    pub(super) fn tell_end(&mut self) {
        for over in self.wait_for_end.drain(..) {
            // Nobody waits as long as that.
            let _ = over.send(());
        }
    }

    /// Whether the API has been told that the pod was ended for what it uses.
    fn is_told(&self) -> bool {
        let told = (self.published.phase.as_deref(), self.published.reason.as_deref());
        self.evicted.is_some() && told == (Some("Failed"), Some(EVICTED))
    }

    /// Whether the pod was ended for what it uses, and that was told: what is left of it says nothing more. Nothing where
    /// it cannot be seen what is left.
    pub(super) async fn was_evicted(&self) -> Option<bool> {
        if self.clearing || !self.is_told() {
            return Some(self.clearing);
        }
        // Somebody else may have said it of one that runs.
        self.observe().await.ok().map(|seen| seen.running().next().is_none())
    }

    /// Clears away what is left of a pod that was ended for what it uses, which would go on taking room until the pod is
    /// deleted. How it ended stays as it was told. Until it is, its containers stay: a daemon that begins meanwhile
    /// would not know that it ran.
    pub(super) async fn clear_evicted(&mut self) -> Option<Duration> {
        if self.cleared {
            return None;
        }
        self.clearing = true;
        let left = match self.volumes.remove(&self.shared.files).await {
            Ok(()) => None,
            Err(error) => Some(base::error::chain(&error).to_string()),
        };
        let mut is_refused = false;
        if let Some(unsent) = self.unsent.take()
            && let Err(error) = self.try_send(&unsent).await
        {
            if error.is_temporary() || error.status().is_some_and(|status| status.code >= 500) {
                self.unsent = Some(unsent);
                return self.after(AGAIN);
            }
            // What the API will not take however often it is told keeps nothing.
            is_refused = true;
        }
        self.publish_again = None;
        if !is_refused && !self.is_told() {
            // Somebody else wrote at the same moment: it is worked out and told once more.
            self.clearing = false;
            return self.after(AGAIN);
        }
        if let Some(message) = self.clear_away().await.err().or(left) {
            warn!(pod = %self.name(), error = message, "cannot clear away what an evicted pod takes");
            return self.after(super::terminate::CLEAR_AGAIN);
        }
        self.give_back();
        self.cleared = true;
        self.tell_end();
        None
    }

    /// Ends the pod for what it uses.
    pub(super) fn evict(&mut self, message: String) {
        if !self.ended && self.evicted.is_none() {
            self.event(true, EVICTED, message.clone());
            self.evicted = Some(message);
        }
    }

    /// Says in the status of a pod that is being ended that it is.
    pub(super) fn tell_disruption(&self, status: &mut PodStatus) {
        let Some(message) = &self.evicted else { return };
        let conditions = status.conditions.get_or_insert_default();
        if conditions.iter().any(is_disruption) {
            return;
        }
        conditions.retain(|known| known.type_ != DISRUPTION);
        conditions.push(PodCondition {
            type_: DISRUPTION.to_owned(),
            status: "True".to_owned(),
            reason: Some(BY_KUBELET.to_owned()),
            message: Some(message.clone()),
            last_transition_time: Some(Time(self.shared.clock.now())),
            ..PodCondition::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_is_found_in_time_or_it_is_said_that_it_took_too_long() {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("one"), vec![1; 8192]).expect("write");
        std::fs::File::create(directory.path().join("two")).expect("create").sync_all().expect("flush");
        std::fs::File::open(directory.path().join("one")).expect("open").sync_all().expect("flush");
        assert!(is_larger(directory.path(), 8191, TIME).expect("measured"));
        assert!(!is_larger(directory.path(), 1 << 20, TIME).expect("measured"));
        let over = is_larger(directory.path(), 1 << 20, Duration::ZERO).expect_err("there is no time");
        assert_eq!(over.kind(), io::ErrorKind::TimedOut);
    }
}
