//! A storm of faults over a mixed workload, and the proof that nothing came of it.
//!
//! A StatefulSet whose pods write into their claims, indexed Jobs, a Deployment with a Service, a DaemonSet and a
//! CronJob are scaled, rolled and deleted, while the daemon, shims and containers' processes are killed at any moment,
//! and their disk is full, stands still or is slow. Then everything heals, and within a limit
//!
//! - the world is what the objects say ([`world`]): pods, containers, shims, processes, addresses behind the Service;
//! - no revision, object or number went back, each pod of a Job was counted once, and no claim lost its volume: a
//!   [`judge`] goes through all that watchers were told from the first revision on ([`record`]);
//! - no two processes of one ordinal lived at once, and no record is missing that ever was in a claim
//!   ([`observer`], and `witness`, which runs in the pods);
//! - of what is deleted then nothing is left: containers, shims, mounts, control groups, network namespaces, files.
//!
//! What is done, and in which order, depends on the seed alone; when, also on the machine.

mod faults;
mod judge;
mod observer;
mod record;
mod workload;
mod world;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use docker_tests::Daemon;
use serde_json::Value;

use crate::Cluster;
use crate::load::Dice;
use crate::wire::Wire;
use faults::Storm;
use observer::Observer;
use record::Record;
use world::Traces;

/// The bytes of a record in a claim: blocks hold whole ones, so that a full disk tears none.
pub const RECORD: usize = 16;
/// What all pods run: busybox and the witness.
const IMAGE: &str = "witness:test";
const NAMESPACE: &str = "storm";
const DISK: u64 = 400 << 20;
/// How long the world may take to become what the objects say, with the back-offs of what was killed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Lets a storm of so many steps pass; `witness` is the program of that name.
#[track_caller]
pub fn storm(witness: &Path, steps: u64) {
    let mut dice = Dice::roll();
    let cluster = Cluster { daemon: Daemon::start_on_file_system(DISK) };
    cluster.wait_ready();
    import(&cluster.daemon, witness);
    // From here on this thread is where the node is.
    let api = Api { wire: Wire::to(&cluster.daemon)() };
    let begun = Instant::now();
    let before = Traces::of(&cluster.daemon);
    api.insist("POST", "/api/v1/namespaces", &workload::namespace());
    let record = Record::start(&cluster.daemon);
    let observer = Observer::start(&cluster.daemon);
    let mut storm = Storm::new(cluster, api);
    storm.begin();
    for _ in 0..steps {
        storm.step(&mut dice);
    }
    let (cluster, api, wanted) = storm.settle();
    println!("{:?}: settled, {wanted:?}", begun.elapsed());
    world::wait_as_wanted(&cluster, &api, &wanted);
    println!("{:?}: the world is as wanted", begun.elapsed());
    // Before anything is deleted: each claim has all that it ever had.
    let mut wrong = observer.finish();
    workload::remove_all(&api);
    world::wait_gone(&cluster, &api, &before);
    println!("{:?}: nothing is left", begun.elapsed());
    let seen = record.finish(&api);
    wrong.extend(judge::judge(&seen));
    assert!(wrong.is_empty(), "after {} events:\n{}", seen.len(), wrong.join("\n"));
}

/// Gives the daemon the image with the witness.
#[track_caller]
fn import(daemon: &Daemon, witness: &Path) {
    let root = daemon.scratch("image");
    testkit::rootfs::busybox(&root);
    std::fs::copy(witness, root.join("bin/witness")).expect("copy the witness");
    let stripped = Command::new("strip").arg(root.join("bin/witness")).status().expect("run strip");
    assert!(stripped.success(), "strip the witness");
    let archive = daemon.scratch("archive").join("image.tar");
    let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status();
    assert!(packed.expect("run tar").success(), "pack the image");
    daemon.ok(&["import", "--change", "ENV PATH=/bin", &archive.display().to_string(), IMAGE]);
}

/// The API, in the face of a daemon that comes and goes.
struct Api {
    wire: Wire,
}

impl Api {
    /// Asks once, whatever comes of it.
    fn attempt(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.wire.send(method, path, body).ok()
    }

    /// Asks until it is done: made by one of several attempts, or gone.
    #[track_caller]
    fn insist(&self, method: &str, path: &str, body: &Value) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let last = match self.attempt(method, path, body) {
                Some((200..300, answer)) => return answer,
                Some((409, answer)) if method == "POST" => return answer,
                Some((404, answer)) if method == "DELETE" => return answer,
                other => other,
            };
            assert!(Instant::now() < end, "{method} {path} in vain: {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All objects of a collection.
    #[track_caller]
    fn list(&self, path: &str) -> Vec<Value> {
        self.insist("GET", path, &Value::Null)["items"].as_array().cloned().unwrap_or_default()
    }
}

/// A field that is text, or nothing.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A field that is a number, none where it is not there.
fn number(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// Whether a condition of an object's status holds.
fn holds(object: &Value, condition: &str) -> bool {
    let all = object.pointer("/status/conditions").and_then(Value::as_array);
    all.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}
