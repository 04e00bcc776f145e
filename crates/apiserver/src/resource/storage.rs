//! Where and as what the objects of a resource are stored.

use std::time::Duration;

use model::Object;

use super::Resource;
use super::conversion::Served;

/// Where and as what objects are stored.
#[derive(Clone)]
pub(crate) struct Storage {
    /// `GROUP/PLURAL`, the part of the key that all objects share.
    pub(crate) partition: String,
    /// Which changes are lost without harm, so that they stay in memory.
    pub(crate) is_passing: Option<fn(old: &Object, new: &Object) -> bool>,
    /// Objects go by themselves after so long.
    pub(crate) lifetime: Option<Duration>,
    /// How an object becomes what is stored and back, where it is served in several versions.
    pub(crate) served: Option<Served>,
}

impl Storage {
    pub(super) fn of(partition: String) -> Self {
        Self { partition, is_passing: None, lifetime: None, served: None }
    }
}

impl Resource {
    /// Objects go by themselves after so long.
    #[must_use]
    pub fn kept_for(mut self, lifetime: Duration) -> Self {
        self.storage.lifetime = Some(lifetime);
        self
    }

    /// Changes of which `is_passing` says so are lost without harm: they stay in memory, until something
    /// else is written of the object, or the server stops. Not for what is stored converted.
    #[must_use]
    pub fn passing(mut self, is_passing: fn(old: &Object, new: &Object) -> bool) -> Self {
        self.storage.is_passing = Some(is_passing);
        self
    }
}

/// The partition of a group's resource.
pub(crate) fn partition(group: &str, plural: &str) -> String {
    format!("{}/{plural}", if group.is_empty() { "core" } else { group })
}
