//! Whether an object makes sense: the rules of its kind, in Kubernetes' words.

use crate::field::FieldError;
use crate::object::Object;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the cluster as a whole.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// What is wrong with a defaulted object that is to be created.
pub fn create(object: &Object, scope: Scope) -> Vec<FieldError> {
    let _ = (object, scope);
    todo!()
}

/// What is wrong with an object that is to replace `old`.
pub fn update(object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    let _ = (object, old, scope);
    todo!()
}

/// What is wrong with an object that is to replace `old` through its `status` subresource.
pub fn update_status(object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    let _ = (object, old, scope);
    todo!()
}
