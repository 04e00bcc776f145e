//! Writers that know what was acknowledged, for tests that crash the daemon under them.
//!
//! Each writer makes, changes and removes objects of its own, one request after another, until the
//! daemon is gone. What it wrote last and was answered must be found afterwards; the one request that
//! was under way may have happened or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use docker_tests::Daemon;
use serde_json::{Value, json};

use crate::wire::Wire;

const KUBERNETES_WRITERS: usize = 6;
const KEYS: u64 = 12;

/// What an object holds; `None` if there is no such object.
type Content = Option<String>;

/// Numbers that depend on the seed only.
pub struct Dice(u64);

/// Writers at work.
pub struct Load {
    writers: Vec<JoinHandle<Ledger>>,
    acknowledged: Arc<AtomicUsize>,
}

/// What the writers know after the crash.
#[derive(Default)]
pub struct Ledger {
    /// Each object's content as it was acknowledged last, and as the request under way would have it.
    objects: BTreeMap<String, (Content, Option<Content>)>,
}

/// Where a writer writes. An error means that the daemon is gone.
trait Target {
    /// Whether an object can be changed by one request.
    const CHANGES: bool;

    /// Makes, changes or removes (`None`) the object of that name, by one request.
    fn write(&mut self, name: &str, was: &Content, now: &Content) -> Result<(), String>;
}

impl Dice {
    /// From `GANTRY_TEST_SEED`, or another each time; says which, to repeat a failure.
    pub fn roll() -> Self {
        let seed = std::env::var("GANTRY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| base::random::Random::next_u64(&base::random::SystemRandom) >> 16);
        println!("GANTRY_TEST_SEED={seed} repeats this");
        Self(seed)
    }

    /// Others, of which each depends on these.
    pub fn from(dice: &mut Self) -> Self {
        Self(dice.below(u64::MAX))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64, whose steps are any odd constant's.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl Load {
    /// Starts writers of ConfigMaps in `namespace`, and one of volumes and containers.
    ///
    /// Names begin with `prefix`.
    pub fn start(daemon: &Daemon, namespace: &str, prefix: &str, dice: &mut Dice) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut writers = Vec::new();
        for number in 0..KUBERNETES_WRITERS {
            let target = ConfigMaps::connect(daemon, namespace);
            let name = format!("{prefix}-{number}");
            writers.push(begin(target, name, Dice(dice.below(u64::MAX)), &acknowledged));
        }
        for (kind, path) in [(Kind::Volume, "volume"), (Kind::Container, "container")] {
            let socket = daemon.socket();
            let target = move || Docker { socket, kind };
            let name = format!("{prefix}-{path}");
            writers.push(begin(target, name, Dice(dice.below(u64::MAX)), &acknowledged));
        }
        Self { writers, acknowledged }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for the writers, whose daemon must be gone.
    pub fn finish(self) -> Ledger {
        let mut all = Ledger::default();
        for writer in self.writers {
            let ledger = writer.join().expect("a writer was refused something");
            assert!(
                ledger.objects.values().any(|(_, under_way)| under_way.is_some()),
                "each writer was interrupted in the middle of a request"
            );
            all.extend(ledger);
        }
        all
    }
}

impl Ledger {
    /// Adds what others wrote.
    pub fn extend(&mut self, others: Self) {
        self.objects.extend(others.objects);
    }

    /// How many objects it knows.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Compares with what is there; what a request under way left behind is taken as settled.
    #[track_caller]
    pub fn check(&mut self, found: &BTreeMap<String, String>) {
        let mut wrong = Vec::new();
        for (name, (acknowledged, under_way)) in &mut self.objects {
            let is = found.get(name).cloned();
            if is != *acknowledged && under_way.as_ref() != Some(&is) {
                wrong.push(format!(
                    "{name}: is {is:?}, was acknowledged as {acknowledged:?}, then {under_way:?}"
                ));
            }
            (*acknowledged, *under_way) = (is, None);
        }
        let known = self.objects.len();
        assert!(wrong.is_empty(), "of {known} objects {} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn begin<T: Target>(
    target: impl FnOnce() -> T + Send + 'static,
    prefix: String,
    mut dice: Dice,
    acknowledged: &Arc<AtomicUsize>,
) -> JoinHandle<Ledger> {
    let acknowledged = acknowledged.clone();
    std::thread::spawn(move || {
        let mut target = target();
        let mut ledger = Ledger::default();
        for number in 0u64.. {
            let name = format!("{prefix}-{}", dice.below(KEYS));
            let (last, under_way) = ledger.objects.entry(name.clone()).or_default();
            let removes = last.is_some() && (!T::CHANGES || dice.below(3) == 0);
            let next = (!removes).then(|| format!("content{number}"));
            *under_way = Some(next.clone());
            if target.write(&name, last, &next).is_err() {
                break;
            }
            (*last, *under_way) = (next, None);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        ledger
    })
}

/// Writes ConfigMaps through the API.
struct ConfigMaps {
    wire: Wire,
    path: String,
}

impl ConfigMaps {
    /// Gives what connects, to be called in the writer's thread, which enters the daemon's network.
    fn connect(daemon: &Daemon, namespace: &str) -> impl FnOnce() -> Self + Send + 'static {
        let connect = Wire::to(daemon);
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        move || Self { wire: connect(), path }
    }
}

impl Target for ConfigMaps {
    const CHANGES: bool = true;

    fn write(&mut self, name: &str, was: &Content, now: &Content) -> Result<(), String> {
        let one = format!("{}/{name}", self.path);
        let object = json!({"metadata": {"name": name}, "data": {"content": now}});
        let (method, path, body) = match (was, now) {
            (_, None) => ("DELETE", &one, &Value::Null),
            (None, Some(_)) => ("POST", &self.path, &object),
            (Some(_), Some(_)) => ("PATCH", &one, &object),
        };
        let (code, answer) = self.wire.send(method, path, body).map_err(|gone| format!("{gone:?}"))?;
        assert!(matches!(code, 200..300), "{method} {path}: {code} {answer}");
        Ok(())
    }
}

/// Writes through the Docker API.
struct Docker {
    socket: std::path::PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Volume,
    Container,
}

impl Target for Docker {
    const CHANGES: bool = false;

    fn write(&mut self, name: &str, _: &Content, now: &Content) -> Result<(), String> {
        let plural = match self.kind {
            Kind::Volume => "volumes",
            Kind::Container => "containers",
        };
        let Some(content) = now else { return self.send("DELETE", &format!("/{plural}/{name}"), "") };
        let labels = json!({"content": content});
        match self.kind {
            Kind::Volume => {
                let body = json!({"Name": name, "Labels": labels}).to_string();
                self.send("POST", "/volumes/create", &body)
            }
            Kind::Container => {
                let body =
                    json!({"Image": docker_tests::IMAGE, "Cmd": ["true"], "Labels": labels}).to_string();
                self.send("POST", &format!("/containers/create?name={name}"), &body)
            }
        }
    }
}

impl Docker {
    fn send(&self, method: &str, path: &str, body: &str) -> Result<(), String> {
        let answer =
            docker_tests::raw(&self.socket, method, path, body).map_err(|error| error.to_string())?;
        assert!(matches!(answer.status, 200..300), "{method} {path}: {answer:?}");
        Ok(())
    }
}

/// Every ConfigMap, volume and container that is there, with its content.
#[track_caller]
pub fn found(daemon: &Daemon, config_maps: &str) -> BTreeMap<String, String> {
    let list: Value = serde_json::from_str(config_maps).expect("a list of ConfigMaps");
    let mut all: BTreeMap<String, String> = entries(&list["items"])
        .map(|object| (text(&object["metadata"]["name"]), text(&object["data"]["content"])))
        .collect();
    let get = |path: &str| -> Value {
        let answer = daemon.raw("GET", path, "").expect("the daemon answers");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"))
    };
    let volumes = get("/volumes");
    all.extend(entries(&volumes["Volumes"]).map(|one| (text(&one["Name"]), text(&one["Labels"]["content"]))));
    let containers = get("/containers/json?all=1");
    all.extend(entries(&containers).map(|one| {
        (text(&one["Names"][0]).trim_start_matches('/').to_owned(), text(&one["Labels"]["content"]))
    }));
    all
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
