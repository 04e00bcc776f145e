//! Untyped objects as resources.

use model::{Object, OwnerReference};

use super::{Labels, Resource, ResourceKind};

impl Resource for Object {
    fn name(&self) -> &str {
        Object::name(self)
    }

    fn namespace(&self) -> Option<&str> {
        Object::namespace(self)
    }

    fn uid(&self) -> &str {
        Object::uid(self)
    }

    fn resource_version(&self) -> &str {
        Object::resource_version(self)
    }

    fn label(&self, key: &str) -> Option<&str> {
        Object::label(self, key)
    }

    fn labels(&self) -> Labels {
        Object::labels(self).iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn owners(&self) -> Vec<OwnerReference> {
        self.owner_references()
    }

    fn is_being_deleted(&self) -> bool {
        Object::is_being_deleted(self)
    }

    fn type_of(&self) -> (String, String) {
        (self.api_version().to_owned(), self.kind().to_owned())
    }

    fn forget_managers(&mut self) {
        self.remove(&["metadata", "managedFields"]);
    }
}

impl ResourceKind {
    /// Names a kind that is known at run time only, such as one found by discovery.
    pub fn dynamic(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        let owned = |text: &str| std::borrow::Cow::Owned(text.to_owned());
        Self {
            group: owned(group),
            version: owned(version),
            kind: owned(kind),
            plural: owned(plural),
            namespaced,
        }
    }
}
