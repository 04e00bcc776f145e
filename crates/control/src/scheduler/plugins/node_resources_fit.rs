//! Whether a node has what the pod asks for, and how much is left.

use std::borrow::Cow;

use crate::scheduler::configuration::{Fit, Profile, Strategy};
use crate::scheduler::explain::shown;
use crate::scheduler::framework::{FULL, Filter, Prepared, Refusal, Scene, Score};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that have too little left of something, or too many pods; prefers those of which
/// least is taken, unless it is told otherwise.
pub(super) struct NodeResourcesFit {
    fit: Fit,
}

impl NodeResourcesFit {
    pub(super) fn of(profile: &Profile) -> Self {
        Self { fit: profile.fit.clone() }
    }

    fn ignores(&self, name: &str) -> bool {
        let group = name.split_once('/').map(|(group, _)| group);
        self.fit.ignored.iter().any(|ignored| ignored == name)
            || group.is_some_and(|group| self.fit.ignored_groups.iter().any(|ignored| ignored == group))
    }
}

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn cure(&self, pod: &PodInfo, node: &NodeInfo) -> Option<String> {
        let (all, taken) = (&node.facts.allocatable, &node.taken);
        if taken.pods as i128 >= all.get("pods") {
            return Some(format!("the node has {} pods, and takes no more", taken.pods));
        }
        let wanted = pod.share.requests.iter().filter(|(name, amount)| *amount > 0 && !self.ignores(name));
        let short = wanted.filter_map(|(name, amount)| {
            let (all, left) = (all.get(name), all.get(name) - taken.requested.get(name));
            let [wanted, left_shown, all] = [amount, left.max(0), all].map(|amount| shown(name, amount));
            (amount > left)
                .then(|| format!("{wanted} {name} is asked for, and {left_shown} of {all} is free"))
        });
        let short: Vec<String> = short.collect();
        (!short.is_empty()).then(|| short.join("; "))
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_ALLOCATABLE | News::POD_LEFT | News::POD_SHRANK
    }

    /// One of the filters that give several reasons at once.
    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        let wanted = pod.share.requests.iter().filter(|(name, amount)| *amount > 0 && !self.ignores(name));
        let wanted: Vec<(&str, i128, Cow<'static, str>)> = wanted
            .map(|(name, amount)| {
                let reason = match name {
                    "cpu" => Cow::Borrowed("Insufficient cpu"),
                    "memory" => Cow::Borrowed("Insufficient memory"),
                    name => Cow::Owned(format!("Insufficient {name}")),
                };
                (name, amount, reason)
            })
            .collect();
        Prepared::asks(move |node: &NodeInfo| {
            let (all, taken) = (&node.facts.allocatable, &node.taken);
            let (mut reasons, mut hopeless) = (Vec::new(), false);
            if taken.pods as i128 >= all.get("pods") {
                reasons.push("Too many pods".into());
            }
            for (name, amount, reason) in &wanted {
                let allocatable = all.get(name);
                if *amount > allocatable - taken.requested.get(name) {
                    reasons.push(reason.clone());
                    hopeless |= *amount > allocatable;
                }
            }
            (!reasons.is_empty()).then_some(Refusal { reasons, hopeless })
        })
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let score = |node: &&NodeInfo| {
            let (mut sum, mut weights) = (0, 0);
            for (name, weight) in &self.fit.resources {
                let Some((capacity, taken)) = taken_with(pod, node, name) else { continue };
                let score = self.of_resource(capacity, taken);
                // What has no score by a line does not count at all.
                if matches!(self.fit.strategy, Strategy::Ratio(_)) && score == 0 {
                    continue;
                }
                sum += score * weight;
                weights += weight;
            }
            match (&self.fit.strategy, weights) {
                (_, 0) => 0,
                (Strategy::Ratio(_), weights) => (sum as f64 / weights as f64).round() as i64,
                (_, weights) => sum / weights,
            }
        };
        Some(nodes.iter().map(score).collect())
    }
}

impl NodeResourcesFit {
    fn of_resource(&self, capacity: i128, taken: i128) -> i64 {
        let full = i128::from(FULL);
        let score = match &self.fit.strategy {
            Strategy::Least if taken > capacity => 0,
            Strategy::Least => (capacity - taken) * full / capacity,
            Strategy::Most => taken.min(capacity) * full / capacity,
            Strategy::Ratio(line) => {
                let percent = if taken > capacity { full } else { taken * full / capacity };
                return on_line(line, i64::try_from(percent).unwrap_or(FULL));
            }
        };
        i64::try_from(score).unwrap_or(0)
    }
}

/// How much of a resource there is on a node, and how much of it would be taken with the pod; nothing if it does
/// not count. Pods that say nothing count for something.
fn taken_with(pod: &PodInfo, node: &NodeInfo, name: &str) -> Option<(i128, i128)> {
    let capacity = node.facts.allocatable.get(name);
    let taken = match name {
        "cpu" => node.taken.scored[0] + pod.share.scored[0],
        "memory" => node.taken.scored[1] + pod.share.scored[1],
        _ => {
            let wanted = pod.share.requests.get(name);
            if wanted == 0 && name != "ephemeral-storage" {
                return None;
            }
            node.taken.requested.get(name) + wanted
        }
    };
    (capacity > 0).then_some((capacity, taken))
}

/// The height of a line at a place, which is level outside of its points.
fn on_line(line: &[(i64, i64)], at: i64) -> i64 {
    let mut before: Option<(i64, i64)> = None;
    for &(place, height) in line {
        if at <= place {
            return match before {
                Some((from, start)) => start + (height - start) * (at - from) / (place - from),
                None => height,
            };
        }
        before = Some((place, height));
    }
    before.map_or(0, |(_, height)| height)
}
