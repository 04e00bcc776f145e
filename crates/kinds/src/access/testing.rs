//! Collections of objects in memory, to follow.

use std::collections::HashMap;
use std::sync::Arc;

use apiserver::{Changed, Collection, News, Objects};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Encoded, GroupResource, Object};
use parking_lot::Mutex;
use serde_json::Value;

/// Objects by resource; each change has a number.
#[derive(Default)]
pub(crate) struct Given(Mutex<HashMap<String, Arc<Changes>>>);

#[derive(Default)]
pub(crate) struct Changes(Mutex<Vec<Changed>>, tokio::sync::watch::Sender<u64>);

impl Given {
    fn changes(&self, plural: &str) -> Arc<Changes> {
        self.0.lock().entry(plural.to_owned()).or_default().clone()
    }

    /// An object is there in this form.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let object = Object::from_value(object).expect("an object");
        let text = Encoded::stored(Encoded::encode(&object), 1);
        self.change(plural, object.namespace().unwrap_or_default(), object.name(), Some(text));
    }

    /// An object is not there any more.
    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.change(plural, namespace, name, None);
    }

    fn change(&self, plural: &str, namespace: &str, name: &str, text: Option<Encoded>) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let changes = self.changes(plural);
        changes.0.lock().push(Changed { namespace, name, text });
        changes.1.send_modify(|count| *count += 1);
    }
}

impl Objects for Given {
    fn collection(&self, resource: &GroupResource) -> Arc<dyn Collection> {
        self.changes(&resource.resource)
    }
}

impl Collection for Changes {
    fn version(&self) -> u64 {
        self.0.lock().len() as u64
    }

    fn count(&self) -> usize {
        let mut there = std::collections::BTreeSet::new();
        for Changed { namespace, name, text } in &*self.0.lock() {
            let key = (namespace.clone(), name.clone());
            if text.is_some() {
                there.insert(key)
            } else {
                there.remove(&key)
            };
        }
        there.len()
    }

    fn since(&self, version: u64) -> News {
        let all = self.0.lock();
        let changes = all[usize::try_from(version).expect("it was given")..].to_vec();
        News { version: all.len() as u64, everything: false, changes }
    }

    fn changed(&self, version: u64) -> BoxFuture<'_, ()> {
        let mut count = self.1.subscribe();
        async move { drop(count.wait_for(|count| *count > version).await) }.boxed()
    }
}
