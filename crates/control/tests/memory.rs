//! How much memory an object costs, with everything that follows it in the process.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use apiserver::node::NoNodes;
use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use cap::Cap;
use client::transport::{Body, TransportError, body};
use client::{Client, Transport};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use model::{Encoded, Object};
use serde_json::{Value, json};
use store::{KeyRange, Op, Put, Range, Store, Txn};
use tokio_util::sync::CancellationToken;

/// So much text has views in each informer: next to none, so that they are the same however many objects
/// there are.
const VIEWS: usize = 64 << 10;

/// Counts what is allocated. Of this process alone: no other test may run in it.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// How many watches there are, by the paths of what they follow.
type Followed = BTreeMap<String, usize>;

/// One that is open.
struct Watch {
    path: String,
    followed: Arc<Mutex<Followed>>,
}

impl Watch {
    fn new(path: &str, followed: &Arc<Mutex<Followed>>) -> Self {
        *followed.lock().expect("nobody panics with it").entry(path.to_owned()).or_insert(0) += 1;
        Self { path: path.to_owned(), followed: followed.clone() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watches) = self.followed.lock().expect("nobody panics with it").get_mut(&self.path) {
            *watches -= 1;
        }
    }
}

/// Calls the server as the binary does, and counts the watches of each resource.
#[derive(Clone)]
struct Shared {
    handle: Handle,
    identity: Identity,
    followed: Arc<Mutex<Followed>>,
}

impl Transport for Shared {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let watch = watches.then(|| Watch::new(request.uri().path(), &self.followed));
            let answer = self.handle.call(request, self.identity.clone()).await;
            let broken = move |source| {
                let _until_the_body_goes = &watch;
                TransportError::Broken { server: "test".to_owned(), source: Box::new(source) }
            };
            Ok(answer.map(|answer| body(answer.map_err(broken))))
        })
    }
}

/// A pod as it is stored once it runs, of about 4 kB, most of it managed fields. It is on no node, and none is looked
/// for: pods of nodes that are not there are deleted after a while.
fn pod(index: usize) -> Value {
    let environment: Vec<Value> = (0..12)
        .map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "x".repeat(40)}))
        .collect();
    let of = |name: &str| json!({(format!("f:{name}")): {".": {}, "f:name": {}, "f:value": {}}});
    let fields: Vec<Value> = (0..40).map(|field| of(&format!("field-{field}-of-{}", index % 7))).collect();
    let name = format!("web-{index:06}-abcde");
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("{index:08x}-0000-4000-8000-000000000000"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "pod-template-hash": "abcdef"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "owner-uid",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "test", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": fields}}],
        },
        "spec": {
            "restartPolicy": "Always", "schedulerName": "scheduler-of-another", "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "main", "image": "app", "env": environment, "imagePullPolicy": "Always",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}

/// An object of about 1.5 kB that nobody selects.
fn map(index: usize) -> Value {
    json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {
            "name": format!("map-{index:06}"), "namespace": "default", "uid": format!("{index:08x}-map"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "data": {"text": "x".repeat(1_400)},
    })
}

/// Puts objects where the server will find them; gives how long their texts are, all together.
async fn fill(store: &dyn Store, partition: &str, objects: impl Iterator<Item = Value>) -> usize {
    let mut bytes = 0;
    let all = kinds::all();
    let resource = all.iter().find(|kind| partition == format!("core/{}", kind.plural)).expect("a kind");
    let objects: Vec<Value> = objects.collect();
    for some in objects.chunks(store::OPERATION_LIMIT) {
        let mut txn = Txn::new();
        for value in some {
            let mut object = Object::from_value(value.clone()).expect("an object");
            // As a server of today would have stored it.
            resource.apply_defaults(&mut object).expect("there is room");
            let text = Encoded::encode(&object);
            bytes += text.len();
            let key =
                format!("/registry/{partition}/{}/{}", object.namespace().unwrap_or_default(), object.name());
            txn = txn.then(Op::Put(Put::new(key.replace("//", "/"), text)));
        }
        store.txn(txn).await.expect("stored");
    }
    bytes
}

/// How long a list of all pods is, and what it takes besides the pods while somebody reads it, at most.
async fn cost_of_list(handle: &Handle) -> (usize, usize) {
    let (mut length, mut least) = (0, usize::MAX);
    // What others need for a moment comes and goes.
    for _ in 0..5 {
        let held = ALLOCATED.allocated();
        let request = Request::get("/api/v1/pods").body(Bytes::new()).expect("a request");
        let mut body = handle.call(request, Identity::administrator()).await.into_body();
        let mut most = held;
        length = 0;
        while let Some(frame) = body.frame().await {
            // With what has just come.
            most = most.max(ALLOCATED.allocated());
            length += frame.expect("bodies never fail").data_ref().map_or(0, Bytes::len);
        }
        least = least.min(most - held);
    }
    (length, least)
}

/// The least that is allocated within a while: what somebody needs for a moment comes and goes.
async fn least() -> usize {
    let mut least = usize::MAX;
    for _ in 0..50 {
        least = least.min(ALLOCATED.allocated());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    least
}

/// What is allocated once that neither grows nor falls any more, and is `enough` or less, if it comes to be in some
/// time: what has begun is still to take things in, and a server that has ended is let go of piece by piece.
async fn settled(enough: usize) -> usize {
    /// What differs by less is the same.
    const NOISE: usize = 32 << 10;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let (mut last, mut same) = (least().await, 0);
    while (same < 3 || last > enough) && std::time::Instant::now() < deadline {
        let now = least().await;
        same = if now.abs_diff(last) < NOISE { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// What objects cost.
#[derive(Default)]
struct Costs {
    objects: usize,
    /// How long their texts are.
    bytes: usize,
    /// What is allocated once server and controllers have taken everything in.
    allocated: usize,
    /// How long a list of all pods is, and what it takes.
    list: (usize, usize),
    /// By whom they, and all else, were followed then.
    followed: Followed,
}

/// The most that a text of so many bytes may cost.
fn most(text: usize) -> usize {
    text * 13 / 10 + 600
}

/// Measures so many objects, once all is followed that was when `few` of them were measured.
async fn measure(pods: usize, maps: usize, few: &Costs) -> Costs {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock = Arc::new(base::SystemClock::new());
    let before = settled(usize::MAX).await;
    let open = || store::Embedded::open(&root.path().join("store"), store::Options::default(), clock.clone());
    let store = open().expect("open the store");
    let mut owner = map(0);
    owner["metadata"]["name"] = "owner".into();
    owner["metadata"]["uid"] = "owner-uid".into();
    fill(&store, "core/configmaps", std::iter::once(owner)).await;
    let mut bytes = fill(&store, "core/pods", (0..pods).map(pod)).await;
    bytes += fill(&store, "core/configmaps", (1..=maps).map(map)).await;
    // As after a while: what was made is no news any more.
    store.compact(store.status().await.expect("a status").revision).await.expect("compact");
    let store = Arc::new(store);
    let mut config = Config::new(root.path().join("pki"), Arc::new(NoNodes));
    config.address = "127.0.0.1:0".parse().expect("an address");
    config.admission = kinds::admission();
    config.authorization = kinds::authorization();
    let server = Server::start(config, store.clone(), kinds::all()).await.expect("start the server");
    let (handle, authority) = (server.handle(), server.authority().certificate_pem().to_owned());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let followed = Arc::<Mutex<Followed>>::default();
    let shared =
        Shared { handle: handle.clone(), identity: Identity::administrator(), followed: followed.clone() };
    let at_work: control::Clients = Arc::new(move |actor| {
        let identity = match actor {
            control::Actor::Component(name) => Identity::component(name),
            control::Actor::Controller(name) => Identity::controller(name),
        };
        Client::new(Shared { identity, ..shared.clone() }).with_view_limit(VIEWS)
    });
    let stopped = stop.clone();
    let controllers = tokio::spawn(async move {
        let config = control::Config {
            authority,
            candidate: None,
            signer: None,
            scheduler: Arc::default(),
            migrates: false,
            pod_groups: control::PodGroups::default(),
        };
        control::run(config, at_work, clock, stopped).await;
    });
    // Each kind is followed by the garbage collector, and these by others, too. It takes a while, and longer
    // where much else is going on.
    let watches = |followed: &Followed, path: &str| followed.get(path).copied().unwrap_or(0);
    let all_begun = || {
        let followed = followed.lock().expect("nobody panics with it");
        let twice = |path: &&str| watches(&followed, path) >= 2;
        ["/api/v1/pods", "/api/v1/configmaps", "/api/v1/nodes"].iter().all(twice)
            && few.followed.iter().all(|(path, least)| watches(&followed, path) >= *least)
    };
    let waited = async {
        while !all_begun() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(120), waited).await;
    assert!(in_time.is_ok(), "{:?}", followed.lock());
    let enough = match (pods + maps).checked_sub(few.objects) {
        Some(more) if few.objects > 0 => {
            before + few.allocated + more * most((bytes - few.bytes) / more.max(1))
        }
        _ => usize::MAX,
    };
    let allocated = settled(enough).await.saturating_sub(before);
    let list = cost_of_list(&handle).await;
    let followed = followed.lock().expect("nobody panics with it").clone();
    let left = store.range(Range::new(KeyRange::prefix("/registry/core/pods/")).count_only()).await;
    assert_eq!(left.expect("a range").count, pods, "nobody has deleted any");
    stop.cancel();
    controllers.await.expect("no panic");
    serving.await.expect("no panic");
    Costs { objects: pods + maps, bytes, allocated, list, followed }
}

/// Measures few and many, both when as much is followed: what begins between the two is none of the objects' cost.
async fn measure_both(few: (usize, usize), many: (usize, usize)) -> (Costs, Costs) {
    let mut begin = Costs::default();
    for _ in 0..5 {
        let mut costs = Vec::new();
        for _ in 0..3 {
            costs.push(measure(few.0, few.1, &begin).await);
        }
        // Of what was still to be taken in, on a busy machine, nothing counts as cost of the many.
        let few = costs.into_iter().max_by_key(|costs| costs.allocated).expect("three");
        let many = measure(many.0, many.1, &few).await;
        println!("few {} many {}", few.allocated, many.allocated);
        if many.followed == few.followed {
            return (few, many);
        }
        begin.followed = many.followed;
    }
    panic!("there is no end to what is followed: {:?}", begin.followed);
}

/// Measured between a few objects and many: what a server costs without any is the same in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_costs_little_more_than_its_text_however_many_follow_it() {
    for (what, few, many) in [("map", (0, 500), (0, 3_000)), ("pod", (200, 0), (1_200, 0))] {
        let (of_few, of_many) = measure_both(few, many).await;
        let objects = of_many.objects - of_few.objects;
        let cost = (of_many.allocated - of_few.allocated) / objects;
        let text = (of_many.bytes - of_few.bytes) / objects;
        let (length, besides) = of_many.list;
        println!("a {what} of {text} bytes costs {cost}");
        assert!(cost <= most(text), "a {what} of {text} bytes costs {cost}");
        if many.0 > 0 {
            println!("a list of {length} bytes takes {besides}");
            assert!(
                length > many.0 * text && besides <= length / 8,
                "a list of {length} bytes takes {besides}"
            );
        }
    }
}
