//! What the world is to be when all has healed, and what may be left when all is deleted.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use docker_tests::Daemon;
use serde_json::Value;

use super::workload::{self, COMPLETIONS, Wanted};
use super::{Api, NAMESPACE, PATIENCE, holds, number, text};
use crate::Cluster;

/// The control groups that are made with the first pod, and stay.
const STAY: [&str; 4] = ["pods", "besteffort", "burstable", "shims"];

/// What an instance leaves on its host: files, control groups, mounts and links that come and go with containers.
#[derive(Debug)]
pub(super) struct Traces(BTreeSet<String>);

/// Waits until objects, containers and network agree with what is wanted.
#[track_caller]
pub(super) fn wait_as_wanted(cluster: &Cluster, api: &Api, wanted: &Wanted) {
    wait("the world to be as wanted", || {
        workloads(api, wanted)?;
        let pods = pods(api, wanted)?;
        containers(&cluster.daemon, &pods)?;
        service(api, &pods)
    });
}

/// Waits until nothing of the workload is left.
#[track_caller]
pub(super) fn wait_gone(cluster: &Cluster, api: &Api, before: &Traces) {
    wait("everything to be gone", || {
        let (code, namespace) = api
            .attempt("GET", &format!("/api/v1/namespaces/{NAMESPACE}"), &Value::Null)
            .ok_or("the daemon is gone")?;
        demand(code == 404, || format!("the namespace is there: {}", namespace["status"]))?;
        let volumes = api.list("/api/v1/persistentvolumes");
        demand(volumes.is_empty(), || format!("volumes are there: {volumes:?}"))?;
        let containers = all_containers(&cluster.daemon)?;
        demand(containers.is_empty(), || format!("containers are there: {containers:?}"))?;
        let shims = cluster.daemon.shims();
        demand(shims.is_empty(), || format!("shims are there: {shims:?}"))?;
        let now = Traces::of(&cluster.daemon);
        let left: Vec<&String> = now.0.difference(&before.0).collect();
        demand(left.is_empty(), || format!("left: {left:?}"))
    });
}

/// As [`testkit::wait_until`], for what takes longer.
#[track_caller]
fn wait<T, E: Debug>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < end, "waited in vain for {what}; last seen: {last:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn demand(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

/// Each workload says that it is as it should be.
fn workloads(api: &Api, wanted: &Wanted) -> Result<(), String> {
    let agrees = |plural: &str, name: &str, numbers: &[(&str, u64)]| {
        let object = api.insist("GET", &workload::path(plural, name), &Value::Null);
        let told = number(&object, "/status/observedGeneration") == number(&object, "/metadata/generation");
        let wrong =
            numbers.iter().find(|(field, wanted)| number(&object, &format!("/status/{field}")) != *wanted);
        demand(told && wrong.is_none(), || format!("{name}: not {wrong:?}: {}", object["status"]))?;
        Ok::<_, String>(object)
    };
    let n = wanted.members;
    let members = agrees(
        "statefulsets",
        "db",
        &[
            ("replicas", n),
            ("readyReplicas", n),
            ("availableReplicas", n),
            ("currentReplicas", n),
            ("updatedReplicas", n),
        ],
    )?;
    let revisions =
        ["current", "update"].map(|which| text(&members, &format!("/status/{which}Revision")).to_owned());
    demand(revisions[0] == revisions[1], || format!("db is still rolled: {revisions:?}"))?;
    let n = wanted.webs;
    agrees(
        "deployments",
        "web",
        &[("replicas", n), ("readyReplicas", n), ("availableReplicas", n), ("updatedReplicas", n)],
    )?;
    agrees(
        "daemonsets",
        "log",
        &[
            ("desiredNumberScheduled", 1),
            ("currentNumberScheduled", 1),
            ("updatedNumberScheduled", 1),
            ("numberReady", 1),
            ("numberMisscheduled", 0),
        ],
    )?;
    let name = wanted.job_name();
    let job = api.insist("GET", &workload::path("jobs", &name), &Value::Null);
    let is_done = holds(&job, "Complete")
        && number(&job, "/status/succeeded") == COMPLETIONS
        && text(&job, "/status/completedIndexes") == format!("0-{}", COMPLETIONS - 1);
    demand(is_done, || format!("{name}: {}", job["status"]))?;
    let claims = api.list(&workload::path("persistentvolumeclaims", ""));
    let names: BTreeSet<&str> = claims.iter().map(|claim| text(claim, "/metadata/name")).collect();
    let expected: Vec<String> = (0..wanted.members).map(|ordinal| format!("claim-db-{ordinal}")).collect();
    demand(expected.iter().all(|name| names.contains(name.as_str())), || format!("claims: {names:?}"))?;
    let unbound = claims.iter().find(|claim| text(claim, "/status/phase") != "Bound");
    demand(unbound.is_none(), || format!("a claim: {unbound:?}"))
}

/// The pods are those that are wanted, and none is on its way; gives those that run for ever, and all.
fn pods(api: &Api, wanted: &Wanted) -> Result<Vec<Value>, String> {
    let all = api.list(&workload::path("pods", ""));
    let going = all.iter().find(|pod| pod.pointer("/metadata/deletionTimestamp").is_some());
    demand(going.is_none(), || format!("a pod that goes: {going:?}"))?;
    for (app, count) in [("db", wanted.members), ("web", wanted.webs), ("log", 1)] {
        let lives = |pod: &&Value| {
            text(pod, "/metadata/labels/app") == app
                && text(pod, "/status/phase") == "Running"
                && holds(pod, "Ready")
        };
        let found = all.iter().filter(lives).count() as u64;
        demand(found == count, || format!("{found} pods of {app}, not {count}"))?;
    }
    let begins = all.iter().find(|pod| {
        let app = text(pod, "/metadata/labels/app");
        app == "farm" && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    demand(begins.is_none(), || format!("a pod of a job at work: {begins:?}"))?;
    Ok(all)
}

/// What is not of the CronJob, whose pods come while this looks.
fn is_steady(pod: &Value) -> bool {
    text(pod, "/metadata/labels/app") != "tick"
}

fn all_containers(daemon: &Daemon) -> Result<Vec<Value>, String> {
    let answer = daemon.raw("GET", "/containers/json?all=1", "").map_err(|error| error.to_string())?;
    serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {answer:?}"))
}

/// The containers that run are those that the pods name, and those that do not are of pods that are there.
fn containers(daemon: &Daemon, pods: &[Value]) -> Result<(), String> {
    let running = |pod: &&Value| text(pod, "/status/phase") == "Running" && is_steady(pod);
    let id = |pod: &Value| {
        let id = text(pod, "/status/containerStatuses/0/containerID");
        id.rsplit_once("://").map_or(id, |(_, id)| id).to_owned()
    };
    let named: BTreeSet<String> = pods.iter().filter(running).map(id).collect();
    let of_tick: BTreeSet<&str> =
        pods.iter().filter(|pod| !is_steady(pod)).map(|pod| text(pod, "/metadata/uid")).collect();
    let all = all_containers(daemon)?;
    let label = |container: &Value| {
        container["Labels"]["io.kubernetes.pod.uid"].as_str().unwrap_or_default().to_owned()
    };
    let steady: Vec<&Value> = all.iter().filter(|one| !of_tick.contains(label(one).as_str())).collect();
    let runs = steady.iter().filter(|one| one["State"] == "running").map(|one| text(one, "/Id").to_owned());
    let runs: BTreeSet<String> = runs.collect();
    demand(runs == named, || format!("there run {runs:?}, and pods name {named:?}"))?;
    let uids: BTreeSet<&str> = pods.iter().map(|pod| text(pod, "/metadata/uid")).collect();
    let stray = steady.iter().find(|one| !uids.contains(label(one).as_str()));
    demand(stray.is_none(), || format!("a container of no pod: {stray:?}"))?;
    if of_tick.is_empty() {
        let (shims, wanted) = (daemon.shims().len(), named.len());
        demand(shims == wanted, || format!("{shims} shims for {wanted} pods that run"))?;
    }
    Ok(())
}

/// Behind the Service are its pods, and they answer.
fn service(api: &Api, pods: &[Value]) -> Result<(), String> {
    let webs = pods.iter().filter(|pod| text(pod, "/metadata/labels/app") == "web" && holds(pod, "Ready"));
    let addresses: BTreeSet<String> = webs.map(|pod| text(pod, "/status/podIP").to_owned()).collect();
    let slices = api.list(&workload::path("endpointslices", ""));
    let of_web =
        slices.iter().filter(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == "web");
    let endpoints = of_web.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let told: BTreeSet<String> = endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .map(|endpoint| text(endpoint, "/addresses/0").to_owned())
        .collect();
    demand(told == addresses, || format!("the service has {told:?}, and there are {addresses:?}"))?;
    let service = api.insist("GET", &workload::path("services", "web"), &Value::Null);
    let address = format!("{}:8080", text(&service, "/spec/clusterIP"));
    for _ in 0..2 * addresses.len() {
        ask(&address).map_err(|error| format!("{address}: {error}"))?;
    }
    Ok(())
}

/// Asks for a page, which must be there.
fn ask(address: &str) -> std::io::Result<()> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains(" 200 ") { Ok(()) } else { Err(std::io::Error::other(answer)) }
}

impl Traces {
    pub(super) fn of(daemon: &Daemon) -> Self {
        let (root, run) = (daemon.root(), daemon.run_directory());
        let mut found = BTreeSet::new();
        let in_root = ["pods", "containers", "sandboxes", "local-path", "volumes", "trash", "ids"]
            .into_iter()
            .chain(["images/snapshots", "images/ingest", "images/leases", "network/endpoints"]);
        for place in in_root.map(|name| root.join(name)) {
            list(&daemon.seen(&place), &mut found);
        }
        for name in ["shims", "sandboxes", "bundles", "trash"] {
            list(&run.join(name), &mut found);
        }
        // Beside those of sandboxes, which are called after them, some are kept ready.
        let mut namespaces = BTreeSet::new();
        list(&run.join("netns"), &mut namespaces);
        found.extend(
            namespaces
                .into_iter()
                .filter(|path| path.rsplit('/').next().is_some_and(|name| name.len() == 64)),
        );
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            groups(&hierarchy.path().join(daemon.instance()), &mut found);
        }
        let holder = daemon.network();
        let holder = holder.ancestors().nth(2).unwrap_or(Path::new("/proc/self"));
        let mounts = std::fs::read_to_string(holder.join("mountinfo")).unwrap_or_default();
        let ours =
            |line: &&str| [&root, &run].iter().any(|place| line.contains(&place.display().to_string()));
        let is_spare = |line: &&str| line.contains("/netns/");
        let mounts = mounts.lines().filter(ours).filter(|line| !is_spare(line));
        found.extend(mounts.filter_map(|line| line.split(' ').nth(4)).map(|at| format!("mounted: {at}")));
        Self(found)
    }
}

fn list(directory: &Path, found: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    found.extend(entries.map(|entry| entry.path().display().to_string()));
}

fn groups(directory: &Path, found: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if !STAY.iter().any(|name| entry.file_name() == *name) {
            found.insert(entry.path().display().to_string());
        }
        groups(&entry.path(), found);
    }
}
