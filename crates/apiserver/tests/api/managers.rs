//! Who manages which fields, of a kind that is served in several versions.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apiserver::Resource;
use apiserver::resource::{Conversion, Convert, ConvertError, Converting};
use futures::future::Either;
use model::{GroupVersionKind, Object};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Turns boxes, unless it is told to refuse.
struct Boxes(Arc<AtomicBool>);

impl Convert for Boxes {
    fn name(&self) -> &str {
        "conversion webhook"
    }

    fn convert(&self, mut objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_> {
        if self.0.load(Ordering::Relaxed) {
            return Either::Left(ready(Err(ConvertError("no way to the webhook".to_owned()))));
        }
        let (from, field) = if to.version == "v1" { ("stringData", "data") } else { ("data", "stringData") };
        for object in &mut objects {
            object.set(&["apiVersion"], to.api_version());
            if let Some(values) = object.remove(&[from]) {
                object.set(&[field], values);
            }
        }
        Either::Left(ready(Ok(objects)))
    }
}

/// A kind that has its values as `data` in version 1 and as `stringData` in version 2, and whether it is
/// refused to tell one from the other.
fn boxes() -> (Vec<Resource>, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let kind = |version: &str| GroupVersionKind::new("example.org", version, "Box");
    let conversion = Conversion::new(kind("v1"), Boxes(refuses.clone()));
    let schema = model::schema::builtin(&GroupVersionKind::new("", "v1", "Secret"));
    let entry = |version: &str| {
        let mut entry = Resource::new(&kind(version), "boxes").stored_as(conversion.clone());
        entry.schema = schema.clone();
        entry
    };
    (vec![entry("v1"), entry("v2")], refuses)
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_managed_in_the_version_that_they_were_set_in() {
    let mut all = kinds::all();
    all.extend(boxes().0);
    let cluster = Cluster::of(all).await;
    let path = |version: &str| format!("/apis/example.org/{version}/namespaces/default/boxes/a");
    let apply = async |version: &str, manager: &str, values: Value| {
        let field = if version == "v1" { "data" } else { "stringData" };
        let applied = json!({
            "apiVersion": format!("example.org/{version}"), "kind": "Box", "metadata": {"name": "a"}, field: values,
        });
        let path = format!("{}?fieldManager={manager}", path(version));
        let body = applied.to_string().into();
        cluster.send_as("PATCH", &path, "application/apply-patch+yaml", body).await
    };
    // Who manages what: `MANAGER VERSION FIELDS`.
    let managers = |object: &Value| -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let told = entries.iter().map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("manager"), text("apiVersion"), entry["fieldsV1"])
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    };

    let (code, made) = apply("v2", "first", json!({"x": "aaa1", "y": "aaa1"})).await;
    assert_eq!(code, 201, "{made}");
    let first = [r#"first example.org/v2 {"f:stringData":{"f:x":{},"f:y":{}}}"#];
    assert_eq!(managers(&made), first);
    let other = cluster.get(&path("v1")).await.1;
    assert_eq!(
        (&other["data"], managers(&other)),
        (&json!({"x": "aaa1", "y": "aaa1"}), first.map(str::to_owned).to_vec())
    );

    // Another version of the same field is the same field, and told as its manager knows it.
    let (code, refused) = apply("v1", "second", json!({"x": "aaa2"})).await;
    assert_eq!(code, 409, "{refused}");
    assert_eq!(refused["message"], "Apply failed with 1 conflict: conflict with \"first\": .stringData.x");
    let (code, same) = apply("v1", "second", json!({"x": "aaa1"})).await;
    assert_eq!(code, 200, "{same}");
    assert_eq!(
        managers(&same),
        [first[0], r#"second example.org/v1 {"f:data":{"f:x":{}}}"#],
        "both manage what they agree on"
    );

    // Who applies in another version than before gives up what was applied then.
    let (code, moved) = apply("v1", "first", json!({"z": "aaa3"})).await;
    assert_eq!((code, &moved["data"]), (200, &json!({"x": "aaa1", "z": "aaa3"})), "{moved}");
    let z = r#"first example.org/v1 {"f:data":{"f:z":{}}}"#;
    assert_eq!(managers(&moved)[0], z);

    // A change in one version takes the field from who manages it in another.
    let changed = json!({"stringData": {"x": "aaa9"}});
    let changed = cluster.ok("PATCH", &format!("{}?fieldManager=third", path("v2")), &changed).await;
    assert_eq!(changed["stringData"], json!({"x": "aaa9", "z": "aaa3"}));
    assert_eq!(managers(&changed), [z, r#"third example.org/v2 {"f:stringData":{"f:x":{}}}"#]);
    let removed = cluster.ok("PATCH", &path("v2"), &json!({"stringData": {"z": null}})).await;
    assert_eq!(managers(&removed), [r#"third example.org/v2 {"f:stringData":{"f:x":{}}}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_fails_over_a_manager_of_another_version_but_who_applies_must_know() {
    let (boxes, refuses) = boxes();
    let mut all = kinds::all();
    all.extend(boxes);
    let cluster = Cluster::of(all).await;
    let collection = |version: &str| format!("/apis/example.org/{version}/namespaces/default/boxes");
    let made = json!({
        "apiVersion": "example.org/v2", "kind": "Box", "metadata": {"name": "a"}, "stringData": {"x": "aaa1"},
    });
    cluster.ok("POST", &format!("{}?fieldManager=other", collection("v2")), &made).await;
    refuses.store(true, Ordering::Relaxed);
    let managers = |object: &Value| -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["manager"].as_str().map(str::to_owned)).collect()
    };
    let path = format!("{}/a?fieldManager=me", collection("v1"));
    let applied = json!({
        "apiVersion": "example.org/v1", "kind": "Box", "metadata": {"name": "a"}, "data": {"x": "aaa2"},
    });
    let body = applied.to_string().into();
    let (code, refused) = cluster.send_as("PATCH", &path, "application/apply-patch+yaml", body).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(code == 500 && message.ends_with("no way to the webhook"), "nobody knows with whom it conflicts");
    let changed = cluster.ok("PATCH", &path, &json!({"data": {"x": "aaa2"}})).await;
    assert_eq!((&changed["data"]["x"], managers(&changed)), (&json!("aaa2"), vec!["me".to_owned()]));
}
