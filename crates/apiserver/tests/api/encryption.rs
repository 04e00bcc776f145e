//! Secrets on disk: nobody reads them who has the disk alone.

use std::path::Path;
use std::sync::Arc;

use apiserver::Encryption;
use base::SystemRandom;
use serde_json::{Value, json};
use store::{Sealed, StoreExt};

use crate::cluster::{Cluster, named, open_store};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// What is in the secrets, as JSON has it.
const WORD: &str = "c3RyZW5nLWdlaGVpbQ==";

fn encryption(text: &str) -> Encryption {
    Encryption::parse(text, Arc::new(SystemRandom)).expect("a configuration")
}

/// A configuration of these providers, one a line.
fn configuration(resources: &str, providers: &[&str]) -> String {
    let providers: String = providers.iter().map(|provider| format!("      - {provider}\n")).collect();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [{resources}]\n    providers:\n{providers}"
    )
}

fn keys(provider: &str, names: &[(&str, u8)]) -> String {
    use base64::Engine;
    let secret = |byte: u8| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let keys: Vec<String> =
        names.iter().map(|(name, byte)| format!("{{name: {name}, secret: {}}}", secret(*byte))).collect();
    format!("{provider}: {{keys: [{}]}}", keys.join(", "))
}

/// A server over what is in `root`, where objects are kept as the configuration says.
async fn serve(root: tempfile::TempDir, configuration: &str) -> (Cluster, usize) {
    let store = Arc::new(open_store(&root).await);
    let sealed = Sealed::new(store, Arc::new(encryption(configuration)));
    let renewed = sealed.renew().await.expect("renew");
    (Cluster::over(root, Arc::new(sealed)).await, renewed)
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"word": WORD}})
}

/// The files below `path` that have the word in them.
fn files_with_word(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).expect("read the directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with_word(&path));
        } else {
            let bytes = std::fs::read(&path).expect("read a file");
            // A block of the log may end within the word, but not within both halves.
            let (first, second) = WORD.as_bytes().split_at(WORD.len() / 2);
            if bytes.windows(first.len()).any(|window| window == first || window == second) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn secrets_are_in_clear_for_who_may_read_them_and_for_nobody_who_has_the_disk() {
    // An installation of before.
    let root = tempfile::tempdir().expect("temporary directory");
    let store = Arc::new(open_store(&root).await);
    let plain = Cluster::over(root, store).await;
    plain.ok("POST", SECRETS, &secret("before")).await;
    plain.ok("POST", "/api/v1/namespaces/default/configmaps", &named("ConfigMap", "open")).await;
    let (root, store) = plain.stop().await;
    drop(store);
    assert!(!files_with_word(root.path()).is_empty(), "it is looked for where it is");

    let own = Encryption::new_configuration(&SystemRandom);
    let (cluster, renewed) = serve(root, &own).await;
    assert_eq!(renewed, 1);
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion=0")).await;
    let made = cluster.ok("POST", SECRETS, &secret("after")).await;
    assert_eq!(made["data"]["word"], WORD);
    cluster.ok("PUT", &format!("{SECRETS}/after"), &secret("after")).await;
    let (code, list) = cluster.get(SECRETS).await;
    let items = list["items"].as_array().expect("items");
    assert_eq!((code, items.len()), (200, 2), "{list}");
    assert!(items.iter().all(|item| item["data"]["word"] == WORD), "{list}");
    let told = watch.next_event().await.expect("an event");
    assert_eq!(told["object"]["data"]["word"], WORD, "{told}");
    drop(watch);
    cluster.ok("DELETE", &format!("{SECRETS}/after"), &json!({})).await;
    let (root, store) = cluster.stop().await;
    let kept = store.get("/registry/core/secrets/default/before").await.expect("read").expect("it is there");
    assert!(kept.value.starts_with(b"k8s:enc:aesgcm:v1:key-"), "{:?}", kept.value);
    // Whoever puts one secret's value in another's place gets nothing for it.
    store.put("/registry/core/secrets/default/other", kept.value.clone()).await.expect("put");
    let sealed = Sealed::new(Arc::new(store), Arc::new(encryption(&own)));
    let error = sealed.get("/registry/core/secrets/default/other").await.expect_err("another's");
    assert!(base::error::chain(&error).to_string().contains("it is damaged or another's"), "{error}");
    sealed.delete("/registry/core/secrets/default/other").await.expect("delete");
    drop(sealed);
    assert_eq!(files_with_word(root.path()), [""; 0]);
}

#[tokio::test]
async fn keys_change_with_a_restart_and_none_is_needed_after_it_that_was_taken_out() {
    let mut root = tempfile::tempdir().expect("temporary directory");
    let (a, b, c) = (("a", 1), ("b", 2), ("c", 3));
    let steps: [(&[String], usize); 6] = [
        (&[keys("aesgcm", &[a])], 0),
        (&[keys("aesgcm", &[b, a])], 1),
        (&[keys("aesgcm", &[b])], 0),
        (&[keys("secretbox", &[c]), keys("aesgcm", &[b])], 1),
        (&[keys("secretbox", &[c])], 0),
        (&["identity: {}".to_owned(), keys("secretbox", &[c])], 1),
    ];
    for (index, (providers, expected)) in steps.into_iter().enumerate() {
        let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
        let (cluster, renewed) = serve(root, &configuration("secrets", &providers)).await;
        assert_eq!(renewed, expected, "step {index}");
        if index == 0 {
            cluster.ok("POST", SECRETS, &secret("one")).await;
        }
        assert_eq!(cluster.get(&format!("{SECRETS}/one")).await.1["data"]["word"], WORD, "step {index}");
        let (left, store) = cluster.stop().await;
        drop(store);
        root = left;
    }
    let (store, taken_out) = (open_store(&root).await, configuration("'*.*'", &[&keys("aesgcm", &[a])]));
    let sealed = Sealed::new(Arc::new(store), Arc::new(encryption(&taken_out)));
    let error = sealed.renew().await.expect_err("in clear, and nothing says that it may be");
    let told = base::error::chain(&error).to_string();
    assert!(told.contains("it is not encrypted") && told.contains("identity"), "{told}");
}

#[test]
fn a_configuration_that_is_wrong_is_told_by_its_place_and_never_with_a_key() {
    let check = |text: &str, expected: &str| {
        let error = Encryption::parse(text, Arc::new(SystemRandom)).expect_err(text).to_string();
        assert!(error.contains(expected), "{error}\n{text}");
        assert!(!error.contains("c2hvcnQ"), "{error}");
    };
    let with = |provider: &str| configuration("secrets", &[provider]);
    check("kind: Secret\napiVersion: v1\n", "it has to be an EncryptionConfiguration");
    check(&configuration("", &["identity: {}"]), "resources[0].resources: Required value");
    check(&configuration("'*'", &["identity: {}"]), "resources[0].resources[0]: Invalid value: use '*.'");
    check(&configuration("'se*'", &["identity: {}"]), "is no resource");
    check(&with("aesgcm: {keys: []}"), "resources[0].providers[0].aesgcm.keys: Required value");
    check(
        &with("aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}"),
        "resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected one of [16 24 32]",
    );
    check(&with("secretbox: {keys: [{name: a, secret: c2hvcnQ=}]}"), "expected one of [32]");
    check(&with("secretbox: {keys: [{name: a, secret: 'c2hvcnQ!'}]}"), "secret must be base64 encoded");
    check(&with("aesgcm: {keys: [{name: 'a:b', secret: c2hvcnQ=}]}"), "keys[0].name");
    check(&with("kms: {name: a}"), "providers[0].kms: not supported here");
    check(&with("{identity: {}, aesgcm: {keys: []}}"), "more than one provider specified");
    check(&with("other: {}"), "other");
}

#[test]
fn a_configuration_is_for_the_resources_that_it_names_and_no_others() {
    use store::Seal;
    for (resources, covered, others) in [
        (
            "secrets",
            &["core/secrets/a/b"][..],
            &["core/secretsx/a/b", "core/configmaps/a/b", "apps/secrets/a"][..],
        ),
        ("deployments.apps", &["apps/deployments/a/b"], &["core/deployments/a/b", "apps/daemonsets/a/b"]),
        ("'*.'", &["core/pods/a/b"], &["apps/deployments/a/b"]),
        ("'*.apps'", &["apps/deployments/a/b"], &["core/pods/a/b", "apps.example.com/things/a"]),
        ("'*.*'", &["core/pods/a/b", "apps/deployments/a/b"], &[]),
    ] {
        let encryption = encryption(&configuration(resources, &[&keys("aesgcm", &[("a", 1)])]));
        let is_covered = |path: &str| encryption.covers(format!("/registry/{path}").as_bytes());
        covered.iter().for_each(|path| assert!(is_covered(path), "{resources}: {path}"));
        others.iter().for_each(|path| assert!(!is_covered(path), "{resources}: {path}"));
        assert!(!encryption.covers(b"sealed/renewing"));
    }
}

/// Another server has another key, which nobody should do.
#[tokio::test]
async fn a_secret_of_which_another_server_has_the_key_is_in_no_list_and_told_of_by_its_name() {
    let root = tempfile::tempdir().expect("temporary directory");
    let inner = Arc::new(open_store(&root).await);
    let of = |name: &str, byte: u8| {
        let text = configuration("secrets", &[&keys("aesgcm", &[(name, byte)])]);
        Arc::new(Sealed::new(inner.clone(), Arc::new(encryption(&text))))
    };
    let (ours, others) = (of("a", 1), of("b", 2));
    let cluster = Cluster::over(root, ours.clone()).await;
    let first = cluster.ok("POST", SECRETS, &secret("first")).await;
    let mut watch = cluster.watch(&format!("{SECRETS}?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.next().await, "ADDED first");

    let key = |name: &str| format!("/registry/core/secrets/default/{name}");
    let text = |name: &str| {
        format!(
            r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"default"}}}}"#
        )
    };
    others.put(&key("hidden"), text("hidden")).await.expect("put");
    others.put(&key("first"), text("first")).await.expect("put");
    // It can be read no more: for those who look it is gone.
    let gone = watch.next_event().await.expect("an event");
    assert_eq!((&gone["type"], &gone["object"]["data"]), (&"DELETED".into(), &first["data"]), "{gone}");
    let check = async |cluster: &Cluster, expected: &[&str]| {
        let (code, list) = cluster.get(SECRETS).await;
        let names: Vec<&str> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        assert_eq!((code, &names[..]), (200, expected), "{list}");
        let (code, told) = cluster.get(&format!("{SECRETS}/hidden")).await;
        assert_eq!((code, &told["reason"]), (500, &"InternalError".into()), "{told}");
        assert!(
            told["message"]
                .as_str()
                .is_some_and(|text| text.contains("`/registry/core/secrets/default/hidden` cannot be read")),
            "{told}"
        );
        assert_eq!(cluster.send("POST", SECRETS, &secret("hidden")).await.0, 409);
        assert_eq!(cluster.send("DELETE", &format!("{SECRETS}/hidden"), &json!({})).await.0, 500);
    };
    check(&cluster, &[]).await;
    // The others go on.
    cluster.ok("POST", SECRETS, &secret("second")).await;
    assert_eq!(watch.next().await, "ADDED second");
    check(&cluster, &["second"]).await;

    // Who reads everything anew finds the same.
    let other_root = tempfile::tempdir().expect("temporary directory");
    cluster.copy_keys(other_root.path());
    let again = Cluster::over(other_root, ours.clone()).await;
    check(&again, &["second"]).await;
    // With the key it is there.
    ours.put(&key("first"), text("first")).await.expect("put");
    assert_eq!(watch.next().await, "ADDED first");
    others.delete(&key("hidden")).await.expect("delete");
    ours.put(&key("last"), text("last")).await.expect("put");
    assert_eq!(watch.next().await, "ADDED last");
    assert_eq!(cluster.get(&format!("{SECRETS}/hidden")).await.0, 404);
}
