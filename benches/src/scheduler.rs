//! The scheduler: its decisions alone, and pods that get their nodes through an API server in this process.
//!
//! The nodes are objects without machines, so that no container is started.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use apiserver::Server;
use apiserver::node::NoNodes;
use base::SystemClock;
use client::{Api, Change, Client, Informer, ListOptions};
use control::scheduler::{Event, Outcome, Planner, Written};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::direct::Direct;
use crate::load;

const NODES: usize = 100;
/// So many pods there are.
const PODS: [usize; 3] = [1_000, 10_000, 30_000];
/// So many decisions are timed at once.
const DECISIONS: usize = 2_000;
/// So many requests make pods at once.
const MAKERS: usize = 32;

/// Measures decisions, and whole bindings into a store below `place`.
pub(crate) async fn measure(place: &Path) -> anyhow::Result<()> {
    decisions()?;
    many_nodes()?;
    bindings(place).await
}

/// How many pods are decided about in a second of one processor's time, while so many have nodes.
fn decisions() -> anyhow::Result<()> {
    for pods in PODS {
        let mut planner = Planner::new();
        let began = Instant::now();
        for number in 0..NODES {
            planner.apply(Event::of_node(&Change::Added(Arc::new(typed(node(number))?))), began.elapsed());
        }
        for number in 0..pods {
            show(&mut planner, placed(number, number % NODES), began.elapsed())?;
        }
        let mut samples = Vec::new();
        for round in 0..6 {
            let first = pods + round * DECISIONS;
            for number in first..first + DECISIONS {
                show(&mut planner, owned(number), began.elapsed())?;
            }
            let started = worked();
            let mut shown = Vec::new();
            while let Some(outcome) = planner.decide(began.elapsed()) {
                let Outcome::Chosen { pod, node, .. } = outcome else { anyhow::bail!("{outcome:?}") };
                planner.written(&pod, Written::Bound, began.elapsed());
                shown.push((pod, node));
            }
            samples.push(DECISIONS as f64 / (worked() - started).as_secs_f64());
            // They are seen bound, and go: every round finds as many pods.
            for (pod, node) in shown {
                let number: usize = pod.key.name[1..].parse().context("its number")?;
                let node: usize = node["node-".len()..].parse().context("its node's number")?;
                let bound: Arc<Pod> = Arc::new(typed(placed(number, node))?);
                Event::of_pod(&Change::Added(bound.clone())).for_each(|e| planner.apply(e, began.elapsed()));
                Event::of_pod(&Change::Deleted(bound)).for_each(|e| planner.apply(e, began.elapsed()));
            }
        }
        load::row(&format!("decisions on {NODES} nodes with {pods} pods"), "/s", &samples);
    }
    Ok(())
}

/// So many nodes are very many, in so many zones, and so many pods they have at first.
const MANY: usize = 5_000;
const ZONES: usize = 10;
const CROWD: usize = 150_000;
/// So many pods are of one owner.
const OF_ONE: usize = 300;

/// The same on very many nodes: of pods that say nothing but are spread for their owner, of pods that say who is
/// near to them and how evenly they are spread, and of pods that others have to go for; while pods go all the time.
fn many_nodes() -> anyhow::Result<()> {
    let mut planner = Planner::new();
    let began = Instant::now();
    for number in 0..MANY {
        let mut node = node(number);
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = format!("zone-{}", number % ZONES).into();
        node["status"]["allocatable"]["cpu"] = "8".into();
        planner.apply(Event::of_node(&Change::Added(Arc::new(typed(node)?))), began.elapsed());
    }
    for owner in 0..=CROWD / OF_ONE {
        let set = json!({
            "metadata": {"name": format!("owner-{owner}"), "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": format!("app-{owner}")}}},
        });
        planner.apply(Event::of_replica_set(&Change::Added(Arc::new(typed(set)?))), began.elapsed());
    }
    let of_owner = |number: usize, change: &dyn Fn(&mut Value)| {
        let owner = format!("owner-{}", number % (CROWD / OF_ONE));
        let mut pod = pod(number);
        pod["metadata"]["labels"]["app"] = format!("app-{}", number % (CROWD / OF_ONE)).into();
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true},
        ]);
        change(&mut pod);
        pod
    };
    for number in 0..CROWD {
        let mut pod = of_owner(number, &|_| ());
        pod["spec"]["nodeName"] = format!("node-{}", number * 7 % MANY).into();
        show(&mut planner, pod, began.elapsed())?;
    }
    let near = |pod: &mut Value| {
        let selector = json!({"matchLabels": {"app": pod["metadata"]["labels"]["app"]}});
        let term = |key: &str| json!({"labelSelector": selector, "topologyKey": key});
        pod["spec"]["affinity"] = json!({
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 10, "podAffinityTerm": term("topology.kubernetes.io/zone")}]},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("kubernetes.io/hostname")]},
        });
        pod["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": selector,
        }]);
    };
    // Larger than what is free anywhere, and more important than all that is there.
    let pushing = |pod: &mut Value| {
        pod["spec"]["priority"] = 1000.into();
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "7900m".into();
    };
    type Shaping<'a> = &'a dyn Fn(&mut Value);
    let kinds: [(&str, usize, Shaping<'_>); 3] = [
        ("decisions on 5,000 nodes with 150,000 pods", 2_000, &|_| ()),
        ("decisions with affinity and spread on 5,000 nodes", 500, &near),
        ("decisions that have others go on 5,000 nodes", 50, &pushing),
    ];
    let mut first = CROWD;
    for (name, decisions, change) in kinds {
        let mut samples = Vec::new();
        for _ in 0..4 {
            for number in first..first + decisions {
                show(&mut planner, of_owner(number, change), began.elapsed())?;
            }
            let started = worked();
            let mut decided = 0;
            let mut seen = Vec::new();
            while let Some(outcome) = planner.decide(began.elapsed()) {
                decided += 1;
                match outcome {
                    Outcome::Chosen { pod, node, .. } => {
                        planner.written(&pod, Written::Bound, began.elapsed());
                        seen.push((pod, Some(node)));
                    }
                    Outcome::Refused { pod, .. } => seen.push((pod, None)),
                    Outcome::Failed { panic, .. } => anyhow::bail!("{panic}"),
                    Outcome::Grouped { .. } => {}
                }
            }
            samples.push(decided as f64 / (worked() - started).as_secs_f64());
            // They are seen bound, and go, as do some that were there: every round finds about as many pods.
            for (pod, node) in seen {
                let number: usize = pod.key.name[1..].parse().context("its number")?;
                let mut shown = of_owner(number, change);
                if let Some(node) = node {
                    shown["spec"]["nodeName"] = (*node).into();
                }
                let shown: Arc<Pod> = Arc::new(typed(shown)?);
                Event::of_pod(&Change::Added(shown.clone())).for_each(|e| planner.apply(e, began.elapsed()));
                Event::of_pod(&Change::Deleted(shown)).for_each(|e| planner.apply(e, began.elapsed()));
            }
            first += decisions;
        }
        load::row(name, "/s", &samples);
    }
    Ok(())
}

/// How long this thread has had a processor: who else wants it does not count.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

fn show(planner: &mut Planner, pod: Value, now: Duration) -> anyhow::Result<()> {
    Event::of_pod(&Change::Added(Arc::new(typed(pod)?))).for_each(|event| planner.apply(event, now));
    Ok(())
}

/// How many pods a second get their nodes from a start of the controllers on, until there are so many.
async fn bindings(place: &Path) -> anyhow::Result<()> {
    let root = tempfile::tempdir_in(place).context("make a directory for the server")?;
    let clock = Arc::new(SystemClock::new());
    let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock.clone())?;
    let mut config = apiserver::Config::new(root.path().join("pki"), Arc::new(NoNodes));
    config.address = "127.0.0.1:0".parse().context("an address")?;
    config.admission = kinds::admission();
    config.authorization = kinds::authorization();
    let server = Server::start(config, Arc::new(store), kinds::all()).await?;
    let client = Client::new(Direct::new(server.handle()));
    let authority = server.authority().certificate_pem().to_owned();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));

    let accounts = Api::<ServiceAccount>::namespaced(&client, "default");
    accounts.create(&typed(json!({"metadata": {"name": "default"}}))?).await?;
    let nodes = Api::<Node>::all(&client);
    for number in 0..NODES {
        let node = node(number);
        nodes.create(&typed(node.clone())?).await?;
        let patch = client::Patch::Merge(json!({"status": node["status"]}));
        nodes.patch_status(&format!("node-{number}"), &patch, &client::PatchOptions::default()).await?;
    }
    let seen = Seen::new(&client, &stop);
    let mut made = 0;
    for pods in PODS {
        let (first, api) = (made, Api::<Pod>::namespaced(&client, "default"));
        load::rate(MAKERS, pods - made, move |number| {
            let api = api.clone();
            async move {
                api.create(&typed(pod(first + number))?).await?;
                Ok(())
            }
        })
        .await?;
        let ends = stop.child_token();
        let (client, clock, config) = (
            client.clone(),
            clock.clone(),
            control::Config {
                authority: authority.clone(),
                candidate: None,
                signer: None,
                scheduler: Arc::default(),
                migrates: false,
                pod_groups: control::PodGroups::default(),
            },
        );
        let ended = ends.clone();
        let running = tokio::spawn(async move {
            control::run(config, Arc::new(move |_| client.clone()), clock, ended).await
        });
        // What is listed at first is the controllers' start, not the scheduler's speed.
        seen.until(made + 1).await?;
        let (started, from) = (Instant::now(), seen.bound.load(Ordering::Relaxed));
        seen.until(pods).await?;
        let rate = (pods - from) as f64 / started.elapsed().as_secs_f64();
        load::row(&format!("bindings on {NODES} nodes until there are {pods} pods"), "/s", &[rate]);
        ends.cancel();
        running.await?;
        made = pods;
    }
    stop.cancel();
    serving.await?;
    Ok(())
}

/// Counts the pods that have nodes.
struct Seen {
    bound: Arc<AtomicUsize>,
    changed: watch::Receiver<usize>,
}

impl Seen {
    fn new(client: &Client, stop: &CancellationToken) -> Self {
        let bound = Arc::new(AtomicUsize::new(0));
        let (sender, changed) = watch::channel(0);
        let informer = Informer::new(Api::<Pod>::all(client), ListOptions::default());
        let counted = bound.clone();
        informer.on_change(move |change: &Change<Pod>| {
            let has_node = |pod: &Arc<Pod>| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            if has_node(change.object()) && change.old().is_none_or(|old| !has_node(old)) {
                sender.send_replace(counted.fetch_add(1, Ordering::Relaxed) + 1);
            }
        });
        let stop = stop.clone();
        tokio::spawn(async move { informer.run(stop).await });
        Self { bound, changed }
    }

    async fn until(&self, number: usize) -> anyhow::Result<()> {
        self.changed.clone().wait_for(|bound| *bound >= number).await?;
        Ok(())
    }
}

fn node(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("node-{number}"), "labels": {"kubernetes.io/hostname": format!("node-{number}")}},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}},
    })
}

fn pod(number: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("p{number}"), "namespace": "default", "uid": format!("8e0a7c52-0000-4000-8000-{number:012}"),
            "labels": {"app": "load"},
        },
        "spec": {"containers": [{
            "name": "main", "image": "app", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }]},
    })
}

/// One of the pods of an owner, as most are; not for the API, which removes those of owners that are not there.
fn owned(number: usize) -> Value {
    let mut pod = pod(number);
    let owner = format!("owner-{}", number % 50);
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true},
    ]);
    pod
}

fn placed(number: usize, node: usize) -> Value {
    let mut pod = owned(number);
    pod["spec"]["nodeName"] = format!("node-{node}").into();
    pod
}

fn typed<K: DeserializeOwned>(value: Value) -> anyhow::Result<K> {
    serde_json::from_value(value).context("a typed object")
}
