//! What can be asked of writes besides what always is.

use apiserver::Identity;
use serde_json::{Value, json};

use crate::cluster::{Cluster, named, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server that asks these besides, configured by this document.
async fn asking(names: &[&str], document: &str) -> Cluster {
    let mut plugins = kinds::Plugins {
        enabled: names.iter().map(|name| (*name).to_owned()).collect(),
        ..kinds::Plugins::default()
    };
    if !document.is_empty() {
        plugins.configure(document, |_| Err("no files".to_owned())).expect("it is one");
    }
    Cluster::configured(move |config| {
        config.admission = kinds::admission_of(&plugins).expect("all is there");
    })
    .await
}

async fn refused(cluster: &Cluster, method: &str, path: &str, body: &Value, expected: &str) {
    let (code, answer) = cluster.send(method, path, body).await;
    assert_eq!((code, answer["message"].as_str()), (403, Some(expected)), "{method} {path} {body}");
}

#[tokio::test]
async fn new_nodes_are_tainted_until_they_are_known_to_be_ready() {
    let cluster = Cluster::start().await;
    let node = cluster.ok("POST", "/api/v1/nodes", &named("Node", "n")).await;
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    let changed = cluster.ok("PATCH", "/api/v1/nodes/n", &json!({"spec": {"taints": null}})).await;
    assert_eq!(changed["spec"].get("taints"), None, "it is not tainted again");
}

#[tokio::test]
async fn pods_are_changed_and_refused_by_what_is_switched_on() {
    let names = [
        "AlwaysPullImages",
        "LimitPodHardAntiAffinityTopology",
        "ExtendedResourceToleration",
        "PodNodeSelector",
        "PodTolerationRestriction",
        "DenyServiceExternalIPs",
    ];
    let document = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: PodNodeSelector
    configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: env=test, default: 'env=test,disk=ssd'}}
  - name: PodTolerationRestriction
    configuration:
      apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
      kind: Configuration
      default: [{key: dedicated, operator: Exists}]
";
    let cluster = asking(&names, document).await;
    let mut one = pod("a");
    one["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    one["spec"]["containers"][0]["resources"] = json!({"limits": {"example.com/gpu": "1"}});
    let made = cluster.ok("POST", PODS, &one).await;
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["nodeSelector"], json!({"env": "test"}));
    let keys: Vec<&str> = made["spec"]["tolerations"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|toleration| toleration["key"].as_str())
        .collect();
    for key in ["dedicated", "example.com/gpu", "node.kubernetes.io/not-ready"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    let mut other = pod("b");
    other["spec"]["nodeSelector"] = json!({"env": "live"});
    refused(
        &cluster,
        "POST",
        PODS,
        &other,
        "pods \"b\" is forbidden: pod node label selector conflicts with its namespace node label selector",
    )
    .await;
    other["spec"]["nodeSelector"] = json!({"zone": "a"});
    refused(
        &cluster,
        "POST",
        PODS,
        &other,
        "pods \"b\" is forbidden: pod node label selector labels conflict with its namespace whitelist",
    )
    .await;
    let mut apart = pod("c");
    apart["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {}},
    ]}});
    refused(
        &cluster,
        "POST",
        PODS,
        &apart,
        "pods \"c\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key \
         kubernetes.io/hostname is allowed",
    )
    .await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]},
    });
    refused(
        &cluster,
        "POST",
        "/api/v1/namespaces/default/services",
        &service,
        "services \"s\" is forbidden: Use of external IPs is denied by admission control",
    )
    .await;
    // What the namespace says of tolerations goes over what the configuration does.
    let annotations = json!({"scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[{\"key\": \"dedicated\", \"operator\": \"Exists\"}]"});
    cluster
        .ok("PATCH", "/api/v1/namespaces/default", &json!({"metadata": {"annotations": annotations}}))
        .await;
    let (code, answer) = cluster.send("POST", PODS, &pod("d")).await;
    let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    assert_eq!((code, answer["message"].as_str()), (500, Some(why)));
}

#[tokio::test]
async fn what_is_limited_has_to_be_counted_by_a_quota() {
    let document = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ResourceQuota
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ResourceQuotaConfiguration
      limitedResources: [{resource: services, matchContains: [services]}]
";
    let cluster = asking(&[], document).await;
    let path = "/api/v1/namespaces/default/services";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]},
    });
    refused(
        &cluster,
        "POST",
        path,
        &service,
        "services \"s\" is forbidden: insufficient quota to consume: count/services,services",
    )
    .await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"services": "5", "count/services": "5"}},
    });
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    cluster.ok("POST", quotas, &quota).await;
    // Whoever counts asks so.
    cluster.ok("PATCH", &format!("{quotas}/q/status"), &json!({"status": {"used": null}})).await;
    cluster.ok("POST", path, &service).await;
}

#[tokio::test]
async fn owners_are_named_by_those_who_may() {
    let cluster = asking(&["OwnerReferencesPermissionEnforcement"], "").await;
    let owner =
        cluster.ok("POST", "/api/v1/namespaces/default/configmaps", &named("ConfigMap", "owner")).await;
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete"]},
    ]);
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    cluster.ok("POST", &format!("{rbac}/roles"), &role).await;
    let binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}],
    });
    cluster.ok("POST", &format!("{rbac}/rolebindings"), &binding).await;
    let user = Identity::new("u", [apiserver::AUTHENTICATED]);
    let owned = |kind: &str, blocks: bool| {
        let mut object = named(kind, "x");
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }]);
        object.to_string()
    };
    let (maps, secrets) = ("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets");
    let (code, answer) = cluster.send_by(&user, "POST", maps, &owned("ConfigMap", false)).await;
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    let why = "configmaps \"x\" is forbidden: cannot set an ownerRef on a resource you can't delete: ";
    assert!(code == 403 && message.starts_with(why) && message.ends_with(", <nil>"), "{code} {message}");
    let (code, answer) = cluster.send_by(&user, "POST", secrets, &owned("Secret", true)).await;
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    let why = "secrets \"x\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: ";
    assert!(code == 403 && message.starts_with(why), "{code} {message}");
    let (code, answer) = cluster.send_by(&user, "POST", secrets, &owned("Secret", false)).await;
    assert_eq!(code, 201, "{answer}");
}

#[tokio::test]
async fn nothing_is_written_where_all_is_denied() {
    let cluster = Cluster::start().await;
    let denying = {
        let plugins = kinds::Plugins { enabled: vec!["AlwaysDeny".to_owned()], ..kinds::Plugins::default() };
        kinds::admission_of(&plugins).expect("all is there")
    };
    drop(cluster);
    let root = tempfile::tempdir().expect("temporary directory");
    let store = std::sync::Arc::new(crate::cluster::open_store(&root).await);
    let cluster = Cluster::with(root, store, kinds::all(), |config| config.admission = denying).await;
    let (code, answer) = cluster.send("POST", "/api/v1/namespaces", &named("Namespace", "n")).await;
    let why = "namespaces \"n\" is forbidden: admission control is denying all modifications";
    assert_eq!((code, answer["message"].as_str()), (403, Some(why)));
    // Nor is anything asked or taken that would not be stored.
    let question = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let why = "selfsubjectreviews.authentication.k8s.io is forbidden: admission control is denying all modifications";
    let (code, answer) = cluster.send("POST", question, &json!({})).await;
    assert_eq!((code, answer["message"].as_str()), (403, Some(why)));
}
