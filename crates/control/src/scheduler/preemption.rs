//! Who would have to go so that a more important pod can come, and where it costs least: pure.
//!
//! On each node that a pod does not fit on because of others, all that are less important are taken away in
//! thought. If it fits then, as many as possible are let back, the most important ones first, and before all
//! others those whose budget of disruptions is used up. Of the nodes where this went well the one is chosen with
//! the fewest broken budgets, then the least important of the most important that would go, then the smallest
//! sum of their importance, then the fewest, then those that started last.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use base::Timestamp;
use client::ObjectKey;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::select::LabelSelector;

use super::cache::Resident;
use super::framework::{Framework, Questions, Refusal, Scene, Unfit};
use super::neighbour::Neighbour;
use super::node::NodeInfo;
use super::pod::{NodeName, PodInfo};

/// A node where a pod fits once others have gone.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) node: NodeName,
    /// Who has to go, the most important first.
    pub(super) victims: Vec<Resident>,
    /// How many of them have a budget that is used up.
    pub(super) broken: usize,
}

/// What came of looking for room.
#[derive(Debug)]
pub(super) enum Found {
    /// Room can be made there.
    Room(Candidate),
    /// The pod may not ask for it, or others go for it already: why.
    NotNow(&'static str),
    /// There is no such node: why.
    Nowhere(String),
}

/// How many pods may be disrupted, by budget.
#[derive(Debug, Default)]
pub(super) struct Budgets(HashMap<ObjectKey, Budget>);

#[derive(Debug)]
struct Budget {
    selector: LabelSelector,
    allowed: i32,
    /// Those that count as disrupted already.
    disrupted: BTreeSet<String>,
}

impl Budgets {
    pub(super) fn set(&mut self, key: ObjectKey, budget: &PodDisruptionBudget) {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        // One without a selector, or with one that cannot be read, is nobody's.
        let selector = selector.and_then(crate::selector).unwrap_or_else(LabelSelector::nothing);
        let status = budget.status.as_ref();
        let disrupted = status.iter().flat_map(|status| status.disrupted_pods.iter().flatten());
        let budget = Budget {
            selector,
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
            disrupted: disrupted.map(|(name, _)| name.clone()).collect(),
        };
        self.0.insert(key, budget);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// Which of these pods would break a budget if they all went in this order.
    fn broken(&self, pods: &[Resident]) -> Vec<bool> {
        let mut allowed: HashMap<&ObjectKey, i64> = HashMap::new();
        let mut is_broken = |resident: &Resident| {
            let neighbour = &*resident.share.neighbour;
            let mut broken = false;
            for (key, budget) in &self.0 {
                if !budget.covers(key, neighbour) || budget.disrupted.contains(&*resident.share.name) {
                    continue;
                }
                let left = allowed.entry(key).or_insert(i64::from(budget.allowed));
                *left -= 1;
                broken |= *left < 0;
            }
            broken
        };
        pods.iter().map(&mut is_broken).collect()
    }
}

impl Budget {
    fn covers(&self, key: &ObjectKey, pod: &Neighbour) -> bool {
        !pod.labels.is_empty()
            && key.namespace == pod.namespace
            && !self.selector.requirements().is_empty()
            && self.selector.match_values(|key| pod.labels.get(key).map(String::as_str))
    }
}

const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const NO_HELP: &str = "Preemption is not helpful for scheduling";

/// Looks for room for a pod that no node can take.
///
/// `residents` are the pods of a node; the nodes are looked at from the one at `start` on.
pub(super) fn find(
    framework: &Framework,
    pod: &PodInfo,
    scene: Scene<'_>,
    unfit: &Unfit,
    budgets: &Budgets,
    residents: &dyn Fn(&NodeName) -> Vec<Resident>,
    start: usize,
) -> Option<Found> {
    let preemption = framework.preemption?;
    if let Some(reason) = ineligible(pod, scene, unfit, residents) {
        return Some(Found::NotNow(reason));
    }
    let may_help = |refusal: &Refusal| !refusal.hopeless;
    let hopeful: Vec<usize> =
        unfit.refused.iter().filter(|(_, refusal)| may_help(refusal)).map(|(place, _)| *place).collect();
    let hopeful = match &unfit.whole {
        Some(refusal) if may_help(refusal) => (0..scene.nodes.len()).collect(),
        _ => hopeful,
    };
    let wanted = (hopeful.len() * preemption.percentage / 100).max(preemption.at_least).min(hopeful.len());
    let mut refused =
        Unfit { nodes: unfit.nodes, others: Some(Refusal::hopeless(NO_HELP)), ..Unfit::default() };
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    if !hopeful.is_empty()
        && let Ok((mut questions, _)) = framework.questions(pod, scene)
    {
        let first = start % hopeful.len();
        for &place in hopeful[first..].iter().chain(&hopeful[..first]) {
            let node = &scene.nodes[place];
            match on_node(&mut questions, pod, node, scene, budgets, residents(node.name())) {
                Ok(candidate) if candidate.broken == 0 => whole.push(candidate),
                Ok(candidate) => broken.push(candidate),
                Err(refusal) => refused.refused.push((place, refusal)),
            }
            if !whole.is_empty() && whole.len() + broken.len() >= wanted {
                break;
            }
        }
    }
    whole.append(&mut broken);
    Some(match whole.into_iter().min_by_key(Candidate::cost) {
        Some(candidate) => Found::Room(candidate),
        None => Found::Nowhere(refused.message("")),
    })
}

/// Why a pod may not have others go, or not again.
fn ineligible(
    pod: &PodInfo,
    scene: Scene<'_>,
    unfit: &Unfit,
    residents: &dyn Fn(&NodeName) -> Vec<Resident>,
) -> Option<&'static str> {
    if !pod.preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = pod.nominated.as_ref()?;
    let place = scene.nodes.binary_search_by(|node| node.name().cmp(nominated)).ok()?;
    let of_node = unfit.refused.iter().find(|(known, _)| *known == place).map(|(_, refusal)| refusal);
    if of_node.or(unfit.whole.as_ref()).or(unfit.others.as_ref()).is_some_and(|refusal| refusal.hopeless) {
        return None;
    }
    let goes_for_it =
        |resident: &Resident| resident.share.priority < pod.priority() && resident.standing.preempted;
    residents(nominated)
        .iter()
        .any(goes_for_it)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Who has to go on a node, or why that would not be enough.
fn on_node(
    questions: &mut Questions<'_>,
    pod: &PodInfo,
    node: &NodeInfo,
    scene: Scene<'_>,
    budgets: &Budgets,
    residents: Vec<Resident>,
) -> Result<Candidate, Refusal> {
    let less = |resident: &Resident| resident.share.priority < pod.priority();
    let mut potential: Vec<Resident> = residents.into_iter().filter(less).collect();
    if potential.is_empty() {
        return Err(Refusal::hopeless(NO_VICTIMS));
    }
    potential.sort_by(|one, other| one.importance().cmp(&other.importance()));
    let mut without = node.clone();
    for resident in &potential {
        without.taken.take_away(&resident.share);
        questions.shift(node, &resident.share, -1);
    }
    let found = match questions.refusal(pod, &without, scene) {
        Some((_, refusal)) => {
            potential.iter().for_each(|resident| questions.shift(node, &resident.share, 1));
            Err(refusal)
        }
        None => {
            let breaks = budgets.broken(&potential);
            let (mut victims, mut broken) = (Vec::new(), 0);
            // Those that would break a budget are let back first.
            for breaking in [true, false] {
                let some = potential.iter().zip(&breaks).filter(|(_, breaks)| **breaks == breaking);
                for (resident, _) in some {
                    without.taken.add(&resident.share);
                    questions.shift(node, &resident.share, 1);
                    if questions.refusal(pod, &without, scene).is_some() {
                        without.taken.take_away(&resident.share);
                        questions.shift(node, &resident.share, -1);
                        broken += usize::from(breaking);
                        victims.push(resident.clone());
                    }
                }
            }
            victims.iter().for_each(|resident| questions.shift(node, &resident.share, 1));
            victims.sort_by(|one, other| one.importance().cmp(&other.importance()));
            Ok(Candidate { node: node.name().clone(), victims, broken })
        }
    };
    match found {
        // It fits as it is: another filter looked at several nodes.
        Ok(candidate) if candidate.victims.is_empty() => Err(Refusal::hopeless(NO_VICTIMS)),
        found => found,
    }
}

impl Resident {
    /// The smallest comes first, and is the most important: the highest priority, the longest on its node.
    fn importance(&self) -> (Reverse<i32>, bool, Option<Timestamp>, &str) {
        // One that has not been taken up by its node has not begun yet.
        let started = self.standing.started;
        (Reverse(self.share.priority), started.is_none(), started, &self.uid)
    }
}

impl Candidate {
    /// The smallest costs least.
    fn cost(&self) -> impl Ord + use<> {
        let highest = self.victims.first().map(|victim| victim.share.priority);
        // So that none is less than nothing, and fewer of the same are less.
        let sum =
            self.victims.iter().map(|victim| i128::from(victim.share.priority) + (1 << 31)).sum::<i128>();
        let first = self.victims.iter().filter(|victim| Some(victim.share.priority) == highest);
        let earliest = first.map(|victim| (victim.standing.started.is_none(), victim.standing.started)).min();
        (self.broken, highest, sum, self.victims.len(), Reverse(earliest.unwrap_or((true, None))))
    }
}

#[cfg(test)]
mod tests;
