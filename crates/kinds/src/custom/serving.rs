//! Which definitions there are, and the entries that they make.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use apiserver::definitions::{Definitions, Emptied, Work};
use apiserver::{Collection, Objects, Resource};
use base::{Timestamp, panics};
use futures::future::{BoxFuture, FutureExt as _};
use model::{Encoded, GroupResource, Object};
use parking_lot::Mutex;

use super::definition::{Names, accepted, group, is_true, wished};
use super::entry::{self, Entries};
use super::plan::{self, Counted, Ending, Taken};
use super::{GROUP, PLURAL};
use crate::followed::{Followed, Step};

/// The definitions of a server.
pub(super) struct Custom {
    objects: Arc<dyn Objects>,
    collection: Arc<dyn Collection>,
    known: Mutex<Known>,
}

struct Known {
    objects: Arc<dyn Objects>,
    followed: Followed,
    /// By their names.
    definitions: BTreeMap<String, Defined>,
    /// Names of definitions that wait for something, or that are to go: looked at whenever there is news.
    open: BTreeSet<String>,
    /// How far the definitions were when it was last said what is to be done.
    worked: u64,
    /// Collections that somebody waits to see empty, and how far they were when they were looked at.
    waits: Vec<(Arc<dyn Collection>, u64)>,
}

/// A definition, as far as it is kept: its text is the one that the server has anyway.
struct Defined {
    text: Encoded,
    group: String,
    accepted: Names,
    /// What it means: another where that is something else.
    meaning: u64,
    terminating: bool,
    entries: Entries,
}

impl Custom {
    pub(super) fn new(objects: Arc<dyn Objects>) -> Self {
        let known = Known {
            objects: objects.clone(),
            followed: Followed::new(&*objects, GROUP, PLURAL),
            definitions: BTreeMap::new(),
            open: BTreeSet::new(),
            worked: 0,
            waits: Vec::new(),
        };
        let collection = objects.collection(&GroupResource::new(GROUP, PLURAL));
        Self { objects, collection, known: Mutex::new(known) }
    }
}

impl Definitions for Custom {
    fn version(&self) -> u64 {
        self.collection.version()
    }

    fn entries(&self) -> (Vec<Arc<Resource>>, u64) {
        let mut known = self.known.lock();
        known.catch_up();
        let entries =
            known.definitions.values().flat_map(|defined| defined.entries.served.iter().cloned()).collect();
        (entries, known.followed.version())
    }

    fn work(&self, built_in: &dyn Fn(&str, &str) -> bool, now: Timestamp) -> Work {
        let open = {
            let mut known = self.known.lock();
            known.catch_up();
            known.open()
        };
        let (work, waits) = work(open, &*self.objects, built_in, now);
        self.known.lock().waits = waits;
        work
    }

    fn not_emptied(&self, definition: &str, why: &str, now: Timestamp) -> Option<(String, Object)> {
        let text = self.known.lock().definitions.get(definition)?.text.clone();
        let new = plan::not_emptied(&text.object().ok()?, why, now)?;
        Some((status_path(definition), new))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let known = self.known.lock();
        let definitions = (self.collection.clone(), known.worked);
        let waits = known.waits.iter().cloned().chain([definitions]);
        let each =
            waits.map(|(collection, version)| async move { collection.changed(version).await }.boxed());
        futures::future::select_all(each).map(drop).boxed()
    }
}

impl Known {
    fn catch_up(&mut self) {
        let mut steps: Vec<(String, Option<(Encoded, Object)>)> = Vec::new();
        let mut forgotten = None;
        let (definitions, objects) = (&mut self.definitions, &self.objects);
        self.followed.catch_up(|step| match step {
            Step::Forget => forgotten = Some(std::mem::take(definitions)),
            Step::Put(changed, object) => {
                let text = changed.text.clone().expect("what is put has a text");
                steps.push((changed.name.clone(), Some((text, object))));
            }
            Step::Gone(changed) => steps.push((changed.name.clone(), None)),
        });
        let since = self.followed.version();
        let mut before = forgotten.unwrap_or_default();
        // Of several changes of one definition the last counts.
        let last: HashMap<String, usize> =
            steps.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        for (at, (name, step)) in steps.into_iter().enumerate() {
            if last.get(&name) != Some(&at) {
                continue;
            }
            let known = self.definitions.remove(&name).or_else(|| before.remove(&name));
            self.open.remove(&name);
            if let Some((text, object)) = step {
                let is_open = object.is_being_deleted()
                    || plan::amended(&object, &Taken::default(), Timestamp::UNIX_EPOCH).is_some();
                if is_open {
                    self.open.insert(name.clone());
                }
                self.definitions.insert(name, Defined::read(&object, text, since, known, objects));
            }
        }
        let definitions = &self.definitions;
        self.open.retain(|name| definitions.contains_key(name));
    }

    /// What is to be looked at for work; others may use the definitions while it is.
    fn open(&mut self) -> Vec<Open> {
        self.worked = self.followed.version();
        let mut names: HashMap<&str, Counted> = HashMap::new();
        let open: Vec<&Defined> = self.open.iter().filter_map(|name| self.definitions.get(name)).collect();
        // Only of groups in which somebody waits for names.
        for defined in open.iter().filter(|defined| !defined.terminating) {
            names.entry(&defined.group).or_default();
        }
        for defined in self.definitions.values() {
            if let Some(names) = names.get_mut(defined.group.as_str()) {
                names.add(&defined.accepted);
            }
        }
        let names: HashMap<&str, Arc<Counted>> =
            names.into_iter().map(|(group, names)| (group, Arc::new(names))).collect();
        let one = |defined: &&Defined| Open {
            text: defined.text.clone(),
            group: defined.group.clone(),
            accepted: defined.accepted.clone(),
            stored: defined.entries.stored.clone(),
            names: names.get(defined.group.as_str()).cloned().unwrap_or_default(),
        };
        open.iter().map(one).collect()
    }
}

/// A definition that waits for something, or that is to go.
struct Open {
    text: Encoded,
    group: String,
    accepted: Names,
    stored: Option<Arc<Resource>>,
    /// Names of its group, its own among them.
    names: Arc<Counted>,
}

/// What is waited for to change, and how far it was seen.
type Waits = Vec<(Arc<dyn Collection>, u64)>;

fn work(
    open: Vec<Open>,
    objects: &dyn Objects,
    built_in: &dyn Fn(&str, &str) -> bool,
    now: Timestamp,
) -> (Work, Waits) {
    let (mut work, mut waits) = (Work::default(), Vec::new());
    // Names that somebody gets in this round.
    let mut given: HashMap<String, Taken> = HashMap::new();
    for Open { text, group, accepted: has, stored, names } in open {
        let Ok(object) = text.object() else { continue };
        let path = status_path(object.name());
        if object.is_being_deleted() {
            let plural = accepted(&object).plural;
            let resource = GroupResource::new(group.as_str(), plural.as_str());
            let collection = objects.collection(&resource);
            let version = collection.version();
            // What is built in is not its to empty.
            let left = if built_in(&group, &plural) { 0 } else { collection.count() };
            match plan::ending(&object, left, now) {
                Some(Ending::Over(new)) => work.amendments.push((path, new)),
                Some(Ending::Empties(meanwhile)) => {
                    work.amendments.extend(meanwhile.map(|new| (path, new)));
                    let definition = object.name().to_owned();
                    work.emptied.extend(stored.map(|entry| Emptied { definition, entry }));
                    waits.push((collection, version));
                }
                None => {}
            }
            continue;
        }
        let (mut others, wished) = (Taken::default(), wished(&object));
        if has != wished {
            others = names.without(&has, &wished);
            given.get(&group).into_iter().for_each(|given| others.join(given));
            if built_in(&group, &wished.plural) {
                others.take(&wished.plural);
            }
        }
        if let Some(new) = plan::amended(&object, &others, now) {
            given.entry(group).or_default().add(&accepted(&new));
            work.amendments.push((path, new));
        }
    }
    (work, waits)
}

fn status_path(name: &str) -> String {
    format!("/apis/{GROUP}/v1/{PLURAL}/{name}/status")
}

impl Defined {
    fn read(
        object: &Object,
        text: Encoded,
        since: u64,
        known: Option<Self>,
        objects: &Arc<dyn Objects>,
    ) -> Self {
        let accepted = accepted(object);
        let terminating = object.is_being_deleted() || is_true(object, "Terminating");
        let meaning = meaning(object);
        let group = group(object).to_owned();
        let known = known.filter(|known| known.meaning == meaning);
        let entries = match known {
            Some(known) if known.terminating == terminating => {
                known.entries.reached(text.revision());
                known.entries
            }
            Some(known) => known.entries.terminating(terminating, entry::defined_by(object.name(), &text)),
            None if is_served(object) => {
                // One that meets a fault of the server is not served; all others are.
                let made = panics::catch(|| entry::of(object, text.clone(), since, terminating, objects));
                made.unwrap_or_default()
            }
            None => Entries::default(),
        };
        Self { text, group, accepted, meaning, terminating, entries }
    }
}

/// What of a definition its entries are made of, in a number.
fn meaning(object: &Object) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    for part in [object.get(&["spec"]), object.get(&["status", "acceptedNames"])] {
        part.map(ToString::to_string).unwrap_or_default().hash(&mut hasher);
    }
    (object.uid(), is_served(object)).hash(&mut hasher);
    hasher.finish()
}

/// Whether a definition has been given names.
fn is_served(object: &Object) -> bool {
    is_true(object, "NamesAccepted") || is_true(object, "Established")
}
