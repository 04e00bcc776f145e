//! Pods that are ended so that the node and the others live: while something runs short, one after another, those
//! first that use more than they asked for.
//!
//! Order, words and times are the kubelet's. Source:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>, and
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/eviction/helpers.go>.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{Pod, Taint};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Agent;
use crate::answers::UsedByPod;
use crate::pod::admission::Rejection;
use crate::pod::admission::place::tolerates;
use crate::pod::groups::requested;
use crate::pod::resources::{quality_of_service, quantity};
use crate::thresholds::{Pressure, Scarce, Short};

mod disk;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(10);
/// So long it is waited for one pod to end before another is ended.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// So long the node goes on saying that something runs short after it last did, so that pods do not come and go.
const TRANSITION: Duration = Duration::from_secs(300);
/// What is looked at together, beside the others: memory does not wait while a disk is walked through.
const TOGETHER: [&[Scarce]; 2] = [&[Scarce::Memory, Scarce::Pids], &[Scarce::Disk, Scarce::Inodes]];
/// Pods of this priority are needed by the node itself: they are not ended.
const CRITICAL: i32 = 2_000_000_000;
/// The reason of pods that are ended for what they use, or that find something short.
pub(crate) const EVICTED: &str = "Evicted";

/// What ran short, and when it did last, on the steady clock.
#[derive(Debug, Default)]
pub(crate) struct Pressures(Mutex<[Option<Duration>; 3]>);

impl Pressures {
    /// Takes what was found; gives what the node says.
    pub(crate) fn observe(&self, now: Duration, found: Pressure) -> Pressure {
        let mut last = self.0.lock();
        for (last, found) in last.iter_mut().zip([found.memory, found.disk, found.pids]) {
            if found {
                *last = Some(now);
            } else if last.is_some_and(|last| now.saturating_sub(last) >= TRANSITION) {
                *last = None;
            }
        }
        of(*last)
    }

    /// What the node says.
    fn current(&self) -> Pressure {
        of(*self.0.lock())
    }

    /// Refuses a pod for which there is not enough of what runs short.
    pub(crate) fn check(&self, pod: &Pod) -> Result<(), Rejection> {
        let pressure = self.current();
        let Pressure { memory, disk, pids } = pressure;
        if pressure == Pressure::default() || is_critical(pod) {
            return Ok(());
        }
        if memory && !disk && !pids && (quality_of_service(pod) != "BestEffort" || takes_little_memory(pod)) {
            return Ok(());
        }
        let named = [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pids)];
        let named: Vec<&str> = named.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
        let message = format!("The node had condition: [{}]. ", named.join(" "));
        Err(Rejection { reason: EVICTED.into(), message })
    }
}

fn of([memory, disk, pids]: [Option<Duration>; 3]) -> Pressure {
    Pressure { memory: memory.is_some(), disk: disk.is_some(), pids: pids.is_some() }
}

/// Whether a pod is one that may come though memory runs short.
fn takes_little_memory(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.into_iter().any(|toleration| tolerates(toleration, &taint))
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

fn is_critical(pod: &Pod) -> bool {
    priority(pod) >= CRITICAL
}

/// A pod that is to end.
#[derive(Debug)]
pub(crate) struct Eviction {
    pub(crate) uid: String,
    /// What is said of that.
    pub(crate) why: String,
    /// Told once the pod is cleared away.
    pub(crate) over: oneshot::Sender<()>,
}

/// A pod, and what it takes of what runs short, if that is known.
#[derive(Clone, Debug)]
struct Candidate {
    pod: Arc<Pod>,
    used: Option<i64>,
    /// Whether it takes no more than that: it may have more than could be looked at.
    is_all: bool,
    containers: Vec<(String, i64)>,
}

impl Candidate {
    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// The pod that is ended first. Of those of which nothing is known, or else of those that take more than they asked
/// for, or else of all, the one of the lowest priority; of several one that has more than could be looked at, or else
/// the one that takes most beyond what it asked for.
fn first<'a>(candidates: impl IntoIterator<Item = &'a Candidate>, of: Scarce) -> Option<&'a Candidate> {
    let may_end = candidates.into_iter().filter(|candidate| !is_critical(&candidate.pod));
    may_end.min_by_key(|candidate| {
        let asked = match of {
            Scarce::Memory | Scarce::Disk => requested(&candidate.pod, of.name()),
            // Nobody asks for them.
            Scarce::Inodes | Scarce::Pids => 0,
        };
        let beyond = candidate.used.map(|used| used.saturating_sub(asked));
        let keeps_to_it = match beyond {
            None => 0,
            // Everybody has processes.
            Some(beyond) if beyond > 0 || of == Scarce::Pids || !candidate.is_all => 1,
            Some(_) => 2,
        };
        (keeps_to_it, priority(&candidate.pod), candidate.is_all, Reverse(beyond))
    })
}

/// What is said of a pod that is ended.
fn message(short: &Short, candidate: &Candidate) -> String {
    let Short { of, least, free } = short;
    let name = of.name();
    let mut message =
        format!("The node was low on resource: {name}. Threshold quantity: {least}, available: {free}. ");
    let containers = || candidate.pod.spec.iter().flat_map(|spec| &spec.containers);
    // Of files and processes no container has asked for any.
    let asked_for = matches!(of, Scarce::Memory | Scarce::Disk);
    for (container, used) in candidate.containers.iter().filter(|_| asked_for) {
        let Some(spec) = containers().find(|spec| spec.name == *container) else { continue };
        let asked = quantity(spec.resources.as_ref().and_then(|all| all.requests.as_ref()), name);
        if *used > asked.map_or(0, |asked| asked.value()) {
            let (used, asked) =
                (of.quantity(*used), asked.map_or_else(|| "0".to_owned(), |asked| asked.to_string()));
            message.push_str(&format!(
                "Container {container} was using {used}, request is {asked}, has larger consumption of {name}. "
            ));
        }
    }
    message
}

/// The pod that is ended next: one that was not told yet, or else one that was and takes long.
fn next<'a>(candidates: &'a [Candidate], told: &HashSet<String>, of: Scarce) -> Option<&'a Candidate> {
    let untold = candidates.iter().filter(|candidate| !told.contains(candidate.uid()));
    first(untold, of).or_else(|| first(candidates, of))
}

impl Agent {
    /// Ends pods while something runs short, until `stop` is cancelled.
    pub(crate) async fn evict(&self, stop: CancellationToken) {
        let each = TOGETHER.map(|of| stop.run_until_cancelled(self.relieve(of)));
        futures::future::join_all(each).await;
    }

    /// Ends pods while one of these runs short.
    async fn relieve(&self, of: &[Scarce]) {
        let thresholds = &self.shared.config.reserves.thresholds;
        // Those that were told to end and take long, as long as something runs short.
        let mut told: HashSet<String> = HashSet::new();
        let mut warned = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            let supplies = crate::answers::supplies(&self.shared).await;
            self.shared.pressures.observe(self.shared.clock.elapsed(), thresholds.pressure(&supplies));
            let Some(short) = thresholds.shortest(&supplies, of) else {
                told.clear();
                warned = false;
                continue;
            };
            let candidates = self.candidates(short.of).await;
            let chosen = next(&candidates, &told, short.of);
            // It takes a while to look at disks, and what was removed before that a while to go.
            let again = thresholds.shortest(&crate::answers::supplies(&self.shared).await, of);
            let Some(short) = again.filter(|again| again.of == short.of) else { continue };
            match chosen {
                Some(chosen) if self.end(chosen, &short).await => {}
                Some(chosen) => drop(told.insert(chosen.uid().to_owned())),
                // It is so until something changes: that is said once.
                None if !std::mem::replace(&mut warned, true) => warn!(
                    of = short.of.name(),
                    free = short.free,
                    "the node runs short, and there is no pod to end for it"
                ),
                None => {}
            }
        }
    }

    /// Ends a pod, and clears away what it takes; gives whether that was done in time.
    async fn end(&self, chosen: &Candidate, short: &Short) -> bool {
        let (uid, why) = (chosen.uid().to_owned(), message(short, chosen));
        info!(uid, message = why, "ending a pod, since the node runs short");
        let (over, is_over) = oneshot::channel();
        // Nobody looks after pods any more: the node ends.
        let _ = self.shared.evictions.send(Eviction { uid: uid.clone(), why, over });
        let freed = async {
            is_over.await?;
            self.shared.runtime().removals_done().await;
            Ok::<_, oneshot::error::RecvError>(())
        };
        let in_time = matches!(tokio::time::timeout(ENDS_WITHIN, freed).await, Ok(Ok(())));
        if !in_time {
            warn!(uid, "a pod that was told to end, since the node runs short, takes long");
        }
        in_time
    }

    /// The pods that run, and what each takes.
    async fn candidates(&self, of: Scarce) -> Vec<Candidate> {
        let sample = self.sample().await;
        let of_group = |usage: &crate::runtime::Usage| {
            amount(if of == Scarce::Memory { usage.working_set } else { usage.pids })
        };
        let pods = sample.used_by_pods();
        if matches!(of, Scarce::Memory | Scarce::Pids) {
            let candidate = |of: UsedByPod| Candidate {
                pod: of.pod,
                used: of.usage.as_ref().map(of_group),
                is_all: true,
                containers: of.containers.into_iter().map(|(name, usage)| (name, of_group(&usage))).collect(),
            };
            return pods.into_iter().map(candidate).collect();
        }
        let pods = stream::iter(pods).map(|one| disk::on_disk(&self.shared, one.pod, of));
        pods.buffered(disk::AT_ONCE).collect().await
    }
}

fn amount(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, priority: i32, asked: &str, used: i64) -> Candidate {
        let requests = serde_json::json!({"memory": asked, "ephemeral-storage": asked});
        let pod = serde_json::json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": requests}}]},
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        let containers = vec![("c".to_owned(), used)];
        Candidate { pod: Arc::new(pod), used: Some(used), is_all: true, containers }
    }

    #[track_caller]
    fn check(of: Scarce, candidates: &[Candidate], order: &[&str]) {
        let (mut left, mut found) = (candidates.to_vec(), Vec::new());
        while let Some(chosen) = first(&left, of).map(|chosen| chosen.uid().to_owned()) {
            left.retain(|candidate| candidate.uid() != chosen);
            found.push(chosen);
        }
        assert_eq!(found, order);
    }

    #[test]
    fn who_takes_more_than_he_asked_for_ends_first() {
        let all = [
            candidate("critical", CRITICAL, "0", 1 << 40),
            candidate("modest", -5, "1Gi", 1 << 20),
            candidate("important", 100, "1Mi", 900 << 20),
            candidate("greedy", 0, "100Mi", 300 << 20),
            candidate("greedier", 0, "1Mi", 202 << 20),
            candidate("careful", 100, "2Gi", 1 << 30),
            candidate("exact", 0, "1Gi", 1 << 30),
        ];
        for of in [Scarce::Memory, Scarce::Disk] {
            check(of, &all, &["greedier", "greedy", "important", "modest", "exact", "careful"]);
        }
        // Nobody asks for files or processes: priority, then how many.
        let all = [
            candidate("few", 0, "0", 2),
            candidate("many", 0, "0", 500),
            candidate("important", 7, "0", 900),
            candidate("critical", CRITICAL + 1, "0", 9000),
            candidate("least", -1, "0", 1),
        ];
        for of in [Scarce::Pids, Scarce::Inodes] {
            check(of, &all, &["least", "many", "few", "important"]);
        }
        check(Scarce::Memory, &[candidate("critical", CRITICAL, "0", 1)], &[]);
    }

    #[test]
    fn who_cannot_be_measured_ends_first_and_who_was_told_last() {
        let hidden = Candidate { used: None, ..candidate("hidden", 9, "0", 0) };
        let all = [candidate("large", 0, "0", 1 << 40), candidate("small", 0, "0", 1), hidden];
        for of in [Scarce::Memory, Scarce::Disk, Scarce::Inodes] {
            check(of, &all, &["hidden", "large", "small"]);
        }
        // It asked for more than was seen of it.
        let countless = Candidate { is_all: false, ..candidate("countless", 0, "1Gi", 5) };
        let important = Candidate { is_all: false, ..candidate("important", 1, "0", 5) };
        check(Scarce::Disk, &[all[0].clone(), important, countless], &["countless", "large", "important"]);
        let next = |told: &[&str]| {
            let told = told.iter().map(|told| (*told).to_owned()).collect();
            next(&all, &told, Scarce::Disk).map(Candidate::uid)
        };
        assert_eq!(next(&[]), Some("hidden"));
        assert_eq!(next(&["hidden", "small"]), Some("large"));
        assert_eq!(next(&["hidden", "small", "large"]), Some("hidden"), "all were told: once more");
    }

    #[test]
    fn a_pod_is_told_why_it_ends() {
        let short = |of| Short { of, least: "100Mi".to_owned(), free: "96Mi".to_owned() };
        assert_eq!(
            message(&short(Scarce::Memory), &candidate("p", 0, "1Mi", 18_644_992)),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 96Mi. Container c was using \
             18208Ki, request is 1Mi, has larger consumption of memory. "
        );
        assert_eq!(
            message(&short(Scarce::Disk), &candidate("p", 0, "1Gi", 5)),
            "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: 96Mi. "
        );
        assert_eq!(
            message(&short(Scarce::Inodes), &candidate("p", 0, "1", 5)),
            "The node was low on resource: inodes. Threshold quantity: 100Mi, available: 96Mi. "
        );
        let mut unasked = candidate("p", 0, "1Gi", 5);
        unasked.pod = Arc::new(
            serde_json::from_value(serde_json::json!({"spec": {"containers": [{"name": "c"}]}}))
                .expect("a pod"),
        );
        assert!(message(&short(Scarce::Memory), &unasked).contains("was using 5, request is 0, has larger"));
    }

    #[test]
    fn what_ran_short_is_said_for_a_while() {
        let pressures = Pressures::default();
        let (none, seconds) = (Pressure::default(), Duration::from_secs);
        let memory = Pressure { memory: true, ..none };
        assert_eq!(pressures.observe(seconds(0), none), none);
        assert_eq!(pressures.observe(seconds(10), memory), memory);
        let both = Pressure { disk: true, ..memory };
        assert_eq!(pressures.observe(seconds(100), Pressure { disk: true, ..none }), both);
        assert_eq!(pressures.observe(seconds(309), none), both);
        assert_eq!(pressures.observe(seconds(310), none), Pressure { disk: true, ..none });
        assert_eq!(pressures.observe(seconds(400), none), none);
    }

    #[test]
    fn pods_that_find_something_short_are_refused() {
        let pod = |spec: serde_json::Value| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": spec})).expect("a pod")
        };
        let plain = pod(serde_json::json!({"containers": [{"name": "c"}]}));
        let asks = pod(serde_json::json!({
            "containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}],
        }));
        let tolerant = pod(serde_json::json!({
            "containers": [{"name": "c"}],
            "tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}],
        }));
        let critical = pod(serde_json::json!({"containers": [{"name": "c"}], "priority": CRITICAL}));
        let check = |found: Pressure, expected: [Option<&str>; 4]| {
            let pressures = Pressures::default();
            pressures.observe(Duration::ZERO, found);
            for (pod, expected) in [&plain, &asks, &tolerant, &critical].into_iter().zip(expected) {
                let outcome = pressures.check(pod).map_err(|rejection| rejection.message);
                let named = expected.map(|named| format!("The node had condition: [{named}]. "));
                assert_eq!(outcome.err(), named, "{found:?}");
            }
        };
        let (none, memory, disk) = (Pressure::default(), "MemoryPressure", "DiskPressure");
        check(none, [None; 4]);
        check(Pressure { memory: true, ..none }, [Some(memory), None, None, None]);
        check(Pressure { disk: true, ..none }, [Some(disk), Some(disk), Some(disk), None]);
        let both = Some("MemoryPressure DiskPressure");
        check(Pressure { memory: true, disk: true, ..none }, [both, both, both, None]);
    }
}
