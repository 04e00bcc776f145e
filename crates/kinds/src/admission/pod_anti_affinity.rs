//! No pod keeps others from more than one node.

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;

/// Refuses pods that keep others out of a whole zone, for example.
pub(super) struct LimitPodHardAntiAffinityTopology;

const HOST: &str = "kubernetes.io/hostname";
const TERMS: [&str; 4] =
    ["spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];

impl Admission for LimitPodHardAntiAffinityTopology {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let pod = object.filter(|_| write.is_of("", "pods"));
        let wider = pod.and_then(|pod| wider(pod).map(|key| (pod, key)));
        at_once(match wider {
            None => Ok(()),
            Some((pod, key)) => Err(write.context.forbidden(
                pod,
                format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOST} is allowed"
                ),
            )),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// The first key by which a pod keeps others from more than its node.
fn wider(pod: &Object) -> Option<&str> {
    let keys = pod.get_list(&TERMS).iter().map(|term| term["topologyKey"].as_str().unwrap_or_default());
    keys.into_iter().find(|key| *key != HOST)
}
