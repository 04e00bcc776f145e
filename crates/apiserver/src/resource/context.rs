//! What a strategy may look at while it decides.

use std::sync::Arc;

use base::Timestamp;
use model::{Object, Status};

use crate::cache::Stored;
use crate::error::{Error, Result};
use crate::resource::Resource;
use crate::state::State;

/// One request, as strategies see it.
pub(crate) struct Context<'a> {
    /// The server's parts.
    pub(crate) state: &'a Arc<State>,
    /// What for.
    pub(crate) resource: &'a Resource,
    /// The namespace, empty for what is cluster-wide.
    pub(crate) namespace: &'a str,
    /// When.
    pub(crate) now: Timestamp,
}

impl Context<'_> {
    /// An object of the core group, as it is now.
    pub(crate) fn core(&self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        let partition = self.state.cache.partition(&super::partition("", plural));
        partition.get(&crate::state::object_name(namespace, name))
    }

    /// A refusal in the words of admission.
    pub(crate) fn forbidden(&self, object: &Object, why: impl std::fmt::Display) -> Error {
        Status::forbidden(&self.resource.group_resource(), object.name(), why).into()
    }

    /// Refuses to make things in a namespace that is missing or on its way out.
    pub(crate) fn admit_into_namespace(&self, object: &Object) -> Result<()> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        let Some(namespace) = self.core("namespaces", "", self.namespace) else {
            let namespaces = model::GroupResource::new("", "namespaces");
            return Err(Status::not_found(&namespaces, self.namespace).into());
        };
        let text = std::str::from_utf8(namespace.bytes()).unwrap_or_default();
        // Parsed only where it can be true: creating is frequent, deleting a namespace is not.
        if text.contains("deletionTimestamp") && namespace.object().is_being_deleted() {
            let mut status = Status::forbidden(
                &self.resource.group_resource(),
                object.name(),
                format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    self.namespace
                ),
            );
            status.details.get_or_insert_default().causes.push(model::status::Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {} is being terminated", self.namespace),
                field: "metadata.namespace".to_owned(),
            });
            return Err(status.into());
        }
        Ok(())
    }
}
