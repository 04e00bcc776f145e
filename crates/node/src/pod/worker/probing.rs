//! The probes of a pod's running containers: one task each, owned by the worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use super::{Message, Verdict};
use crate::agent::Shared;
use crate::pod::observe::Observation;
use crate::probe::{self, Attempt, Kind, Pace, Passed, Tally, Target, Timing};
use crate::runtime::ContainerId;

/// Verdicts by container, and the tasks that reach them. Dropping it ends the tasks.
pub(super) struct Probes {
    shared: Arc<Shared>,
    messages: mpsc::UnboundedSender<Message>,
    tasks: JoinSet<()>,
    followed: BTreeMap<String, Followed>,
}

/// One running instance whose probes are made.
struct Followed {
    instance: ContainerId,
    started: bool,
    ready: bool,
    condemned: Option<Kind>,
    tasks: BTreeMap<Kind, AbortHandle>,
}

impl Followed {
    /// It is to be killed: what it answers until then means nothing.
    fn condemn(&mut self, by: Kind) {
        self.condemned = Some(by);
        self.stop();
    }

    fn stop(&self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What probes and hooks of a running instance of `container` are made against.
pub(super) fn target(
    shared: &Shared,
    observation: &Observation,
    container: &Container,
    instance: &ContainerId,
) -> Target {
    let address = observation.sandbox.as_ref().and_then(|sandbox| sandbox.addresses.first().copied());
    Target {
        runtime: Arc::clone(&shared.machine.runtime),
        container: instance.clone(),
        address: address.unwrap_or(shared.config.address),
        ports: probe::named_ports(container),
    }
}

impl Probes {
    pub(super) fn new(shared: &Arc<Shared>, messages: mpsc::UnboundedSender<Message>) -> Self {
        Self { shared: Arc::clone(shared), messages, tasks: JoinSet::new(), followed: BTreeMap::new() }
    }

    /// Begins to probe what runs now and leaves what no longer does.
    pub(super) fn follow(
        &mut self,
        shared: &Arc<Shared>,
        pod: &Pod,
        observation: &Observation,
        published: &PodStatus,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let running = observation.latest(&container.name).filter(|latest| latest.is_running());
            let Some(latest) = running else {
                self.followed.remove(&container.name);
                continue;
            };
            if self.followed.get(&container.name).is_some_and(|followed| followed.instance == latest.id) {
                continue;
            }
            let target = target(shared, observation, container, &latest.id);
            // A container that was found ready before the daemon was restarted is ready until a
            // probe says otherwise: restarting the daemon takes nobody out of a service.
            let id = shared.container_uri(&latest.id);
            let mut statuses = published.container_statuses.iter().flatten();
            let known = statuses.find(|status| status.container_id.as_deref() == Some(&id));
            let was_started = known.and_then(|status| status.started).unwrap_or(false);
            let mut followed = Followed {
                instance: latest.id.clone(),
                started: container.startup_probe.is_none() || was_started,
                ready: container.readiness_probe.is_none() || known.is_some_and(|status| status.ready),
                condemned: None,
                tasks: BTreeMap::new(),
            };
            match &container.startup_probe {
                Some(probe) if !followed.started => {
                    self.begin(&mut followed, container, Kind::Startup, probe, target, pod);
                }
                _ => self.begin_lasting(&mut followed, container, &target, pod),
            }
            self.followed.insert(container.name.clone(), followed);
        }
    }

    /// Takes a verdict. One on an instance that is gone does not count.
    pub(super) fn take(&mut self, verdict: &Verdict) {
        let Some(followed) =
            self.followed.get_mut(&verdict.container).filter(|f| f.instance == verdict.instance)
        else {
            return;
        };
        match (verdict.kind, verdict.good) {
            (Kind::Startup, true) => followed.started = true,
            (Kind::Readiness, good) => followed.ready = good,
            (kind @ (Kind::Startup | Kind::Liveness), false) => followed.condemn(kind),
            (Kind::Liveness, true) => {}
        }
    }

    pub(super) fn is_started(&self, container: &str) -> bool {
        self.followed.get(container).is_some_and(|followed| followed.started)
    }

    pub(super) fn is_ready(&self, container: &str) -> bool {
        self.followed.get(container).is_some_and(|followed| followed.ready)
    }

    /// The probe that has found it dead.
    pub(super) fn condemned_by(&self, container: &str) -> Option<Kind> {
        self.followed.get(container)?.condemned
    }

    /// Ends all probes: the pod is being ended, and nothing is to be concluded from that.
    pub(super) fn stop(&mut self) {
        self.followed.clear();
        self.tasks.abort_all();
    }

    fn begin_lasting(&mut self, followed: &mut Followed, container: &Container, target: &Target, pod: &Pod) {
        if let Some(probe) = &container.liveness_probe {
            self.begin(followed, container, Kind::Liveness, probe, target.clone(), pod);
        }
        if let Some(probe) = &container.readiness_probe {
            self.begin(followed, container, Kind::Readiness, probe, target.clone(), pod);
        }
    }

    fn begin(
        &mut self,
        followed: &mut Followed,
        container: &Container,
        kind: Kind,
        probe: &Probe,
        target: Target,
        pod: &Pod,
    ) {
        let lasting = match kind {
            Kind::Startup => [
                container.liveness_probe.clone().map(|probe| (Kind::Liveness, probe)),
                container.readiness_probe.clone().map(|probe| (Kind::Readiness, probe)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Kind::Liveness | Kind::Readiness => Vec::new(),
        };
        let prober = Prober {
            shared: Arc::clone(&self.shared),
            messages: self.messages.clone(),
            container: container.name.clone(),
            pod: pod.clone(),
            target,
        };
        let probe = probe.clone();
        let handle = self.tasks.spawn(async move {
            if prober.run(kind, &probe).await && !lasting.is_empty() {
                let rest = lasting.iter().map(|(kind, probe)| prober.run(*kind, probe));
                futures::future::join_all(rest).await;
            }
        });
        followed.tasks.insert(kind, handle);
    }
}

/// Makes the probes of one instance.
struct Prober {
    shared: Arc<Shared>,
    messages: mpsc::UnboundedSender<Message>,
    container: String,
    pod: Pod,
    target: Target,
}

impl Prober {
    /// Probes for as long as the container runs; a startup probe until its verdict, which is returned.
    async fn run(&self, kind: Kind, probe: &Probe) -> bool {
        let timing = Timing::of(probe);
        tokio::time::sleep(timing.initial_delay).await;
        let begun = tokio::time::Instant::now();
        let (mut tally, mut pace) = (Tally::new(timing), Pace::new(kind, &timing));
        let mut attempt = Attempt { at: Duration::ZERO, counts: true };
        loop {
            tokio::time::sleep_until(begun + attempt.at).await;
            let outcome = probe::check(&self.target, probe, timing.timeout).await;
            let good = outcome.is_ok();
            self.shared.probed.count(&self.pod, &self.container, kind, good);
            if attempt.counts || good {
                self.tell(kind, &outcome);
                if let Some(good) = tally.add(good) {
                    if !self.decide(kind, good) {
                        return false;
                    }
                    if kind == Kind::Startup {
                        return good;
                    }
                }
            }
            attempt = pace.after(attempt, good, begun.elapsed());
        }
    }

    /// Whether somebody still wants to know.
    fn decide(&self, kind: Kind, good: bool) -> bool {
        let verdict = Verdict {
            container: self.container.clone(),
            instance: self.target.container.clone(),
            kind,
            good,
        };
        self.messages.send(Message::Verdict(verdict)).is_ok()
    }

    fn tell(&self, kind: Kind, outcome: &Result<Passed, String>) {
        let (reason, message) = match outcome {
            Ok(Passed::Well) => return,
            Ok(Passed::Warned(why)) => ("ProbeWarning", format!("{} probe warning: {why}", kind.as_str())),
            Err(why) => ("Unhealthy", format!("{} probe failed: {why}", kind.as_str())),
        };
        self.shared.container_event(&self.pod, &self.container, true, reason, message);
    }
}
