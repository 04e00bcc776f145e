//! A kind is added by one file, and by nothing else.
//!
//! The file is `one_file/lease_candidate.rs`, of a kind that is not served: what a newcomer would put into
//! `src/coordination/`. The server is the one that everybody uses; it gets the entry beside all others, as the
//! build script would give it.
#![forbid(unsafe_code)]

#[path = "../build.rs"]
#[allow(dead_code, reason = "its `main` is for cargo")]
mod build;
#[path = "one_file/lease_candidate.rs"]
mod lease_candidate;

use std::path::Path;
use std::sync::Arc;

use apiserver::node::NoNodes;
use apiserver::{Config, Handle, Identity, Server};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

#[test]
fn the_build_script_finds_the_file() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let copy = tempfile::tempdir().expect("temporary directory");
    copy_names(&src, copy.path());
    let before = build::modules(copy.path()).expect("read the sources");
    std::fs::write(copy.path().join("coordination/lease_candidate.rs"), "").expect("write a file");
    let after = build::modules(copy.path()).expect("read the sources");
    let added: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    let file = copy.path().join("coordination/lease_candidate.rs");
    let expected = [
        format!("    #[path = {file:?}]"),
        "    pub(crate) mod lease_candidate;".to_owned(),
        "        features::Make::make(coordination::lease_candidate::resource, features),".to_owned(),
    ];
    assert_eq!(added, expected);
    let kinds = before.lines().filter(|line| line.contains("::resource, features)")).count();
    // What is measured is no kind that anybody stores: its groups have a file together.
    let all = kinds::served(&everything());
    let stored = all.iter().filter(|kind| !kind.group.ends_with("metrics.k8s.io"));
    assert_eq!(kinds, stored.count(), "every file is a kind");
}

/// All that can be switched on.
fn everything() -> kinds::Features {
    let gates = "AllAlpha=true,AllBeta=true".parse().expect("gates");
    kinds::Features { gates, versions: "api/all=true".parse().expect("versions") }
}

/// The directories and files below `from`, without what is in them.
fn copy_names(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).expect("make a directory");
            copy_names(&entry.path(), &to);
        } else {
            std::fs::write(to, "").expect("write a file");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_the_file_says_is_served() {
    assert!(kinds::all().iter().all(|known| known.kind != "LeaseCandidate"), "it is still new");
    let cluster = Cluster::start().await;
    let collection = "/apis/coordination.k8s.io/v1beta1/namespaces/default/leasecandidates";

    // Discovery: names and subresources.
    let list = cluster.ok("GET", "/apis/coordination.k8s.io/v1beta1", "", Value::Null).await;
    let find = |name: &str| {
        let resources = list["resources"].as_array().expect("a list");
        resources.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(find("leasecandidates")["shortNames"], json!(["lcs"]));
    assert_eq!(find("leasecandidates")["categories"], json!(["all"]));
    assert_eq!(find("leasecandidates/count")["verbs"], json!(["get"]));

    // Defaults, and what the strategy fills in.
    let candidate = |lease: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "metadata": {"name": "web"},
            "spec": {"leaseName": lease, "binaryVersion": "1.0.0"},
        })
    };
    let made = cluster.ok("POST", collection, "application/json", candidate("l1")).await;
    assert_eq!(made["spec"]["strategy"], "OldestEmulationVersion");
    assert_eq!(made["metadata"]["annotations"]["made-in"], "default");
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update");

    // Rules, of an object and of a change.
    let (code, refused) =
        cluster.send("PUT", &format!("{collection}/web"), "application/json", candidate("")).await;
    assert_eq!(code, 422, "{refused}");
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("spec.leaseName: Required value"), "{message}");
    let kind = "application/strategic-merge-patch+json";
    let patch = json!({"spec": {"leaseName": "other"}});
    let (code, refused) = cluster.send("PATCH", &format!("{collection}/web"), kind, patch).await;
    assert_eq!(code, 422, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("field is immutable")), "{refused}");

    // Columns.
    let table = cluster.table(collection).await;
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(names, ["Name", "Lease", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "l1");

    // Fields to select by.
    let selected = |selector: &str| format!("{collection}?fieldSelector={selector}");
    let found = cluster.ok("GET", &selected("lease%3Dl1"), "", Value::Null).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    let found = cluster.ok("GET", &selected("lease%3Dl2"), "", Value::Null).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(0));
    let (code, _) = cluster.send("GET", &selected("other%3D1"), "", Value::Null).await;
    assert_eq!(code, 400);

    // A subresource of its own.
    let count = cluster.ok("GET", &format!("{collection}/web/count"), "", Value::Null).await;
    assert_eq!(count["letters"], 2);

    // Who may, roles say.
    let (jane, json_type) = (Identity::new("jane", ["x"]), "application/json");
    let path = format!("{collection}/web");
    assert_eq!(cluster.as_identity("GET", &path, &jane).await, 403);
    let (roles, group) = ("/apis/rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io");
    let plural = collection.rsplit('/').next().expect("a plural");
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["*"], "resources": [plural], "verbs": ["get"]}],
    });
    cluster.ok("POST", &format!("{roles}/clusterroles"), json_type, role).await;
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "jane"}],
    });
    cluster.ok("POST", &format!("{roles}/clusterrolebindings"), json_type, binding).await;
    assert_eq!(cluster.as_identity("GET", &path, &jane).await, 200);
    assert_eq!(cluster.as_identity("DELETE", &path, &jane).await, 403);

    // What `kubectl explain` reads.
    let document = cluster.ok("GET", "/openapi/v3/apis/coordination.k8s.io/v1beta1", "", Value::Null).await;
    let described =
        &document["components"]["schemas"]["io.k8s.api.coordination.v1beta1.LeaseCandidate"]["description"];
    assert!(described.as_str().is_some_and(|text| text.contains("candidate")), "{described}");

    // What must always be there.
    let permanent = collection.replace("default", "kube-system") + "/always";
    let permanent = cluster.ok("GET", &permanent, "", Value::Null).await;
    assert_eq!(permanent["spec"]["leaseName"], "always");
}

struct Cluster {
    handle: Handle,
    _server: Server,
    _root: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(base::SystemClock::new());
        let store = store::Embedded::open(&root.path().join("store"), store::Options::default(), clock);
        let mut config = Config::new(root.path().join("pki"), Arc::new(NoNodes));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.authorization = kinds::authorization();
        let mut resources = kinds::all();
        resources.push(lease_candidate::resource());
        let store = Arc::new(store.expect("open the store"));
        let server = Server::start(config, store, resources).await.expect("start the server");
        Self { handle: server.handle(), _server: server, _root: root }
    }

    async fn call(&self, request: Request<Bytes>, identity: &Identity) -> (u16, Value) {
        let response = self.handle.call(request, identity.clone()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        self.call(request.body(body).expect("a well-formed request"), &Identity::administrator()).await
    }

    async fn ok(&self, method: &str, path: &str, kind: &str, body: Value) -> Value {
        let (code, answer) = self.send(method, path, kind, body).await;
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    async fn table(&self, path: &str) -> Value {
        let request = Request::builder()
            .uri(path)
            .header(header::ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io");
        self.call(request.body(Bytes::new()).expect("a well-formed request"), &Identity::administrator())
            .await
            .1
    }

    async fn as_identity(&self, method: &str, path: &str, identity: &Identity) -> u16 {
        let request = Request::builder().method(method).uri(path).body(Bytes::new());
        self.call(request.expect("a well-formed request"), identity).await.0
    }
}
