//! Requests for certificates: who asks is noted, who decides and who signs each have a part of their own.

use apiserver::Identity;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Requests in PEM, as base64: of a node, and of one who may do everything.
const OF_A_NODE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIc01JR1NBZ0VBTURBeEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVJUZmJaZUpHRXArb0IyCnNodWREemRNN2N0OTk0UWllOGtuaDdkbXhzbmpYMGZ2RW9kdFNFWGtxQzNWVFVTdHpFKzRwTThDT2ZjYVhRdlgKeXFuZ0NhU3BvQUF3Q2dZSUtvWkl6ajBFQXdJRFNRQXdSZ0loQVBhQWJweXNrSGNSQlJCSHZ4RE4vaFNCYUsycwpPTDBacHpNQzFYZi9qdjJnQWlFQXZNV1puRW1HTFdGREtVeVV4UjNZRTEvRWxDWkQwLzhzV285VEVKMXA2YTg9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";
const OF_AN_ADMINISTRATOR: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIak1JR0tBZ0VBTUNneEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6TVEwd0N3WURWUVFEREFSeQpiMjkwTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFVTMyMlhpUmhLZnFBZHJJYm5RODNUTzNMCmZmZUVJbnZKSjRlM1pzYko0MTlIN3hLSGJVaEY1S2d0MVUxRXJjeFB1S1RQQWpuM0dsMEwxOHFwNEFta3FhQUEKTUFvR0NDcUdTTTQ5QkFNQ0EwZ0FNRVVDSUhNZGlVRkVjNEwvMlZOMHNjOHZRSjlWMGEva0JjdWhQMitNUmFiRwpFZzBLQWlFQXR4STI4VEFIT05RYzdlRGpPOGJ6VXdJWE11Q3A0bzRLTzZldWYvM1RGSWM9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJjRENDQVJXZ0F3SUJBZ0lVUmhKSUFsaHpERDVjZEIvYkRadW4wQWY2cFVvd0NnWUlLb1pJemowRUF3SXcKRERFS01BZ0dBMVVFQXd3QllUQWdGdzB5TmpFeE1qa3hPVFV6TURCYUdBOHlNVEkyTVRFd05URTVOVE13TUZvdwpEREVLTUFnR0ExVUVBd3dCWVRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkZOOXRsNGtZU242CmdIYXlHNTBQTjB6dHkzMzNoQ0o3eVNlSHQyYkd5ZU5mUis4U2gyMUlSZVNvTGRWTlJLM01UN2lrendJNTl4cGQKQzlmS3FlQUpwS21qVXpCUk1CMEdBMVVkRGdRV0JCU2dWdG13V05oTk5zaUZxMFdaWVRsT3BrK3ZJVEFmQmdOVgpIU01FR0RBV2dCU2dWdG13V05oTk5zaUZxMFdaWVRsT3BrK3ZJVEFQQmdOVkhSTUJBZjhFQlRBREFRSC9NQW9HCkNDcUdTTTQ5QkFNQ0Ewa0FNRVlDSVFDUjJiOUFUT3VPUUZUVURURDBYVkc0YXEvRnhjYUVaSTFVZlQ2d0ptK1IKWVFJaEFJTk00UDRZRlRGTUZPRGhrbXNYei9ZLzBpTU1uY01MM1JHRzNjN2lKTFVhCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

fn request(name: &str, request: &str, signer: &str) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {
            "request": request, "signerName": signer, "usages": ["client auth"],
            "username": "somebody else", "groups": ["system:masters"], "extra": {"a": ["b"]},
        },
        "status": {"conditions": [{"type": "Approved", "status": "True"}]},
    })
}

#[tokio::test]
async fn who_asks_is_noted_and_nothing_that_he_says_of_himself() {
    let cluster = Cluster::start().await;
    let body = request("a", OF_A_NODE, "example.com/s").to_string();
    let mut who = Identity::new("eve", [apiserver::ADMINISTRATORS]);
    who.extra.insert("key".to_owned(), vec!["value".to_owned()]);
    let (code, made) = cluster.send_by(&who, "POST", REQUESTS, &body).await;
    assert_eq!(code, 201, "{made}");
    let spec = &made["spec"];
    assert_eq!(spec["username"], "eve");
    assert_eq!(spec["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&spec["extra"], &made["status"]), (&json!({"key": ["value"]}), &json!({})));
    let mut other = made.clone();
    other["spec"]["username"] = json!("bob");
    other["spec"]["usages"] = json!(["any"]);
    other["metadata"]["labels"] = json!({"a": "b"});
    let changed = cluster.ok("PUT", &format!("{REQUESTS}/a"), &other).await;
    assert_eq!((&changed["spec"], &changed["metadata"]["labels"]), (&made["spec"], &json!({"a": "b"})));
    let listed = cluster.get(&format!("{REQUESTS}?fieldSelector=spec.signerName%3Dexample.com/s")).await.1;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn who_decides_decides_and_who_signs_signs() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", REQUESTS, &request("a", OF_A_NODE, "example.com/s")).await;
    let path = format!("{REQUESTS}/a");
    let decision = json!({"status": {
        "conditions": [{"type": "Approved", "status": "True", "reason": "R"}], "certificate": CERTIFICATE,
    }});
    let (code, refused) = cluster.send("PATCH", &format!("{path}/status"), &decision).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        code == 422 && message.contains("updates may not add a condition of type \"Approved\""),
        "{refused}"
    );
    let approved = cluster.ok("PATCH", &format!("{path}/approval"), &decision).await;
    assert!(approved["status"]["certificate"].is_null(), "who approves does not issue: {approved}");
    let condition = &approved["status"]["conditions"][0];
    assert_eq!(condition["type"], "Approved");
    for time in ["lastUpdateTime", "lastTransitionTime"] {
        assert!(condition[time].is_string(), "{condition}");
    }
    assert_eq!(approved["spec"], made["spec"]);
    assert_eq!(cluster.get(&format!("{path}/approval")).await.1, approved);
    let denied = json!({"status": {"conditions": [{"type": "Denied", "status": "True"}]}});
    let (code, _) = cluster.send("PATCH", &format!("{path}/approval"), &denied).await;
    assert_eq!(code, 422);
    let issued = json!({"status": {"certificate": CERTIFICATE}});
    let signed = cluster.ok("PATCH", &format!("{path}/status"), &issued).await;
    assert_eq!(signed["status"]["certificate"], CERTIFICATE);
    assert_eq!(signed["status"]["conditions"], approved["status"]["conditions"]);
    let (code, _) =
        cluster.send("PATCH", &format!("{path}/status"), &json!({"status": {"certificate": null}})).await;
    assert_eq!(code, 422, "what was issued stays");
}

#[tokio::test]
async fn nobody_asks_to_be_one_who_may_do_everything() {
    let cluster = Cluster::start().await;
    let client = "kubernetes.io/kube-apiserver-client";
    let (code, refused) = cluster.send("POST", REQUESTS, &request("a", OF_AN_ADMINISTRATOR, client)).await;
    assert_eq!(code, 403, "{refused}");
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    cluster.ok("POST", REQUESTS, &request("b", OF_A_NODE, client)).await;
    cluster.ok("POST", REQUESTS, &request("c", OF_AN_ADMINISTRATOR, "example.com/s")).await;
}

#[tokio::test]
async fn who_approves_and_who_signs_is_let_by_the_signer() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", REQUESTS, &request("a", OF_A_NODE, "example.com/s")).await;
    let jane = Identity::new("jane", ["developers"]);
    let rules = |signer: &str, verbs: &[&str]| {
        json!([
            {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/*", "certificatesigningrequests"], "verbs": ["*"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"], "verbs": ["*"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [signer], "verbs": verbs},
        ])
    };
    crate::roles::grant(&cluster, "jane", rules("example.com/other", &["approve", "sign"])).await;
    let path = format!("{REQUESTS}/a");
    let mut approved = cluster.get(&path).await.1;
    approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]});
    let put = async |part: &str, object: &Value| {
        let (code, answer) =
            cluster.send_by(&jane, "PUT", &format!("{path}/{part}"), &object.to_string()).await;
        (code, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |verb: &str| {
        format!(
            "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: user not permitted to {verb} requests \
             with signerName \"example.com/s\""
        )
    };
    assert_eq!(put("approval", &approved).await, (403, refused("approve")));
    // All signers of a domain can be named at once.
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/jane";
    cluster.ok("PATCH", role, &json!({"rules": rules("example.com/*", &["approve"])})).await;
    assert_eq!(put("approval", &approved).await.0, 200);
    let mut signed = cluster.get(&path).await.1;
    signed["status"]["certificate"] = json!(CERTIFICATE);
    assert_eq!(put("status", &signed).await, (403, refused("sign")));
    cluster.ok("PATCH", role, &json!({"rules": rules("example.com/s", &["sign"])})).await;
    assert_eq!(put("status", &signed).await.0, 200);
}
