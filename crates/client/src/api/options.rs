//! What can be asked beyond the verb itself.

use model::select::{FieldSelector, LabelSelector};
use serde_json::{Map, Value, json};

use crate::client::Call;

/// Which objects of a kind, and how many at once.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// By their labels.
    pub labels: Option<LabelSelector>,
    /// By their fields.
    pub fields: Option<FieldSelector>,
    /// How many at most in one answer.
    pub limit: Option<usize>,
    /// Where to go on: the token of the page before.
    pub continue_token: Option<String>,
    /// As of which revision at least; `0` for whatever the server has at hand.
    pub resource_version: Option<String>,
}

/// From where on to watch, besides which objects.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// By their labels.
    pub labels: Option<LabelSelector>,
    /// By their fields.
    pub fields: Option<FieldSelector>,
    /// Tell what happened after this revision; empty for what is there now and then what happens.
    pub resource_version: String,
    /// Tell the revision reached from time to time.
    pub bookmarks: bool,
    /// How long the server should keep the watch open, in seconds.
    pub timeout_seconds: Option<u32>,
}

/// How to create or update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do all but keep the result.
    pub dry_run: bool,
    /// Who manages the fields that are set.
    pub field_manager: Option<String>,
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 6902: a list of operations.
    Json(Value),
    /// RFC 7396: what is there replaces, `null` takes away.
    Merge(Value),
    /// Kubernetes' own: as a merge, but lists are merged by the keys of their items.
    Strategic(Value),
    /// Server-side apply: all the fields that the manager wants, and no others.
    Apply(Value),
}

/// How to patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOptions {
    /// Do all but keep the result.
    pub dry_run: bool,
    /// Who manages the fields that are set; needed for [`Patch::Apply`].
    pub field_manager: Option<String>,
    /// Take fields over from other managers; for [`Patch::Apply`] only.
    pub force: bool,
}

/// How to apply: shorthand for the options of a [`Patch::Apply`].
pub type ApplyOptions = PatchOptions;

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// How long the object may take to go, in seconds; 0 for at once.
    pub grace_period_seconds: Option<u32>,
    /// What becomes of what it owns.
    pub propagation: Option<Propagation>,
    /// What must hold.
    pub preconditions: Preconditions,
    /// Do all but keep the result.
    pub dry_run: bool,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They lose their owner and stay.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// What must hold for an object to be deleted; the rest is a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// It is this one, and not another of the same name.
    pub uid: Option<String>,
    /// It is as it was at this revision.
    pub resource_version: Option<String>,
}

impl ListOptions {
    /// Only what these labels select.
    pub fn labels(mut self, selector: LabelSelector) -> Self {
        self.labels = Some(selector);
        self
    }

    /// Only what these fields select.
    pub fn fields(mut self, selector: FieldSelector) -> Self {
        self.fields = Some(selector);
        self
    }

    /// At most so many in one answer.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) fn add_to(&self, call: Call) -> Call {
        let call = add_selectors(call, self.labels.as_ref(), self.fields.as_ref());
        let call = add(call, "limit", self.limit.map(|limit| limit.to_string()));
        let call = add(call, "continue", self.continue_token.clone());
        add(call, "resourceVersion", self.resource_version.clone())
    }
}

impl WatchOptions {
    /// What happened after `resource_version`, with bookmarks.
    pub fn after(resource_version: impl Into<String>) -> Self {
        Self {
            labels: None,
            fields: None,
            resource_version: resource_version.into(),
            bookmarks: true,
            timeout_seconds: None,
        }
    }

    pub(super) fn add_to(&self, call: Call) -> Call {
        let call = add_selectors(call.query("watch", "true"), self.labels.as_ref(), self.fields.as_ref());
        let version = (!self.resource_version.is_empty()).then(|| self.resource_version.clone());
        let call = add(call, "resourceVersion", version);
        let call = add(call, "allowWatchBookmarks", self.bookmarks.then(|| "true".to_owned()));
        add(call, "timeoutSeconds", self.timeout_seconds.map(|seconds| seconds.to_string()))
    }
}

impl WriteOptions {
    /// In the name of a field manager.
    pub fn manager(field_manager: &str) -> Self {
        Self { dry_run: false, field_manager: Some(field_manager.to_owned()) }
    }

    pub(super) fn add_to(&self, call: Call) -> Call {
        let call = add(call, "dryRun", self.dry_run.then(|| "All".to_owned()));
        add(call, "fieldManager", self.field_manager.clone())
    }
}

impl Patch {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json-patch+json",
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Apply(_) => "application/apply-patch+yaml",
        }
    }

    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Json(value) | Self::Merge(value) | Self::Strategic(value) | Self::Apply(value) => value,
        }
    }
}

impl PatchOptions {
    /// In the name of a field manager.
    pub fn manager(field_manager: &str) -> Self {
        Self { field_manager: Some(field_manager.to_owned()), ..Self::default() }
    }

    /// Takes fields over from other managers.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    pub(super) fn add_to(&self, call: Call) -> Call {
        let call = add(call, "dryRun", self.dry_run.then(|| "All".to_owned()));
        let call = add(call, "force", self.force.then(|| "true".to_owned()));
        add(call, "fieldManager", self.field_manager.clone())
    }
}

impl DeleteOptions {
    /// At once, without a grace period.
    pub fn now() -> Self {
        Self { grace_period_seconds: Some(0), ..Self::default() }
    }

    /// With what becomes of the objects that it owns.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// Only if it has this uid.
    pub fn uid(mut self, uid: &str) -> Self {
        self.preconditions.uid = Some(uid.to_owned());
        self
    }

    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("apiVersion".into(), "v1".into());
        body.insert("kind".into(), "DeleteOptions".into());
        if let Some(seconds) = self.grace_period_seconds {
            body.insert("gracePeriodSeconds".into(), seconds.into());
        }
        if let Some(propagation) = self.propagation {
            body.insert("propagationPolicy".into(), format!("{propagation:?}").into());
        }
        if self.dry_run {
            body.insert("dryRun".into(), json!(["All"]));
        }
        let Preconditions { uid, resource_version } = &self.preconditions;
        let conditions: Map<String, Value> = [("uid", uid), ("resourceVersion", resource_version)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value.clone()?))))
            .collect();
        if !conditions.is_empty() {
            body.insert("preconditions".into(), conditions.into());
        }
        body.into()
    }
}

fn add_selectors(call: Call, labels: Option<&LabelSelector>, fields: Option<&FieldSelector>) -> Call {
    let call = add(call, "labelSelector", labels.map(ToString::to_string));
    add(call, "fieldSelector", fields.map(ToString::to_string))
}

fn add(call: Call, name: &'static str, value: Option<String>) -> Call {
    match value {
        Some(value) => call.query(name, value),
        None => call,
    }
}
