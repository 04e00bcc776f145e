//! The pods of a namespace that would not be let in under what is newly asked.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use apiserver::Context;
use model::{GroupResource, Object};

use super::checks::{findings, reasons};
use super::policy::Standard;
use super::{PodSecurity, pod_at};

/// So many pods are looked at, and for so long.
const MOST: usize = 3000;
const LONGEST: Duration = Duration::from_secs(1);

/// What has been found.
#[derive(Default)]
pub(super) struct Tally {
    /// How many pods there are that are not exempt.
    all: usize,
    /// How many of them were looked at.
    checked: usize,
    /// By what is wrong with them: the first by name, and how many there are.
    wrong: BTreeMap<String, (String, usize)>,
    /// Whose pods were looked at.
    controllers: HashSet<String>,
}

/// What whoever asks for it is told of the pods that are there. Those of one controller are much alike: one of each
/// is looked at before the others are.
pub(super) async fn warnings(
    plugin: &PodSecurity,
    context: &Context<'_>,
    namespace: &str,
    standard: Standard,
) -> Vec<String> {
    let pods = context.shown(&GroupResource::new("", "pods"), namespace);
    let end = context.elapsed() + LONGEST;
    let (mut tally, mut later) = (Tally::default(), Vec::new());
    for (index, shown) in pods.iter().enumerate() {
        // Others want to be answered meanwhile.
        tokio::task::yield_now().await;
        if context.elapsed() >= end {
            tally.all += pods.len() - index;
            later.clear();
            break;
        }
        let pod = shown.object();
        if tally.counts(plugin, &pod) && !tally.look(&pod, standard) {
            later.push(index);
        }
    }
    for index in later {
        tokio::task::yield_now().await;
        if tally.checked == MOST || context.elapsed() >= end {
            break;
        }
        tally.check(&pods[index].object(), standard);
    }
    tally.warnings(namespace, standard)
}

impl Tally {
    /// Whether a pod is one that is held to something.
    fn counts(&mut self, plugin: &PodSecurity, pod: &Object) -> bool {
        let counts = pod_at(pod, &[]).is_some_and(|pod| !plugin.is_exempt(&pod));
        self.all += usize::from(counts);
        counts
    }

    /// Looks at a pod, unless one of the same controller was looked at, or enough were.
    pub(super) fn look(&mut self, pod: &Object, standard: Standard) -> bool {
        let owners = pod.get_list(&["metadata", "ownerReferences"]);
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        let uid = controller.map(|controller| controller["uid"].as_str().unwrap_or_default().to_owned());
        if uid.is_some_and(|uid| !self.controllers.insert(uid)) || self.checked == MOST {
            return false;
        }
        self.check(pod, standard);
        true
    }

    pub(super) fn check(&mut self, object: &Object, standard: Standard) {
        self.checked += 1;
        let found = pod_at(object, &[]).map(|pod| findings(standard, &pod)).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let name = object.name();
        let (first, count) = self.wrong.entry(reasons(&found)).or_insert_with(|| (name.to_owned(), 0));
        *count += 1;
        if name < first.as_str() {
            name.clone_into(first);
        }
    }

    /// What is said of it.
    fn warnings(&self, namespace: &str, standard: Standard) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.checked < self.all {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {} of {} existing pods",
                self.checked, self.all
            ));
        }
        if !self.wrong.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {} violate the new PodSecurity enforce level \"{standard}\"",
                model::field::quote(namespace)
            ));
        }
        let mut pods: Vec<String> = self
            .wrong
            .iter()
            .map(|(wrong, (first, count))| match count {
                1 => format!("{first}: {wrong}"),
                2 => format!("{first} (and 1 other pod): {wrong}"),
                count => format!("{first} (and {} other pods): {wrong}", count - 1),
            })
            .collect();
        pods.sort();
        warnings.append(&mut pods);
        warnings
    }
}

#[cfg(test)]
mod tests;
