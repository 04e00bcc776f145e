//! The objects that must always be there, made through the front door at every start.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::handle::Handle;
use crate::identity::Identity;
use crate::resource::PERMANENT;
use crate::state::State;

/// Makes the permanent namespaces, and the service by which pods reach the API. Where `address` and
/// `port` are what its endpoints should be.
pub(crate) async fn ensure(state: &State, handle: &Handle, address: std::net::IpAddr, port: u16) {
    for name in PERMANENT {
        ensure_object(
            handle,
            "/api/v1/namespaces",
            name,
            &json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            }),
        )
        .await;
    }
    ensure_object(
        handle,
        "/api/v1/namespaces/default/services",
        "kubernetes",
        &json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": state.service_cidr.api(),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        }),
    )
    .await;
    ensure_endpoints(handle, address, port).await;
    // What every namespace's copy of the authority's certificate is made from.
    let certificate = state.authority.certificate_pem();
    ensure_object(
        handle,
        "/api/v1/namespaces/kube-system/configmaps",
        "kube-root-ca.crt",
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt", "namespace": "kube-system"},
            "data": {"ca.crt": certificate},
        }),
    )
    .await;
}

async fn ensure_endpoints(handle: &Handle, address: std::net::IpAddr, port: u16) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    // The address may have changed since the last start: these are replaced, not just made.
    for (collection, object) in [(slices, slice), ("/api/v1/namespaces/default/endpoints", endpoints)] {
        let path = format!("{collection}/kubernetes");
        let patch = call(handle, Method::PUT, &path, &object).await;
        if patch.0 == StatusCode::NOT_FOUND {
            ensure_object(handle, collection, "kubernetes", &object).await;
        } else if !patch.0.is_success() {
            tracing::error!(path, answer = %patch.1, "cannot update what must be there");
        }
    }
}

async fn ensure_object(handle: &Handle, collection: &str, name: &str, object: &Value) {
    // Looked for first: an address that the object holds already is refused to a second one like it.
    let (found, _) = call(handle, Method::GET, &format!("{collection}/{name}"), &Value::Null).await;
    if found.is_success() {
        return;
    }
    let (code, answer) = call(handle, Method::POST, collection, object).await;
    if !code.is_success() && code != StatusCode::CONFLICT {
        tracing::error!(collection, name, %answer, "cannot make what must be there");
    }
}

async fn call(handle: &Handle, method: Method, path: &str, object: &Value) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::USER_AGENT, "gantry-apiserver")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(object.to_string()))
        .expect("method and path are well formed");
    let response = handle.call(request, Identity::server()).await;
    let code = response.status();
    let body = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    (code, String::from_utf8_lossy(&body).into_owned())
}
