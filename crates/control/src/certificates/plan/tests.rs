use serde_json::{Value, json};

use super::*;

fn node() -> Asked {
    Asked {
        common_name: "system:node:n".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        ..Asked::default()
    }
}

fn request(change: Value) -> CertificateSigningRequest {
    let whole = json!({
        "metadata": {"name": "r", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {
            "request": "", "signerName": NODE_CLIENT, "username": "system:node:n",
            "usages": ["digital signature", "client auth"],
        },
        "status": {},
    });
    let changed = model::merge::merge_patch::apply(&whole, &change);
    serde_json::from_value(changed).expect("it fits the type")
}

fn told(kinds: &[&str]) -> Value {
    let all: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    json!({"status": {"conditions": all}})
}

#[test]
fn what_nodes_ask_for_themselves_is_approved_where_they_may() {
    #[track_caller]
    fn check(change: Value, asked: Asked, expected: Option<&str>) {
        let found = approval(&request(change), |_| Some(asked.clone()));
        assert_eq!(found.map(|found| found.subresource), expected);
    }
    check(json!({}), node(), Some("selfnodeclient"));
    check(json!({"spec": {"username": "system:bootstrap:abc"}}), node(), Some("nodeclient"));
    let three = json!({"spec": {"usages": ["digital signature", "client auth", "key encipherment"]}});
    check(three, node(), Some("selfnodeclient"));
    check(json!({"spec": {"signerName": CLIENT}}), node(), None);
    check(json!({"spec": {"signerName": NODE_SERVING}}), node(), None);
    check(json!({"spec": {"usages": ["client auth", "server auth"]}}), node(), None);
    check(told(&["Approved"]), node(), None);
    check(told(&["Denied"]), node(), None);
    check(json!({"status": {"certificate": "YQ=="}}), node(), None);
    check(json!({}), Asked { organizations: Vec::new(), ..node() }, None);
    check(
        json!({}),
        Asked { organizations: vec!["system:nodes".into(), "system:masters".into()], ..node() },
        None,
    );
    check(json!({}), Asked { common_name: "eve".to_owned(), ..node() }, None);
    check(json!({}), Asked { dns_names: vec!["a".to_owned()], ..node() }, None);
    assert_eq!(approval(&request(json!({})), |_| None), None);
}

#[test]
fn what_was_approved_is_signed_if_it_is_what_the_signer_is_for() {
    #[track_caller]
    fn check(change: Value, asked: Asked, expected: Result<Option<u64>, &str>) {
        let mut change = change;
        if change["status"].is_null() {
            change["status"] = told(&["Approved"])["status"].clone();
        }
        let found = match signing(&request(change), |_| Ok(asked.clone())) {
            Step::Nothing => Ok(None),
            Step::Fail(why) => Err(why),
            Step::Sign { lifetime, .. } => Ok(Some(lifetime.as_secs())),
        };
        assert_eq!(found, expected.map_err(str::to_owned));
    }
    const YEAR: u64 = 365 * 86400;
    check(json!({}), node(), Ok(Some(YEAR)));
    check(json!({"spec": {"expirationSeconds": 3600}}), node(), Ok(Some(3600)));
    check(json!({"spec": {"expirationSeconds": i32::MAX}}), node(), Ok(Some(YEAR)));
    check(told(&[]), node(), Ok(None));
    check(told(&["Approved", "Failed"]), node(), Ok(None));
    check(told(&["Denied"]), node(), Ok(None));
    check(json!({"spec": {"signerName": "example.com/s"}}), node(), Ok(None));
    let client = |usages: &[&str]| json!({"spec": {"signerName": CLIENT, "usages": usages}});
    check(
        client(&["client auth"]),
        Asked { common_name: "eve".to_owned(), ..Asked::default() },
        Ok(Some(YEAR)),
    );
    check(
        client(&["client auth", "server auth"]),
        Asked::default(),
        Err("invalid usage for client certificate: server auth"),
    );
    check(
        client(&["digital signature"]),
        Asked::default(),
        Err("missing required usage for client certificate: client auth"),
    );
    let serving =
        json!({"spec": {"signerName": NODE_SERVING, "usages": ["digital signature", "server auth"]}});
    let named = Asked { dns_names: vec!["n".to_owned()], ..node() };
    check(serving.clone(), named.clone(), Ok(Some(YEAR)));
    check(serving.clone(), node(), Err("DNS or IP subjectAltName is required"));
    check(
        serving.clone(),
        Asked { emails: vec!["a@b".to_owned()], ..named.clone() },
        Err("Email subjectAltNames are not allowed"),
    );
    check(
        serving,
        Asked { common_name: "n".to_owned(), ..named },
        Err("subject common name does not begin with system:node:"),
    );
    check(
        json!({"spec": {"usages": ["client auth"]}}),
        node(),
        Err("usages did not match [client auth digital signature key encipherment]"),
    );
    check(
        json!({}),
        Asked { organizations: vec!["others".to_owned()], ..node() },
        Err("subject organization is not system:nodes"),
    );
}

#[test]
fn a_request_goes_when_it_has_been_there_for_long_enough() {
    #[track_caller]
    fn check(change: Value, expected: i64) {
        assert_eq!(cleaning(&request(change), |pem| (!pem.is_empty()).then_some(100)), expected);
    }
    let at = |kinds: &[&str]| {
        let all: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "lastUpdateTime": "1970-01-01T01:00:00Z"}))
            .collect();
        json!({"status": {"conditions": all}})
    };
    check(json!({}), 24 * 3600);
    check(at(&["Approved"]), 2 * 3600);
    check(at(&["Denied"]), 2 * 3600);
    check(at(&["Approved", "Failed"]), 2 * 3600);
    check(json!({"status": {"certificate": "YQ=="}}), 100);
    // Of a condition without a time nobody knows how long it has been there.
    check(told(&["Approved"]), 24 * 3600);
}
