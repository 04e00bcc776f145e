//! What watchers are told, from the first revision on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use docker_tests::Daemon;
use serde_json::Value;

use super::{Api, text, workload};
use crate::wire::Wire;

/// The kinds that are watched.
const WATCHED: [&str; 4] = ["pods", "jobs", "persistentvolumeclaims", "persistentvolumes"];

/// One thing that a watcher was told.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: &'static str,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(super) change: String,
    pub(super) object: Value,
    /// It was found out by a list: what came before it is not known.
    pub(super) missed: bool,
}

impl Seen {
    pub(super) fn revision(&self) -> u64 {
        text(&self.object, "/metadata/resourceVersion").parse().unwrap_or_default()
    }
}

/// Watchers, which follow however often the daemon is killed.
pub(super) struct Record {
    seen: Arc<Mutex<Vec<Seen>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Record {
    pub(super) fn start(daemon: &Daemon) -> Self {
        let (seen, ends) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let threads = WATCHED.map(|kind| {
            let (connect, seen, ends) = (Wire::to(daemon), seen.clone(), ends.clone());
            std::thread::spawn(move || watch(&Api { wire: connect() }, kind, &seen, &ends))
        });
        Self { seen, ends, threads: threads.into() }
    }

    /// Waits until the watchers know that all is gone, and gives what they were told.
    #[track_caller]
    pub(super) fn finish(self, api: &Api) -> Vec<Seen> {
        for kind in WATCHED {
            let left = api.list(&collection(kind));
            assert!(left.is_empty(), "{kind} are left: {left:?}");
        }
        testkit::wait_until("watchers to be told of every end", || {
            let seen = self.seen.lock().expect("no holder panics");
            let count = |change: &str| seen.iter().filter(|one| one.change == change).count();
            let counts = (count("ADDED"), count("DELETED"));
            if counts.0 == counts.1 { Ok(()) } else { Err(counts) }
        });
        self.ends.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a watcher was told what cannot be"));
        Arc::into_inner(self.seen).expect("nobody else has it").into_inner().expect("no holder panics")
    }
}

fn collection(kind: &str) -> String {
    match kind {
        "persistentvolumes" => "/api/v1/persistentvolumes".to_owned(),
        _ => workload::path(kind, ""),
    }
}

/// How a watch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The daemon is gone, or does not serve yet.
    Broken,
    /// The store has no history any more: on a full disk it keeps what there is and no more.
    Expired,
}

/// Watches from a list of nothing on, and goes on after the last revision that it was told of.
fn watch(api: &Api, kind: &'static str, seen: &Mutex<Vec<Seen>>, ends: &AtomicBool) {
    let first = api.insist("GET", &collection(kind), &Value::Null);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(0), "there is nothing yet: {first}");
    let mut at = text(&first, "/metadata/resourceVersion").to_owned();
    while !ends.load(Ordering::Relaxed) {
        let end = follow(api, kind, &mut at, seen, ends);
        if end == End::Expired {
            let list = api.insist("GET", &collection(kind), &Value::Null);
            text(&list, "/metadata/resourceVersion").clone_into(&mut at);
            find_out(kind, &list, &mut seen.lock().expect("no holder panics"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn follow(api: &Api, kind: &'static str, at: &mut String, seen: &Mutex<Vec<Seen>>, ends: &AtomicBool) -> End {
    let path = format!("{}?watch=1&allowWatchBookmarks=true&resourceVersion={at}", collection(kind));
    let mut end = End::Broken;
    // Whether it ends because the daemon is gone or for another reason: it goes on.
    let _ = api.wire.follow(&path, |line| {
        let Some(event) = line else {
            let is_over = ends.load(Ordering::Relaxed);
            return if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        };
        let change = text(&event, "/type").to_owned();
        let is_told = matches!(change.as_str(), "ADDED" | "MODIFIED" | "DELETED");
        if is_told || change == "BOOKMARK" {
            text(&event["object"], "/metadata/resourceVersion").clone_into(at);
        }
        if is_told {
            let object = event["object"].clone();
            seen.lock().expect("no holder panics").push(Seen { kind, change, object, missed: false });
        } else if change != "BOOKMARK" {
            if [&event["code"], &event["object"]["code"]].contains(&&410.into()) {
                end = End::Expired;
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    end
}

/// Notes what a list shows that nobody was told of.
fn find_out(kind: &'static str, list: &Value, seen: &mut Vec<Seen>) {
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.kind == kind) {
        let uid = text(&one.object, "/metadata/uid").to_owned();
        match one.change.as_str() {
            "DELETED" => drop(known.remove(&uid)),
            _ => drop(known.insert(uid, one.object.clone())),
        }
    }
    let mut found = Vec::new();
    for object in list["items"].as_array().into_iter().flatten() {
        let before = known.remove(text(object, "/metadata/uid"));
        let change = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let is_new =
            |before: Value| before["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"];
        if before.is_none_or(is_new) {
            found.push(Seen { kind, change: change.to_owned(), object: object.clone(), missed: true });
        }
    }
    let gone = known.into_values().map(|mut object| {
        object["metadata"]["resourceVersion"] = list["metadata"]["resourceVersion"].clone();
        Seen { kind, change: "DELETED".to_owned(), object, missed: true }
    });
    // One of the same name may have taken the place of another.
    seen.extend(gone.chain(found));
}
