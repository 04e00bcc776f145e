//! Others that are asked: who may, what is written, whether it may be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use apiserver::request::DeleteOptions;
use apiserver::{
    Administrators, Admission, Admitting, Attributes, Authorizer, Context, Deciding, Decision, Error,
    Graceful, Handle, Identity, KnownRules, Operation, Strategy, Write, at_once,
};
use futures::FutureExt;
use futures::future::Either;
use model::{Object, Status};
use parking_lot::Mutex;
use serde_json::json;

use crate::cluster::{Cluster, deployment, named};

/// Somebody far away: nothing is known at once.
struct Far {
    told: Mutex<Vec<String>>,
}

impl Authorizer for Far {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let Attributes::Resource(asked) = attributes else {
            return Administrators.decide(identity, attributes);
        };
        if identity.user != "jane" {
            return Administrators.decide(identity, attributes);
        }
        let verb = asked.verb;
        Either::Right(
            async move {
                tokio::task::yield_now().await;
                if verb == "list" {
                    Decision::Allowed(format!("{} may look", identity.user).into())
                } else {
                    Decision::Denied(format!("nobody may {verb} today").into())
                }
            }
            .boxed(),
        )
    }

    fn rules(&self, _: &Identity, _: &str) -> KnownRules {
        KnownRules { incomplete: true, ..KnownRules::default() }
    }
}

impl Admission for Far {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        Either::Right(
            async move {
                tokio::task::yield_now().await;
                if object.kind() == "Deployment" && write.subresource.is_empty() {
                    object.set_label("seen", "yes");
                    object.set(&["spec", "madeUp"], "no such field");
                    object.remove(&["spec", "revisionHistoryLimit"]);
                    // Not this endpoint's to write, whoever does it.
                    object.set(&["status", "replicas"], 99);
                    object.set(&["metadata", "uid"], "made-up");
                    if object.label("replicas") == Some("many") {
                        object.set(&["spec", "replicas"], -1);
                    }
                }
                Ok(())
            }
            .boxed(),
        )
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        Either::Right(
            async move {
                tokio::task::yield_now().await;
                let shown = object.or(write.old).expect("there is the object or the old one");
                if shown.kind() == "Deployment" {
                    let sort = if write.dry_run { " (dry run)" } else { "" };
                    self.told.lock().push(format!("{:?} {}{sort}", write.operation, shown.name()));
                }
                if write.operation == Operation::Delete && shown.label("keep").is_some() {
                    let resource = write.context.resource().group_resource();
                    return Err(Error::from(Status::forbidden(&resource, shown.name(), "it is to be kept")));
                }
                Ok(())
            }
            .boxed(),
        )
    }
}

/// Ends the namespace of the first object that is to be made in one, after it has been let in.
struct Ender {
    server: OnceLock<Handle>,
    /// Whether it is to be gone at once, not only on its way.
    wholly: bool,
    ended: AtomicBool,
}

impl Admission for Ender {
    fn mutate<'a>(&'a self, _write: &'a Write<'a>, _object: &'a mut Object) -> Admitting<'a> {
        at_once(Ok(()))
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        Either::Right(
            async move {
                let made = object.filter(|object| object.kind() == "ConfigMap");
                let namespace = made.and_then(Object::namespace).unwrap_or_default();
                if write.operation != Operation::Create || !namespace.starts_with("ending-") {
                    return Ok(());
                }
                if self.ended.swap(true, Ordering::SeqCst) {
                    return Ok(());
                }
                let server = self.server.get().expect("it runs");
                let path = format!("/api/v1/namespaces/{namespace}");
                let send = async |method: &str, path: &str, body: &serde_json::Value| {
                    let request = http::Request::builder().method(method).uri(path);
                    let request = request.header("content-type", "application/json");
                    let request = request.body(bytes::Bytes::from(body.to_string())).expect("well formed");
                    let code = server.call(request, Identity::administrator()).await.status();
                    assert!(code.is_success(), "{method} {path}: {code}");
                };
                send("DELETE", &path, &json!({})).await;
                if self.wholly {
                    let body = json!({
                        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
                        "spec": {"finalizers": []},
                    });
                    send("PUT", &format!("{path}/finalize"), &body).await;
                }
                Ok(())
            }
            .boxed(),
        )
    }
}

#[tokio::test]
async fn a_namespace_that_ends_after_an_object_was_let_in_gets_none() {
    for (wholly, expected) in [(false, (403, "NamespaceTerminating")), (true, (404, ""))] {
        let ender = Arc::new(Ender { server: OnceLock::new(), wholly, ended: AtomicBool::new(false) });
        let cluster = Cluster::configured(|config| config.admission = vec![ender.clone()]).await;
        assert!(ender.server.set(cluster.handle.clone()).is_ok());
        cluster.ok("POST", "/api/v1/namespaces", &named("Namespace", "ending-a")).await;
        let maps = "/api/v1/namespaces/ending-a/configmaps";
        let (code, status) = cluster.send("POST", maps, &named("ConfigMap", "late")).await;
        let cause = status["details"]["causes"][0]["reason"].as_str().unwrap_or_default();
        assert_eq!((code, cause), expected, "{status}");
        assert_eq!(cluster.get(maps).await.1["items"], json!([]), "nothing is left behind");
    }
}

#[tokio::test]
async fn a_namespace_that_changes_while_an_object_is_made_is_no_obstacle() {
    let cluster = Arc::new(Cluster::start().await);
    let changes = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            for number in 0..50 {
                let label = json!({"metadata": {"labels": {"n": number.to_string()}}});
                cluster.ok("PATCH", "/api/v1/namespaces/default", &label).await;
            }
        }
    });
    let maps = "/api/v1/namespaces/default/configmaps";
    for number in 0..50 {
        cluster.ok("POST", maps, &named("ConfigMap", &format!("m-{number}"))).await;
    }
    changes.await.expect("no panic");
}

async fn cluster() -> (Cluster, Arc<Far>) {
    let far = Arc::new(Far { told: Mutex::new(Vec::new()) });
    let cluster = Cluster::configured(|config| {
        let decides = far.clone();
        config.authorization = Arc::new(move |_| decides.clone());
        config.admission = vec![far.clone()];
    })
    .await;
    (cluster, far)
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_decides_may_take_its_time_and_says_why() {
    let (cluster, _) = cluster().await;
    let jane = Identity::new("jane", ["system:authenticated"]);
    let (code, _) = cluster.send_by(&jane, "GET", DEPLOYMENTS, "").await;
    assert_eq!(code, 200);
    let (code, refused) = cluster.send_by(&jane, "DELETE", &format!("{DEPLOYMENTS}/web"), "").await;
    assert_eq!(code, 403);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.ends_with("in the namespace \"default\": nobody may delete today"), "{message}");
    let review = |verb: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "group": "apps", "resource": "deployments"}},
        })
    };
    let administrator =
        cluster.ok("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review("delete")).await;
    assert_eq!(administrator["status"]["allowed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_change_what_is_written_and_the_rules_are_asked_afterwards() {
    let (cluster, far) = cluster().await;
    let made = cluster.ok("POST", DEPLOYMENTS, &deployment("web", 1)).await;
    assert_eq!(made["metadata"]["labels"]["seen"], "yes");
    assert!(made["spec"].get("madeUp").is_none(), "what the schema lacks is dropped: {made}");
    assert_eq!(made["spec"]["revisionHistoryLimit"], 10, "what they leave out is filled in again");
    let changed = json!({"metadata": {"labels": {"more": "yes"}}});
    let changed = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/web"), &changed).await;
    assert_eq!(changed["metadata"]["uid"], made["metadata"]["uid"], "what it is never changes");
    for object in [&made, &changed] {
        assert_ne!(object["status"]["replicas"], 99, "{object}");
    }
    // Whatever they put in must keep the rules.
    let patch = json!({"metadata": {"labels": {"replicas": "many"}}});
    let (code, refused) = cluster.send("PATCH", &format!("{DEPLOYMENTS}/web"), &patch).await;
    assert_eq!(code, 422, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("spec.replicas")), "{refused}");
    assert_eq!(*far.told.lock(), ["Create web", "Update web"], "what is refused is not shown to them");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_may_refuse_what_they_are_told() {
    let (cluster, far) = cluster().await;
    cluster.ok("POST", DEPLOYMENTS, &deployment("web", 1)).await;
    let one = format!("{DEPLOYMENTS}/web");
    cluster.ok("PATCH", &format!("{one}?dryRun=All"), &json!({"spec": {"replicas": 3}})).await;
    cluster.ok("PATCH", &one, &json!({"metadata": {"labels": {"keep": "me"}}})).await;
    let (code, refused) = cluster.send("DELETE", &one, &json!({})).await;
    assert_eq!(code, 403, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("it is to be kept")), "{refused}");
    cluster.ok("GET", &one, &json!(null)).await;
    cluster.ok("PATCH", &one, &json!({"metadata": {"labels": {"keep": null}}})).await;
    cluster.ok("DELETE", &one, &json!({})).await;
    let told = far.told.lock().join(", ");
    assert_eq!(told, "Create web, Update web (dry run), Update web, Delete web, Update web, Delete web");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_asked_of_the_write_that_an_object_goes_with() {
    let (cluster, far) = cluster().await;
    let mut deployment = deployment("web", 1);
    deployment["metadata"]["finalizers"] = json!(["example.org/held"]);
    cluster.ok("POST", DEPLOYMENTS, &deployment).await;
    let one = format!("{DEPLOYMENTS}/web");
    cluster.ok("DELETE", &one, &json!({})).await;
    cluster.ok("PATCH", &one, &json!({"metadata": {"finalizers": null}})).await;
    let (code, _) = cluster.send("GET", &one, &json!(null)).await;
    assert_eq!(code, 404);
    assert_eq!(far.told.lock().join(", "), "Create web, Delete web, Update web");
}

/// Says of everything that it is something else.
struct Forger;

impl Admission for Forger {
    fn mutate<'a>(&'a self, _write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if object.kind() == "Deployment" {
            for (field, value) in [
                ("name", json!("forged")),
                ("namespace", json!("kube-system")),
                ("uid", json!("forged")),
                ("resourceVersion", json!("7")),
                ("creationTimestamp", json!("2001-01-01T00:00:00Z")),
                ("generation", json!(99)),
                ("deletionTimestamp", json!("2001-01-01T00:00:00Z")),
                ("deletionGracePeriodSeconds", json!(0)),
            ] {
                object.set(&["metadata", field], value);
            }
            object.set_label("forged", "yes");
        }
        at_once(Ok(()))
    }

    fn validate<'a>(&'a self, _write: &'a Write<'a>, _object: Option<&'a Object>) -> Admitting<'a> {
        at_once(Ok(()))
    }
}

#[tokio::test]
async fn what_an_object_is_from_the_beginning_is_not_for_others_to_say() {
    let cluster = Cluster::configured(|config| config.admission = vec![Arc::new(Forger)]).await;
    let mut generated = deployment("", 1);
    generated["metadata"] = json!({"generateName": "web-"});
    for wanted in [deployment("web-1", 1), generated] {
        let made = cluster.ok("POST", DEPLOYMENTS, &wanted).await;
        let metadata = &made["metadata"];
        assert_eq!(metadata["labels"]["forged"], "yes", "{made}");
        let name = metadata["name"].as_str().expect("a name");
        assert!(name.starts_with("web-"), "{made}");
        assert_eq!((&metadata["namespace"], &metadata["generation"]), (&json!("default"), &json!(1)));
        assert_ne!(metadata["uid"], "forged");
        assert!(metadata["creationTimestamp"].as_str().is_some_and(|time| time > "2026"), "{made}");
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            assert!(metadata.get(field).is_none(), "{field}: {made}");
        }
        assert_eq!(cluster.get(&format!("{DEPLOYMENTS}/{name}")).await, (200, made.clone()));
    }
    assert_eq!(cluster.get("/apis/apps/v1/deployments").await.1["items"].as_array().map(Vec::len), Some(2));
}

/// Asks somebody far away about each object of its kind.
struct Asking;

impl Asking {
    async fn ask(object: &Object) -> apiserver::Result<()> {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        match object.label("refused") {
            Some(why) => Err(Error::bad_request(format!("nobody wants {}: {why}", object.name()))),
            None => Ok(()),
        }
    }
}

impl Strategy for Asking {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        let admitting = async move {
            Self::ask(object).await?;
            object.set_label("made-in", context.namespace());
            Ok(())
        };
        Either::Right(admitting.boxed())
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        let admitting = async move {
            Self::ask(object).await?;
            object.set_label("made-in", old.label("made-in").unwrap_or_default());
            Ok(())
        };
        Either::Right(admitting.boxed())
    }

    fn begin_delete<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        Either::Right(async move { Self::ask(object).await.map(|()| Graceful::AtOnce) }.boxed())
    }
}

#[tokio::test]
async fn a_kind_itself_may_ask_somebody_and_fail() {
    let mut all = kinds::all();
    let maps = all.iter_mut().find(|resource| resource.kind == "ConfigMap").expect("it is a kind");
    maps.strategy = Arc::new(Asking);
    let cluster = Cluster::of(all).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let made = cluster.ok("POST", maps, &named("ConfigMap", "a")).await;
    assert_eq!(made["metadata"]["labels"], json!({"made-in": "default"}));
    let change = json!({"metadata": {"labels": {"made-in": "elsewhere", "more": "yes"}}});
    let changed = cluster.ok("PATCH", &format!("{maps}/a"), &change).await;
    assert_eq!(changed["metadata"]["labels"], json!({"made-in": "default", "more": "yes"}));

    let mut refused = named("ConfigMap", "b");
    refused["metadata"]["labels"] = json!({"refused": "today"});
    let (code, status) = cluster.send("POST", maps, &refused).await;
    assert_eq!((code, &status["message"]), (400, &json!("nobody wants b: today")));
    let label = json!({"metadata": {"labels": {"refused": "today"}}});
    let (code, status) = cluster.send("PATCH", &format!("{maps}/a"), &label).await;
    assert_eq!((code, &status["message"]), (400, &json!("nobody wants a: today")));
    assert_eq!(cluster.get(&format!("{maps}/a")).await.1, changed);
    cluster.ok("DELETE", &format!("{maps}/a"), &json!({})).await;
    assert_eq!(cluster.get(&format!("{maps}/a")).await.0, 404);
}
