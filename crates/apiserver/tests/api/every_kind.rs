//! All kinds, each with one small object: whatever is true of every kind of Kubernetes is true of each of them.

use apiserver::{Identity, Resource};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Watch};

#[path = "every_kind/minimal.rs"]
mod minimal;
#[path = "every_kind/wire.rs"]
mod wire;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";

/// One kind, and where its objects are.
struct Kind<'a> {
    cluster: &'a Cluster,
    resource: &'a Resource,
    collection: String,
    object: Value,
}

impl Kind<'_> {
    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name())
    }

    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().expect("it has a name")
    }

    /// Asks for an answer of one type with a body of another.
    async fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        kind: &str,
        body: Bytes,
    ) -> (u16, String, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, kind)
            .header(header::USER_AGENT, "test/1")
            .body(body);
        let response = self.cluster.handle.call(request.expect("a request"), Identity::administrator()).await;
        let code = response.status().as_u16();
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        (code, media_type, response.into_body().collect().await.expect("bodies never fail").to_bytes())
    }

    async fn json(&self, method: &str, path: &str, kind: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (code, _, answer) = self.send(method, path, JSON, kind, text.into()).await;
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!((200..300).contains(&code), "{method} {path} {body}: {code} {answer}");
        answer
    }

    async fn get(&self, accept: &str, path: &str) -> Bytes {
        let (code, media_type, body) = self.send("GET", path, accept, "", Bytes::new()).await;
        let wanted = accept.split(';').next().unwrap_or_default();
        assert_eq!((code, media_type.as_str()), (200, wanted), "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn all(&self) {
        let list = self.json("GET", &self.collection, "", &Value::Null).await;
        assert_eq!(list["kind"], format!("{}List", self.resource.kind));
        let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision");
        let mut watch = self
            .cluster
            .watch(&format!(
                "{}?watch=1&resourceVersion={revision}&fieldSelector=metadata.name%3D{}",
                self.collection,
                self.name()
            ))
            .await;
        let made = self.json("POST", &self.collection, JSON, &self.object).await;
        assert_eq!(told(&mut watch).await, format!("ADDED {}", self.name()));
        let made = self.stays_as_it_is(made).await;
        self.is_given_in_every_form(&made).await;
        self.takes_patches(&mut watch).await;
        if self.resource.has_subresource("status") {
            let path = format!("{}/status", self.path());
            let kind = "application/merge-patch+json";
            let told = self.json("PATCH", &path, kind, &json!({"status": {}})).await;
            assert_eq!(told["metadata"]["labels"]["apply"], "yes", "a status is all that is changed");
            assert_eq!(self.json("GET", &path, "", &Value::Null).await, told);
        }
        // Jobs and ReplicationControllers leave their pods behind where nothing is said.
        let path = format!("{}?propagationPolicy=Background", self.path());
        self.json("DELETE", &path, "", &Value::Null).await;
        let (modified, deleted) = (format!("MODIFIED {}", self.name()), format!("DELETED {}", self.name()));
        let (code, ..) = self.send("GET", &self.path(), JSON, "", Bytes::new()).await;
        if code == 200 {
            if self.resource.kind == "Namespace" {
                // What is in it goes first.
                return;
            }
            // Who holds it lets go.
            let free = json!({"metadata": {"finalizers": null}});
            self.json("PATCH", &self.path(), "application/merge-patch+json", &free).await;
        }
        // Some are changed along with others meanwhile.
        let mut event = told(&mut watch).await;
        while event == modified {
            event = told(&mut watch).await;
        }
        assert_eq!(event, deleted);
        let (code, ..) = self.send("GET", &self.path(), JSON, "", Bytes::new()).await;
        assert_eq!(code, 404);
    }

    /// What was made is what is there, and is what is there when it is sent again.
    async fn stays_as_it_is(&self, made: Value) -> Value {
        // What others do to a new object, such as the namespace's controller, is done by now.
        let found = self.json("GET", &self.path(), "", &Value::Null).await;
        assert_eq!(found, made);
        let again = self.json("PUT", &self.path(), JSON, &found).await;
        assert_eq!(again, found, "what is sent as it is changes nothing");
        let listed = self.json("GET", &self.collection, "", &Value::Null).await;
        let items = listed["items"].as_array().expect("a list");
        let item = items.iter().find(|item| item["metadata"]["name"] == self.name()).expect("it is listed");
        for (field, value) in item.as_object().expect("an object") {
            assert_eq!(value, &found[field], "{field} of an item");
        }
        found
    }

    async fn is_given_in_every_form(&self, made: &Value) {
        let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
        let table: Value = serde_json::from_slice(&self.get(table, &self.path()).await).expect("JSON");
        let (columns, cells) = (&table["columnDefinitions"], &table["rows"][0]["cells"]);
        assert_eq!(columns.as_array().map(Vec::len), cells.as_array().map(Vec::len), "{table}");
        let first = cells[0].as_str().unwrap_or_default();
        assert!(first.starts_with(self.name()) || self.resource.kind == "Event", "{table}");
        if !self.resource.protobuf {
            return;
        }
        // The one form sent back stands for the other.
        let message = self.get(PROTOBUF, &self.path()).await;
        let (code, media_type, answer) =
            self.send("PUT", &self.path(), JSON, PROTOBUF, message.clone()).await;
        assert_eq!((code, media_type.as_str()), (200, JSON), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(&serde_json::from_slice::<Value>(&answer).expect("JSON"), made);
        let object = wire::unwrap(&message, &self.resource.api_version(), &self.resource.kind);
        // In a list, and in an event of a watch, it is the same.
        let selector = format!("fieldSelector=metadata.name%3D{}", self.name());
        let list = self.get(PROTOBUF, &format!("{}?{selector}", self.collection)).await;
        let kind = format!("{}List", self.resource.kind);
        let items = wire::items(&wire::unwrap(&list, &self.resource.api_version(), &kind));
        assert_eq!(items, [object]);
        let path = format!("{}?watch=1&{selector}", self.collection);
        let request = Request::builder().uri(path).header(header::ACCEPT, PROTOBUF).body(Bytes::new());
        let mut response =
            self.cluster.handle.call(request.expect("a request"), Identity::administrator()).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], format!("{PROTOBUF};stream=watch"));
        let frame = tokio::time::timeout(std::time::Duration::from_secs(30), response.body_mut().frame());
        let frame = frame.await.expect("an event").expect("one").expect("bodies never fail").into_data();
        assert_eq!(wire::event(&frame.expect("data")), ("ADDED".to_owned(), message.to_vec()));
        let partial = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        let partial = self.get(&partial, &self.path()).await;
        wire::unwrap(&partial, "meta.k8s.io/v1", "PartialObjectMetadata");
    }

    /// By each kind of patch a label is added; the watch tells of each.
    async fn takes_patches(&self, watch: &mut Watch) {
        let labels = |name: &str| json!({"metadata": {"labels": {name: "yes"}}});
        let mut applied = labels("apply");
        applied["apiVersion"] = self.resource.api_version().into();
        applied["kind"] = self.resource.kind.as_str().into();
        let path = self.path();
        for (name, kind, path, patch) in [
            ("merge", "application/merge-patch+json", path.clone(), labels("merge")),
            ("strategic", "application/strategic-merge-patch+json", path.clone(), labels("strategic")),
            (
                "json",
                "application/json-patch+json",
                path.clone(),
                json!([{"op": "add", "path": "/metadata/labels/json", "value": "yes"}]),
            ),
            ("apply", "application/apply-patch+yaml", format!("{path}?fieldManager=test"), applied),
        ] {
            let patched = self.json("PATCH", &path, kind, &patch).await;
            assert_eq!(patched["metadata"]["labels"][name], "yes", "{name}: {patched}");
            let event = watch.next_event().await.expect("an event");
            assert_eq!((&event["type"], &event["object"]), (&json!("MODIFIED"), &patched));
        }
    }
}

/// The next event, and of what it tells.
async fn told(watch: &mut Watch) -> String {
    let event = watch.next_event().await.expect("an event");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_does_what_all_do() {
    // Nobody else writes what is made here: flow schemas would be told whether there is their level, and
    // definitions that they are served.
    let cluster = Cluster::configured(|config| {
        config.flow_control = std::sync::Arc::new(|_| std::sync::Arc::new(apiserver::fairness::OneLevel));
        config.definitions = apiserver::definitions::none();
    })
    .await;
    for resource in kinds::all().into_iter().filter(|kind| kind.unstored.is_none()) {
        let object = minimal::object(&resource);
        let root = if resource.group.is_empty() { "/api" } else { "/apis" };
        let scope = if resource.namespaced { "/namespaces/default" } else { "" };
        let collection = format!("{root}/{}{scope}/{}", resource.api_version(), resource.plural);
        println!("{} {}", resource.api_version(), resource.kind);
        Kind { cluster: &cluster, resource: &resource, collection, object }.all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_of_protobuf_is_whole_and_errors_are_of_that_form_too() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::start().await;
    for index in 0..60 {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index}")},
            "data": {"a": "b".repeat(index * 100)},
        });
        cluster.ok("POST", MAPS, &object).await;
    }
    let resource = kinds::all().into_iter().find(|kind| kind.kind == "ConfigMap").expect("it is there");
    let kind =
        Kind { cluster: &cluster, resource: &resource, collection: MAPS.to_owned(), object: Value::Null };
    let list = kind.get(PROTOBUF, MAPS).await;
    let items = wire::items(&wire::unwrap(&list, "v1", "ConfigMapList"));
    assert_eq!(items.len(), 60);
    for item in &items {
        let name = wire::name(item);
        let one = kind.get(PROTOBUF, &format!("{MAPS}/{name}")).await;
        assert_eq!(&wire::unwrap(&one, "v1", "ConfigMap"), item, "{name}");
    }
    let page = kind.get(PROTOBUF, &format!("{MAPS}?limit=7")).await;
    assert_eq!(wire::items(&wire::unwrap(&page, "v1", "ConfigMapList")).len(), 7);
    let (code, media_type, body) =
        kind.send("GET", &format!("{MAPS}/none"), PROTOBUF, "", Bytes::new()).await;
    assert_eq!((code, media_type.as_str()), (404, PROTOBUF));
    wire::unwrap(&body, "v1", "Status");
    let (code, media_type, body) =
        kind.send("DELETE", &format!("{MAPS}/m1"), PROTOBUF, "", Bytes::new()).await;
    assert_eq!((code, media_type.as_str()), (200, PROTOBUF));
    wire::unwrap(&body, "v1", "Status");
    // Of two that are accepted the first that can be given is.
    let (_, media_type, _) = kind
        .send("GET", MAPS, "application/json, application/vnd.kubernetes.protobuf", "", Bytes::new())
        .await;
    assert_eq!(media_type, JSON);
    let watch = format!("{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1");
    let (code, _, body) = kind.send("GET", &watch, PROTOBUF, "", Bytes::new()).await;
    let (event, status) = wire::event(&body);
    assert_eq!((code, event.as_str()), (200, "ERROR"));
    wire::unwrap(&status, "v1", "Status");
}
