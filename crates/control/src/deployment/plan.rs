//! The thinking half of the Deployment controller: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rolling::{Bounds, Part, Share, grow, shrink, spread};
use super::{hash, replicas, revision};
use crate::ownership::owned_by;

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Make the set of a new template.
    Create(Box<ReplicaSet>),
    /// Bring a set's replicas and annotations up to date.
    Update {
        /// The set.
        set: Arc<ReplicaSet>,
        /// Replicas that it is to have.
        replicas: i32,
        /// Annotations to set.
        annotations: BTreeMap<String, String>,
    },
    /// Remove a set that is too old to go back to.
    Delete(Arc<ReplicaSet>),
    /// Note the newest revision on the deployment.
    Annotate(String),
}

/// What brings a deployment closer to what is wanted. `old_pods_run` says whether pods of sets
/// other than the newest are still there: a deployment that recreates waits for them.
pub(super) fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], old_pods_run: bool) -> Vec<Step> {
    let wanted = wanted(deployment);
    let spec = deployment.spec.clone().unwrap_or_default();
    let newest = newest(deployment, sets);
    let mut old: Vec<&Arc<ReplicaSet>> =
        sets.iter().filter(|set| newest.is_none_or(|newest| newest.uid() != set.uid())).collect();
    old.sort_by_key(|set| {
        (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.name().to_owned())
    });
    let bounds = bounds(deployment);
    let sizes = Sizes {
        wanted,
        most: if recreates(deployment) { wanted } else { wanted.saturating_add(bounds.surge) },
    };
    let paused = spec.paused.unwrap_or(false);

    let mut steps = Vec::new();
    let last = old.iter().map(|set| revision::of(&set.metadata)).max().unwrap_or(0);
    let Some(newest) = newest else {
        // What is there is brought to its size first: the new set is then counted against that.
        if paused || is_scaled(deployment, sets) {
            return scale(deployment, None, &old, sizes);
        }
        let next = last.saturating_add(1).to_string();
        let first = match recreates(deployment) {
            true if old.iter().any(|set| replicas(set) > 0) || old_pods_run => 0,
            true => wanted,
            false => {
                let shares: Vec<Share> = old.iter().map(|set| share(set)).collect();
                grow(wanted, bounds, Share { replicas: 0, available: 0 }, &shares)
            }
        };
        steps.push(Step::Create(Box::new(new_set(deployment, first, &next, sizes))));
        steps.push(Step::Annotate(next));
        return steps;
    };

    let revised = last.saturating_add(1).max(revision::of(&newest.metadata)).to_string();
    let mut annotations = revision::copied(&deployment.metadata);
    annotations.insert(revision::ANNOTATION.to_owned(), revised.clone());
    let before = revision::of(&newest.metadata);
    if before > 0 && before.to_string() != revised {
        let known =
            newest.metadata.annotations.as_ref().and_then(|annotations| annotations.get(revision::HISTORY));
        let history = known.map_or_else(|| before.to_string(), |known| format!("{known},{before}"));
        annotations.insert(revision::HISTORY.to_owned(), history);
    }
    if paused || is_scaled(deployment, sets) {
        steps.extend(update(newest, replicas(newest), annotations, None));
        steps.extend(scale(deployment, Some(newest), &old, sizes));
        return steps;
    }

    let shares: Vec<Share> = old.iter().map(|set| share(set)).collect();
    let (grown, shrunk) = if recreates(deployment) {
        let all_gone = old.iter().all(|set| replicas(set) == 0) && !old_pods_run;
        (if all_gone { wanted } else { replicas(newest) }, vec![0; old.len()])
    } else {
        let grown = grow(wanted, bounds, share(newest), &shares);
        let new = Share { replicas: grown, ..share(newest) };
        (grown, shrink(wanted, bounds, new, &shares))
    };
    steps.extend(update(newest, grown, annotations, Some(sizes)));
    for (set, fewer) in old.iter().zip(&shrunk).filter(|(set, fewer)| replicas(set) != **fewer) {
        steps.extend(update(set, *fewer, BTreeMap::new(), Some(sizes)));
    }
    if revision::of(&deployment.metadata).to_string() != revised {
        steps.push(Step::Annotate(revised));
    }
    if is_complete(deployment, newest, &old) {
        steps.extend(too_old(&old, spec.revision_history_limit).into_iter().map(Step::Delete));
    }
    steps
}

/// Whether old pods end before new ones begin.
pub(super) fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// The set of the deployment's present template; the oldest, should there be several.
pub(super) fn newest<'a>(
    deployment: &Deployment,
    sets: &'a [Arc<ReplicaSet>],
) -> Option<&'a Arc<ReplicaSet>> {
    let template = deployment.spec.as_ref()?.template.clone();
    let fits = |set: &&Arc<ReplicaSet>| {
        let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        own.is_some_and(|own| hash::same(own, &template))
    };
    sets.iter().filter(fits).min_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Replicas that the deployment wants.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The bounds of its rolling update.
pub(super) fn bounds(deployment: &Deployment) -> Bounds {
    let rolling = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref())
        .and_then(|s| s.rolling_update.as_ref());
    Bounds::new(
        wanted(deployment),
        rolling.and_then(|rolling| rolling.max_surge.as_ref()),
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
    )
}

/// What sets note about the deployment when they are scaled.
#[derive(Clone, Copy)]
struct Sizes {
    wanted: i32,
    most: i32,
}

impl Sizes {
    fn annotations(self) -> [(String, String); 2] {
        [
            (revision::DESIRED.to_owned(), self.wanted.to_string()),
            (revision::MOST.to_owned(), self.most.to_string()),
        ]
    }
}

fn share(set: &ReplicaSet) -> Share {
    let available = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    Share { replicas: replicas(set), available }
}

/// Whether the wanted number changed since the sets were scaled last.
fn is_scaled(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
    let active: Vec<_> = sets.iter().filter(|set| replicas(set) > 0).collect();
    // One that recreates has pods of several only until the old ones are told to end.
    if recreates(deployment) && active.len() > 1 {
        return false;
    }
    let differs = |noted: i32| noted != wanted(deployment);
    active.iter().any(|set| noted(set, revision::DESIRED).is_some_and(differs))
}

/// Follows a change of the wanted number without going on with the rollout. `old` are the other sets,
/// oldest first.
fn scale(
    deployment: &Deployment,
    newest: Option<&Arc<ReplicaSet>>,
    old: &[&Arc<ReplicaSet>],
    sizes: Sizes,
) -> Vec<Step> {
    let mut all: Vec<&Arc<ReplicaSet>> = old.iter().copied().chain(newest).collect();
    let latest = all.last().copied();
    all.retain(|set| replicas(set) > 0);
    let to = |set: &Arc<ReplicaSet>, replicas| update(set, replicas, BTreeMap::new(), Some(sizes));
    let single = match all.as_slice() {
        [] => Some(latest),
        [only] => Some(Some(*only)),
        _ => None,
    };
    if let Some(single) = single {
        return single.into_iter().flat_map(|set| to(set, sizes.wanted)).collect();
    }
    // The rollout is at its end, and what is left of old sets is not part of it.
    if newest.is_some_and(|newest| is_saturated(newest, sizes.wanted)) {
        let old = old.iter().filter(|set| replicas(set) > 0);
        return old.flat_map(|set| to(set, 0)).collect();
    }
    let known = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let part = |set: &&Arc<ReplicaSet>| Part {
        replicas: replicas(set),
        most: noted(set, revision::MOST).filter(|&most| most > 0).unwrap_or(known),
    };
    let total: i64 = all.iter().map(|set| i64::from(replicas(set))).sum();
    // Of equals more are added to newer ones, and fewer taken from them. They come oldest first.
    if i64::from(sizes.most) > total && sizes.wanted > 0 {
        all.reverse();
    }
    all.sort_by_key(|set| std::cmp::Reverse(replicas(set)));
    let parts: Vec<Part> = all.iter().map(part).collect();
    let spread = spread(&parts, sizes.wanted, sizes.most);
    all.iter().zip(spread).flat_map(|(set, replicas)| to(set, replicas)).collect()
}

/// Whether a set has all the pods that are wanted, and knows it.
fn is_saturated(set: &ReplicaSet, wanted: i32) -> bool {
    let share = share(set);
    share.replicas == wanted && share.available == wanted && noted(set, revision::DESIRED) == Some(wanted)
}

/// A number that is noted on a set.
fn noted(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// An update, unless everything is as it should be.
fn update(
    set: &Arc<ReplicaSet>,
    to: i32,
    mut annotations: BTreeMap<String, String>,
    sizes: Option<Sizes>,
) -> Vec<Step> {
    annotations.extend(sizes.into_iter().flat_map(Sizes::annotations));
    let current = set.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, value| current.get(key) != Some(value));
    if annotations.is_empty() && replicas(set) == to {
        return Vec::new();
    }
    vec![Step::Update { set: Arc::clone(set), replicas: to, annotations }]
}

fn new_set(deployment: &Deployment, first: i32, revision: &str, sizes: Sizes) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(hash::LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(hash::LABEL.to_owned(), hash.clone());
    let mut annotations = revision::copied(&deployment.metadata);
    annotations.insert(revision::ANNOTATION.to_owned(), revision.to_owned());
    annotations.extend(sizes.annotations());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: owned_by(deployment),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(first),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Whether the rollout has come to its end.
fn is_complete(deployment: &Deployment, newest: &ReplicaSet, old: &[&Arc<ReplicaSet>]) -> bool {
    let wanted = wanted(deployment);
    let new = share(newest);
    let remaining =
        |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas).max(replicas(set));
    new.replicas == wanted && new.available >= wanted && old.iter().all(|set| remaining(set) == 0)
}

/// Old sets beyond the limit of the history, oldest first.
fn too_old(old: &[&Arc<ReplicaSet>], limit: Option<i32>) -> Vec<Arc<ReplicaSet>> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX);
    let mut idle: Vec<&Arc<ReplicaSet>> = old
        .iter()
        .copied()
        .filter(|set| replicas(set) == 0 && set.metadata.deletion_timestamp.is_none())
        .collect();
    idle.sort_by_key(|set| revision::of(&set.metadata));
    idle.iter().take(idle.len().saturating_sub(limit)).map(|set| Arc::clone(set)).collect()
}

#[cfg(test)]
mod tests;
