//! What clients are warned of.

use bytes::Bytes;
use http::header;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// The warnings that come with an answer.
pub async fn warned(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Vec<String> {
    let kind = match (method, path.contains("fieldManager")) {
        ("PATCH", true) => "application/apply-patch+yaml",
        ("PATCH", false) => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, kind)
        .body(Bytes::from(body.to_string()))
        .expect("a well-formed request");
    let answer = cluster.handle.call(request, apiserver::Identity::administrator()).await;
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    let texts = answer.headers().get_all(header::WARNING).iter();
    texts
        .map(|text| {
            let text = text.to_str().expect("text").strip_prefix("299 - ").expect("a code");
            serde_json::from_str(text).expect("a quoted text")
        })
        .collect()
}

#[tokio::test]
async fn doubtful_pods_and_templates_are_told_when_they_are_made_and_when_they_change() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{
        "name": "main", "image": "app",
        "ports": [{"containerPort": 80}, {"containerPort": 80, "name": "again"}],
        "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "A", "value": "$(A)3"}],
    }]});
    let expected = |of: &str| {
        vec![
            format!(
                "{of}spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using \
                 apply"
            ),
            format!(
                "{of}spec.containers[0].ports[1]: duplicate port definition with {of}spec.containers[0].ports[0]"
            ),
        ]
    };
    let mut one = pod("a");
    one["spec"] = spec.clone();
    assert_eq!(warned(&cluster, "POST", &format!("{PODS}?dryRun=All"), &one).await, expected(""));
    assert_eq!(warned(&cluster, "POST", PODS, &one).await, expected(""));
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(warned(&cluster, "PATCH", &format!("{PODS}/a"), &label).await, [""; 0]);

    let mut template = deployment("a", 1);
    template["spec"]["template"]["spec"] = spec;
    let of = expected("spec.template.");
    assert_eq!(warned(&cluster, "POST", DEPLOYMENTS, &template).await, of);
    let applied = format!("{DEPLOYMENTS}/b?fieldManager=x");
    template["metadata"]["name"] = json!("b");
    // Among keyed items applying finds what occurs twice itself.
    template["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    template["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 80, "hostPort": 1}, {"containerPort": 80, "protocol": "UDP"}]);
    template["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let old = "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \
               \"kubernetes.io/os\" instead";
    assert_eq!(warned(&cluster, "PATCH", &applied, &template).await, [old]);
    assert_eq!(warned(&cluster, "PATCH", &applied, &template).await, [""; 0], "nothing else is wanted");
    let one = format!("{DEPLOYMENTS}/a");
    assert_eq!(warned(&cluster, "PATCH", &one, &label).await, [""; 0]);
    assert_eq!(warned(&cluster, "PATCH", &one, &json!({"spec": {"replicas": 2}})).await, of);
    let mut newer = cluster.get(&one).await.1;
    newer["spec"]["paused"] = json!(true);
    newer["spec"]["replicaz"] = json!(true);
    let told = warned(&cluster, "PUT", &one, &newer).await;
    assert_eq!(told, [vec!["unknown field \"spec.replicaz\"".to_owned()], of].concat());
}

#[tokio::test]
async fn what_is_odd_about_a_thousand_things_is_told_of_some() {
    let cluster = Cluster::start().await;
    let mut one = pod("a");
    one["spec"]["containers"][0]["ports"] = json!(vec![json!({"containerPort": 80}); 3000]);
    let told = warned(&cluster, "POST", PODS, &one).await;
    assert!((10..=100).contains(&told.len()), "as many as there is room for: {}", told.len());
}
