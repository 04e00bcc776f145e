//! How probes went, counted since the daemon began.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::Answer;
use super::metrics::Text;
use crate::Agent;
use crate::probe::Kind;

/// The probes of all pods that there are, by uid.
#[derive(Default)]
pub(crate) struct Probed(Mutex<BTreeMap<String, OfPod>>);

#[derive(Default)]
struct OfPod {
    namespace: String,
    name: String,
    /// How many were good, and how many were not, by container and kind.
    counts: BTreeMap<(String, &'static str), [u64; 2]>,
}

impl Probed {
    /// One was made.
    pub(crate) fn count(&self, pod: &Pod, container: &str, kind: Kind, good: bool) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let metadata = &pod.metadata;
        let mut all = self.0.lock();
        let of = all.entry(text(&metadata.uid)).or_insert_with(|| OfPod {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            counts: BTreeMap::new(),
        });
        let counts = of.counts.entry((container.to_owned(), kind.as_str())).or_default();
        counts[usize::from(!good)] += 1;
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    fn text(&self) -> Text {
        let mut text = Text::default();
        let name = "prober_probe_total";
        let help =
            "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
        text.head(name, "counter", help);
        for (uid, of) in &*self.0.lock() {
            for ((container, kind), counts) in &of.counts {
                for (result, count) in ["successful", "failed"].into_iter().zip(counts) {
                    let labels = [
                        ("container", container.as_str()),
                        ("namespace", &of.namespace),
                        ("pod", &of.name),
                        ("pod_uid", uid),
                        ("probe_type", kind),
                        ("result", result),
                    ];
                    text.line(name, &labels, &count.to_string(), None);
                }
            }
        }
        text
    }
}

impl Agent {
    pub(super) fn probe_metrics(&self) -> Answer {
        self.shared.probed.text().answer()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_are_counted_by_how_they_went_as_long_as_there_is_their_pod() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let probed = Probed::default();
        for good in [true, false, true] {
            probed.count(&pod, "c", Kind::Liveness, good);
        }
        let labels = r#"container="c",namespace="n",pod="p",pod_uid="u",probe_type="Liveness""#;
        let text = probed.text().into_text();
        for line in [
            format!("prober_probe_total{{{labels},result=\"successful\"}} 2"),
            format!("prober_probe_total{{{labels},result=\"failed\"}} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        probed.forget("u");
        assert_eq!(probed.text().into_text().lines().count(), 2);
    }
}
