//! What is kept of every object besides its text: a little, for those who look at very many at once.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;

use model::select::LabelSelector;

use super::Store;
use crate::resource::{Labels, ObjectKey, Resource};

/// What some need to know of every object of a kind, however many there are.
///
/// It costs its size for each of them: what is needed of a few objects is looked up by their keys.
pub trait Outline<K>: Send + Sync + 'static {
    /// What is kept of an object.
    fn of(object: &K) -> Self;
}

/// The outlines of a store's objects. Each is of its object as the store shows it.
pub struct Outlines<K, T> {
    store: Store<K>,
    kind: PhantomData<fn() -> T>,
}

/// An object as its outline tells of it.
#[derive(Debug)]
pub struct Outlined<T> {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// The rest.
    pub outline: Arc<T>,
}

/// An outline of any kind.
pub(super) type Kept = Arc<dyn Any + Send + Sync>;

/// Makes outlines of one kind.
pub(super) struct Outliner<K> {
    pub(super) kind: TypeId,
    pub(super) make: fn(&K) -> Kept,
}

impl<K> Outliner<K> {
    pub(super) fn of<T: Outline<K>>() -> Self {
        Self { kind: TypeId::of::<T>(), make: |object| Arc::new(T::of(object)) }
    }
}

impl<K: Resource, T: Outline<K>> Outlines<K, T> {
    pub(super) fn new(store: Store<K>) -> Self {
        Self { store, kind: PhantomData }
    }

    /// Those of one namespace whose managing owner has this uid, by name.
    pub fn by_controller(&self, namespace: &str, uid: &str) -> Vec<Outlined<T>> {
        self.store.outlined_by_controller(namespace, uid)
    }

    /// The uid of an object's managing owner.
    pub fn controller_of(&self, key: &ObjectKey) -> Option<Arc<str>> {
        self.store.controller_of(key)
    }

    /// Those of one namespace that a selector selects, by name; of all if the namespace is empty.
    pub fn select(&self, namespace: &str, selector: &LabelSelector) -> Vec<Outlined<T>> {
        self.store.outlined_by_selector(namespace, selector)
    }
}

impl<T: Send + Sync + 'static> Outlined<T> {
    /// Of the object with this name in a store, if the outline is of this kind.
    pub(super) fn new(name: &str, labels: &Arc<Labels>, kept: &Kept) -> Option<Self> {
        let outline = kept.clone().downcast::<T>().ok()?;
        let (namespace, name) = name.split_once('\0')?;
        Some(Self { key: ObjectKey::new(namespace, name), labels: labels.clone(), outline })
    }
}

impl<T> Clone for Outlined<T> {
    fn clone(&self) -> Self {
        let Self { key, labels, outline } = self;
        Self { key: key.clone(), labels: labels.clone(), outline: outline.clone() }
    }
}

impl<T> Outlined<T> {
    /// Whether a selector selects it.
    pub fn is_selected(&self, selector: &LabelSelector) -> bool {
        selector.match_values(|key| self.labels.get(key).map(String::as_str))
    }
}
