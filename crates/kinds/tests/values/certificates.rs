use serde_json::{Value, json};

use crate::table::{Table, shows};

/// A request of `system:node:n1` in `system:nodes`, in PEM, as base64.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIc01JR1NBZ0VBTURBeEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVJUZmJaZUpHRXArb0IyCnNodWREemRNN2N0OTk0UWllOGtuaDdkbXhzbmpYMGZ2RW9kdFNFWGtxQzNWVFVTdHpFKzRwTThDT2ZjYVhRdlgKeXFuZ0NhU3BvQUF3Q2dZSUtvWkl6ajBFQXdJRFNRQXdSZ0loQVBhQWJweXNrSGNSQlJCSHZ4RE4vaFNCYUsycwpPTDBacHpNQzFYZi9qdjJnQWlFQXZNV1puRW1HTFdGREtVeVV4UjNZRTEvRWxDWkQwLzhzV285VEVKMXA2YTg9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";
/// A certificate, likewise.
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJjRENDQVJXZ0F3SUJBZ0lVUmhKSUFsaHpERDVjZEIvYkRadW4wQWY2cFVvd0NnWUlLb1pJemowRUF3SXcKRERFS01BZ0dBMVVFQXd3QllUQWdGdzB5TmpFeE1qa3hPVFV6TURCYUdBOHlNVEkyTVRFd05URTVOVE13TUZvdwpEREVLTUFnR0ExVUVBd3dCWVRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkZOOXRsNGtZU242CmdIYXlHNTBQTjB6dHkzMzNoQ0o3eVNlSHQyYkd5ZU5mUis4U2gyMUlSZVNvTGRWTlJLM01UN2lrendJNTl4cGQKQzlmS3FlQUpwS21qVXpCUk1CMEdBMVVkRGdRV0JCU2dWdG13V05oTk5zaUZxMFdaWVRsT3BrK3ZJVEFmQmdOVgpIU01FR0RBV2dCU2dWdG13V05oTk5zaUZxMFdaWVRsT3BrK3ZJVEFQQmdOVkhSTUJBZjhFQlRBREFRSC9NQW9HCkNDcUdTTTQ5QkFNQ0Ewa0FNRVlDSVFDUjJiOUFUT3VPUUZUVURURDBYVkc0YXEvRnhjYUVaSTFVZlQ2d0ptK1IKWVFJaEFJTk00UDRZRlRGTUZPRGhrbXNYei9ZLzBpTU1uY01MM1JHRzNjN2lKTFVhCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

fn table() -> Table {
    Table::of(json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "x"},
        "spec": {"request": REQUEST, "signerName": "example.com/a", "usages": ["client auth"]},
    }))
}

fn conditions(conditions: &[(&str, &str)]) -> Value {
    let all: Vec<Value> =
        conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
    json!({"status": {"conditions": all}})
}

#[test]
fn requests() {
    let of = |change: Value| json!({ "spec": change });
    let forged = {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let pem = engine.decode(REQUEST).expect("base64");
        let mut pem = String::from_utf8(pem).expect("a text");
        // The last line before the end is of the signature.
        let at = pem.rfind("6a8=").expect("the end");
        pem.replace_range(at..at + 4, "6a4=");
        engine.encode(pem)
    };
    table()
        .good(&[
            of(json!({"expirationSeconds": 600})),
            of(json!({"usages": ["digital signature", "key encipherment", "server auth"]})),
            of(json!({"signerName": "kubernetes.io/kube-apiserver-client"})),
            conditions(&[("Approved", "True"), ("Failed", "True"), ("Else", "Unknown")]),
            json!({"status": {"certificate": CERTIFICATE}}),
            json!({"metadata": {"name": "Any_Name:you like"}}),
        ])
        .bad(&[
            (
                of(json!({"request": "YQ=="})),
                &["spec.request: Invalid value: \"YQ==\": PEM block type must be CERTIFICATE REQUEST"],
            ),
            (
                of(json!({"request": CERTIFICATE})),
                &["spec.request: Invalid value: \"LS0tLS1"],
            ),
            (of(json!({ "request": forged })), &["spec.request: Invalid value: \"LS0tLS1"]),
            (of(json!({"usages": null})), &["spec.usages: Required value"]),
            (of(json!({"usages": ["all"]})), &["spec.usages[0]: Unsupported value: \"all\": supported values: \"any\", "]),
            (of(json!({"usages": ["any", "any"]})), &["spec.usages[1]: Duplicate value: \"any\""]),
            (of(json!({"signerName": ""})), &["spec.signerName: Required value"]),
            (
                of(json!({"signerName": "a"})),
                &["spec.signerName: Invalid value: \"a\": must be a fully qualified domain and path of the form"],
            ),
            (
                of(json!({"signerName": "kubernetes.io/legacy-unknown"})),
                &["spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not"],
            ),
            (
                of(json!({"signerName": "A.b/c"})),
                &["spec.signerName: Invalid value: \"A.b\": validating label \"A\": a lowercase RFC 1123 label"],
            ),
            (
                of(json!({"expirationSeconds": 599})),
                &["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds"],
            ),
            (
                conditions(&[("Approved", "True"), ("Denied", "True")]),
                &["status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually"],
            ),
            (
                conditions(&[("Approved", "False"), ("", "Maybe")]),
                &[
                    "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
                    "status.conditions[1].type: Required value",
                    "status.conditions[1].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", ",
                ],
            ),
            (
                json!({"status": {"certificate": REQUEST}}),
                &["status.certificate: Invalid value: \"<certificate data>\": only CERTIFICATE PEM blocks are allowed, \
                  found \"CERTIFICATE REQUEST\""],
            ),
        ]);
}

#[test]
fn what_was_decided_holds_and_is_not_for_who_signs() {
    let none = conditions(&[]);
    let approved = conditions(&[("Approved", "True")]);
    let table = table();
    table
        .part("approval", &none, &[(approved.clone(), &[])])
        .part(
            "approval",
            &approved,
            &[(
                none.clone(),
                &["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""],
            )],
        )
        .part(
            "status",
            &none,
            &[
                (
                    approved.clone(),
                    &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
                ),
                (conditions(&[("Failed", "True")]), &[]),
                (json!({"status": {"certificate": CERTIFICATE}}), &[]),
            ],
        )
        .part(
            "status",
            &json!({"status": {"certificate": CERTIFICATE}}),
            &[(
                none,
                &["status.certificate: Forbidden: updates may not modify existing certificate content"],
            )],
        );
}

#[test]
fn columns() {
    let of = |kinds: &[&str], certificate: &str| {
        let all: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "x"},
            "spec": {"signerName": "a.b/c", "username": "u", "expirationSeconds": 3600},
            "status": {"conditions": all, "certificate": certificate},
        })
    };
    let cells = |state: &str| json!(["x", "60m", "a.b/c", "u", "60m", state]);
    shows(of(&[], ""), cells("Pending"));
    shows(of(&["Approved"], "YQ=="), cells("Approved,Issued"));
    shows(of(&["Approved", "Failed"], ""), cells("Approved,Failed"));
    shows(of(&["Denied"], ""), cells("Denied"));
}
