//! Every verb, asked in process: what clients see of each.

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, named, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Code and message of an answer.
async fn check(cluster: &Cluster, request: (&str, &str, Value), expected: &str) {
    let (method, path, body) = request;
    let (code, answer) = cluster.send(method, path, &body).await;
    let text = answer["message"].as_str().or(answer["metadata"]["name"].as_str()).unwrap_or_default();
    assert_eq!(format!("{code} {text}"), expected, "{method} {path}: {answer}");
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|i| i["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn an_object_is_made_read_replaced_and_deleted() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(made["metadata"][field].is_string(), "{field} in {made}");
    }
    let one = format!("{MAPS}/a");
    assert_eq!(cluster.get(&one).await, (200, made.clone()));

    let mut newer = made.clone();
    newer["data"] = json!({"k": "v"});
    let replaced = cluster.ok("PUT", &one, &newer).await;
    assert_eq!(replaced["data"]["k"], "v");
    assert_eq!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    assert_ne!(replaced["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);

    let gone = cluster.ok("DELETE", &one, &json!({})).await;
    assert_eq!((gone["kind"].as_str(), gone["status"].as_str()), (Some("Status"), Some("Success")));
    check(&cluster, ("GET", &one, json!(null)), "404 configmaps \"a\" not found").await;
}

#[tokio::test]
async fn refusals_read_as_kubernetes_writes_them() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let checks = [
        ("POST", MAPS, named("ConfigMap", "a"), "409 configmaps \"a\" already exists"),
        (
            "POST",
            "/api/v1/namespaces/none/configmaps",
            named("ConfigMap", "a"),
            "404 namespaces \"none\" not found",
        ),
        ("GET", "/api/v1/nothings", json!(null), "404 the server could not find the requested resource"),
        (
            "POST",
            "/api/v1/namespaces/default/configmaps/a",
            named("ConfigMap", "a"),
            "405 the server does not allow this method on the requested resource",
        ),
        (
            "PUT",
            "/api/v1/namespaces/default/configmaps/a",
            named("ConfigMap", "b"),
            "400 the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "POST",
            MAPS,
            json!({"apiVersion": "apps/v1", "kind": "ConfigMap", "metadata": {"name": "x"}}),
            "400 the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
    ];
    for (method, path, body, expected) in checks {
        check(&cluster, (method, path, body), expected).await;
    }
    let mut stale = cluster.get(&format!("{MAPS}/a")).await.1;
    stale["metadata"]["resourceVersion"] = json!("1");
    check(
        &cluster,
        ("PUT", &format!("{MAPS}/a"), stale),
        "409 Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
         changes to the latest version and try again",
    )
    .await;
}

#[tokio::test]
async fn an_invalid_object_is_refused_with_a_cause_for_each_field() {
    let cluster = Cluster::start().await;
    let (code, status) = cluster.send("POST", DEPLOYMENTS, &deployment("a", -1)).await;
    assert_eq!((code, status["reason"].as_str()), (422, Some("Invalid")));
    assert_eq!(status["details"]["causes"][0]["field"], "spec.replicas");
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped_as_asked() {
    let cluster = Cluster::start().await;
    let mut odd = deployment("a", 1);
    odd["spec"]["replicaz"] = json!(2);
    let path = format!("{DEPLOYMENTS}?fieldValidation=Strict");
    let (code, status) = cluster.send("POST", &path, &odd).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("strict decoding error: unknown field \"spec.replicaz\""), "{message}");

    let request = http::Request::post(format!("{DEPLOYMENTS}?fieldValidation=Warn"))
        .body(Bytes::from(odd.to_string()))
        .expect("a request");
    let response = cluster.handle.call(request, apiserver::Identity::administrator()).await;
    assert_eq!(response.status(), 201);
    let warning = response.headers()["warning"].to_str().expect("text");
    assert_eq!(warning, "299 - \"unknown field \\\"spec.replicaz\\\"\"");
}

#[tokio::test]
async fn a_patch_with_unknown_or_repeated_fields_is_invalid_where_that_is_asked_for() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", DEPLOYMENTS, &deployment("a", 1)).await;
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    let json_patch = "application/json-patch+json";
    let unknown = r#"{"spec":{"replicaz":2}}"#;
    for (kind, body, problem) in [
        (merge, unknown, r#"unknown field "spec.replicaz""#),
        (strategic, unknown, r#"unknown field "spec.replicaz""#),
        (merge, r#"{"spec":{"replicas":2,"replicas":3}}"#, r#"duplicate field "spec.replicas""#),
        (
            json_patch,
            r#"[{"op":"add","path":"/spec/replicaz","value":2}]"#,
            r#"unknown field "spec.replicaz""#,
        ),
        (
            json_patch,
            r#"[{"op":"test","path":"/metadata/name","value":"a"},{"op":"add","path":"/spec/paused","value":true,"vale":1,"op":"add"}]"#,
            r#"json patch duplicate field "[1].op", json patch unknown field "[1].vale""#,
        ),
    ] {
        let path = format!("{DEPLOYMENTS}/a?fieldValidation=Strict");
        let (code, status) = cluster.send_as("PATCH", &path, kind, body.into()).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!((code, status["reason"].as_str()), (422, Some("Invalid")), "{kind} {body}: {message}");
        assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: "), "{kind} {body}: {message}");
        assert!(message.ends_with(&format!("strict decoding error: {problem}")), "{kind} {body}: {message}");
        let path = format!("{DEPLOYMENTS}/a?fieldValidation=Ignore");
        assert_eq!(cluster.send_as("PATCH", &path, kind, body.into()).await.0, 200, "{kind} {body}");
    }
    let (code, status) = cluster
        .send_as("PATCH", &format!("{DEPLOYMENTS}/a"), merge, r#"{"spec":{"replicas":"many"}}"#.into())
        .await;
    assert_eq!((code, status["details"]["causes"][0]["field"].as_str()), (422, Some("patch")), "{status}");
}

#[tokio::test]
async fn a_name_is_made_up_where_only_its_beginning_is_given() {
    let cluster = Cluster::start().await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}});
    let made = cluster.ok("POST", MAPS, &object).await;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_changes_nothing() {
    let cluster = Cluster::start().await;
    let dry = cluster.ok("POST", &format!("{MAPS}?dryRun=All"), &named("ConfigMap", "a")).await;
    assert_eq!(dry["metadata"]["name"], "a");
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.0, 404);

    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let patch = json!({"data": {"k": "v"}});
    let dry = cluster.ok("PATCH", &format!("{MAPS}/a?dryRun=All"), &patch).await;
    assert_eq!(dry["data"]["k"], "v");
    cluster.ok("DELETE", &format!("{MAPS}/a"), &json!({"dryRun": ["All"]})).await;
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await, (200, made));
}

#[tokio::test]
async fn lists_are_cut_into_pages_that_all_show_the_same_revision() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.ok("POST", MAPS, &named("ConfigMap", name)).await;
    }
    let first = cluster.get(&format!("{MAPS}?limit=2")).await.1;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens in between is not shown.
    cluster.ok("DELETE", &format!("{MAPS}/d"), &json!({})).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "bb")).await;

    let next = first["metadata"]["continue"].as_str().expect("a token");
    let second = cluster.get(&format!("{MAPS}?limit=2&continue={next}")).await.1;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let next = second["metadata"]["continue"].as_str().expect("a token");
    let third = cluster.get(&format!("{MAPS}?limit=2&continue={next}")).await.1;
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"]["continue"].is_null());
    check(
        &cluster,
        ("GET", &format!("{MAPS}?continue=nonsense"), json!(null)),
        "400 continue key is not valid",
    )
    .await;
}

#[tokio::test]
async fn a_list_that_is_known_no_more_goes_on_with_what_is_there() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        cluster.ok("POST", MAPS, &named("ConfigMap", name)).await;
    }
    let first = cluster.get(&format!("{MAPS}?limit=2")).await.1;
    let next = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    cluster.ok("DELETE", &format!("{MAPS}/c"), &json!({})).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "e")).await;
    let compacted = async |store: &dyn store::Store| {
        let revision = store.status().await.expect("a status").revision;
        store.compact(revision).await.expect("compact");
    };
    let cluster = cluster.restart_after(compacted).await;
    let (code, status) = cluster.get(&format!("{MAPS}?limit=1&continue={next}")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
    let next = status["metadata"]["continue"].as_str().expect("a token to go on with");
    let page = cluster.get(&format!("{MAPS}?limit=1&continue={next}")).await.1;
    assert_eq!(names(&page), ["d"], "{page}");
    // From here on it is of one version again.
    cluster.ok("DELETE", &format!("{MAPS}/e"), &json!({})).await;
    let next = page["metadata"]["continue"].as_str().expect("a token");
    let page = cluster.get(&format!("{MAPS}?limit=1&continue={next}")).await.1;
    assert_eq!(names(&page), ["e"], "{page}");
}

#[tokio::test]
async fn lists_show_an_exact_revision_where_asked() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    let revision = made["metadata"]["resourceVersion"].as_str().expect("a revision");
    let path = format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&cluster.get(&path).await.1), ["a"]);
    let path = format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
    assert_eq!(names(&cluster.get(&path).await.1), ["a", "b"]);
}

#[tokio::test]
async fn versions_that_nobody_gave_have_expired_or_are_waited_for() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    let token = |version: u64| {
        let token = json!({"v": "gantry.dev/v2", "rv": version, "start": "default/a"});
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string())
    };
    // Where there are two servers, both show them: what is not older need not be the latest.
    for _ in 0..2 {
        assert_eq!(names(&cluster.get(MAPS).await.1), ["a", "b"]);
    }
    // The store counts from 1, and each revision has 4,096 places.
    for version in [1, 7, 4095] {
        let exact = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
        let expired = "410 The resourceVersion for the provided list is too old.";
        check(&cluster, ("GET", &exact, json!(null)), expired).await;
        let (code, status) = cluster.get(&format!("{MAPS}?continue={}", token(version))).await;
        assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
        // Whoever puts up with it goes on with what is there by now.
        let next = status["metadata"]["continue"].as_str().expect("a token to go on with");
        assert_eq!(names(&cluster.get(&format!("{MAPS}?continue={next}")).await.1), ["b"]);
        // What is newer is not older.
        let newer = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
        assert_eq!(names(&cluster.get(&newer).await.1), ["a", "b"]);
        let mut watch = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
        let event = watch.next_event().await.expect("an event");
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
        assert_eq!(watch.next().await, "end");
    }
    let future = 1u64 << 40;
    for path in [
        format!("{MAPS}?resourceVersion={future}"),
        format!("{MAPS}?resourceVersion={future}&resourceVersionMatch=Exact"),
        format!("{MAPS}?watch=1&resourceVersion={future}"),
        format!("{MAPS}?continue={}", token(future)),
    ] {
        let (code, status) = cluster.get(&path).await;
        assert_eq!((code, &status["reason"]), (504, &json!("Timeout")), "{path}: {status}");
        let cause = &status["details"]["causes"][0];
        assert_eq!(cause["reason"], "ResourceVersionTooLarge", "{path}: {status}");
        assert_eq!(status["details"]["retryAfterSeconds"], 1, "{path}: {status}");
    }
}

#[tokio::test]
async fn what_a_list_or_watch_cannot_be_asked_with_is_refused_all_at_once() {
    let cluster = Cluster::start().await;
    let version_match = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden";
    let unless_version = format!("{version_match} unless resourceVersion is provided");
    let unless_events = format!("{version_match} for watch unless sendInitialEvents is provided");
    let with_continue = format!("{version_match} when continue is provided");
    let needs = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    let of_list = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
    let only = |named: &str| {
        format!("resourceVersionMatch: Unsupported value: \"{named}\": supported values: \"NotOlderThan\"")
    };
    for (query, expected) in [
        ("sendInitialEvents=true", of_list.to_owned()),
        ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=1", of_list.to_owned()),
        ("resourceVersionMatch=Exact&continue=x", format!("[{unless_version}, {with_continue}]")),
        ("watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=0", unless_events.clone()),
        ("watch=1&resourceVersionMatch=Exact", format!("[{unless_events}, {}]", only("Exact"))),
        ("watch=1&sendInitialEvents=true", needs.to_owned()),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=x&continue=y",
            format!("[{needs}, {}, {with_continue}]", only("x")),
        ),
    ] {
        let expected = format!("422 ListOptions.meta.k8s.io \"\" is invalid: {expected}");
        check(&cluster, ("GET", &format!("{MAPS}?{query}"), json!(null)), &expected).await;
    }
    let parsing = "400 strconv.ParseInt: parsing";
    for (query, expected) in [
        ("limit=x", format!("{parsing} \"x\": invalid syntax")),
        ("limit=9223372036854775808", format!("{parsing} \"9223372036854775808\": value out of range")),
        ("timeoutSeconds=1.5&watch=1", format!("{parsing} \"1.5\": invalid syntax")),
    ] {
        check(&cluster, ("GET", &format!("{MAPS}?{query}"), json!(null)), &expected).await;
    }
}

#[tokio::test]
async fn a_page_of_a_named_version_is_of_that_version() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    let then = cluster.get(MAPS).await.1["metadata"]["resourceVersion"].clone();
    let then = then.as_str().expect("a version");
    cluster.ok("POST", MAPS, &named("ConfigMap", "c")).await;
    for (query, expected) in [
        (format!("resourceVersion={then}&limit=9"), vec!["a", "b"]),
        (format!("resourceVersion={then}&limit=9&resourceVersionMatch=NotOlderThan"), vec!["a", "b", "c"]),
        (format!("resourceVersion={then}"), vec!["a", "b", "c"]),
        (format!("resourceVersion={then}&limit=-1"), vec!["a", "b", "c"]),
        ("resourceVersion=0&limit=9".to_owned(), vec!["a", "b", "c"]),
    ] {
        let (code, list) = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((code, names(&list)), (200, expected), "{query}: {list}");
    }
    let past = format!("{MAPS}?resourceVersion=1&limit=9");
    let expired = "410 The resourceVersion for the provided list is too old.";
    check(&cluster, ("GET", &past, json!(null)), expired).await;
}

#[tokio::test]
async fn the_text_of_a_status_ends_with_a_newline() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    for method in ["GET", "DELETE"] {
        for name in ["a", "none"] {
            let request = http::Request::builder().method(method).uri(format!("{MAPS}/{name}"));
            let request = request.body(Bytes::new()).expect("a request");
            let answer = cluster.handle.call(request, apiserver::Identity::administrator()).await;
            let text = answer.into_body().collect().await.expect("a body").to_bytes();
            let is_status = text.starts_with(b"{\"kind\":\"Status\"");
            assert_eq!(is_status, text.ends_with(b"}\n"), "{method} {name}: {text:?}");
            assert_eq!(is_status, (method, name) != ("GET", "a"), "{method} {name}: {text:?}");
        }
    }
}

#[tokio::test]
async fn an_object_is_read_no_older_than_the_version_that_is_named() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let (code, status) = cluster.get(&format!("{MAPS}/a?resourceVersion={}", 1u64 << 40)).await;
    assert_eq!((code, &status["reason"]), (504, &json!("Timeout")), "{status}");
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{status}");
    for version in ["", "0", "1"] {
        check(&cluster, ("GET", &format!("{MAPS}/a?resourceVersion={version}"), json!(null)), "200 a").await;
    }
    let (code, _) = cluster.get(&format!("{MAPS}/a?resourceVersion=x")).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn lists_are_narrowed_by_labels_and_fields() {
    let cluster = Cluster::start().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut object = pod(name);
        object["metadata"]["labels"] = json!({"app": app});
        cluster.ok("POST", PODS, &object).await;
    }
    let check = async |query: &str, expected: &[&str]| {
        let (code, list) = cluster.get(&format!("{PODS}?{query}")).await;
        assert_eq!((code, names(&list).as_slice()), (200, expected), "{query}");
    };
    check("labelSelector=app%3Dweb", &["a", "c"]).await;
    check("labelSelector=app+in+(db,none)", &["b"]).await;
    check("labelSelector=!app", &[]).await;
    check("fieldSelector=metadata.name%3Db", &["b"]).await;
    check("fieldSelector=status.phase%3DPending,metadata.name!%3Da", &["b", "c"]).await;
    check("fieldSelector=spec.nodeName%3Dn1", &[]).await;
    assert_eq!(cluster.get(&format!("{PODS}?fieldSelector=spec.colour%3Dred")).await.0, 400);
    assert_eq!(cluster.get(&format!("{PODS}?labelSelector=,,")).await.0, 400);
}

#[tokio::test]
async fn patches_of_three_kinds_change_what_they_name() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", DEPLOYMENTS, &deployment("a", 1)).await;
    let one = format!("{DEPLOYMENTS}/a");
    let patch = async |kind: &str, body: Value| {
        let (code, answer) = cluster.send_as("PATCH", &one, kind, body.to_string().into()).await;
        assert_eq!(code, 200, "{answer}");
        answer
    };
    let merged = patch("application/merge-patch+json", json!({"spec": {"replicas": 2}})).await;
    assert_eq!(
        (merged["spec"]["replicas"].as_i64(), merged["metadata"]["generation"].as_i64()),
        (Some(2), Some(2))
    );
    let replaced = patch(
        "application/json-patch+json",
        json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]),
    )
    .await;
    assert_eq!(replaced["spec"]["replicas"], 3);
    let sidecar = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "b"}]}}}});
    let strategic = patch("application/strategic-merge-patch+json", sidecar).await;
    assert_eq!(strategic["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(2));

    let (code, _) = cluster.send_as("PATCH", &one, "text/plain", Bytes::from_static(b"{}")).await;
    assert_eq!(code, 415);
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 9}]);
    let (code, _) =
        cluster.send_as("PATCH", &one, "application/json-patch+json", failing.to_string().into()).await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn a_change_of_nothing_writes_nothing() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", DEPLOYMENTS, &deployment("a", 1)).await;
    let same = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/a"), &json!({"spec": {"replicas": 1}})).await;
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(cluster.ok("PUT", &format!("{DEPLOYMENTS}/a"), &made).await["metadata"], made["metadata"]);
}

#[tokio::test]
async fn status_and_spec_are_changed_each_by_its_own_path() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", DEPLOYMENTS, &deployment("a", 1)).await;
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 1}});
    let status = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/a/status"), &both).await;
    assert_eq!(
        (status["spec"]["replicas"].as_i64(), status["status"]["replicas"].as_i64()),
        (Some(1), Some(1))
    );
    assert_eq!(status["metadata"]["generation"], 1);
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 9}});
    let spec = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/a"), &both).await;
    assert_eq!((spec["spec"]["replicas"].as_i64(), spec["status"]["replicas"].as_i64()), (Some(5), Some(1)));
}

#[tokio::test]
async fn the_number_of_replicas_is_an_object_of_its_own() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", DEPLOYMENTS, &deployment("a", 1)).await;
    let path = format!("{DEPLOYMENTS}/a/scale");
    let mut scale = cluster.get(&path).await.1;
    assert_eq!(
        (scale["kind"].as_str(), scale["status"]["selector"].as_str()),
        (Some("Scale"), Some("app=a"))
    );
    scale["spec"]["replicas"] = json!(4);
    assert_eq!(cluster.ok("PUT", &path, &scale).await["spec"]["replicas"], 4);
    assert_eq!(cluster.ok("PATCH", &path, &json!({"spec": {"replicas": 2}})).await["spec"]["replicas"], 2);
    assert_eq!(cluster.get(&format!("{DEPLOYMENTS}/a")).await.1["spec"]["replicas"], 2);
    // The first answer's revision has passed.
    assert_eq!(cluster.send("PUT", &path, &scale).await.0, 409);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = Cluster::start().await;
    let mut object = named("ConfigMap", "a");
    object["metadata"]["finalizers"] = json!(["example.org/hold"]);
    cluster.ok("POST", MAPS, &object).await;
    let one = format!("{MAPS}/a");
    let pending = cluster.ok("DELETE", &one, &json!({})).await;
    assert!(pending["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.get(&one).await.0, 200);
    cluster.ok("PATCH", &one, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(cluster.get(&one).await.0, 404);
}

#[tokio::test]
async fn propagation_adds_the_collectors_finalizers_and_preconditions_hold() {
    let cluster = Cluster::start().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let name = policy.to_lowercase();
        cluster.ok("POST", MAPS, &named("ConfigMap", &name)).await;
        let pending =
            cluster.ok("DELETE", &format!("{MAPS}/{name}"), &json!({"propagationPolicy": policy})).await;
        assert_eq!(pending["metadata"]["finalizers"], json!([finalizer]));
    }
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let wrong = json!({"preconditions": {"uid": "someone-else"}});
    assert_eq!(cluster.send("DELETE", &format!("{MAPS}/a"), &wrong).await.0, 409);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let cluster = Cluster::start().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut object = named("ConfigMap", name);
        object["metadata"]["labels"] = json!({"app": app});
        cluster.ok("POST", MAPS, &object).await;
    }
    cluster.ok("DELETE", &format!("{MAPS}?labelSelector=app%3Dweb"), &json!({})).await;
    assert_eq!(names(&cluster.get(MAPS).await.1), ["b"]);
}

#[tokio::test]
async fn yaml_is_read_and_metadata_alone_is_given_but_no_form_that_nobody_has() {
    let cluster = Cluster::start().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    two\n    lines\n";
    let (code, made) = cluster.send_as("POST", MAPS, "application/yaml", yaml.into()).await;
    assert_eq!((code, made["data"]["k"].as_str()), (201, Some("two\nlines\n")));
    let (code, _) = cluster.send_as("POST", MAPS, "application/vnd.kubernetes.protobuf", yaml.into()).await;
    assert_eq!(code, 400);
    let (code, _) = cluster.send_as("POST", MAPS, "text/html", yaml.into()).await;
    assert_eq!(code, 415);
    let ask = async |accept: &str| {
        let request = http::Request::get(format!("{MAPS}/a"))
            .header(http::header::ACCEPT, accept)
            .body(Bytes::new())
            .expect("a request");
        let response = cluster.handle.call(request, apiserver::Identity::administrator()).await;
        let code = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
        (code, serde_json::from_slice::<Value>(&bytes).expect("JSON"))
    };
    assert_eq!(ask("application/xml").await.0, 406);
    let (_, partial) = ask("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert!(partial["data"].is_null() && partial["metadata"]["name"] == "a");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let cluster = cluster.restart().await;
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await, (200, made));
}
