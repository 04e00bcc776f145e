//! Answers laid out otherwise than as short JSON, and who is given none.

use apiserver::Identity;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, named};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";
const TABLE: &str = ";as=Table;g=meta.k8s.io;v=v1";

/// What is answered: code, media type, text.
type Answer = (u16, String, String);

async fn ask(cluster: &Cluster, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from(body.to_owned())).expect("a request");
    let answer = cluster.handle.call(request, Identity::administrator()).await;
    let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let (code, media_type) = (answer.status().as_u16(), media_type.unwrap_or_default().to_owned());
    let body = answer.into_body().collect().await.expect("bodies never fail").to_bytes();
    (code, media_type, String::from_utf8(body.to_vec()).expect("text"))
}

async fn get(cluster: &Cluster, path: &str, accept: &str) -> Answer {
    ask(cluster, "GET", path, &[("accept", accept)], "").await
}

/// What is answered as YAML to who wants that.
async fn yaml(cluster: &Cluster, path: &str, accept: &str) -> (u16, Value) {
    let (code, media_type, text) = get(cluster, path, accept).await;
    assert_eq!(media_type, YAML, "{path}: {text}");
    assert!(text.starts_with("apiVersion: "), "{path}: {text}");
    (code, serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}\n{text}")))
}

async fn fill(cluster: &Cluster, count: usize) {
    for number in 0..count {
        let mut map = named("ConfigMap", &format!("m{number:02}"));
        map["data"] =
            json!({"long": "x y\n".repeat(4000), "odd": " #: yes\n\t- \"'\r\n", "flag": "on", "empty": ""});
        cluster.ok("POST", MAPS, &map).await;
    }
}

#[tokio::test]
async fn whatever_is_json_is_yaml_to_who_wants_that() {
    let cluster = Cluster::start().await;
    fill(&cluster, 40).await;
    let paths = [
        format!("{MAPS}/m01"),
        MAPS.to_owned(),
        format!("{MAPS}?limit=3"),
        format!("{MAPS}?fieldSelector=metadata.name%3Dnone"),
        format!("{MAPS}/none"),
        "/api/v1".to_owned(),
        "/apis/apps".to_owned(),
        "/apis/none/v1".to_owned(),
    ];
    for path in &paths {
        let (code, told) = cluster.get(path).await;
        assert_eq!(yaml(&cluster, path, YAML).await, (code, told), "{path}");
    }
    for path in &paths[..4] {
        for form in [TABLE, ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"] {
            let (_, _, told) = get(&cluster, path, &format!("application/json{form}")).await;
            let told: Value = serde_json::from_str(&told).expect("JSON");
            assert_eq!(yaml(&cluster, path, &format!("{YAML}{form}")).await, (200, told), "{path} {form}");
        }
    }
    // What is no object of the API is what it is.
    assert_eq!(get(&cluster, "/version", YAML).await.1, "application/json");
    // Bodies are read as they are answered.
    let (_, _, mut text) = get(&cluster, &paths[0], YAML).await;
    text = text.replace("flag: \"on\"", "flag: other");
    let headers = [("accept", YAML), ("content-type", YAML)];
    let (code, media_type, told) = ask(&cluster, "PUT", &paths[0], &headers, &text).await;
    assert_eq!((code, media_type.as_str()), (200, YAML), "{told}");
    let told: Value = serde_saphyr::from_str(&told).expect("YAML");
    assert_eq!(told["data"]["flag"], "other", "{told}");
    assert_eq!(cluster.get(&paths[0]).await.1, told);
    let apply = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: applied}\ndata: {a: b}\n";
    let headers = [("accept", YAML), ("content-type", "application/apply-patch+yaml")];
    let path = format!("{MAPS}/applied?fieldManager=x");
    let (code, _, told) = ask(&cluster, "PATCH", &path, &headers, apply).await;
    assert!(code == 201 && told.contains("\ndata:\n  a: b\n"), "{told}");
}

#[tokio::test]
async fn who_is_to_look_at_an_answer_gets_it_line_by_line() {
    let cluster = Cluster::start().await;
    fill(&cluster, 20).await;
    for path in [MAPS.to_owned(), format!("{MAPS}/m01"), "/apis/apps".to_owned(), format!("{MAPS}/none")] {
        let (code, told) = cluster.get(&path).await;
        let lines = serde_json::to_string_pretty(&told).expect("JSON");
        for (by, headers) in [
            (format!("{path}?pretty=true"), vec![]),
            (path.clone(), vec![("accept", "application/json;pretty=1")]),
            (path.clone(), vec![("user-agent", "curl/8")]),
        ] {
            let answer = ask(&cluster, "GET", &by, &headers, "").await;
            assert_eq!(answer, (code, "application/json".to_owned(), lines.clone()), "{by}");
        }
        let told =
            ask(&cluster, "GET", &format!("{path}?pretty=false"), &[("user-agent", "curl/8")], "").await.2;
        assert_eq!(told.trim_end().lines().count(), 1, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_what_is() {
    let cluster = Cluster::start().await;
    let message = |answer: &Answer| {
        let status: Value = serde_saphyr::from_str(&answer.2).expect("a status");
        (answer.0, status["reason"].as_str().unwrap_or_default().to_owned(), status["message"].clone())
    };
    let only = |types: &str| {
        let why = format!("only the following media types are accepted: {types}");
        (406, "NotAcceptable".to_owned(), Value::from(why))
    };
    let texts = "application/json, application/yaml";
    let all = format!("{texts}, application/vnd.kubernetes.protobuf");
    let watched = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let watch = format!("{MAPS}?watch=1");
    let definitions = "/apis/metrics.k8s.io/v1beta1/nodes";
    for (path, accept, expected) in [
        (MAPS, "application/cbor", &*all),
        (MAPS, "text/html, application/json;q=0", &*all),
        (definitions, "application/cbor", texts),
        ("/apis", "application/cbor", texts),
        (watch.as_str(), YAML, watched),
    ] {
        assert_eq!(message(&get(&cluster, path, accept).await), only(expected), "{path} {accept}");
    }
    let unknown = |types: &str| {
        let why = format!(
            "the body of the request was in an unknown format - accepted media types include: {types}"
        );
        (415, "UnsupportedMediaType".to_owned(), Value::from(why))
    };
    let cbor = [("content-type", "application/cbor")];
    let answer = ask(&cluster, "POST", MAPS, &cbor, "\u{1}").await;
    assert_eq!(message(&answer), unknown(&all));
    let patches = "application/json-patch+json, application/merge-patch+json, \
                   application/strategic-merge-patch+json, application/apply-patch+yaml";
    let cbor = [("content-type", "application/apply-patch+cbor")];
    cluster.ok("POST", MAPS, &named("ConfigMap", "m")).await;
    let path = format!("{MAPS}/m?fieldManager=x");
    assert_eq!(message(&ask(&cluster, "PATCH", &path, &cbor, "\u{1}").await), unknown(patches));
}
