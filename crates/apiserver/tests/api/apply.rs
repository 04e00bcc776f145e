//! Server-side apply as the wire sees it; what merging does in detail is tested where it is written.

use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};

const ONE: &str = "/apis/apps/v1/namespaces/default/deployments/a";

async fn apply(cluster: &Cluster, query: &str, object: &Value) -> (u16, Value) {
    let path = format!("{ONE}?{query}");
    cluster.send_as("PATCH", &path, "application/apply-patch+yaml", object.to_string().into()).await
}

#[tokio::test]
async fn applying_makes_what_is_missing_and_changes_what_is_there() {
    let cluster = Cluster::start().await;
    let (code, made) = apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    assert_eq!(code, 201, "{made}");
    let (code, same) = apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    assert_eq!((code, &same["metadata"]["resourceVersion"]), (200, &made["metadata"]["resourceVersion"]));
    let (_, more) = apply(&cluster, "fieldManager=me", &deployment("a", 3)).await;
    assert_eq!(
        (more["spec"]["replicas"].as_i64(), more["metadata"]["generation"].as_i64()),
        (Some(3), Some(2))
    );
    let managers: Vec<&str> = more["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m["manager"].as_str())
        .collect();
    assert_eq!(managers, ["me"]);
}

#[tokio::test]
async fn what_another_manager_owns_is_a_conflict_unless_forced() {
    let cluster = Cluster::start().await;
    apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    let (code, status) = apply(&cluster, "fieldManager=you", &deployment("a", 2)).await;
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    assert_eq!(status["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(status["details"]["causes"][0]["field"], ".spec.replicas");
    let (code, taken) = apply(&cluster, "fieldManager=you&force=true", &deployment("a", 2)).await;
    assert_eq!((code, taken["spec"]["replicas"].as_i64()), (200, Some(2)));
}

#[tokio::test]
async fn options_that_cannot_be_are_invalid_as_objects_of_their_kind_are() {
    let cluster = Cluster::start().await;
    apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    let long = "m".repeat(129);
    let too_long = format!("fieldManager={long}");
    let bell = "fieldManager: Invalid value: \"a\\x01b\": invalid character U+0001 (at position 1)";
    let supported = "Unsupported value: \"x\": supported values:";
    let dry = "dryRun: Unsupported value: [\"x\"]: supported values: \"All\"".to_owned();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let new = json!({"metadata": {"name": "b"}});
    let cases = [
        ("POST", deployments, &*too_long, "CreateOptions", "fieldManager: Too long: may not be more than 128 bytes".to_owned()),
        ("POST", deployments, "fieldManager=a%01b", "CreateOptions", bell.to_owned()),
        ("PUT", ONE, "fieldManager=a%01b", "UpdateOptions", bell.to_owned()),
        ("PATCH", ONE, "fieldManager=a%01b", "PatchOptions", bell.to_owned()),
        ("PATCH", &format!("{ONE}/scale"), "fieldManager=a%01b", "PatchOptions", bell.to_owned()),
        ("POST", deployments, "dryRun=x", "CreateOptions", dry.clone()),
        ("DELETE", ONE, "dryRun=x", "DeleteOptions", dry),
        ("POST", deployments, "fieldValidation=x", "CreateOptions", format!("fieldValidation: {supported} \"\", \"Ignore\", \"Strict\", \"Warn\"")),
        ("DELETE", ONE, "propagationPolicy=x", "DeleteOptions", format!("propagationPolicy: {supported} \"Foreground\", \"Background\", \"Orphan\", \"nil\"")),
        ("GET", deployments, "resourceVersionMatch=x&resourceVersion=1", "ListOptions", format!("resourceVersionMatch: {supported} \"Exact\", \"NotOlderThan\", \"\"")),
        ("GET", deployments, "resourceVersionMatch=Exact", "ListOptions", "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided".to_owned()),
    ];
    for (method, path, query, kind, expected) in cases {
        let path = format!("{path}?{query}");
        let (code, status) = match method {
            "POST" => cluster.send(method, &path, &new).await,
            "PUT" | "PATCH" => cluster.send(method, &path, &json!({})).await,
            _ => cluster.send_as(method, &path, "", Vec::new().into()).await,
        };
        assert_eq!((code, &status["details"]["kind"]), (422, &json!(kind)), "{method} {query}: {status}");
        assert_eq!(
            status["message"],
            format!("{kind}.meta.k8s.io \"\" is invalid: {expected}"),
            "{method} {query}"
        );
    }
    // A body says so as well as a query.
    let (code, status) = cluster.send("DELETE", ONE, &json!({"propagationPolicy": "x"})).await;
    let expected = format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {supported}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(code == 422 && message.starts_with(&expected), "{code}: {status}");
    // What Kubernetes takes for printable: marks, and what is not of ASCII.
    let (code, made) = apply(&cluster, "fieldManager=e%CC%81%E4%BA%BA%20b", &deployment("a", 1)).await;
    let managers = made["metadata"]["managedFields"].as_array().expect("managers");
    assert!(code == 200 && managers.iter().any(|one| one["manager"] == "e\u{301}人 b"), "{made}");
}

#[tokio::test]
async fn applying_needs_a_manager_and_force_needs_applying() {
    let cluster = Cluster::start().await;
    let (code, status) = apply(&cluster, "", &deployment("a", 1)).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    let (code, _) = cluster.send("PATCH", &format!("{ONE}?force=true"), &json!({})).await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn what_is_applied_says_of_which_kind_it_is_and_is_of_its_types() {
    let cluster = Cluster::start().await;
    apply(&cluster, "fieldManager=me", &deployment("a", 1)).await;
    let container = |name: &str| json!({"name": name, "image": "x"});
    let with = |containers: Value| {
        let mut object = deployment("a", 1);
        object["spec"]["template"]["spec"]["containers"] = containers;
        object
    };
    let metadata = json!({"name": "a"});
    for (object, code, expected) in [
        (json!({"metadata": metadata}), 400, "invalid object type: /, Kind="),
        (json!({"kind": "Deployment", "metadata": metadata}), 400, "invalid object type: /, Kind=Deployment"),
        (
            json!({"apiVersion": "apps/v2", "kind": "Deployment", "metadata": metadata}),
            400,
            "invalid object type: apps/v2, Kind=Deployment",
        ),
        (
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata}),
            400,
            "invalid object type: apps/v1, Kind=ReplicaSet",
        ),
        (
            with(json!([container("c"), container("c")])),
            500,
            "failed to create typed patch object (/a; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            with(json!([{"image": "x"}])),
            500,
            "failed to create typed patch object (/a; apps/v1, Kind=Deployment): .spec.template.spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
    ] {
        let (answered, status) = apply(&cluster, "fieldManager=me", &object).await;
        assert_eq!((answered, status["message"].as_str()), (code, Some(expected)), "{object}");
    }
}

#[tokio::test]
async fn a_field_that_the_kind_lacks_cannot_be_applied_however_it_is_validated() {
    let cluster = Cluster::start().await;
    let mut odd = deployment("a", 1);
    odd["spec"]["replicaz"] = json!(2);
    for validation in ["Strict", "Warn", "Ignore"] {
        let (code, status) =
            apply(&cluster, &format!("fieldManager=me&fieldValidation={validation}"), &odd).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!(code, 500, "{validation}: {message}");
        assert!(message.starts_with("failed to create typed patch object ("), "{validation}: {message}");
        assert!(message.ends_with(".spec.replicaz: field not declared in schema"), "{validation}: {message}");
    }
}
