use serde_json::{Value, json};

use crate::cluster::Cluster;

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_selects_the_pods_that_are_its_own() {
    let cluster = Cluster::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let answer = cluster
        .send("POST", jobs, json!({"metadata": {"name": "j"}, "spec": {"template": template()}}))
        .await;
    assert_eq!(answer.code, 201, "{answer:?}");
    assert!(answer.warnings.is_empty(), "{answer:?}");
    let (made, uid) = (&answer.body, &answer.body["metadata"]["uid"]);
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    assert_eq!(
        made["spec"]["template"]["metadata"]["labels"],
        json!({
            "app": "web", "job-name": "j", "batch.kubernetes.io/job-name": "j",
            "controller-uid": uid, "batch.kubernetes.io/controller-uid": uid,
        })
    );
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &json!({})));
    let mut taken = template();
    taken["metadata"]["labels"]["job-name"] = json!("other");
    let refused =
        cluster.send("POST", jobs, json!({"metadata": {"name": "k"}, "spec": {"template": taken}})).await;
    assert!(
        refused.message().contains("spec.template.metadata.labels[job-name]: Invalid value"),
        "{refused:?}"
    );
    // Its pods stay where nothing is said, and whoever deletes it hears of that.
    let deleted = cluster.send("DELETE", &format!("{jobs}/j"), Value::Null).await;
    assert!(
        deleted.warnings[0].contains("child pods are preserved by default when jobs are deleted"),
        "{deleted:?}"
    );
    assert_eq!(deleted.body["metadata"]["finalizers"], json!(["orphan"]));
    let again = cluster.send("DELETE", &format!("{jobs}/j?propagationPolicy=Background"), Value::Null).await;
    assert_eq!((again.code, again.warnings.len()), (200, 0), "{again:?}");
    assert_eq!(cluster.send("GET", &format!("{jobs}/j"), Value::Null).await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_autoscaler_is_served_in_both_versions() {
    let cluster = Cluster::start().await;
    let path =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let spec = json!({
        "maxReplicas": 3, "targetCPUUtilizationPercentage": 55,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
    });
    let made = cluster.made(&path("v1"), json!({"metadata": {"name": "h"}, "spec": spec})).await;
    assert_eq!((&made["apiVersion"], &made["spec"]["minReplicas"]), (&json!("autoscaling/v1"), &json!(1)));
    let v2 = cluster.get(&format!("{}/h", path("v2"))).await;
    assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 55);
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    let patch = json!({"spec": {"metrics": [v2["spec"]["metrics"][0], memory]}});
    let patched = cluster.send("PATCH", &format!("{}/h", path("v2")), patch).await;
    assert_eq!(patched.code, 200, "{patched:?}");
    let v1 = cluster.get(&format!("{}/h", path("v1"))).await;
    let others = &v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert_eq!(others, r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}}]"#);
    // What is written in one version is not lost by writing in the other.
    let patch = json!({"spec": {"maxReplicas": 9}});
    assert_eq!(cluster.send("PATCH", &format!("{}/h", path("v1")), patch).await.code, 200);
    let v2 = cluster.get(&format!("{}/h", path("v2"))).await;
    assert_eq!((&v2["spec"]["maxReplicas"], &v2["spec"]["metrics"][1]), (&json!(9), &memory));
    assert_eq!(v2["metadata"].get("annotations"), None);
    let group = cluster.get("/apis/autoscaling").await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_scale_and_templates_count_their_changes() {
    let cluster = Cluster::start().await;
    let controllers = "/api/v1/namespaces/default/replicationcontrollers";
    let mut pods = template();
    pods["spec"]["restartPolicy"] = json!("Always");
    cluster.made(controllers, json!({"metadata": {"name": "c"}, "spec": {"template": pods}})).await;
    let scale = cluster.get(&format!("{controllers}/c/scale")).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=web")));
    let patch = json!({"spec": {"replicas": 4}});
    assert_eq!(cluster.send("PATCH", &format!("{controllers}/c/scale"), patch).await.code, 200);
    let found = cluster.get(&format!("{controllers}?fieldSelector=status.replicas%3D0")).await;
    assert_eq!(found["items"][0]["spec"]["replicas"], 4);

    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let selector = json!({"matchLabels": {"app": "web"}});
    let made = cluster
        .made(sets, json!({"metadata": {"name": "d"}, "spec": {"selector": selector, "template": pods}}))
        .await;
    let generation =
        |set: &Value| set["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    assert_eq!(generation(&made), "1");
    for (patch, expected) in [
        (json!({"spec": {"minReadySeconds": 5}}), "1"),
        (json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}), "2"),
    ] {
        let patched = cluster.send("PATCH", &format!("{sets}/d"), patch).await;
        assert_eq!(generation(&patched.body), expected, "{patched:?}");
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let source = json!({"kind": "PersistentVolumeClaim", "name": "o"});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "dataSource": source});
    let made = cluster.made(claims, json!({"metadata": {"name": "c"}, "spec": spec})).await;
    assert_eq!((&made["spec"]["dataSourceRef"], &made["status"]["phase"]), (&source, &json!("Pending")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_does_what_it_says_and_nothing_else() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    cluster.made("/api/v1/namespaces/default/pods", pod).await;
    let bindings = "/api/v1/namespaces/default/bindings";
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let answer = cluster.send("POST", bindings, binding.clone()).await;
    assert_eq!((answer.code, &answer.body["status"]), (201, &json!("Success")), "{answer:?}");
    let pod = cluster.get("/api/v1/namespaces/default/pods/p").await;
    assert_eq!(pod["spec"]["nodeName"], "n");
    assert_eq!(cluster.send("POST", bindings, binding).await.code, 409, "it is bound");
    assert_eq!(cluster.send("GET", bindings, Value::Null).await.code, 405);

    let statuses = "/api/v1/componentstatuses";
    let listed = cluster.send("GET", statuses, Value::Null).await;
    assert!(listed.warnings[0].contains("v1 ComponentStatus is deprecated in v1.19+"), "{listed:?}");
    for (index, name) in ["controller-manager", "etcd-0", "scheduler"].into_iter().enumerate() {
        let status = &listed.body["items"][index];
        let healthy = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
        assert_eq!(
            (&status["metadata"]["name"], &status["conditions"]),
            (&json!(name), &healthy),
            "{listed:?}"
        );
        let one = cluster.get(&format!("{statuses}/{name}")).await;
        assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("ComponentStatus"), &json!(name)));
    }
    assert_eq!(cluster.send("GET", &format!("{statuses}/other"), Value::Null).await.code, 404);
    assert_eq!(cluster.send("POST", statuses, json!({"metadata": {"name": "x"}})).await.code, 405);

    let core = cluster.get("/api/v1").await;
    let verbs = |name: &str| {
        let all = core["resources"].as_array().expect("a list");
        all.iter().find(|one| one["name"] == name).expect("it is served")["verbs"].clone()
    };
    assert_eq!((verbs("bindings"), verbs("componentstatuses")), (json!(["create"]), json!(["get", "list"])));
    let document = cluster.get("/openapi/v3/api/v1").await;
    let path = &document["paths"]["/api/v1/componentstatuses"];
    assert!(path.get("get").is_some() && path.get("post").is_none(), "{path}");
}
