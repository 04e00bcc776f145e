//! What is stored in an old version is stored anew where somebody asks for it, wherever the controllers end.
#![forbid(unsafe_code)]

mod support;

use client::api::{Patch, PatchOptions};
use client::{Api, ListOptions, ResourceKind};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use model::Object;
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

/// So many that they are listed in several pages.
const THINGS: usize = 1100;
const DEFINITION: &str = "things.example.com";

fn versions(stored: &str) -> Value {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == stored,
               "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!([version("v1"), version("v2")])
}

async fn define(cluster: &Cluster) -> Api<CustomResourceDefinition> {
    let definitions = Api::<CustomResourceDefinition>::all(&cluster.steady);
    let definition = object(json!({
        "metadata": {"name": DEFINITION},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": versions("v1"),
        },
    }));
    definitions.create(&definition).await.expect("define");
    definitions
}

async fn change(definitions: &Api<CustomResourceDefinition>, change: Value) -> Result<(), client::Error> {
    let options = PatchOptions::default();
    definitions.patch(DEFINITION, &Patch::Merge(json!({"spec": change})), &options).await.map(drop)
}

fn things(cluster: &Cluster, version: &'static str) -> Api<Object> {
    let kind = ResourceKind::dynamic("example.com", version, "Thing", "things", true);
    Api::dynamic(&cluster.steady, &kind, Some("default"))
}

fn thing(version: &str, name: &str) -> Object {
    let thing = json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Thing",
        "metadata": {"name": name, "namespace": "default"}, "size": 3,
    });
    Object::from_value(thing).expect("an object")
}

async fn ask(cluster: &Cluster, name: &str, group: &str, resource: &str) -> Api<StorageVersionMigration> {
    let migrations = Api::<StorageVersionMigration>::all(&cluster.steady);
    let migration = object(json!({
        "metadata": {"name": name}, "spec": {"resource": {"group": group, "resource": resource}},
    }));
    migrations.create(&migration).await.expect("ask for a migration");
    migrations
}

/// What is said of a migration once all is said.
async fn outcome(migrations: &Api<StorageVersionMigration>, name: &str) -> String {
    wait_until_async("the migration to end", || async {
        let migration = migrations.get(name).await.expect("get");
        let conditions = migration.status.and_then(|status| status.conditions).unwrap_or_default();
        let said: Vec<String> = conditions
            .iter()
            .map(|known| format!("{}={} {} {}", known.type_, known.status, known.reason, known.message))
            .collect();
        match &said[..] {
            [only] if !only.starts_with("Running") => Ok(only.trim_end().to_owned()),
            _ => Err(said),
        }
    })
    .await
}

async fn stored_versions(definitions: &Api<CustomResourceDefinition>) -> Vec<String> {
    let definition = definitions.get(DEFINITION).await.expect("get");
    definition.status.and_then(|status| status.stored_versions).expect("versions")
}

const SUCCEEDED: &str =
    "False MigrationSucceeded The migration has succeeded and the stored versions have been updated";

/// What a definition says of the migration of its objects.
async fn said_of(definitions: &Api<CustomResourceDefinition>) -> String {
    let definition = definitions.get(DEFINITION).await.expect("get");
    let conditions = definition.status.and_then(|status| status.conditions).expect("conditions");
    let said = conditions.into_iter().find(|known| known.type_ == "StorageMigrating").expect("it is said");
    [said.status, said.reason.expect("a reason"), said.message.expect("a message")].join(" ")
}

const MIGRATOR: &str = "storage-version-migrator-controller";

/// Whether a migration has ended and all is said of it.
async fn is_closed(migrations: &Api<StorageVersionMigration>, name: &str) -> bool {
    let migration = migrations.get(name).await.expect("get");
    let conditions = migration.status.and_then(|status| status.conditions).unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|known| known.type_ == kind);
    has("Succeeded") && !has("Running")
}

/// Each time the controllers live for one write of theirs, of which they do not hear what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_ends_once_wherever_it_was_interrupted() {
    let mut cluster = Cluster::start().await;
    let definitions = define(&cluster).await;
    let (old, new) = (things(&cluster, "v1"), things(&cluster, "v2"));
    wait_until_async("the kind to be served", || async {
        old.list_all(&ListOptions::default()).await.map(drop)
    })
    .await;
    for name in ["a", "b", "c"] {
        old.create(&thing("v1", name)).await.expect("create");
    }
    change(&definitions, json!({"versions": versions("v2")})).await.expect("store another version");
    cluster.cut_at_writes(&[MIGRATOR]);
    let migrations = ask(&cluster, "m", "example.com", "things").await;
    let mut lives = 0;
    while !is_closed(&migrations, "m").await {
        wait_until_async("a write", || async { if cluster.count_cut() > 0 { Ok(()) } else { Err("none") } })
            .await;
        cluster.stop_controllers().await;
        cluster.cut_at_writes(&[MIGRATOR]);
        cluster.start_controllers();
        lives += 1;
    }
    cluster.cut_at_writes(&[]);
    // What it says of itself and of its definition, the objects, and how it ended.
    assert!(lives >= 7, "{lives}");
    assert_eq!(outcome(&migrations, "m").await, "Succeeded=True StorageVersionMigrationSucceeded");
    assert_eq!(
        (said_of(&definitions).await.as_str(), stored_versions(&definitions).await),
        (SUCCEEDED, vec!["v2".to_owned()])
    );
    let objects = new.list_all(&ListOptions::default()).await.expect("list").items;
    let written: Vec<&str> = objects.iter().map(|object| object.resource_version()).collect();
    // Whoever looks again, and is told late, has nothing to do and says nothing else.
    cluster.stop_controllers().await;
    cluster.stall_watches("storageversionmigrations");
    cluster.start_controllers();
    ask(&cluster, "again", "example.com", "things").await;
    cluster.stop_controllers().await;
    cluster.stall_watches("");
    cluster.start_controllers();
    assert_eq!(outcome(&migrations, "again").await, "Succeeded=True StorageVersionMigrationSucceeded");
    assert_eq!(said_of(&definitions).await, SUCCEEDED);
    let after = new.list_all(&ListOptions::default()).await.expect("list").items;
    let after: Vec<&str> = after.iter().map(|object| object.resource_version()).collect();
    assert_eq!(written, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_in_an_old_version_is_stored_anew_wherever_the_controllers_end() {
    let mut cluster = Cluster::start().await;
    let definitions = define(&cluster).await;
    let (old, new) = (things(&cluster, "v1"), things(&cluster, "v2"));
    let make = |number: usize| {
        let old = &old;
        async move { drop(old.create(&thing("v1", &format!("t{number}"))).await.expect("create")) }
    };
    wait_until_async("the kind to be served", || async {
        old.list_all(&ListOptions::default()).await.map(drop)
    })
    .await;
    futures::future::join_all((0..THINGS).map(make)).await;
    change(&definitions, json!({"versions": versions("v2")})).await.expect("store another version");
    assert_eq!(stored_versions(&definitions).await, ["v1", "v2"]);
    let without = json!({"versions": [versions("v2")[1]]});
    let refused = change(&definitions, without.clone()).await.expect_err("the old version is stored");
    assert!(refused.to_string().contains("status.storedVersions[0]"), "{refused}");
    let before = new.list_all(&ListOptions::default()).await.expect("list").items;

    let migrations = ask(&cluster, "m", "example.com", "things").await;
    // With its beginning, among the objects, and whenever it comes.
    for writes in [1, 2, 3, 5, 40, 300] {
        cluster.end_writes_after(writes);
        wait_until_async("the writes to end", || async {
            if cluster.have_writes_ended() { Ok(()) } else { Err("it may write still") }
        })
        .await;
        cluster.stop_controllers().await;
        cluster.end_writes_after(i64::MAX);
        cluster.start_controllers();
    }
    assert_eq!(outcome(&migrations, "m").await, "Succeeded=True StorageVersionMigrationSucceeded");
    assert_eq!(stored_versions(&definitions).await, ["v2"]);
    assert_eq!(said_of(&definitions).await, SUCCEEDED);

    // Each was written once, and nothing of it is another.
    let after = new.list_all(&ListOptions::default()).await.expect("list").items;
    assert_eq!(after.len(), THINGS);
    for (mut before, mut after) in before.into_iter().zip(after) {
        assert_ne!(before.resource_version(), after.resource_version(), "{} was not stored", after.name());
        for object in [&mut before, &mut after] {
            object.metadata_mut().shift_remove("resourceVersion");
        }
        assert_eq!(before, after);
    }
    // Where all is stored as it would be today, nothing is written.
    let mut described = versions("v2");
    described[1]["schema"]["openAPIV3Schema"]["description"] = json!("A thing.");
    change(&definitions, json!({"versions": described})).await.expect("describe");
    let revision = new.get("t7").await.expect("get").resource_version().to_owned();
    ask(&cluster, "again", "example.com", "things").await;
    assert_eq!(outcome(&migrations, "again").await, "Succeeded=True StorageVersionMigrationSucceeded");
    assert_eq!(new.get("t7").await.expect("get").resource_version(), revision);

    change(&definitions, without).await.expect("the old version may go");
    assert_eq!(new.list_all(&ListOptions::default()).await.expect("list").items.len(), THINGS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_cannot_be_migrated_and_holds_up_nothing() {
    let cluster = Cluster::start().await;
    let migrations = ask(&cluster, "none", "example.com", "things").await;
    ask(&cluster, "second", "example.com", "things").await;
    let absent = "Failed=True StorageVersionMigrationFailed resource does not exist in discovery";
    assert_eq!(outcome(&migrations, "none").await, absent);
    assert_eq!(outcome(&migrations, "second").await, absent);
    // Nor what cannot be a name at all.
    for (name, group, resource) in [
        ("slash", "example.com", "a/b"),
        ("up", "..", ".."),
        ("percent", "a%2fb", "things"),
        ("long", "g.io", &"x".repeat(4000)),
    ] {
        ask(&cluster, name, group, resource).await;
        assert_eq!(outcome(&migrations, name).await, absent, "{group} {resource:.10}");
    }
    // What can only be made is of no use either.
    ask(&cluster, "reviews", "authentication.k8s.io", "tokenreviews").await;
    let unfit = "Failed=True StorageVersionMigrationFailed resource not found";
    assert_eq!(outcome(&migrations, "reviews").await, unfit);
    // Built-in kinds can be, and are stored as they would be.
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let made = maps.create(&object(json!({"metadata": {"name": "m"}}))).await.expect("create");
    ask(&cluster, "maps", "", "configmaps").await;
    assert_eq!(outcome(&migrations, "maps").await, "Succeeded=True StorageVersionMigrationSucceeded");
    assert_eq!(maps.get("m").await.expect("get").metadata, made.metadata);
}
