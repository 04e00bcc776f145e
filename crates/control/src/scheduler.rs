//! The scheduler: gives each pod a node.
//!
//! The [`Planner`] thinks: it keeps the nodes with what is taken of them, and the pods that wait, from
//! events alone. Around it stands one loop, which takes in what the informers say, has one decision made
//! after the other, and writes them in the background: what was decided is counted at once, so that the
//! next pod is decided on what will be, not on what the API shows already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::recorder::Recorder;
use client::{Change, Typed};
use tokio::sync::mpsc;

use crate::Context;

mod amounts;
mod binding;
mod cache;
mod configuration;
mod devices;
mod event;
mod explain;
mod framework;
mod group_status;
mod groups;
mod hands;
mod meters;
mod neighbour;
mod news;
mod node;
mod planner;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod spread;
mod volumes;
mod workloads;
mod writes;

pub use configuration::{Configuration, ConfigurationError};
pub use devices::Allotment;
pub use explain::{Explanation, Obstacle, Verdict};
pub use planner::{Counts, Event, Incoming, Nomination, Outcome, Planner, Tries, Written};
pub use pod::PodId;
pub use volumes::Plan;

use hands::Hands;
use writes::Writes;

pub(crate) use meters::write as write_metrics;

/// So many decisions are being written at once at most.
const WRITING: usize = 64;

/// Runs the scheduler, which heeds PodGroups where there are such.
pub(crate) async fn run(context: Context, configuration: Arc<Configuration>, heeds_groups: bool) {
    let stop = context.stop.clone();
    // Events come from the scheduler that a pod has asked for.
    let (mut recorders, mut writers) = (HashMap::new(), Vec::new());
    for profile in &configuration.profiles {
        let clock = Arc::clone(&context.clock);
        let (recorder, writer) = Recorder::new(&context.client, &profile.name, None, clock);
        recorders.insert(profile.name.clone(), recorder);
        writers.push(writer.run(stop.clone()));
    }
    let scheduling = stop.run_until_cancelled(schedule(context, &configuration, heeds_groups, recorders));
    tokio::join!(scheduling, futures::future::join_all(writers));
}

async fn schedule(
    context: Context,
    configuration: &Configuration,
    heeds_groups: bool,
    recorders: HashMap<String, Recorder>,
) {
    let (sender, mut events) = mpsc::unbounded_channel();
    // Whoever joins late is told first all that is there: the first decision is made on the whole. What pods
    // are decided by comes before them.
    let watch = Watch { context: &context, sender };
    watch.one(Event::of_namespace).await;
    watch.one(Event::of_class).await;
    watch.one(Event::of_csi_node).await;
    watch.one(Event::of_driver).await;
    watch.one(Event::of_capacity).await;
    watch.one(Event::of_volume).await;
    watch.one(Event::of_claim).await;
    watch.one(Event::of_device_class).await;
    watch.one(Event::of_slice).await;
    watch.one(Event::of_device_claim).await;
    watch.one(Event::of_service).await;
    watch.one(Event::of_replica_set).await;
    watch.one(Event::of_stateful_set).await;
    watch.one(Event::of_replication_controller).await;
    watch.one(Event::of_budget).await;
    if heeds_groups {
        watch.one(Event::of_pod_group).await;
    }
    watch.one(Event::of_node).await;
    watch.each(Event::of_pod).await;
    drop(watch);
    let now = || context.clock.elapsed();
    let mut planner = Planner::with(configuration).heeding_pod_groups(heeds_groups);
    let mut writes = Writes::default();
    let mut hands = Hands::new(context.clone(), configuration, heeds_groups, recorders);
    loop {
        meters::pending(planner.waiting());
        meters::incoming(planner.take_incoming());
        while let Ok(event) = events.try_recv() {
            planner.apply(event, now());
        }
        while let Some((pod, written)) = writes.try_next() {
            hands.note(&mut planner, &pod, written);
        }
        let may_write = writes.busy() < WRITING;
        let began = now();
        if may_write && let Some(outcome) = decide(&mut planner, began) {
            hands.act(&mut planner, &mut writes, outcome, began);
            // The loop has neighbours in its task.
            tokio::task::yield_now().await;
            continue;
        }
        let due = planner.next_due().filter(|_| may_write).map(|due| due.saturating_sub(now()));
        tokio::select! {
            Some(event) = events.recv() => planner.apply(event, now()),
            Some((pod, written)) = writes.next() => hands.note(&mut planner, &pod, written),
            () = tokio::time::sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => {}
            else => return,
        }
    }
}

/// The next decision. One about the pods of a large group looks at each of them: what else this worker has to do is
/// done by another meanwhile.
fn decide(planner: &mut Planner, now: Duration) -> Option<Outcome> {
    match planner.may_take_long() {
        true => offload::in_place(|| planner.decide(now)),
        false => planner.decide(now),
    }
}

/// Turns what informers say into events.
struct Watch<'a> {
    context: &'a Context,
    sender: mpsc::UnboundedSender<Event>,
}

impl Watch<'_> {
    async fn one<K: Typed>(&self, event: fn(&Change<K>) -> Event) {
        self.each(move |change| std::iter::once(event(change))).await;
    }

    async fn each<K: Typed, I: Iterator<Item = Event>>(
        &self,
        events: impl Fn(&Change<K>) -> I + Send + Sync + 'static,
    ) {
        let informer = self.context.informers.of::<K>();
        informer.store().synced().await;
        let tell = self.sender.clone();
        informer.on_change(move |change| {
            if !tell.is_closed() {
                events(change).for_each(|event| drop(tell.send(event)));
            }
        });
    }
}
