use serde_json::json;

use crate::table::{Table, shows};

#[test]
fn api_services() {
    let sound = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.w.example.com"},
        "spec": {
            "group": "w.example.com", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "service": {"namespace": "n", "name": "s"},
        },
    });
    Table::of(sound)
        .good(&[
            json!({"spec": {"service": null}}),
            json!({"spec": {"caBundle": "QUJD"}}),
            json!({"spec": {"insecureSkipTLSVerify": true, "groupPriorityMinimum": 20000, "versionPriority": 1000}}),
            json!({"metadata": {"name": "v1."}, "spec": {"group": null, "service": null}}),
        ])
        .bad(&[
            (
                json!({"metadata": {"name": "v2.w.example.com"}}),
                &["metadata.name: Invalid value: \"v2.w.example.com\": must be `spec.version+\".\"+spec.group`: \
                  \"v1.w.example.com\""],
            ),
            (
                json!({"metadata": {"name": "v2."}, "spec": {"group": "", "version": "v2"}}),
                &["spec.group: Required value: only v1 may have an empty group and it better be legacy kube"],
            ),
            (
                json!({"metadata": {"name": "V1.w_x"}, "spec": {"group": "w_x", "version": "V1"}}),
                &["spec.group: Invalid value: \"w_x\": a lowercase RFC 1123", "spec.version: Invalid value: \"V1\": a DNS-1035"],
            ),
            (
                json!({"spec": {"groupPriorityMinimum": 0, "versionPriority": 1001}}),
                &[
                    "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                    "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
                ],
            ),
            (
                json!({"spec": {"service": null, "caBundle": "QUJDRA==", "insecureSkipTLSVerify": true}}),
                &[
                    "spec.caBundle: Invalid value: \"4 bytes\": local APIServices may not have a caBundle",
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
            (
                json!({"spec": {"service": {"name": "", "namespace": null, "port": 0}}}),
                &[
                    "spec.service.namespace: Required value",
                    "spec.service.name: Required value",
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                json!({"spec": {"caBundle": "QUJD", "insecureSkipTLSVerify": true}}),
                &["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
            ),
        ]);
}

#[test]
fn api_services_show_where_they_are_and_how_they_fare() {
    let of = |spec: serde_json::Value, conditions: serde_json::Value| {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.w"},
            "spec": spec, "status": {"conditions": conditions},
        })
    };
    let behind = json!({"service": {"namespace": "n", "name": "s"}});
    shows(
        of(json!({}), json!([{"type": "Available", "status": "True", "reason": "Local"}])),
        json!(["v1.w", "Local", "True", "60m"]),
    );
    shows(
        of(behind.clone(), json!([{"type": "Available", "status": "False", "reason": "MissingEndpoints"}])),
        json!(["v1.w", "n/s", "False (MissingEndpoints)", "60m"]),
    );
    shows(of(behind, json!([])), json!(["v1.w", "n/s", "Unknown", "60m"]));
}
