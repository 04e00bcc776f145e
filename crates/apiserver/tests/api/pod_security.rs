//! Pods hold to the level of their namespace.

use apiserver::Identity;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, pod};
use crate::warnings::warned;

const PODS: &str = "/api/v1/namespaces/default/pods";
const NAMESPACE: &str = "/api/v1/namespaces/default";
const LABEL: &str = "pod-security.kubernetes.io";

/// A pod that sees the host's processes.
fn host_pod(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["hostPID"] = true.into();
    pod
}

fn labelled(labels: &[(&str, Value)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(name, value)| (format!("{LABEL}/{name}"), value.clone())).collect();
    json!({"metadata": {"labels": labels}})
}

#[tokio::test]
async fn pods_of_a_namespace_hold_to_its_level_and_templates_are_warned_of() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", PODS, &host_pod("before")).await;
    let answer = warned(&cluster, "PATCH", NAMESPACE, &labelled(&[("enforce", "baseline".into())])).await;
    assert_eq!(
        answer,
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "before: host namespaces",
        ]
    );
    let (code, answer) = cluster.send("POST", PODS, &host_pod("a")).await;
    let why =
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((code, &answer["reason"], &answer["message"]), (403, &json!("Forbidden"), &json!(why)));
    assert_eq!(answer["details"], json!({"name": "a", "kind": "pods"}));
    cluster.ok("POST", PODS, &pod("b")).await;
    // What makes pods is made, and told what becomes of it.
    let mut template = deployment("c", 1);
    template["spec"]["template"]["spec"]["hostPID"] = true.into();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let told = ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"];
    assert_eq!(warned(&cluster, "POST", path, &template).await, told);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "d"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "hostPID": true, "restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}],
        }}}}},
    });
    let warnings = warned(&cluster, "POST", "/apis/batch/v1/namespaces/default/cronjobs", &job).await;
    assert_eq!(warnings.last().map(String::as_str), Some(told[0]));
    // Neither a laxer level nor the same one looks at the pods that are there.
    let laxer = labelled(&[("enforce", "privileged".into())]);
    assert_eq!(warned(&cluster, "PATCH", NAMESPACE, &laxer).await, [""; 0]);
    cluster.ok("POST", PODS, &host_pod("a")).await;
}

#[tokio::test]
async fn a_pod_that_is_there_is_looked_at_when_its_images_change_or_containers_come() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", PODS, &host_pod("a")).await;
    warned(&cluster, "PATCH", NAMESPACE, &labelled(&[("enforce", "baseline".into())])).await;
    let path = format!("{PODS}/a");
    cluster.ok("PATCH", &path, &json!({"metadata": {"labels": {"x": "y"}}})).await;
    cluster.ok("PATCH", &format!("{path}/status"), &json!({"status": {"phase": "Running"}})).await;
    let image = json!({"spec": {"containers": [{"name": "main", "image": "other"}]}});
    let kind = "application/strategic-merge-patch+json";
    let (code, answer) = cluster.send_as("PATCH", &path, kind, image.to_string().into()).await;
    let why =
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((code, &answer["message"]), (403, &json!(why)));
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "x"}]}});
    let (code, answer) = cluster
        .send_as("PATCH", &format!("{path}/ephemeralcontainers"), kind, debug.to_string().into())
        .await;
    assert_eq!((code, &answer["message"]), (403, &json!(why)));
}

#[tokio::test]
async fn labels_that_cannot_be_read_are_refused() {
    let cluster = Cluster::start().await;
    let why = "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of \
               privileged, baseline, restricted";
    let labels = json!({(format!("{LABEL}/enforce")): "strict"});
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": labels}});
    let (code, answer) = cluster.send("POST", "/api/v1/namespaces", &made).await;
    assert_eq!(
        (code, answer["message"].as_str()),
        (422, Some(&*format!("Namespace \"n\" is invalid: {why}")))
    );
    let (code, answer) = cluster.send("PATCH", NAMESPACE, &labelled(&[("enforce", "strict".into())])).await;
    let said = format!("Namespace \"default\" is invalid: {why}");
    assert_eq!((code, answer["message"].as_str()), (422, Some(&*said)));
    let both = labelled(&[("enforce", "restricted".into()), ("enforce-version", "v1.7".into())]);
    assert_eq!(warned(&cluster, "PATCH", NAMESPACE, &both).await, [""; 0]);
    let (_, answer) = cluster.send("POST", PODS, &pod("a")).await;
    let why = "pods \"a\" is forbidden: violates PodSecurity \"restricted:v1.7\": runAsNonRoot != true (pod or \
               container \"main\" must set securityContext.runAsNonRoot=true)";
    assert_eq!(answer["message"], why);
}

#[tokio::test]
async fn users_and_namespaces_are_exempt_as_the_configuration_says() {
    let document = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: PodSecurity
    configuration:
      apiVersion: pod-security.admission.config.k8s.io/v1
      kind: PodSecurityConfiguration
      defaults: {enforce: baseline}
      exemptions: {usernames: [trusted], namespaces: [free]}
";
    let mut plugins = kinds::Plugins::default();
    plugins.configure(document, |_| Err("no files".to_owned())).expect("it is one");
    let cluster = Cluster::configured(move |config| {
        config.admission = kinds::admission_of(&plugins).expect("all is there");
    })
    .await;
    let refused = cluster.send("POST", PODS, &host_pod("a")).await;
    assert_eq!(refused.0, 403, "{}", refused.1);
    let trusted = Identity::new("trusted", [apiserver::ADMINISTRATORS]);
    let (code, answer) = cluster.send_by(&trusted, "POST", PODS, &host_pod("a").to_string()).await;
    assert_eq!(code, 201, "{answer}");
    let labels = json!({(format!("{LABEL}/warn")): "restricted"});
    let free =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "free", "labels": labels}});
    let told = [
        "namespace \"free\" is exempt from Pod Security, and the policy (warn=restricted:latest) will be ignored",
    ];
    assert_eq!(warned(&cluster, "POST", "/api/v1/namespaces", &free).await, told);
    let account = crate::cluster::named("ServiceAccount", "default");
    cluster.ok("POST", "/api/v1/namespaces/free/serviceaccounts", &account).await;
    cluster.ok("POST", "/api/v1/namespaces/free/pods", &host_pod("a")).await;
}
