//! What is told of admission policies whose expressions do not fit what they are asked about.
#![forbid(unsafe_code)]

mod support;

use client::{Api, Resource as _};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

/// The policy's warnings, once what it says now was looked at.
async fn warnings(policies: &Api<ValidatingAdmissionPolicy>, name: &str) -> Vec<(String, String)> {
    wait_until_async("the policy to be looked at", || async {
        let policy = policies.get(name).await.expect("get");
        let Some(status) = policy.status.clone() else { return Err(policy.metadata) };
        if status.observed_generation != policy.metadata.generation {
            return Err(policy.metadata);
        }
        let checking = status.type_checking.expect("it was checked");
        let warnings = checking.expression_warnings.unwrap_or_default();
        Ok(warnings.into_iter().map(|warning| (warning.field_ref, warning.warning)).collect())
    })
    .await
}

fn policy(name: &str, rule: Value, validations: Value) -> ValidatingAdmissionPolicy {
    let mut rule = rule;
    rule["operations"] = json!(["*"]);
    object(json!({
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": validations},
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_of_policies_are_checked_against_what_they_are_about() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(&cluster.steady);
    let widget = object(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
            }}}],
        },
    }));
    definitions.create(&widget).await.expect("create the definition");
    wait_until_async("the definition to be established", || async {
        let definition = definitions.get(widget.name()).await.expect("get");
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        let is_established = |known: &_| -> bool {
            let known: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition = known;
            known.type_ == "Established" && known.status == "True"
        };
        if conditions.iter().any(is_established) { Ok(()) } else { Err(conditions) }
    })
    .await;

    let policies: Api<ValidatingAdmissionPolicy> = Api::all(&cluster.steady);
    let apps = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]});
    let good = policy("good", apps.clone(), json!([{"expression": "object.spec.replicas > 1"}]));
    policies.create(&good).await.expect("create");
    assert_eq!(warnings(&policies, "good").await, []);

    let bad = policy(
        "bad",
        apps,
        json!([{
            "expression": "object.spec.replicas == '1'", "messageExpression": "'' + object.spec.foo",
        }]),
    );
    policies.create(&bad).await.expect("create");
    let told = warnings(&policies, "bad").await;
    let field = |name: &str| format!("spec.validations[0].{name}");
    assert_eq!(told[0].0, field("expression"));
    let wrong = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, \
                 string)'";
    assert!(told[0].1.starts_with(wrong), "{}", told[0].1);
    assert_eq!(told[1].0, field("messageExpression"));
    assert!(told[1].1.contains("undefined field 'foo'"), "{}", told[1].1);

    // What names nothing is asked of nobody.
    let strange =
        json!({"apiGroups": ["", "../api", "a?b"], "apiVersions": ["v1", "v1 #"], "resources": ["pods"]});
    let strange = policy("strange", strange, json!([{"expression": "object.foo == 1"}]));
    policies.create(&strange).await.expect("create");
    let told = warnings(&policies, "strange").await;
    assert!(
        told[0].1.starts_with("/v1, Kind=Pod: ERROR: <input>:1:7: undefined field 'foo'"),
        "{}",
        told[0].1
    );

    // What it says later is looked at again, whatever kind it is about then.
    let custom = json!({"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"]});
    let mut changed = policies.get("bad").await.expect("get");
    changed.spec = policy("bad", custom, json!([{"expression": "object.spec.size > 'a'"}])).spec;
    policies.update(&changed).await.expect("update");
    let told = warnings(&policies, "bad").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.starts_with("example.com/v1, Kind=Widget: ERROR: <input>:1:18: "), "{}", told[0].1);
}
