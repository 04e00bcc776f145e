//! Certificates that somebody asks for.
#![forbid(unsafe_code)]

mod support;

use apiserver::pki::check_certificates;
use client::{Api, DeleteOptions};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

/// A request of `system:node:n1` in `system:nodes`, in PEM, as base64.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIc01JR1NBZ0VBTURBeEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVJUZmJaZUpHRXArb0IyCnNodWREemRNN2N0OTk0UWllOGtuaDdkbXhzbmpYMGZ2RW9kdFNFWGtxQzNWVFVTdHpFKzRwTThDT2ZjYVhRdlgKeXFuZ0NhU3BvQUF3Q2dZSUtvWkl6ajBFQXdJRFNRQXdSZ0loQVBhQWJweXNrSGNSQlJCSHZ4RE4vaFNCYUsycwpPTDBacHpNQzFYZi9qdjJnQWlFQXZNV1puRW1HTFdGREtVeVV4UjNZRTEvRWxDWkQwLzhzV285VEVKMXA2YTg9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

async fn make(api: &Api<CertificateSigningRequest>, name: &str, spec: Value) -> CertificateSigningRequest {
    let mut whole = json!({"request": REQUEST, "usages": ["digital signature", "client auth"]});
    for (field, value) in spec.as_object().expect("fields") {
        whole[field] = value.clone();
    }
    let request: CertificateSigningRequest = object(json!({"metadata": {"name": name}, "spec": whole}));
    api.create(&request).await.expect("create")
}

async fn approve(api: &Api<CertificateSigningRequest>, name: &str) {
    let mut request = api.get(name).await.expect("it is there");
    let decision = object(json!({"type": "Approved", "status": "True", "reason": "Test", "message": "m"}));
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(decision);
    let _: CertificateSigningRequest =
        api.update_subresource(name, "approval", &request).await.expect("approve");
}

/// Waits until a request is as `wanted` says.
async fn until(
    api: &Api<CertificateSigningRequest>,
    name: &str,
    wanted: impl Fn(&CertificateSigningRequest) -> bool,
) -> CertificateSigningRequest {
    wait_until_async("the request to be looked at", || async {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        if wanted(&found) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice())
}

fn told(request: &CertificateSigningRequest, kind: &str) -> Option<String> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)?.message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_is_signed_by_who_it_is_for() {
    let cluster = Cluster::start().await;
    let api = Api::<CertificateSigningRequest>::all(&cluster.steady);
    for (name, signer) in [
        ("client", "kubernetes.io/kube-apiserver-client"),
        ("serving", "kubernetes.io/kubelet-serving"),
        ("others", "example.com/s"),
    ] {
        make(&api, name, json!({"signerName": signer})).await;
        approve(&api, name).await;
    }
    let signed = until(&api, "client", |request| certificate(request).is_some()).await;
    check_certificates(certificate(&signed).expect("there is one")).expect("it is a certificate");
    // A node's own certificate has a name or an address.
    let failed = until(&api, "serving", |request| told(request, "Failed").is_some()).await;
    assert_eq!(told(&failed, "Failed").as_deref(), Some("DNS or IP subjectAltName is required"));
    assert!(certificate(&failed).is_none());
    let others = api.get("others").await.expect("it is there");
    assert!(certificate(&others).is_none() && told(&others, "Failed").is_none(), "{others:?}");
    api.delete("client", &DeleteOptions::default()).await.expect("delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_ask_for_is_approved_where_whoever_asks_may() {
    let cluster = Cluster::start().await;
    let role: ClusterRole = object(json!({
        "metadata": {"name": "asks"},
        "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["*"]}],
    }));
    Api::all(&cluster.steady).create(&role).await.expect("a role");
    let nodes = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
    for (name, role, users) in [("asks", "asks", &["boot", "eve"][..]), ("nodes", nodes, &["boot"])] {
        let kind = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let users: Vec<_> = users.iter().map(|user| kind("User", user)).collect();
        let binding: ClusterRoleBinding = object(json!({
            "metadata": {"name": name},
            "roleRef": kind("ClusterRole", role),
            "subjects": users,
        }));
        Api::all(&cluster.steady).create(&binding).await.expect("a binding");
    }
    for user in ["eve", "boot"] {
        let api = Api::<CertificateSigningRequest>::all(&cluster.of(user));
        make(&api, user, json!({"signerName": "kubernetes.io/kube-apiserver-client-kubelet"})).await;
    }
    let api = Api::<CertificateSigningRequest>::all(&cluster.steady);
    let signed = until(&api, "boot", |request| certificate(request).is_some()).await;
    let why = "Auto approving kubelet client certificate after SubjectAccessReview.";
    assert_eq!(told(&signed, "Approved").as_deref(), Some(why));
    let other = api.get("eve").await.expect("it is there");
    assert!(other.status.is_none_or(|status| status.conditions.is_none_or(|told| told.is_empty())));
}
