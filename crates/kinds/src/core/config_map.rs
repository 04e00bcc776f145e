//! ConfigMaps.

use apiserver::Resource;
use apiserver::resource::{Installation, Permanent};
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, entries};
use serde_json::{Value, json};

use crate::content::{MAX_SIZE, count, frozen, keys};

pub(crate) fn resource() -> Resource {
    Resource::of::<ConfigMap>()
        .short(&["cm"])
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .permanent(permanent)
}

const COLUMNS: &[Column] = &[NAME, text("Data", "How many keys it has."), AGE];

/// What every namespace's copy of the authority's certificate is made from; what servers behind this one know its
/// callers by; and since when it is noted which tokens of Secrets are used.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    let mut known = json!({"client-ca-file": installation.certificate});
    let proxy = &installation.front_proxy;
    known["requestheader-client-ca-file"] = String::from_utf8_lossy(&proxy.authorities).into();
    for (name, list) in [
        ("allowed-names", &proxy.allowed_names),
        ("username-headers", &proxy.username_headers),
        ("uid-headers", &proxy.uid_headers),
        ("group-headers", &proxy.group_headers),
        ("extra-headers-prefix", &proxy.extra_prefixes),
    ] {
        known[format!("requestheader-{name}")] = json!(list).to_string().into();
    }
    let named = |name: &str, data: Value| json!({"metadata": {"name": name, "namespace": "kube-system"}, "data": data});
    vec![
        Permanent::Made(named("kube-root-ca.crt", json!({"ca.crt": installation.certificate}))),
        Permanent::Kept(named("extension-apiserver-authentication", known)),
        Permanent::Made(named(
            "kube-apiserver-legacy-service-account-token-tracking",
            json!({"since": installation.today}),
        )),
    ]
}

fn object(object: &Object, errors: &mut Errors) {
    let mut size = keys(object.value(), "data", errors);
    let data = Path::root("data");
    for (key, _) in entries(object.value(), "data") {
        if object.get(&["binaryData", key]).is_some() {
            let message = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(&data.key(key), key.as_str(), message));
        }
    }
    // Four characters of base64 stand for three bytes.
    size += keys(object.value(), "binaryData", errors) / 4 * 3;
    if size > MAX_SIZE {
        let mut error = FieldError::too_long(&data, MAX_SIZE);
        // The object as a whole is too long, so Kubernetes names no field.
        error.field = "[]".into();
        errors.push(error);
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    frozen(object, old, &["data", "binaryData"], errors);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let keys = count(object, "data") + count(object, "binaryData");
    vec![object.name().into(), keys.into(), age(object, now)]
}
