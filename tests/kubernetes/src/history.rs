//! Writers of what holds something: quotas, addresses and ports, finalizers, owners, namespaces. And the proof, after
//! the daemon was killed under them, that what is held agrees with the objects that hold it.

mod check;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use docker_tests::Daemon;
use serde_json::{Value, json};

use crate::load::Dice;
use crate::wire::{Gone, Wire};

pub use check::Checked;

/// What all objects of the writers carry: what was written last.
const MARK: &str = "example.com/mark";
/// Ports and last parts of addresses that writers fight for.
const PORTS: std::ops::Range<u16> = 30500..30508;
const ADDRESSES: std::ops::Range<u8> = 200..208;
/// The namespaces of the writers.
const QUOTAS: [&str; 2] = ["quota-0", "quota-1"];
const FIGHT: &str = "fight";
const OWNERS: &str = "owners";

/// How an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    Absent,
    /// It is there, with this mark.
    There(String),
    /// It is to go, and something holds it.
    Going,
}

/// What is known of an object.
#[derive(Clone, Debug)]
struct Known {
    acknowledged: Is,
    /// What the request that nobody answered would have made of it.
    under_way: Option<Is>,
    /// With what it goes: its owner, or its namespace.
    with: Option<String>,
}

/// What is known of all objects of the writers, by their paths.
#[derive(Default)]
pub struct History(BTreeMap<String, Known>);

/// Writers at work.
pub struct Writers {
    threads: Vec<JoinHandle<History>>,
    acknowledged: Arc<AtomicUsize>,
}

/// A way to the API that keeps a history of what it was told.
struct Api {
    wire: Wire,
    history: History,
    acknowledged: Arc<AtomicUsize>,
}

impl Writers {
    /// Makes what the writers need, before the first of them.
    pub fn prepare(cluster: &crate::Cluster) {
        for namespace in QUOTAS.iter().chain([&FIGHT, &OWNERS]) {
            cluster.ok(&["create", "namespace", namespace]);
        }
        for namespace in QUOTAS {
            let hard = "--hard=count/configmaps=14,services=6,pods=8,requests.cpu=700m";
            cluster.ok(&["--namespace", namespace, "create", "quota", "all", hard]);
            cluster.ok(&[
                "--namespace",
                namespace,
                "wait",
                "--for=jsonpath={.status.used.services}=0",
                "quota/all",
            ]);
        }
    }

    /// Starts twelve of them, which go on where those before were stopped.
    pub fn start(daemon: &Daemon, history: &History, dice: &mut Dice) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let threads = writers::all()
            .into_iter()
            .enumerate()
            .map(|(number, write)| {
                let connect = connect(daemon, &acknowledged);
                let (mut dice, prefix) = (Dice::from(dice), format!("w{number}"));
                let own = history.of(&prefix);
                std::thread::spawn(move || {
                    let mut api = Api { history: own, ..connect() };
                    while write(&mut api, &prefix, &mut dice).is_ok() {}
                    api.history
                })
            })
            .collect();
        Self { threads, acknowledged }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for the writers, whose daemon must be gone; gives what they know.
    pub fn finish(self, history: &mut History) {
        for thread in self.threads {
            history.0.extend(thread.join().expect("a writer was told something that cannot be").0);
        }
    }
}

impl History {
    /// How many objects it knows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of the objects whose names, or whose namespace's, begin with this.
    fn of(&self, prefix: &str) -> Self {
        let prefix = format!("{prefix}-");
        let is_own = |path: &str| path.split('/').any(|part| part.starts_with(&prefix));
        let own = self.0.iter().filter(|(path, _)| is_own(path));
        Self(own.map(|(path, known)| (path.clone(), known.clone())).collect())
    }

    fn is_there(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|known| matches!(known.acknowledged, Is::There(_)))
    }
}

/// Gives what connects, to be called in the writer's thread, which enters the daemon's network.
fn connect(daemon: &Daemon, acknowledged: &Arc<AtomicUsize>) -> impl FnOnce() -> Api + Send + 'static {
    let connect = Wire::to(daemon);
    let acknowledged = acknowledged.clone();
    move || Api { wire: connect(), history: History::default(), acknowledged }
}

impl Api {
    /// Sends a request; gives status code and answer.
    fn send(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), Gone> {
        self.wire.send(method, path, body)
    }

    /// Asks for something to be made of the object at `path`, and notes what comes of it; gives the answer, none where
    /// it was refused.
    fn write(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
        next: Is,
        with: Option<&str>,
    ) -> Result<Option<Value>, Gone> {
        let known = self.history.0.entry(path.to_owned()).or_insert_with(|| Known {
            acknowledged: Is::Absent,
            under_way: None,
            with: with.map(str::to_owned),
        });
        known.under_way = Some(next.clone());
        let (collection, _) = path.rsplit_once('/').expect("a path has parts");
        let (code, answer) = self.send(method, if method == "POST" { collection } else { path }, body)?;
        let known = self.history.0.get_mut(path).expect("it was noted");
        known.under_way = None;
        match code {
            200..300 => {
                known.acknowledged = next;
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Ok(Some(answer))
            }
            // Taken, used up, changed by others, too many at once: nothing has happened.
            403 | 404 | 409 | 422 | 429 => Ok(None),
            code => panic!("{method} {path} {body}: {code} {answer}"),
        }
    }

    /// Makes an object.
    fn make(
        &mut self,
        path: &str,
        mut object: Value,
        mark: &str,
        with: Option<&str>,
    ) -> Result<Option<Value>, Gone> {
        let (_, name) = path.rsplit_once('/').expect("a path has parts");
        object["metadata"]["name"] = name.into();
        object["metadata"]["annotations"] = json!({MARK: mark});
        self.write("POST", path, &object, Is::There(mark.to_owned()), with)
    }

    /// Removes an object that nothing holds.
    fn remove(&mut self, path: &str) -> Result<Option<Value>, Gone> {
        self.write("DELETE", path, &json!({"gracePeriodSeconds": 0}), Is::Absent, None)
    }
}
