//! Tokens that Secrets keep.
#![forbid(unsafe_code)]

mod support;

use bytes::Bytes;
use client::api::{Patch, PatchOptions};
use client::{Api, Client, DeleteOptions, Resource as _};
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

const TYPE: &str = "kubernetes.io/service-account-token";

fn of_account(name: &str, account: &str) -> Secret {
    object(json!({
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}}, "type": TYPE,
    }))
}

async fn until_gone(secrets: &Api<Secret>, name: &str) {
    wait_until_async("the Secret to go", || async {
        match secrets.find(name).await.expect("find") {
            None => Ok(()),
            Some(left) => Err(left.metadata),
        }
    })
    .await;
}

fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
}

async fn until_filled(secrets: &Api<Secret>, name: &str) -> Secret {
    wait_until_async("the Secret to be filled in", || async {
        let secret = secrets.get(name).await.expect("get");
        if text(&secret, "token").is_empty() { Err(secret.metadata) } else { Ok(secret) }
    })
    .await
}

async fn whose(client: &Client, token: &str) -> Value {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let request = Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("content-type", "application/json")
        .body(Bytes::from(review.to_string()));
    let answer = client.send(request.expect("well formed")).await.expect("an answer");
    let answer = answer.into_body().collect().await.expect("a body").to_bytes();
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["status"]["user"]["username"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_has_a_token_of_its_account_and_goes_with_it() {
    let cluster = Cluster::start().await;
    let accounts = Api::<ServiceAccount>::namespaced(&cluster.steady, "default");
    let secrets = Api::<Secret>::namespaced(&cluster.steady, "default");
    let account =
        object(json!({"metadata": {"name": "builder"}, "secrets": [{"name": "two"}, {"name": "other"}]}));
    let account: ServiceAccount = accounts.create(&account).await.expect("create");
    for name in ["one", "two"] {
        secrets.create(&of_account(name, "builder")).await.expect("create");
    }
    let one = until_filled(&secrets, "one").await;
    assert_eq!(text(&one, "namespace"), "default");
    assert!(text(&one, "ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    let annotations = one.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations.get("kubernetes.io/service-account.uid"), account.metadata.uid.as_ref());
    let token = text(&one, "token");
    assert_eq!(whose(&cluster.steady, &token).await, "system:serviceaccount:default:builder");
    // What is taken from it is put back; what it has stays.
    let less = Patch::Merge(json!({"data": {"ca.crt": null}}));
    secrets.patch("one", &less, &PatchOptions::default()).await.expect("patch");
    wait_until_async("the authority to be there again", || async {
        let secret = secrets.get("one").await.expect("get");
        if text(&secret, "ca.crt").is_empty() { Err(secret.metadata) } else { Ok(()) }
    })
    .await;
    assert_eq!(text(&secrets.get("one").await.expect("get"), "token"), token);
    // One that is gone is named no more.
    until_filled(&secrets, "two").await;
    secrets.delete("two", &DeleteOptions::default()).await.expect("delete");
    wait_until_async("the account to forget it", || async {
        let names: Vec<_> =
            accounts.get("builder").await.expect("get").secrets.into_iter().flatten().collect();
        let names: Vec<_> = names.into_iter().filter_map(|secret| secret.name).collect();
        if names == ["other"] { Ok(()) } else { Err(names) }
    })
    .await;
    // Others' accounts, and those of others of the name, have no token here.
    secrets.create(&of_account("nobodys", "nobody")).await.expect("create");
    until_gone(&secrets, "nobodys").await;
    accounts.delete("builder", &DeleteOptions::default()).await.expect("delete");
    until_gone(&secrets, "one").await;
    assert_eq!(whose(&cluster.steady, &token).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_token_that_is_over_goes() {
    let cluster = Cluster::start().await;
    let secrets = Api::<Secret>::namespaced(&cluster.steady, "kube-system");
    let token = |id: &str, expiration: Option<&str>| -> Secret {
        let mut data = json!({"token-id": id, "token-secret": "0123456789abcdef"});
        if let Some(expiration) = expiration {
            data["expiration"] = json!(expiration);
        }
        object(json!({
            "metadata": {"name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token", "stringData": data,
        }))
    };
    for (id, expiration) in [
        ("aaaaaa", None),
        ("bbbbbb", Some("2999-01-01T00:00:00Z")),
        ("cccccc", Some("2020-01-01T00:00:00Z")),
        ("dddddd", Some("soon")),
    ] {
        secrets.create(&token(id, expiration)).await.expect("create");
    }
    for gone in ["cccccc", "dddddd"] {
        until_gone(&secrets, &format!("bootstrap-token-{gone}")).await;
    }
    for left in ["aaaaaa", "bbbbbb"] {
        let found = secrets.find(&format!("bootstrap-token-{left}")).await.expect("find");
        assert!(found.is_some_and(|secret| !secret.name().is_empty()), "{left}");
    }
}
