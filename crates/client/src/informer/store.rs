//! The copy itself: objects by key, with indexes, and how far it has come.
//!
//! What is held of an object is its text, which a server in the same process shares, what it is found by,
//! and, of those that were looked at last, a view. The view of another is made when it is looked at.

use std::any::TypeId;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use model::Encoded;
use model::select::LabelSelector;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::Change;
use super::index::Index;
use super::outlines::{Kept, Outlined, Outliner};
use super::views::{View, Views};
use crate::resource::{Labels, ObjectKey, Partial, Resource};

/// The index that every store has: the uid of the managing owner.
const CONTROLLER: &str = "controller";

/// Objects of one kind, read-only for everybody but the informer that keeps it. Cheap to clone.
///
/// It may lag behind the server: see [`crate::Freshness`] for what to do about one's own writes.
pub struct Store<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: RwLock<State<K>>,
    progress: watch::Sender<Progress>,
}

struct State<K> {
    /// By what [`name_of`] gives for their keys, in the order of namespace and name.
    objects: BTreeMap<Arc<str>, Entry<K>>,
    indexes: Vec<Index<K>>,
    outliners: Vec<Outliner<K>>,
    /// The sets of labels that there are: pods of one owner share theirs.
    labels: HashSet<Arc<Labels>>,
    /// How many of those may be there before the ones that nobody has any more are forgotten.
    labels_limit: usize,
    views: Mutex<Views>,
}

/// What is held of an object.
struct Entry<K> {
    encoded: Encoded,
    labels: Arc<Labels>,
    /// Its values in the indexes, with the index's number.
    values: Box<[(u8, Arc<str>)]>,
    /// Its outlines, in the order of those who make them.
    outlines: Box<[Kept]>,
    view: Mutex<Option<Arc<K>>>,
}

/// An object that is to be looked at.
struct Wanted<K> {
    name: Arc<str>,
    encoded: Encoded,
    view: Option<Arc<K>>,
}

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    synced: bool,
    revision: u64,
    changes: u64,
}

impl<K: Resource> Store<K> {
    /// An empty one, which holds the views of so many bytes of text.
    pub(super) fn new(view_limit: usize) -> Self {
        let by_controller = Index::new(CONTROLLER, |object: &K| {
            object.controller().map(|owner| owner.uid).into_iter().collect()
        });
        let state = State {
            objects: BTreeMap::new(),
            indexes: vec![by_controller],
            outliners: Vec::new(),
            labels: HashSet::new(),
            labels_limit: 64,
            views: Mutex::new(Views::new(view_limit)),
        };
        let progress = watch::Sender::new(Progress::default());
        Self { shared: Arc::new(Shared { state: RwLock::new(state), progress }) }
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let wanted = self.shared.state.read().wanted(&name_of(key))?;
        self.view(wanted, true)
    }

    /// All objects, by namespace and name.
    ///
    /// Of many objects it makes views that nobody keeps: what can be asked more precisely should be.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.views(|state| state.objects.iter().map(Entry::wanted).collect())
    }

    /// The objects of one namespace, by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.views(|state| state.within(namespace).map(Entry::wanted).collect())
    }

    /// The objects of one namespace that a selector selects; of all if the namespace is empty.
    pub fn select(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        self.select_some(namespace, selector, |_| true)
    }

    /// As [`Store::select`], but only those that have no managing owner.
    pub fn select_orphans(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        self.select_some(namespace, selector, |entry| entry.values.iter().all(|(index, _)| *index != 0))
    }

    /// The objects of one namespace whose managing owner has this uid. An owner that lives in a namespace has
    /// none elsewhere, whoever names it there.
    pub fn by_controller(&self, namespace: &str, uid: &str) -> Vec<Arc<K>> {
        self.by_index_within(namespace, CONTROLLER, uid)
    }

    /// The objects of one namespace for which the index `name` gives `value`; none if there is no such index.
    pub fn by_index_within(&self, namespace: &str, name: &str, value: &str) -> Vec<Arc<K>> {
        self.views(|state| {
            let index = state.indexes.iter().find(|index| index.name == name);
            debug_assert!(index.is_some(), "there is no index {name}");
            let names = index.into_iter().flat_map(|index| index.get_within(namespace, value));
            names.filter_map(|name| state.wanted(name)).collect()
        })
    }

    /// The objects for which the index `name` gives `value`; none if there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.views(|state| {
            let index = state.indexes.iter().find(|index| index.name == name);
            debug_assert!(index.is_some(), "there is no index {name}");
            let names = index.into_iter().flat_map(|index| index.get(value));
            names.filter_map(|name| state.wanted(name)).collect()
        })
    }

    /// Whether there is an object for which the index `name` gives `value`: none is looked at for it.
    pub fn has_in_index(&self, name: &str, value: &str) -> bool {
        let state = self.shared.state.read();
        let index = state.indexes.iter().find(|index| index.name == name);
        debug_assert!(index.is_some(), "there is no index {name}");
        index.is_some_and(|index| index.get(value).next().is_some())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        self.shared.progress.borrow().synced
    }

    /// Waits until the first list is in.
    pub async fn synced(&self) {
        self.wait(|progress| progress.synced).await;
    }

    /// The newest revision that the copy is known to show.
    pub fn revision(&self) -> u64 {
        self.shared.progress.borrow().revision
    }

    /// Waits until the copy shows what was written at `revision`: that of an object of this very
    /// kind, as a write returned it. Others may never be seen here.
    pub async fn reached(&self, revision: u64) {
        self.wait(|progress| progress.synced && progress.revision >= revision).await;
    }

    /// Waits until `holds` does, which is looked at after every change.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        self.wait(|_| holds(self)).await;
    }

    /// Calls `with` for every object, one after another: of many, no more than one view is made for it.
    pub(super) fn each(&self, with: impl FnMut(Arc<K>)) {
        let wanted: Vec<Wanted<K>> = self.shared.state.read().objects.iter().map(Entry::wanted).collect();
        wanted.into_iter().filter_map(|wanted| self.view(wanted, false)).for_each(with);
    }

    pub(super) fn add_index(&self, mut index: Index<K>) {
        let mut state = self.shared.state.write();
        if state.indexes.iter().any(|other| other.name == index.name) {
            return;
        }
        let number = u8::try_from(state.indexes.len()).expect("a store has a few indexes");
        for (name, entry) in &mut state.objects {
            let view = entry.view.get_mut().clone().or_else(|| read(&entry.encoded).map(Arc::new));
            let values = view.map(|view| index.insert(name, &view)).unwrap_or_default();
            let known = std::mem::take(&mut entry.values).into_iter();
            entry.values = known.chain(values.into_iter().map(|value| (number, value))).collect();
        }
        state.indexes.push(index);
    }

    pub(super) fn add_outliner(&self, outliner: Outliner<K>) {
        let mut state = self.shared.state.write();
        if state.outliners.iter().any(|known| known.kind == outliner.kind) {
            return;
        }
        for entry in state.objects.values_mut() {
            let view = entry.view.get_mut().clone().or_else(|| read(&entry.encoded).map(Arc::new));
            let made = view.map(|view| (outliner.make)(&view));
            entry.outlines = std::mem::take(&mut entry.outlines).into_iter().chain(made).collect();
        }
        state.outliners.push(outliner);
    }

    pub(super) fn outlined_by_controller<T: Send + Sync + 'static>(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Vec<Outlined<T>> {
        let state = self.shared.state.read();
        let names = state.indexes.iter().find(|index| index.name == CONTROLLER).into_iter();
        let names = names.flat_map(|index| index.get_within(namespace, uid));
        let entries = names.filter_map(|name| state.objects.get_key_value(name));
        state.outlined(entries)
    }

    /// The uid of an object's managing owner, without looking at the object.
    pub(super) fn controller_of(&self, key: &ObjectKey) -> Option<Arc<str>> {
        let state = self.shared.state.read();
        let entry = state.objects.get(&*name_of(key))?;
        entry.values.iter().find(|(index, _)| *index == 0).map(|(_, uid)| uid.clone())
    }

    pub(super) fn outlined_by_selector<T: Send + Sync + 'static>(
        &self,
        namespace: &str,
        selector: &LabelSelector,
    ) -> Vec<Outlined<T>> {
        let state = self.shared.state.read();
        let selected = |(_, entry): &(&Arc<str>, &Entry<K>)| entry.is_selected(selector);
        if namespace.is_empty() {
            state.outlined(state.objects.iter().filter(selected))
        } else {
            state.outlined(state.within(namespace).filter(selected))
        }
    }

    /// Takes in what is there, as a list or a watch tells it; `None` if that is known. What the type cannot
    /// hold is left out, with a warning. Gives the object's name here, too.
    pub(super) fn insert(&self, encoded: Encoded) -> (Option<Arc<str>>, Option<Change<K>>) {
        let Some(object) = read::<K>(&encoded) else {
            // As it was here, it is no more.
            let known = name_in(&encoded).and_then(|name| self.shared.state.write().remove(&name));
            return (None, known.and_then(|known| self.old_view(known)).map(Change::Deleted));
        };
        let name: Arc<str> = name_of(&object.key()).into();
        let new = Arc::new(object);
        let old = {
            let mut state = self.shared.state.write();
            if let Some((name, known)) = state.objects.get_key_value(&*name)
                && known.encoded == encoded
            {
                // A list after a broken watch mostly brings what is known.
                return (Some(name.clone()), None);
            }
            state.insert(&name, encoded, new.clone())
        };
        let change = match old {
            None => Change::Added(new),
            Some(old) => match self.old_view(old) {
                Some(old) if old.uid() == new.uid() && old.resource_version() == new.resource_version() => {
                    return (Some(name), None);
                }
                Some(old) => Change::Updated { old, new },
                None => Change::Added(new),
            },
        };
        (Some(name), Some(change))
    }

    /// Takes an object out that is gone; `encoded` is how it was last.
    pub(super) fn remove(&self, encoded: &Encoded) -> Option<Change<K>> {
        let last = read::<K>(encoded).map(Arc::new);
        let name = last.as_ref().map(|last| name_of(&last.key())).or_else(|| name_in(encoded))?;
        let known = self.shared.state.write().remove(&name)?;
        last.or_else(|| self.old_view(known)).map(Change::Deleted)
    }

    /// Takes out what is not among `listed`.
    pub(super) fn retain(&self, listed: &HashSet<Arc<str>>) -> Vec<Change<K>> {
        let mut state = self.shared.state.write();
        let gone: Vec<Arc<str>> =
            state.objects.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        let entries: Vec<Entry<K>> = gone.iter().filter_map(|name| state.remove(name)).collect();
        // A list comes in the order of names, and a tree that grows at its end is half empty.
        state.objects = std::mem::take(&mut state.objects).into_iter().collect();
        drop(state);
        entries.into_iter().filter_map(|entry| self.old_view(entry)).map(Change::Deleted).collect()
    }

    /// Notes that everything up to `revision` has been told.
    pub(super) fn advance(&self, revision: u64, synced: bool) {
        self.shared.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(revision);
            progress.synced |= synced;
            progress.changes += 1;
        });
    }

    fn select_some(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        takes: impl Fn(&Entry<K>) -> bool,
    ) -> Vec<Arc<K>> {
        self.views(|state| {
            let selected = |(_, entry): &(&Arc<str>, &Entry<K>)| entry.is_selected(selector) && takes(entry);
            if namespace.is_empty() {
                state.objects.iter().filter(selected).map(Entry::wanted).collect()
            } else {
                state.within(namespace).filter(selected).map(Entry::wanted).collect()
            }
        })
    }

    /// Views of what `choose` chooses, made without keeping anybody from the store.
    fn views(&self, choose: impl FnOnce(&State<K>) -> Vec<Wanted<K>>) -> Vec<Arc<K>> {
        let wanted = choose(&self.shared.state.read());
        let made: usize = wanted.iter().filter(|one| one.view.is_none()).map(|one| one.encoded.len()).sum();
        let keep = self.shared.state.read().views.lock().fit(made);
        wanted.into_iter().filter_map(|wanted| self.view(wanted, keep)).collect()
    }

    fn view(&self, wanted: Wanted<K>, keep: bool) -> Option<Arc<K>> {
        if wanted.view.is_some() {
            return wanted.view;
        }
        let made = Arc::new(read::<K>(&wanted.encoded)?);
        if keep {
            let state = self.shared.state.read();
            if let Some(entry) =
                state.objects.get(&*wanted.name).filter(|entry| entry.encoded == wanted.encoded)
            {
                let mut view = entry.view.lock();
                if let Some(known) = &*view {
                    return Some(known.clone());
                }
                *view = Some(made.clone());
                drop(view);
                state.hold(wanted.name, &wanted.encoded);
            }
        }
        Some(made)
    }

    fn old_view(&self, old: Entry<K>) -> Option<Arc<K>> {
        old.view.into_inner().or_else(|| read(&old.encoded).map(Arc::new))
    }

    async fn wait(&self, mut holds: impl FnMut(&Progress) -> bool) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            // Copied, so that nothing is borrowed while the condition looks at the store.
            let now = *progress.borrow_and_update();
            if holds(&now) {
                return;
            }
            progress.changed().await.expect("the store that is waited for holds the sender");
        }
    }
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> Entry<K> {
    fn has_view(&self) -> bool {
        self.view.lock().is_some()
    }

    fn wanted((name, entry): (&Arc<str>, &Self)) -> Wanted<K> {
        Wanted { name: name.clone(), encoded: entry.encoded.clone(), view: entry.view.lock().clone() }
    }

    fn is_selected(&self, selector: &LabelSelector) -> bool {
        selector.match_values(|key| self.labels.get(key).map(String::as_str))
    }
}

impl<K: Resource> State<K> {
    /// What the outlines of a kind tell of objects.
    fn outlined<'a, T: Send + Sync + 'static>(
        &self,
        entries: impl Iterator<Item = (&'a Arc<str>, &'a Entry<K>)>,
    ) -> Vec<Outlined<T>>
    where
        K: 'a,
    {
        let kind = TypeId::of::<T>();
        let Some(place) = self.outliners.iter().position(|known| known.kind == kind) else {
            return Vec::new();
        };
        let one = |(name, entry): (&Arc<str>, &Entry<K>)| {
            Outlined::new(name, &entry.labels, entry.outlines.get(place)?)
        };
        entries.filter_map(one).collect()
    }

    fn wanted(&self, name: &str) -> Option<Wanted<K>> {
        self.objects.get_key_value(name).map(Entry::wanted)
    }

    fn within(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Entry<K>)> {
        let first = format!("{namespace}\0");
        let from = (Bound::Included(first.as_str()), Bound::Unbounded);
        self.objects.range::<str, _>(from).take_while(move |(name, _)| name.starts_with(&first))
    }

    /// Takes an object in; gives what was there.
    fn insert(&mut self, name: &Arc<str>, encoded: Encoded, view: Arc<K>) -> Option<Entry<K>> {
        let old = self.remove(name);
        let mut values = Vec::new();
        for (number, index) in (0..).zip(&mut self.indexes) {
            values.extend(index.insert(name, &view).into_iter().map(|value| (number, value)));
        }
        let labels = self.share(view.labels());
        let outlines = self.outliners.iter().map(|outliner| (outliner.make)(&view)).collect();
        let entry = Entry { encoded, labels, values: values.into(), outlines, view: Mutex::new(Some(view)) };
        let encoded = entry.encoded.clone();
        self.objects.insert(name.clone(), entry);
        self.hold(name.clone(), &encoded);
        old
    }

    fn remove(&mut self, name: &str) -> Option<Entry<K>> {
        let (name, entry) = self.objects.remove_entry(name)?;
        for (index, value) in &entry.values {
            self.indexes[usize::from(*index)].remove(&name, value);
        }
        let views = self.views.get_mut();
        if entry.view.lock().is_some() {
            views.gone(&entry.encoded);
        }
        views.forget_gone(|view| viewed(&self.objects, view).is_some_and(Entry::has_view));
        Some(entry)
    }

    /// Notes that an object has a view, and lets go of those for which there is no room.
    fn hold(&self, name: Arc<str>, encoded: &Encoded) {
        let has = |view: &View| viewed(&self.objects, view).is_some_and(Entry::has_view);
        let drop = |view: &View| {
            let entry = viewed(&self.objects, view)?;
            entry.view.lock().take().map(|_| entry.encoded.clone())
        };
        let view = View { name, revision: encoded.revision() };
        self.views.lock().add(view, encoded, has, drop);
    }

    /// One set of labels for all who have the same.
    fn share(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(known) = self.labels.get(&labels) {
            return known.clone();
        }
        if self.labels.len() >= self.labels_limit {
            self.labels.retain(|labels| Arc::strong_count(labels) > 1);
            self.labels_limit = 64 + 2 * self.labels.len();
        }
        let labels = Arc::new(labels);
        self.labels.insert(labels.clone());
        labels
    }
}

/// The object that a view is of, if it is there as it was then.
fn viewed<'a, K>(objects: &'a BTreeMap<Arc<str>, Entry<K>>, view: &View) -> Option<&'a Entry<K>> {
    objects.get(&*view.name).filter(|entry| entry.encoded.revision() == view.revision)
}

/// What the type reads of an object, without what nobody here looks at.
fn read<K: Resource>(encoded: &Encoded) -> Option<K> {
    match encoded.read_unmanaged::<K>() {
        Ok(mut object) => {
            object.forget_managers();
            Some(object)
        }
        Err(error) => {
            tracing::warn!(error = %base::error::chain(&error), "leaving out an object that cannot be read");
            None
        }
    }
}

/// The name of an object that its type cannot hold.
fn name_in(encoded: &Encoded) -> Option<String> {
    Some(name_of(&encoded.read::<Partial>().ok()?.key()))
}

/// The name of an object in a store: sorts as its key does.
fn name_of(key: &ObjectKey) -> String {
    format!("{}\0{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn object(name: &str, revision: u64, labels: &str) -> Encoded {
        let text = format!(
            r#"{{"kind":"A","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"n","labels":{labels}}}}}"#
        );
        Encoded::stored(text.into(), revision)
    }

    /// The objects that have views, and what is noted of them.
    fn held(store: &Store<Partial>) -> (String, usize) {
        let state = store.shared.state.read();
        let held = state.objects.iter().filter(|(_, entry)| entry.view.lock().is_some());
        let (names, lengths): (Vec<&str>, Vec<usize>) =
            held.map(|(name, entry)| (&name[2..], entry.encoded.len())).unzip();
        let noted = format!("{:?}", state.views.lock());
        assert!(
            noted.contains(&format!("held: {}, bytes: {}", names.len(), lengths.iter().sum::<usize>())),
            "{noted}"
        );
        (names.join(" "), noted.matches("name: ").count())
    }

    #[test]
    fn views_of_a_few_objects_are_held_and_those_of_others_made_when_they_are_looked_at() {
        let store = Store::<Partial>::new(2 * object("a", 1, "{}").len());
        for (name, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            store.insert(object(name, revision, "{}"));
        }
        assert_eq!(held(&store).0, "b c");
        let key = |name: &str| ObjectKey::new("n", name);
        let a = store.get(&key("a")).expect("it is there");
        assert_eq!((a.name(), a.revision()), ("a", 1));
        assert_eq!(held(&store).0, "a c");
        assert!(Arc::ptr_eq(&a, &store.get(&key("a")).expect("it is there")), "it is not made anew");
        // Who looks at all does not take the place of those that are looked at often.
        assert_eq!(store.list().len(), 3);
        store.insert(object("d", 4, "{}"));
        assert_eq!(store.list().len(), 4);
        let names = held(&store).0;
        assert_eq!(names.split(' ').count(), 2, "{names}");
        // An object that changes often takes the place of one, and is not counted more than once.
        for revision in 5..1000 {
            let (_, change) = store.insert(object("d", revision, "{}"));
            let Some(Change::Updated { old, new }) = change else { panic!("{change:?}") };
            assert_eq!((old.revision() < new.revision(), new.revision()), (true, revision));
        }
        let (names, noted) = held(&store);
        assert!(names.ends_with('d') && noted < 100, "{names} {noted}");
        assert!(
            matches!(store.remove(&object("d", 1000, "{}")), Some(Change::Deleted(d)) if d.revision() == 1000)
        );
        assert!(!held(&store).0.contains('d'));
        assert!(store.get(&key("d")).is_none());
    }

    #[test]
    fn nothing_is_kept_of_objects_that_are_gone() {
        let store = Store::<Partial>::new(usize::MAX);
        let name = |number: u64| format!("p{number}");
        for number in 1..=3000 {
            store.insert(object(&name(number), number, "{}"));
        }
        assert_eq!(held(&store).1, 3000);
        for number in 1..=3000 {
            store.remove(&object(&name(number), 3000 + number, "{}"));
        }
        let noted = held(&store).1;
        assert!(store.is_empty() && noted <= 64, "{noted}");
    }

    #[test]
    fn an_object_that_becomes_unreadable_is_there_no_more() {
        let store = Store::<Pod>::new(0);
        let pod = |revision: u64, spec: &str| {
            let text = format!(
                r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"a","namespace":"n"}},"spec":{spec}}}"#
            );
            Encoded::stored(text.into(), revision)
        };
        let known = |store: &Store<Pod>| store.get(&ObjectKey::new("n", "a")).map(|pod| pod.revision());
        let (good, bad) = (r#"{"containers":[]}"#, "7");
        assert!(matches!(store.insert(pod(1, good)), (Some(_), Some(Change::Added(_)))));
        assert_eq!(known(&store), Some(1));
        // The change that it was not, and its end.
        let gone = store.insert(pod(2, bad));
        assert!(matches!(gone, (None, Some(Change::Deleted(last))) if last.revision() == 1));
        assert!(matches!(store.insert(pod(3, bad)), (None, None)) && known(&store).is_none());
        store.insert(pod(4, good));
        assert!(matches!(store.remove(&pod(5, bad)), Some(Change::Deleted(last)) if last.revision() == 4));
        assert!(store.remove(&pod(6, bad)).is_none() && store.is_empty());
    }

    #[test]
    fn outlines_are_of_what_is_there_and_need_no_view() {
        struct Length(usize);
        impl super::super::Outline<Partial> for Length {
            fn of(object: &Partial) -> Self {
                Self(object.name().len())
            }
        }
        let store = Store::<Partial>::new(0);
        store.insert(object("first", 1, r#"{"app":"web"}"#));
        store.add_outliner(Outliner::of::<Length>());
        store.add_outliner(Outliner::of::<Length>());
        store.insert(object("second", 2, r#"{"app":"web"}"#));
        store.insert(object("other", 3, "{}"));
        let told = |namespace: &str, selector: &str| -> Vec<String> {
            let selector = selector.parse().expect("a selector");
            let outlined = store.outlined_by_selector::<Length>(namespace, &selector);
            outlined.iter().map(|one| format!("{} {}", one.key, one.outline.0)).collect()
        };
        assert_eq!(told("n", "app=web"), ["n/first 5", "n/second 6"]);
        assert_eq!(told("", "!app"), ["n/other 5"]);
        assert_eq!(held(&store), (String::new(), 0), "no view is held for them");
        // One that loses a label, and one that goes.
        store.insert(object("first", 4, "{}"));
        store.remove(&object("second", 5, "{}"));
        assert_eq!(told("n", "app=web"), Vec::<String>::new());
        assert_eq!(told("n", "!app"), ["n/first 5", "n/other 5"]);
    }

    #[test]
    fn labels_are_held_once_for_all_who_have_the_same() {
        let store = Store::<Partial>::new(1 << 20);
        for index in 0..1000 {
            let labels = format!(r#"{{"app":"web","part":"{}"}}"#, index % 2);
            store.insert(object(&format!("o{index:03}"), index + 1, &labels));
            store.insert(object("changes", index + 5000, &format!(r#"{{"index":"{index}"}}"#)));
        }
        let state = store.shared.state.read();
        assert!(state.labels.len() < 80, "{}", state.labels.len());
        drop(state);
        let odd: LabelSelector = "part=1".parse().expect("a selector");
        assert_eq!(store.select("n", &odd).len(), 500);
        assert_eq!(store.select_orphans("", &odd).len(), 500);
        assert_eq!(store.select("other", &odd).len(), 0);
        assert_eq!(store.select("n", &"index=999".parse().expect("a selector")).len(), 1);
        assert_eq!(store.select("n", &"index=998".parse().expect("a selector")).len(), 0);
    }
}
