//! Which revision is that of a template, what a new one is, and which are too many: pure.

use std::cmp::Ordering;
use std::sync::Arc;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Map, Value, json};

use super::Kept;
use crate::ownership;

/// What a name is made of at most, before the hash.
const PREFIX: usize = 223;

/// Letters and digits that form no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What is to become of the history for a template.
#[derive(Debug)]
pub(super) enum Wanted {
    /// It is the newest already.
    Kept(Arc<ControllerRevision>),
    /// An earlier one is the same, and becomes the newest by this number.
    Renumbered(Arc<ControllerRevision>, i64),
    /// There is none: one with this number is made.
    New(i64),
}

/// What brings the history, the oldest first, to have a template as its newest.
pub(super) fn wanted(revisions: &[Arc<ControllerRevision>], template: &PodTemplateSpec) -> Wanted {
    let is_same = |revision: &ControllerRevision| template_of(revision).as_ref() == Some(template);
    let others = revisions.iter().filter(|revision| !is_same(revision));
    let next = others.map(|revision| revision.revision).max().unwrap_or(0).max(0).saturating_add(1);
    match revisions.iter().rfind(|revision| is_same(revision)) {
        None => Wanted::New(next),
        Some(revision) if revision.revision >= next => Wanted::Kept(revision.clone()),
        Some(revision) => Wanted::Renumbered(revision.clone(), next),
    }
}

/// By what revisions are in order: their numbers, then their age.
pub(super) fn order(revision: &ControllerRevision) -> (i64, Option<Timestamp>, &str) {
    let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (revision.revision, created, revision.name())
}

/// A revision of an object's template as it is now.
pub(super) fn make<S: Kept>(owner: &S, number: i64, collisions: i32) -> ControllerRevision {
    let template = owner.template();
    let data = patch(template);
    let hash = hash(&data, collisions);
    let mut labels = template.metadata.as_ref().and_then(|found| found.labels.clone()).unwrap_or_default();
    labels.insert(S::HASH.to_owned(), hash.clone());
    let name = owner.name();
    let prefix = &name[..name.floor_char_boundary(PREFIX)];
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: owner.namespace().map(str::to_owned),
            labels: Some(labels),
            annotations: owner.metadata().annotations.clone(),
            owner_references: ownership::owned_by(owner),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

/// Whether a revision that has the name of a new one is that of an object's template, and nobody else's.
pub(super) fn is_same<S: Kept>(revision: &ControllerRevision, owner: &S) -> bool {
    revision.controller().is_none_or(|found| found.uid == owner.uid()) && is_of(revision, owner)
}

/// Whether a revision keeps an object's template as it is now.
pub(crate) fn is_of<S: Kept>(revision: &ControllerRevision, owner: &S) -> bool {
    template_of(revision).as_ref() == Some(owner.template())
}

/// The template that a revision keeps; none where it keeps something else.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let RawExtension(data) = revision.data.as_ref()?;
    // `$patch` is no field of a template, and not read.
    serde_json::from_value(data.pointer("/spec/template")?.clone()).ok()
}

/// What leads back to a template: a strategic merge patch, as `kubectl rollout undo` applies it.
fn patch(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).expect("a template is plain data");
    template["$patch"] = json!("replace");
    sorted(json!({ "spec": { "template": template } }))
}

/// With the keys in order, as clients compare texts.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// The hash of what a revision keeps; `collisions` makes it another one where it is taken.
fn hash(data: &Value, collisions: i32) -> String {
    let hash = base::hash::fnv1a_32(format!("{data}{collisions}").as_bytes());
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// What of a history may be too much.
pub(crate) struct Surplus<'a> {
    /// All revisions but the newest, the oldest first.
    pub(crate) old: &'a [Arc<ControllerRevision>],
    pub(crate) limit: Option<i32>,
    /// Whether something is of a revision still.
    pub(crate) is_live: &'a dyn Fn(&ControllerRevision) -> bool,
    /// Whether such a one counts towards the limit.
    pub(crate) counts_live: bool,
}

impl Surplus<'_> {
    /// The revisions that are too many, the oldest first.
    pub(crate) fn revisions(&self) -> Vec<Arc<ControllerRevision>> {
        let dead: Vec<_> = self.old.iter().filter(|revision| !(self.is_live)(revision)).collect();
        let all = if self.counts_live { self.old.len() } else { dead.len() };
        let limit = usize::try_from(self.limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let excess = match all.cmp(&limit) {
            Ordering::Greater => all - limit,
            _ => 0,
        };
        dead.into_iter().take(excess).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
