//! CustomResourceDefinitions: what they must be, in the words of Kubernetes, and how they are shown.

use serde_json::{Value, json};

use crate::table::{Table, shows};
use crate::{defaulted, resource};

fn sound() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.example.com", "uid": "u"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [version("v1", true, json!({"a": {"type": "string"}}))],
        },
    })
}

fn version(name: &str, storage: bool, properties: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage,
           "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
}

/// The sound one with something more in its only version.
fn with(more: Value) -> Value {
    let mut version = version("v1", true, json!({"a": {"type": "string"}}));
    for (name, value) in more.as_object().expect("fields") {
        version[name] = value.clone();
    }
    json!({"spec": {"versions": [version]}})
}

/// The sound one with these fields in its schema.
fn of(properties: Value) -> Value {
    json!({"spec": {"versions": [version("v1", true, properties)]}})
}

#[test]
fn names_groups_and_versions_are_looked_at() {
    let versions = |all: Value| json!({"spec": {"versions": all}});
    let plain = || json!({"a": {"type": "string"}});
    Table::of(sound())
        .good(&[
            json!({"spec": {"scope": "Cluster"}}),
            versions(json!([version("v1", true, plain()), version("v2", false, json!({"b": {"type": "integer"}}))])),
        ])
        .bad(&[
            (json!({"metadata": {"name": "x.example.com"}}), &[
                "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
            ]),
            (json!({"metadata": {"name": "crontabs.example"}, "spec": {"group": "example"}}), &[
                "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
            ]),
            (json!({"spec": {"scope": "World"}}), &[
                "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
            ]),
            (json!({"spec": {"names": {"kind": "Cron_Tab", "listKind": "CronTabs", "singular": "A"}}}), &[
                "spec.names.singular: Invalid value: \"A\": a DNS-1035 label",
                "spec.names.kind: Invalid value: \"Cron_Tab\": may have mixed case, but should otherwise match: a DNS-1035",
            ]),
            (json!({"spec": {"names": {"listKind": "CronTab"}}}), &[
                "spec.names.listKind: Invalid value: \"CronTab\": kind and listKind may not be the same",
            ]),
            (versions(json!([version("v1", true, plain()), version("v1", true, plain())])), &[
                "spec.versions: Invalid value: ",
                "spec.versions: Invalid value: ",
            ]),
            (versions(json!([version("V_1", true, plain())])), &["spec.versions[0].name: Invalid value: \"V_1\""]),
            (versions(json!([{"name": "v1", "served": true, "storage": true}])), &[
                "spec.versions[0].schema.openAPIV3Schema: Required value",
            ]),
            (with(json!({"deprecationWarning": "x"})), &[
                "spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions",
            ]),
            (json!({"spec": {"preserveUnknownFields": true}}), &[
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true",
            ]),
            (json!({"spec": {"conversion": {"strategy": "Webhook"}}}), &[
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
                "spec.conversion.conversionReviewVersions: Required value",
            ]),
        ])
        .changes(&[
            (json!({"spec": {"group": "other.com"}}), &["spec.group: Invalid value: \"other.com\": field is immutable"]),
            (json!({"status": {"storedVersions": ["v1", "v0"]}}), &[
                "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a \
                 storage version",
            ]),
        ]);
    let mut own = sound();
    own["metadata"]["name"] = json!("crontabs.a.k8s.io");
    own["spec"]["group"] = json!("a.k8s.io");
    own["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a try"});
    Table::of(own).bad(&[
        (json!({"metadata": {"annotations": null}}), &[
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval",
        ]),
        (json!({"metadata": {"annotations": {"api-approved.kubernetes.io": "yes"}}}), &[
            "metadata.annotations[api-approved.kubernetes.io]: Invalid value: \"yes\": protected groups must",
        ]),
    ]);
}

#[test]
fn schemas_are_looked_at() {
    let schema = "spec.validation.openAPIV3Schema";
    let at = |rest: &str| format!("{schema}.{rest}");
    let check = |properties: Value, expected: &[String]| {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        Table::of(sound()).bad(&[(of(properties), &expected)]);
    };
    check(
        json!({"a": {}}),
        &[at("properties[a].type: Required value: must not be empty for specified object fields")],
    );
    check(
        json!({"a": {"type": "null"}}),
        &[
            at("properties[a].type: Unsupported value: \"null\""),
            at("properties[a].type: Forbidden: type cannot be set to null, use nullable as an alternative"),
        ],
    );
    check(
        json!({"a": {"type": "string", "$ref": "x", "id": "y"}}),
        &[
            at("properties[a].id: Forbidden: id is not supported"),
            at("properties[a].$ref: Forbidden: $ref is not supported"),
        ],
    );
    check(
        json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}),
        &[at(
            "properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity \
            becomes quadratic",
        )],
    );
    check(
        json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}),
        &[at(
            "properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        )],
    );
    check(
        json!({"metadata": {"type": "object", "default": {}}}),
        &[at("properties[metadata].default: Forbidden: must not be set in top-level metadata")],
    );
    check(
        json!({"a": {"type": "string", "x-kubernetes-list-type": "set", "x-kubernetes-map-type": "odd"}}),
        &[
            at(
                "properties[a].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
            ),
            at("properties[a].x-kubernetes-map-type: Unsupported value: \"odd\""),
            at(
                "properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
            ),
        ],
    );
    let items = json!({"type": "object", "properties": {"k": {"type": "string"}}});
    let map = |keys: Value| {
        json!({"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
                     "items": items}})
    };
    check(
        map(json!([])),
        &[at("properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if")],
    );
    check(
        map(json!(["k"])),
        &[at(
            "properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys",
        )],
    );
    check(
        map(json!(["z"])),
        &[at(
            "properties[a].x-kubernetes-list-map-keys: Invalid value: [\"z\"]: entries must all be names of item",
        )],
    );
    check(
        json!({"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}),
        &[at(
            "properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list",
        )],
    );
    check(
        json!({"a": {"type": "integer", "default": "x"}}),
        &[at(
            "properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        )],
    );
    check(
        json!({"a": {"type": "string", "pattern": "(?!x)"}}),
        &[at(
            "properties[a].pattern: Invalid value: \"(?!x)\": must be a valid regular expression, but isn't: error \
            parsing regexp: invalid or unsupported Perl syntax: `(?!`",
        )],
    );
    check(
        json!({"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 1"}]}}),
        &[at("properties[a].x-kubernetes-validations[0].rule: Invalid value")],
    );
    check(
        json!({"a": {"type": "string", "x-kubernetes-validations": [{"rule": " "}]}}),
        &[at("properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified")],
    );
    // Of versions that say different things each is told of by its own.
    let two = json!([
        version("v1", true, json!({"a": {}})),
        version("v2", false, json!({"b": {"type": "string"}}))
    ]);
    Table::of(sound()).bad(&[(
        json!({"spec": {"versions": two}}),
        &["spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value"],
    )]);
}

#[test]
fn subresources_columns_and_fields_are_looked_at() {
    let scale = |wanted: &str| json!({"subresources": {"scale": {"specReplicasPath": wanted, "statusReplicasPath": ".status.n"}}});
    let column = |column: Value| with(json!({"additionalPrinterColumns": [column]}));
    let fields = |paths: &[&str]| {
        let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
        with(json!({"selectableFields": fields}))
    };
    Table::of(sound())
        .good(&[
            with(scale(".spec.n")),
            column(json!({"name": "A", "type": "date", "jsonPath": ".metadata.creationTimestamp"})),
            fields(&[".a"]),
        ])
        .bad(&[
            (with(scale("spec.n")), &["spec.subresources.scale.specReplicasPath: Invalid value: \"spec.n\": must be a simple json path starting with ."]),
            (with(scale(".status.n")), &["spec.subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a json path under .spec"]),
            (column(json!({"name": "A", "type": "text", "format": "x", "jsonPath": "a"})), &[
                "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
                "spec.additionalPrinterColumns[0].format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password",
                "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .",
            ]),
            (fields(&[".b"]), &["spec.selectableFields[0].jsonPath: Invalid value: \".b\": is an invalid path: does not refer to a valid field"]),
            (fields(&["a"]), &["spec.selectableFields[0].jsonPath: Invalid value: \"a\": is an invalid path: expected [ or . but got: a"]),
            (fields(&[".a[0]"]), &["spec.selectableFields[0].jsonPath: Invalid value: \".a[0]\": is an invalid path: array notation is not allowed"]),
            (fields(&[".a", ".a"]), &["spec.selectableFields[1].jsonPath: Duplicate value: \".a\""]),
        ]);
    let mut at_root = sound();
    at_root["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    at_root["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["anyOf"] = json!([{"required": ["a"]}]);
    let entry = resource("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let errors = model::validate::create(&*entry.rules, &defaulted(at_root), entry.scope());
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].detail.starts_with("only [Description Type Format Title"), "{errors:?}");
}

#[test]
fn names_that_are_left_out_follow_from_the_kind() {
    let object = defaulted(sound());
    assert_eq!(object.get_str(&["spec", "names", "singular"]), Some("crontab"));
    assert_eq!(object.get_str(&["spec", "names", "listKind"]), Some("CronTabList"));
    assert_eq!(object.get_str(&["spec", "conversion", "strategy"]), Some("None"));
    assert_eq!(object.get(&["status", "storedVersions"]), Some(&json!(["v1"])));
    let mut shown = sound();
    shown["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    shows(
        shown,
        json!([
            "crontabs.example.com",
            "Namespaced",
            "v1(storage)",
            "2026-01-01T00:00:00Z",
            "example.com",
            "CronTab",
            "ct",
            true
        ]),
    );
    let entry = resource("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let odd = defaulted(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "spec": {"versions": [version("v1", true, json!({"a": {"type": "string", "format": "novel"}}))]}}));
    let warnings = entry.warnings.expect("there are some");
    assert_eq!(warnings(&odd, None), ["unrecognized format \"novel\""]);
    assert!(warnings(&odd, Some(&odd)).is_empty(), "it is told once");
}
