//! Which objects of a resource a list or watch is about.

use model::select::{FieldSelector, LabelSelector};

use crate::cache::Stored;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::request::ListOptions;

/// The objects that a list or watch is about.
pub(crate) struct Selection {
    /// Names in the partition begin with this.
    pub(crate) prefix: String,
    /// Only the object of this name in the partition.
    only: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors; a watch of one object by its path is one too.
    pub(crate) fn parse(call: &Call, options: &ListOptions) -> Result<Self> {
        let bad = |e: model::select::SelectorError| Error::bad_request(e.to_string());
        let labels: LabelSelector = options.label_selector.parse().map_err(bad)?;
        let fields: FieldSelector = options.field_selector.parse().map_err(bad)?;
        fields.check(&call.resource.group_kind(), &[]).map_err(bad)?;
        let namespace = call.namespace();
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let name = if call.target.name.is_empty() {
            fields.required("metadata.name").unwrap_or_default()
        } else {
            call.target.name.as_str()
        };
        let exact = !name.is_empty() && (!call.resource.namespaced || !namespace.is_empty());
        let only = exact.then(|| crate::state::object_name(namespace, name));
        Ok(Self { prefix, only, labels, fields })
    }

    /// Whether it takes in an object.
    pub(crate) fn takes(&self, stored: &Stored) -> bool {
        match &self.only {
            Some(only) if **only != *stored.name => return false,
            None if !stored.name.starts_with(&self.prefix) => return false,
            _ => {}
        }
        if !self.selects() {
            return true;
        }
        let object = stored.selectable();
        self.labels.matches(object) && self.fields.matches(object)
    }

    /// Whether there are selectors, so that not every object of the namespace is taken.
    pub(crate) fn selects(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    /// The one object that can be taken, by its name in the partition.
    pub(crate) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }
}
