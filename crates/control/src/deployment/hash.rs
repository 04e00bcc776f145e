//! The name of a template: its hash, in letters that form no words.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the pods of a deployment's sets apart.
pub(super) const LABEL: &str = "pod-template-hash";

const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template; `collisions` makes it another one where two templates share one.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut text = serde_json::to_vec(template).expect("a template is plain data");
    text.extend_from_slice(&collisions.unwrap_or(0).to_le_bytes());
    // The same in every version, or an upgrade would roll every deployment out anew.
    let hash = base::hash::fnv1a_32(&text);
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// Whether two templates are the same but for the label that carries the hash.
pub(super) fn same(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    without_label(one) == without_label(other)
}

fn without_label(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(LABEL);
    }
    template
}
