//! Why no node can take a pod, in Kubernetes' words and order.

use super::{Histogram, Refusal, Unfit};

impl Unfit {
    /// The whole sentence, with what came of making room.
    pub(in crate::scheduler) fn message(&self, afterwards: &str) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let reasons = match &self.whole {
            Some(refusal) => refusal.reasons.join(", "),
            None => self.reasons(),
        };
        let mut message = format!("0/{} nodes are available:", self.nodes);
        if !reasons.is_empty() {
            message = format!("{message} {reasons}.");
        }
        if !afterwards.is_empty() {
            message = format!("{message} {afterwards}");
        }
        message
    }

    /// How many nodes refuse it for each reason.
    fn reasons(&self) -> String {
        let mut histogram = Histogram::new();
        let mut count = |refusal: &Refusal, nodes: usize| {
            for reason in refusal.reasons.iter().filter(|_| nodes > 0) {
                *histogram.entry(reason.clone()).or_default() += nodes;
            }
        };
        self.refused.iter().for_each(|(_, refusal)| count(refusal, 1));
        if let Some(others) = &self.others {
            count(others, self.nodes.saturating_sub(self.refused.len()));
        }
        let mut parts: Vec<String> =
            histogram.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort_unstable();
        parts.join(", ")
    }
}
