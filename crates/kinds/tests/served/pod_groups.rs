use serde_json::{Value, json};

use crate::cluster::Cluster;

const GROUPS: &str = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups";
const WORKLOADS: &str = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/workloads";

async fn with_groups() -> Cluster {
    let features = kinds::Features {
        gates: "GenericWorkload=true".parse().expect("a gate"),
        versions: "scheduling.k8s.io/v1alpha2".parse().expect("a version"),
    };
    Cluster::start_with(&features).await
}

fn group(name: &str, workload: &str, template: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "podGroupTemplateRef": {"workload": {"workloadName": workload, "podGroupTemplateName": template}},
        "schedulingPolicy": {"gang": {"minCount": 2}},
    }})
}

fn workload(name: &str) -> Value {
    let template = json!({"name": "t", "schedulingPolicy": {"gang": {"minCount": 2}}, "priority": 7,
        "disruptionMode": "Pod", "schedulingConstraints": {"topology": [{"key": "rack"}]}});
    json!({"metadata": {"name": name}, "spec": {"podGroupTemplates": [template]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_pods_comes_from_a_template_that_is_there_and_is_held() {
    let cluster = with_groups().await;
    let refused = |name: &str, workload: &str, template: &str, why: &str| {
        let (group, why) = (group(name, workload, template), why.to_owned());
        let cluster = &cluster;
        async move {
            let answer = cluster.send("POST", GROUPS, group).await;
            assert!(answer.code == 403 && answer.message().ends_with(&why), "{answer:?}");
        }
    };
    refused("g", "w", "t", "PodGroup rejected: Workload \"w\" not found").await;
    let made = cluster.made(WORKLOADS, workload("w")).await;
    // What is behind gates of its own is dropped.
    let kept = json!([{"name": "t", "schedulingPolicy": {"gang": {"minCount": 2}}}]);
    assert_eq!(made["spec"]["podGroupTemplates"], kept);
    refused("g", "w", "u", "PodGroup rejected: PodGroupTemplate \"u\" not found in Workload \"w\"").await;
    let mut wanted = group("g", "w", "t");
    for (field, value) in [
        ("priority", json!(7)),
        ("priorityClassName", json!("high")),
        ("disruptionMode", json!("PodGroup")),
        ("resourceClaims", json!([{"name": "c", "resourceClaimName": "c"}])),
        ("schedulingConstraints", json!({"topology": [{"key": "rack"}]})),
    ] {
        wanted["spec"][field] = value;
    }
    wanted["status"] = json!({"conditions": [{"type": "T"}]});
    let made = cluster.made(GROUPS, wanted).await;
    assert_eq!(made["spec"], group("g", "w", "t")["spec"]);
    assert_eq!(made["metadata"]["finalizers"], json!(["scheduling.k8s.io/podgroup-protection"]));
    assert_eq!(made["status"], json!({}));
    // Who writes its status changes nothing else.
    let condition = json!({"type": "PodGroupScheduled", "status": "True", "reason": "Scheduled", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({"metadata": {"finalizers": []}, "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}},
        "status": {"conditions": [condition]}});
    let answer = cluster.send("PATCH", &format!("{GROUPS}/g/status"), patch).await;
    assert_eq!((answer.code, &answer.body["spec"]), (200, &made["spec"]), "{answer:?}");
    assert_eq!(answer.body["metadata"]["finalizers"], made["metadata"]["finalizers"]);
    assert_eq!(answer.body["status"]["conditions"], json!([condition]));
    let patch = json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}});
    let answer = cluster.send("PATCH", &format!("{GROUPS}/g"), patch).await;
    let why = "spec.schedulingPolicy: Invalid value: null: field is immutable";
    assert!(answer.code == 422 && answer.message().contains(why), "{answer:?}");
    // A template that goes is none any more.
    let hold = json!({"metadata": {"finalizers": ["example.org/hold"]}});
    assert_eq!(cluster.send("PATCH", &format!("{WORKLOADS}/w"), hold).await.code, 200);
    assert_eq!(cluster.send("DELETE", &format!("{WORKLOADS}/w"), Value::Null).await.code, 200);
    refused("h", "w", "t", "PodGroup rejected: Workload \"w\" is being deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_pods_are_served_as_other_kinds_are() {
    let cluster = with_groups().await;
    let list = cluster.get("/apis/scheduling.k8s.io/v1alpha2").await;
    let names: Vec<&str> =
        list["resources"].as_array().expect("a list").iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["podgroups", "podgroups/status", "workloads"]);
    cluster.made(WORKLOADS, workload("w")).await;
    cluster.made(GROUPS, group("g", "w", "t")).await;
    // What is sent as it was given, in protobuf, changes nothing: it means the same.
    for path in [format!("{GROUPS}/g"), format!("{WORKLOADS}/w")] {
        let before = cluster.get(&path).await;
        let bytes = cluster.bytes("GET", &path, bytes::Bytes::new()).await;
        assert!(bytes.starts_with(b"k8s\0"), "{bytes:?}");
        let after = cluster.bytes("PUT", &path, bytes.clone()).await;
        assert_eq!((after, cluster.get(&path).await), (bytes, before));
    }
    let without = Cluster::start().await;
    for path in ["/apis/scheduling.k8s.io/v1alpha2", GROUPS, WORKLOADS] {
        assert_eq!(without.send("GET", path, Value::Null).await.code, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_a_pod_is_dropped_where_there_are_none_unless_it_has_one() {
    let with = with_groups().await;
    let without = with.beside(&kinds::Features::default()).await;
    let spec = |group: Value| json!({"containers": [{"name": "c", "image": "i"}], "schedulingGroup": group});
    let g = json!({"podGroupName": "g"});
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": spec(g.clone())});
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(with.made(pods, pod("p")).await["spec"]["schedulingGroup"], g);
    assert_eq!(without.made(pods, pod("q")).await["spec"]["schedulingGroup"], Value::Null);
    // One that has one keeps it, whoever changes it.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let answer = without.send("PATCH", &format!("{pods}/p"), label).await;
    assert_eq!((answer.code, &answer.body["spec"]["schedulingGroup"]), (200, &g), "{answer:?}");
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": spec(g.clone())});
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let selector = json!({"matchLabels": {"app": "a"}});
    for (path, object, at) in [
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"selector": selector, "template": template}),
            "/spec/template/spec/schedulingGroup",
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": job}}}),
            "/spec/jobTemplate/spec/template/spec/schedulingGroup",
        ),
    ] {
        let named = |name: &str| json!({"metadata": {"name": name}, "spec": object});
        assert_eq!(with.made(path, named("p")).await.pointer(at), Some(&g), "{path}");
        assert_eq!(without.made(path, named("q")).await.pointer(at), None, "{path}");
        let answer = without.send("PUT", &format!("{path}/p"), named("p")).await;
        assert_eq!((answer.code, answer.body.pointer(at)), (200, Some(&g)), "{answer:?}");
        let answer = without.send("PUT", &format!("{path}/q"), named("q")).await;
        assert_eq!((answer.code, answer.body.pointer(at)), (200, None), "{answer:?}");
    }
}
