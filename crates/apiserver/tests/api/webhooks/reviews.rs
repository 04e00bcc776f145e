//! Questions that are never stored are shown to webhooks as any other write, and to no policy.

use serde_json::{Value, json};

use super::{MAPS, MUTATING, VALIDATING, cluster, patch, register, site, webhook};
use crate::cluster::{Cluster, named};

const OF_ACCESS: &str = "/apis/authorization.k8s.io/v1";
const OF_WHO: &str = "/apis/authentication.k8s.io/v1";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

fn decide(path: &str, request: &Value) -> Value {
    let set = |path: &str, value: Value| patch(&json!([{"op": "add", "path": path, "value": value}]));
    match (path, request["object"]["spec"]["user"].as_str()) {
        ("/change", Some("nobody")) => set("/spec/groups", json!(["system:masters"])),
        ("/change", Some("blank")) => set("/spec/user", json!("")),
        ("/see", _) if request["object"]["spec"]["token"] == "bad" => {
            json!({"allowed": false, "status": {"message": "not this one", "code": 403}})
        }
        ("/see", _) => json!({"allowed": true, "warnings": ["it is seen"]}),
        _ => json!({"allowed": true}),
    }
}

/// A webhook that is asked of these resources of all groups.
fn of_questions(site: &crate::elsewhere::Site, path: &str, resources: &[&str]) -> Value {
    let rules = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["authentication.k8s.io", "authorization.k8s.io"], "apiVersions": ["v1"],
        "resources": resources,
    }]});
    webhook(site, path, &[], rules)
}

fn of_somebody(user: &str) -> Value {
    let asked = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    json!({"spec": {"user": user, "resourceAttributes": asked}})
}

async fn ask(cluster: &Cluster, path: &str, question: &Value) -> (u16, Value) {
    cluster.send("POST", path, question).await
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_shown_to_webhooks_as_what_is_made() {
    let cluster = cluster().await;
    let (site, asked) = site("localhost", decide).await;
    register(&cluster, VALIDATING, "a", json!([of_questions(&site, "/see", &["*/*"])])).await;
    let own = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let local = format!("{OF_ACCESS}/namespaces/default/localsubjectaccessreviews");
    for (path, question) in [
        (format!("{OF_WHO}/selfsubjectreviews"), json!({})),
        (format!("{OF_WHO}/tokenreviews"), json!({"spec": {"token": "some"}})),
        (local, of_somebody("jane")),
        (format!("{OF_ACCESS}/selfsubjectaccessreviews"), own),
        (format!("{OF_ACCESS}/selfsubjectrulesreviews"), json!({"spec": {"namespace": "default"}})),
        (format!("{OF_ACCESS}/subjectaccessreviews?dryRun=All"), of_somebody("jane")),
    ] {
        let told = crate::warnings::warned(&cluster, "POST", &path, &question).await;
        assert_eq!(told, ["it is seen"], "{path}");
    }
    let seen: Vec<String> = asked
        .lock()
        .drain(..)
        .map(|(_, request)| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (kind, resource) = (&request["kind"], &request["resource"]);
            assert_eq!(request["object"]["kind"], kind["kind"], "{request}");
            assert_eq!(request["options"]["kind"], "CreateOptions", "{request}");
            let status = request["object"].get("status").map_or("-", |_| "status");
            format!(
                "{} {} {} {} {} {status}",
                text(&request["operation"]),
                text(&kind["kind"]),
                text(&resource["resource"]),
                text(&request["namespace"]),
                request["dryRun"]
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "CREATE SelfSubjectReview selfsubjectreviews - false -",
            "CREATE TokenReview tokenreviews - false -",
            "CREATE LocalSubjectAccessReview localsubjectaccessreviews default false -",
            "CREATE SelfSubjectAccessReview selfsubjectaccessreviews - false -",
            "CREATE SelfSubjectRulesReview selfsubjectrulesreviews - false -",
            "CREATE SubjectAccessReview subjectaccessreviews - true -",
        ]
    );
    // What breaks a rule is shown to nobody who may only refuse.
    let (code, told) =
        ask(&cluster, &format!("{OF_WHO}/tokenreviews"), &json!({"spec": {"token": ""}})).await;
    assert_eq!((code, told["reason"].as_str()), (400, Some("BadRequest")), "{told}");
    assert!(asked.lock().is_empty());
    let (code, told) =
        ask(&cluster, &format!("{OF_WHO}/tokenreviews"), &json!({"spec": {"token": "bad"}})).await;
    let why = "admission webhook \"see.example.org\" denied the request: not this one";
    assert_eq!((code, told["message"].as_str()), (403, Some(why)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_questions_before_their_rules_are_asked() {
    let cluster = cluster().await;
    let (site, _) = site("localhost", decide).await;
    let path = format!("{OF_ACCESS}/subjectaccessreviews");
    let allowed = async || ask(&cluster, &path, &of_somebody("nobody")).await.1["status"]["allowed"].clone();
    assert_eq!(allowed().await, false);
    let changes = json!([of_questions(&site, "/change", &["subjectaccessreviews"])]);
    register(&cluster, MUTATING, "a", changes).await;
    assert_eq!(allowed().await, true);
    let (code, told) = ask(&cluster, &path, &of_somebody("blank")).await;
    let causes = told["details"]["causes"][0]["message"].as_str().unwrap_or_default();
    assert!(code == 422 && causes.contains("at least one of user or group must be specified"), "{told}");
    // One that is gone keeps nobody from getting rid of it.
    let gone = json!({"clientConfig": {"url": "https://127.0.0.1:1"}, "rules": [{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
    }]});
    register(&cluster, VALIDATING, "gone", json!([webhook(&site, "/gone", &[], gone)])).await;
    assert_eq!(ask(&cluster, &path, &of_somebody("jane")).await.0, 500);
    cluster.ok("DELETE", &format!("{VALIDATING}/gone"), &json!({})).await;
    assert_eq!(ask(&cluster, &path, &of_somebody("jane")).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_policy_is_asked_of_questions() {
    let cluster = cluster().await;
    let group = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "never"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
            }]},
            "validations": [{"expression": "false", "message": "nothing is made"}],
        },
    });
    let binding = json!({
        "apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "never"},
        "spec": {"policyName": "never", "validationActions": ["Deny"]},
    });
    cluster.ok("POST", POLICIES, &policy).await;
    cluster.ok("POST", BINDINGS, &binding).await;
    assert_eq!(cluster.send("POST", MAPS, &named("ConfigMap", "m")).await.0, 422);
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    assert_eq!(
        cluster.send("POST", token, &json!({})).await.0,
        422,
        "a token is made, and so they are asked"
    );
    for (path, question) in [
        (format!("{OF_WHO}/selfsubjectreviews"), json!({})),
        (format!("{OF_ACCESS}/subjectaccessreviews"), of_somebody("jane")),
    ] {
        assert_eq!(ask(&cluster, &path, &question).await.0, 201, "{path}");
    }
}
