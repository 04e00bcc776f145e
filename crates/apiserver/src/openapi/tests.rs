use super::*;

fn entry(group: &str, kind: &str, plural: &str) -> Entry {
    let kind = GroupVersionKind::new(group, "v1", kind);
    let schema = model::schema::builtin(&kind);
    let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let subresources = vec![
        SubresourceEntry {
            name: "status".into(),
            kind: None,
            description: None,
            verbs: vec!["get", "patch", "update"],
        },
        SubresourceEntry {
            name: "scale".into(),
            kind: Some(scale),
            description: None,
            verbs: vec!["get", "patch", "update"],
        },
    ];
    let description = Some(describe::<k8s_openapi::api::core::v1::Pod> as Describe);
    Entry {
        verbs: Vec::new(),
        list_kind: format!("{}List", kind.kind),
        kind,
        plural: plural.into(),
        namespaced: true,
        subresources,
        description,
        schema,
        documented: None,
    }
}

fn entries() -> Vec<Entry> {
    let namespaces =
        Entry { namespaced: false, subresources: Vec::new(), ..entry("", "Namespace", "namespaces") };
    vec![entry("", "Pod", "pods"), namespaces, entry("apps", "Deployment", "deployments")]
}

fn read(document: &Document) -> Value {
    serde_json::from_slice(&document.body).expect("JSON")
}

/// Every reference in a document, to be looked up in it.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => found.push(reference.to_owned()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn check_references(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn the_index_leads_to_each_group_version_by_its_hash() {
    let documents = Documents::new();
    let index = read(&documents.index(&entries()));
    for (path, version) in
        [("api/v1", GroupVersion::new("", "v1")), ("apis/apps/v1", GroupVersion::new("apps", "v1"))]
    {
        let etag = documents.group_version(&version, &entries()).expect("a document").etag;
        assert_eq!(index["paths"][path]["serverRelativeURL"], format!("/openapi/v3/{path}?hash={etag}"));
        assert_eq!(parse_version_path(path), Some(version));
    }
    assert!(documents.group_version(&GroupVersion::new("batch", "v1"), &entries()).is_none());
    assert_eq!(parse_version_path("apis/apps"), None);
}

/// What an object says of a resource, in its second form.
#[derive(Debug)]
struct Second;

impl Documented for Second {
    fn revision(&self) -> String {
        "2".to_owned()
    }

    fn schema(&self, _: Form) -> Value {
        json!({"type": "object"})
    }
}

#[test]
fn a_change_of_a_custom_schema_changes_the_hash() {
    let documents = Documents::new();
    let version = GroupVersion::new("", "v1");
    let before = documents.group_version(&version, &entries()).expect("a document");
    let mut changed = entries();
    changed[0].documented = Some(Arc::new(Second));
    let after = documents.group_version(&version, &changed).expect("a document");
    assert_ne!(before.etag, after.etag);
    assert_ne!(documents.index(&entries()).etag, documents.index(&changed).etag);
}

#[test]
fn documents_of_what_is_gone_are_not_kept() {
    let documents = Documents::new();
    let mut all = entries();
    all.push(entry("custom.io", "Deployment", "things"));
    let (apps, custom) = (GroupVersion::new("apps", "v1"), GroupVersion::new("custom.io", "v1"));
    for version in [&apps, &custom] {
        documents.group_version(version, &all).expect("a document");
    }
    documents.v2(&all);
    assert_eq!(documents.made.lock().len(), 3);
    documents.group_version(&apps, &entries()).expect("a document");
    let mut left: Vec<String> = documents.made.lock().keys().cloned().collect();
    left.sort_unstable();
    assert_eq!(left, ["v2", "v3 apps/v1"]);
}

#[test]
fn types_carry_what_clients_merge_and_explain_by() {
    let document =
        read(&Documents::new().group_version(&GroupVersion::new("", "v1"), &entries()).expect("a document"));
    check_references(&document);
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "kind": "Pod", "version": "v1"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        [
            &containers["x-kubernetes-list-type"],
            &containers["x-kubernetes-patch-strategy"],
            &containers["x-kubernetes-patch-merge-key"]
        ],
        [&json!("map"), &json!("merge"), &json!("name")]
    );
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(containers["description"].as_str().is_some_and(|text| text.contains("containers")));
    assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(protocol["default"], "TCP");
    assert!(pod["description"].is_string());
}

#[test]
fn patches_tell_that_strict_validation_is_done() {
    let document = read(
        &Documents::new().group_version(&GroupVersion::new("apps", "v1"), &entries()).expect("a document"),
    );
    let paths = &document["paths"];
    let patch = &paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    let parameters = patch["parameters"].as_array().expect("parameters");
    for name in ["fieldValidation", "dryRun"] {
        assert!(
            parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "query"),
            "{name}"
        );
    }
    assert_eq!(paths["/apis/apps/v1/deployments"]["get"]["x-kubernetes-action"], "list");
    let scale = &paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert!(document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"].is_object());
}

#[test]
fn custom_kinds_have_documents_too() {
    let mut thing = entry("example.com", "Thing", "things");
    thing.subresources.clear();
    assert!(thing.schema.is_none());
    let document = Documents::new()
        .group_version(&GroupVersion::new("example.com", "v1"), &[thing])
        .expect("a document");
    let document = read(&document);
    check_references(&document);
    assert!(document["components"]["schemas"]["com.example.v1.Thing"].is_object());
    assert!(document["paths"]["/apis/example.com/v1/namespaces/{namespace}/things"]["post"].is_object());
}

#[test]
fn version_2_has_everything_in_one_document() {
    let document = read(&Documents::new().v2(&entries()));
    check_references(&document);
    assert_eq!(document["swagger"], "2.0");
    assert!(document["definitions"]["io.k8s.api.apps.v1.Deployment"].is_object());
    assert!(document["paths"]["/api/v1/namespaces/{name}"]["get"].is_object());
}

/// The content of the first field of a message with this number, and what of it follows a name.
fn field(message: &[u8], wanted: u64) -> Option<&[u8]> {
    use crate::protobuf::wire::{Wire, fields};
    fields(message).find_map(|field| match field.expect("a field") {
        (number, Wire::Bytes(content)) if number == wanted => Some(content),
        _ => None,
    })
}

/// The value of an entry of what is a map in JSON.
fn entry_of<'a>(message: &'a [u8], map: u64, name: &str) -> Option<&'a [u8]> {
    use crate::protobuf::wire::{Wire, fields};
    fields(message).find_map(|entry| match entry.expect("a field") {
        (number, Wire::Bytes(entry)) if number == map && field(entry, 1)? == name.as_bytes() => {
            field(entry, 2)
        }
        _ => None,
    })
}

#[test]
fn version_2_says_the_same_in_protocol_buffers() {
    let document = Documents::new().v2_protobuf(&entries());
    assert_eq!(document.media_type, V2_PROTOBUF);
    let body: &[u8] = &document.body;
    assert_eq!(field(body, 1), Some(b"2.0".as_slice()));
    let paths = field(body, 8).expect("paths");
    let path = entry_of(paths, 2, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}").expect("a path");
    let patch = field(path, 8).expect("PATCH");
    let kind = entry_of(patch, 13, "x-kubernetes-group-version-kind").and_then(|any| field(any, 2));
    let kind: Value = serde_json::from_slice(kind.expect("a kind")).expect("JSON");
    assert_eq!(kind, json!({"group": "apps", "kind": "Deployment", "version": "v1"}));
    let definitions = field(body, 9).expect("definitions");
    let spec = entry_of(definitions, 1, "io.k8s.api.apps.v1.DeploymentSpec").expect("a definition");
    assert_eq!(field(spec, 22).and_then(|ty| field(ty, 1)), Some(b"object".as_slice()));
    assert_eq!(field(spec, 19), Some(b"selector".as_slice()));
    let replicas = entry_of(field(spec, 25).expect("properties"), 1, "replicas").expect("a property");
    assert_eq!(field(replicas, 2), Some(b"int32".as_slice()));
}
