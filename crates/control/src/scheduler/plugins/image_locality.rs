//! Nodes that have a pod's images already.

use crate::scheduler::framework::{FULL, Scene, Score};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Prefers nodes that have most of what would have to be pulled.
pub(super) struct ImageLocality;

const MI: i64 = 1 << 20;
/// Less than this is pulled at once anyway.
const LITTLE: i64 = 23 * MI;
/// More than this for each container makes no difference any more.
const MUCH: i64 = 1000 * MI;

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    /// What only few nodes have counts for less: it would draw all pods to them.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        if scene.images.is_empty() || pod.images.is_empty() {
            return None;
        }
        let all = scene.nodes.len() as f64;
        let parts = pod.images.iter().map(|image| {
            let having = scene.images.get(image.as_str()).copied().unwrap_or(0);
            (image.as_str(), having as f64 / all)
        });
        let parts: Vec<(&str, f64)> = parts.filter(|(_, part)| *part > 0.0).collect();
        if parts.is_empty() {
            return None;
        }
        let most = i64::try_from(pod.images.len()).ok()?.saturating_mul(MUCH);
        let score = |node: &&NodeInfo| {
            let sizes =
                parts.iter().filter_map(|(image, part)| Some((*node.facts.images.get(*image)?, part)));
            let sum: i64 = sizes.map(|(size, part)| (size as f64 * part) as i64).sum();
            FULL * (sum.clamp(LITTLE, most) - LITTLE) / (most - LITTLE)
        };
        Some(nodes.iter().map(score).collect())
    }
}
