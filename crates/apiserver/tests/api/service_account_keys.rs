//! The keys of service accounts' tokens, their issuers and audiences, and tokens that Secrets keep.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::pki::{KeyFile, TokenKeys};
use apiserver::{Config, ServiceAccountTokens};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::access::{ask, message};
use crate::cluster::{Cluster, named, pod};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn key_file(name: &str, text: String) -> KeyFile {
    KeyFile { path: PathBuf::from(name), text: text.into_bytes() }
}

async fn start(tokens: &ServiceAccountTokens) -> Cluster {
    let cluster = Cluster::configured(|config: &mut Config| config.tokens = tokens.clone()).await;
    cluster.ok("POST", ACCOUNTS, &named("ServiceAccount", "builder")).await;
    cluster
}

async fn request(cluster: &Cluster, spec: Value) -> Value {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    cluster.ok("POST", &format!("{ACCOUNTS}/builder/token"), &body).await
}

async fn token(cluster: &Cluster) -> String {
    request(cluster, json!({})).await["status"]["token"].as_str().expect("a token").to_owned()
}

/// Head and claims of a token.
fn parts(token: &str) -> (Value, Value) {
    let part =
        |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON");
    let mut all = token.split('.');
    (part(all.next().expect("a head")), part(all.next().expect("claims")))
}

async fn is_good(cluster: &Cluster, token: &str) -> bool {
    let (code, body) = ask(cluster, None, Some(token), PODS).await;
    match code {
        403 => {
            assert!(message(&body).contains("User \"system:serviceaccount:default:builder\""), "{body}");
            true
        }
        401 => false,
        other => panic!("{other}: {body}"),
    }
}

/// The account and the store are of one server; the keys change from start to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_changed_without_ending_the_tokens_of_the_one_before() {
    let [old, new] = [(); 2].map(|()| rcgen::KeyPair::generate().expect("a key"));
    let with = |keys: Vec<KeyFile>, signing_key: Option<KeyFile>| ServiceAccountTokens {
        keys,
        signing_key,
        ..ServiceAccountTokens::default()
    };
    let old_key = key_file("old", old.serialize_pem());
    let old_public = key_file("old.pub", old.public_key_pem());
    let new_key = key_file("new", new.serialize_pem());
    let cluster = start(&with(vec![old_key], None)).await;
    let first = token(&cluster).await;
    assert!(is_good(&cluster, &first).await);
    let again = async |cluster: Cluster, tokens: ServiceAccountTokens| {
        let (root, store) = cluster.stop().await;
        Cluster::with(root, Arc::new(store), kinds::all(), |config| config.tokens = tokens).await
    };
    // The new one signs, both check.
    let cluster = again(cluster, with(vec![old_public], Some(new_key.clone()))).await;
    let second = token(&cluster).await;
    assert!(is_good(&cluster, &first).await && is_good(&cluster, &second).await);
    let (_, keys) = cluster.get("/openid/v1/jwks").await;
    let kids: Vec<&Value> = keys["keys"].as_array().expect("keys").iter().map(|key| &key["kid"]).collect();
    for token in [&first, &second] {
        assert!(kids.contains(&&parts(token).0["kid"]), "{keys}");
    }
    assert_ne!(parts(&first).0["kid"], parts(&second).0["kid"]);
    // The old one is no key any more.
    let cluster = again(cluster, with(vec![new_key], None)).await;
    assert!(!is_good(&cluster, &first).await && is_good(&cluster, &second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_of_the_first_issuer_and_good_of_each_for_the_audiences() {
    let key = key_file("key", rcgen::KeyPair::generate().expect("a key").serialize_pem());
    let list = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let of = |issuers: &[&str], audiences: &[&str]| ServiceAccountTokens {
        keys: vec![key.clone()],
        issuers: list(issuers),
        audiences: list(audiences),
        ..ServiceAccountTokens::default()
    };
    let cluster = start(&of(&["https://old.example"], &[])).await;
    let old = token(&cluster).await;
    let (root, store) = cluster.stop().await;
    let tokens = of(&["https://new.example/", "https://old.example"], &["https://old.example", "api"]);
    let cluster = Cluster::with(root, Arc::new(store), kinds::all(), |config| config.tokens = tokens).await;
    assert!(is_good(&cluster, &old).await);
    let new = token(&cluster).await;
    let (_, claims) = parts(&new);
    assert_eq!(claims["iss"], "https://new.example/");
    assert_eq!(claims["aud"], json!(["https://old.example", "api"]));
    assert!(is_good(&cluster, &new).await);
    let other = request(&cluster, json!({"audiences": ["https://new.example/"]})).await;
    assert!(!is_good(&cluster, other["status"]["token"].as_str().expect("a token")).await, "for another");
    let (_, about) = cluster.get("/.well-known/openid-configuration").await;
    assert_eq!(about["issuer"], "https://new.example/");
    assert_eq!(about["jwks_uri"], "https://new.example/openid/v1/jwks");
    assert_eq!(about["id_token_signing_alg_values_supported"], json!(["ES256"]));
    // A review tells for which of those that are asked for a token is.
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": new, "audiences": ["api", "others"]},
    });
    let review = cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(review["status"]["audiences"], json!(["api"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_as_long_as_it_may_be() {
    let tokens =
        ServiceAccountTokens { longest: Some(Duration::from_secs(7200)), ..ServiceAccountTokens::default() };
    let cluster = start(&tokens).await;
    let answer = request(&cluster, json!({"expirationSeconds": 100_000})).await;
    assert_eq!(answer["spec"]["expirationSeconds"], 7200);
    let lasts = |token: &Value| {
        let (_, claims) = parts(token.as_str().expect("a token"));
        claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat")
    };
    assert_eq!(lasts(&answer["status"]["token"]), 7200);
    // What a pod has from the start goes on for a year, for programs that never read it again.
    let mut pod = pod("p");
    pod["spec"]["serviceAccountName"] = json!("builder");
    cluster.ok("POST", PODS, &pod).await;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let answer = request(&cluster, json!({"expirationSeconds": 3607, "boundObjectRef": bound})).await;
    let (_, claims) = parts(answer["status"]["token"].as_str().expect("a token"));
    assert_eq!(lasts(&answer["status"]["token"]), 365 * 86400);
    assert_eq!(claims["kubernetes.io"]["warnafter"].as_i64(), claims["iat"].as_i64().map(|iat| iat + 3607));
    assert_eq!(answer["spec"]["expirationSeconds"], 3607);
    assert!(is_good(&cluster, answer["status"]["token"].as_str().expect("a token")).await);
    // Not for others, nor of any other length, nor where it is not wanted.
    let answer =
        request(&cluster, json!({"expirationSeconds": 3607, "boundObjectRef": bound, "audiences": ["x"]}))
            .await;
    assert_eq!(lasts(&answer["status"]["token"]), 3607);
    let answer = request(&cluster, json!({"expirationSeconds": 3600, "boundObjectRef": bound})).await;
    assert_eq!(lasts(&answer["status"]["token"]), 3600);
    assert_eq!(lasts(&request(&cluster, json!({"expirationSeconds": 3607})).await["status"]["token"]), 3607);
}

/// A Secret with a token, as the controller that fills them makes it.
async fn kept(cluster: &Cluster, keys: &TokenKeys, name: &str, change: &[(&str, &str)]) -> String {
    let account = cluster.get(&format!("{ACCOUNTS}/builder")).await.1;
    let mut claims = json!({
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": name,
        "kubernetes.io/serviceaccount/service-account.name": "builder",
        "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
        "sub": "system:serviceaccount:default:builder",
    });
    for (claim, value) in change {
        claims[*claim] = json!(value);
    }
    let token = keys.sign(&claims).expect("a token");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "builder"}},
        "data": {"token": STANDARD.encode(&token)},
    });
    cluster.ok("POST", SECRETS, &secret).await;
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_secret_is_good_while_the_secret_has_it() {
    let key = key_file("key", rcgen::KeyPair::generate().expect("a key").serialize_pem());
    let tokens = ServiceAccountTokens { keys: vec![key.clone()], ..ServiceAccountTokens::default() };
    let keys = TokenKeys::given(&[key], None).expect("keys");
    let cluster = start(&tokens).await;
    let token = kept(&cluster, &keys, "one", &[]).await;
    assert!(is_good(&cluster, &token).await);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let review = cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    let user = &review["status"]["user"];
    assert_eq!(user["username"], "system:serviceaccount:default:builder");
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    // The day of its last use is noted.
    let path = format!("{SECRETS}/one");
    testkit::wait_until_async("its use to be noted", || async {
        let label =
            cluster.get(&path).await.1["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].clone();
        match label.as_str() {
            Some(day) if day.len() == 10 => Ok(()),
            _ => Err(label.to_string()),
        }
    })
    .await;
    // One that was found idle for long is marked, and good again without the mark.
    let mark =
        |value: Value| json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": value}}});
    cluster.ok("PATCH", &path, &mark(json!("2026-01-01"))).await;
    assert!(!is_good(&cluster, &token).await);
    cluster.ok("PATCH", &path, &mark(Value::Null)).await;
    assert!(is_good(&cluster, &token).await);
    // Of what it says, all has to be so.
    for (index, change) in [
        ("kubernetes.io/serviceaccount/service-account.uid", "7"),
        ("kubernetes.io/serviceaccount/secret.name", "one"),
        ("kubernetes.io/serviceaccount/namespace", "kube-system"),
        ("kubernetes.io/serviceaccount/service-account.name", "default"),
        ("sub", "system:serviceaccount:kube-system:admin"),
        ("iss", "kubernetes"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = kept(&cluster, &keys, &format!("other-{index}"), &[change]).await;
        assert!(!is_good(&cluster, &token).await, "{change:?}");
    }
    // Signed by another key, it is none.
    let other = key_file("other", rcgen::KeyPair::generate().expect("a key").serialize_pem());
    let forged = kept(&cluster, &TokenKeys::given(&[other], None).expect("keys"), "forged", &[]).await;
    assert!(!is_good(&cluster, &forged).await);
    cluster.ok("PATCH", &path, &json!({"data": {"token": STANDARD.encode("x")}})).await;
    assert!(!is_good(&cluster, &token).await, "the Secret has another");
    cluster.ok("PATCH", &path, &json!({"data": {"token": STANDARD.encode(&token)}})).await;
    assert!(is_good(&cluster, &token).await);
    cluster.ok("DELETE", &path, &json!({})).await;
    assert!(!is_good(&cluster, &token).await);
    let token = kept(&cluster, &keys, "one", &[]).await;
    assert!(is_good(&cluster, &token).await);
    let builder = format!("{ACCOUNTS}/builder");
    let finalizers = |all: Value| json!({"metadata": {"finalizers": all}});
    cluster.ok("PATCH", &builder, &finalizers(json!(["example.com/hold"]))).await;
    assert!(is_good(&cluster, &token).await);
    cluster.ok("DELETE", &builder, &json!({})).await;
    assert_eq!(cluster.get(&builder).await.0, 200);
    assert!(!is_good(&cluster, &token).await, "the account is being deleted");
    cluster.ok("PATCH", &builder, &finalizers(Value::Null)).await;
    assert!(!is_good(&cluster, &token).await, "the account is gone");
}
