//! What clients find out about the server.

use bytes::Bytes;
use http::header;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};

async fn accept(cluster: &Cluster, path: &str, accept: &str) -> (String, Value) {
    let request =
        http::Request::get(path).header(header::ACCEPT, accept).body(Bytes::new()).expect("a request");
    let response = cluster.handle.call(request, apiserver::Identity::administrator()).await;
    assert_eq!(response.status(), 200, "{path}");
    let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    (kind, serde_json::from_slice(&bytes).expect("JSON"))
}

#[tokio::test]
async fn resources_are_found_in_the_old_and_the_new_form() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/api").await.1["versions"], json!(["v1"]));
    let groups = cluster.get("/apis").await.1;
    let names: Vec<&str> =
        groups["groups"].as_array().into_iter().flatten().filter_map(|g| g["name"].as_str()).collect();
    for group in ["apps", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io"] {
        assert!(names.contains(&group), "{group} in {names:?}");
    }
    let core = cluster.get("/api/v1").await.1;
    let find = |name: &str| {
        core["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|r| r["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!((&find("pods")["shortNames"], &find("pods")["categories"]), (&json!(["po"]), &json!(["all"])));
    assert_eq!(find("pods/eviction")["group"], "policy");
    assert_eq!(find("namespaces")["namespaced"], false);
    assert_eq!(find("pods")["storageVersionHash"], "xPOwRZ+Yhw8=", "as Kubernetes has it");
    assert_eq!(
        (find("pods/status").get("storageVersionHash"), find("bindings").get("storageVersionHash")),
        (None, None)
    );

    let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (kind, list) = accept(&cluster, "/apis", new).await;
    assert_eq!(kind, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let apps = list["items"].as_array().into_iter().flatten().find(|i| i["metadata"]["name"] == "apps");
    let resources = apps.expect("the group")["versions"][0]["resources"].as_array();
    let deployments = resources.into_iter().flatten().find(|r| r["resource"] == "deployments");
    let deployments = deployments.expect("deployments");
    assert_eq!(deployments["scope"], "Namespaced");
    assert_eq!(deployments["subresources"][0]["responseKind"]["kind"], "Scale");
}

#[tokio::test]
async fn every_resource_of_the_table_has_a_schema() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.1;
    let paths = index["paths"].as_object().expect("an index");
    for path in ["api/v1", "apis/apps/v1", "apis/events.k8s.io/v1"] {
        let url = paths[path]["serverRelativeURL"].as_str().expect("an address");
        let (code, document) = cluster.get(url).await;
        assert_eq!(code, 200, "{url}");
        assert!(document["components"]["schemas"].as_object().is_some_and(|s| !s.is_empty()), "{url}");
    }
    let (code, _) = cluster.get("/openapi/v3/apis/none/v1").await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn questions_are_described_like_resources() {
    let cluster = Cluster::start().await;
    let v2 = cluster.get("/openapi/v2").await.1;
    for (group, kind, plural, field) in [
        ("authentication", "SelfSubjectReview", "selfsubjectreviews", "status"),
        ("authentication", "TokenReview", "tokenreviews", "spec"),
        (
            "authorization",
            "LocalSubjectAccessReview",
            "namespaces/{namespace}/localsubjectaccessreviews",
            "spec",
        ),
        ("authorization", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "spec"),
        ("authorization", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "spec"),
        ("authorization", "SubjectAccessReview", "subjectaccessreviews", "spec"),
    ] {
        let path = format!("/apis/{group}.k8s.io/v1/{plural}");
        let v3 = cluster.get(&format!("/openapi/v3/apis/{group}.k8s.io/v1")).await.1;
        let name = format!("io.k8s.api.{group}.v1.{kind}");
        for (form, definition) in
            [(&v3, &v3["components"]["schemas"][&name]), (&v2, &v2["definitions"][&name])]
        {
            let described = definition["properties"][field]["description"].as_str();
            assert!(described.is_some_and(|text| !text.is_empty()), "{kind}: {definition}");
            let operations: Vec<&String> =
                form["paths"][&path].as_object().into_iter().flat_map(serde_json::Map::keys).collect();
            let is_operation = |name: &&&String| matches!(name.as_str(), "get" | "put" | "post" | "delete");
            assert_eq!(operations.iter().filter(is_operation).collect::<Vec<_>>(), [&"post"], "{path}");
        }
    }
}

#[tokio::test]
async fn a_scale_has_columns_of_its_own() {
    let cluster = Cluster::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok("POST", deployments, &deployment("a", 2)).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = accept(&cluster, &format!("{deployments}/a/scale"), table).await.1;
    let columns = table["columnDefinitions"].as_array().into_iter().flatten();
    let names: Vec<&str> = columns.filter_map(|column| column["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    let row = &table["rows"][0];
    let cells = row["cells"].as_array().expect("cells");
    assert_eq!(cells[..3], [json!("a"), json!(2), json!(0)]);
    assert_eq!(row["object"]["metadata"]["name"], "a");
}

#[tokio::test]
async fn the_version_is_told() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/version").await.1["minor"], "36");
}

#[tokio::test]
async fn lists_are_shown_as_tables_to_those_who_ask() {
    let cluster = Cluster::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok("POST", deployments, &deployment("a", 2)).await;
    let (_, table) =
        accept(&cluster, deployments, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!(table["kind"], "Table");
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!((cells[0].as_str(), cells[1].as_str()), (Some("a"), Some("0/2")));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn tables_and_metadata_are_told_in_the_old_version_to_those_who_ask_for_it() {
    let cluster = Cluster::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok("POST", deployments, &deployment("a", 2)).await;
    let one = format!("{deployments}/a");
    for version in ["v1", "v1beta1"] {
        let told = json!(format!("meta.k8s.io/{version}"));
        let table = format!("application/json;as=Table;v={version};g=meta.k8s.io,application/json");
        for path in [deployments, &one] {
            let table = accept(&cluster, path, &table).await.1;
            assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &told));
            assert_eq!(table["rows"][0]["object"]["apiVersion"], told);
        }
        let metadata = format!("application/json;as=PartialObjectMetadata;v={version};g=meta.k8s.io");
        assert_eq!(accept(&cluster, &one, &metadata).await.1["apiVersion"], told);
        let metadata = format!("application/json;as=PartialObjectMetadataList;v={version};g=meta.k8s.io");
        let list = accept(&cluster, deployments, &metadata).await.1;
        assert_eq!((&list["apiVersion"], &list["items"][0]["apiVersion"]), (&told, &told));
    }
}
