//! Policies, good and bad, and what they say of requests.

use super::*;
use crate::authorisation::ResourceAttributes;

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

fn refused(text: &str) -> String {
    Policy::parse(text).map(|_| ()).expect_err(text).to_string()
}

#[test]
fn what_is_no_policy_is_refused_in_kubernetes_words() {
    let check = |rules: &str, expected: &str| {
        assert_eq!(refused(&format!("{HEAD}rules:\n{rules}")), expected);
    };
    check("- users: [a]", "rules[0].level: Required value");
    check(
        "- level: Loud",
        "rules[0].level: Unsupported value: \"Loud\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
    );
    check(
        "- {level: None, nonResourceURLs: [logs, '/a*b', '*']}",
        "[rules[0].nonResourceURLs[0]: Invalid value: \"logs\": non-resource URL rules must begin with a '/' character, \
         rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule]",
    );
    check(
        "- {level: None}\n- {level: None, nonResourceURLs: [/logs], namespaces: [a]}",
        "rules[1].nonResourceURLs: Invalid value: [\"/logs\"]: rules cannot apply to both regular resources and non-resource URLs",
    );
    check(
        "- {level: None, resources: [{resourceNames: [a]}]}",
        "rules[0].resources.resourceNames: Invalid value: [\"a\"]: using resourceNames requires at least one resource",
    );
    check(
        "- {level: None, omitStages: [Later]}",
        "rules[0].omitStages[0]: Invalid value: \"Later\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
    );
    let group = refused(&format!("{HEAD}rules:\n- {{level: None, resources: [{{group: rbac/v1}}]}}"));
    assert!(
        group.starts_with(
            "rules[0].resources.group: Invalid value: \"rbac/v1\": a lowercase RFC 1123 subdomain"
        ),
        "{group}"
    );
    assert_eq!(refused(HEAD), "loaded illegal policy with 0 rules");
    assert_eq!(
        refused("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]"),
        "unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy"
    );
    for text in ["", "rules: [", "- a", "apiVersion: 7", "rules: {a: b}"] {
        let why = refused(text);
        assert!(
            why.starts_with("failed decoding: ") || why.starts_with("unknown group version"),
            "{text}: {why}"
        );
    }
}

#[test]
fn a_field_that_is_not_known_is_told_and_does_nothing() {
    let text = format!("{HEAD}sometimes: 1\nrules: [{{level: None, user: [a], resources: [{{groups: x}}]}}]");
    let (policy, odd) = Policy::parse(&text).expect("a policy");
    assert_eq!(policy.rules.len(), 1);
    let expected = [
        "unknown field \"sometimes\"",
        "unknown field \"rules[0].user\"",
        "unknown field \"rules[0].resources[0].groups\"",
    ];
    assert_eq!(odd, expected);
}

#[test]
fn the_first_rule_that_fits_says_how_much() {
    let (policy, odd) = Policy::parse(&format!(
        "{HEAD}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {{level: None, users: ['system:kube-proxy'], verbs: [watch], resources: [{{group: '', resources: [endpoints, services]}}]}}
- {{level: Metadata, resources: [{{resources: [secrets, 'pods/*']}}], omitManagedFields: false}}
- {{level: Request, resources: [{{group: apps, resources: ['*/scale']}}, {{resources: [configmaps], resourceNames: [own]}}]}}
- {{level: RequestResponse, userGroups: [ops], namespaces: [a, '']}}
- {{level: None, nonResourceURLs: ['/healthz*', /version]}}
- {{level: Metadata, verbs: [get], omitStages: [ResponseStarted]}}
"
    ))
    .expect("a policy");
    assert!(odd.is_empty());
    let (jane, ops) = (Identity::new("jane", ["x"]), Identity::new("john", ["y", "ops"]));
    let proxy = Identity::new("system:kube-proxy", [""; 0]);
    let resource = |verb, group, path: &'static str, namespace, name| {
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        Attributes::Resource(ResourceAttributes {
            verb,
            group,
            namespace,
            resource,
            subresource,
            name,
            ..ResourceAttributes::default()
        })
    };
    let check = |who: &Identity, asked, expected| {
        assert_eq!(policy.rule_on(Some(who), asked).level, expected, "{} {asked:?}", who.user);
    };
    check(&proxy, resource("watch", "", "services", "", ""), Level::None);
    check(&proxy, resource("list", "", "services", "", ""), Level::None);
    check(&proxy, resource("get", "", "services", "", ""), Level::Metadata);
    check(&jane, resource("list", "", "secrets", "a", ""), Level::Metadata);
    check(&jane, resource("create", "", "pods/exec", "a", "p"), Level::Metadata);
    // `pods/*` is of pods as well: Kubernetes looks at the resource alone.
    check(&jane, resource("create", "", "pods", "a", "p"), Level::Metadata);
    check(&jane, resource("update", "apps", "deployments/scale", "a", "d"), Level::Request);
    check(&jane, resource("update", "apps", "deployments", "a", "d"), Level::None);
    check(&jane, resource("update", "", "configmaps", "a", "own"), Level::Request);
    check(&jane, resource("update", "", "configmaps", "a", "other"), Level::None);
    check(&ops, resource("update", "", "configmaps", "a", "other"), Level::RequestResponse);
    check(&ops, resource("update", "", "nodes", "", "n"), Level::RequestResponse);
    check(&ops, resource("update", "", "configmaps", "b", "other"), Level::None);
    check(&jane, Attributes::Path { verb: "get", path: "/healthz/ping" }, Level::None);
    check(&jane, Attributes::Path { verb: "get", path: "/metrics" }, Level::Metadata);
    check(&jane, Attributes::Path { verb: "post", path: "/metrics" }, Level::None);
    let nobody = policy.rule_on(None, resource("get", "", "nodes", "", "n"));
    assert_eq!(nobody.level, Level::Metadata);
    assert!(nobody.omit_managed_fields && nobody.omit_stages.contain(Stage::RequestReceived));
    assert!(nobody.omit_stages.contain(Stage::ResponseStarted) && !nobody.omit_stages.contain(Stage::Panic));
    let secrets = policy.rule_on(Some(&jane), resource("get", "", "secrets", "a", "s"));
    assert!(!secrets.omit_managed_fields && !secrets.omit_stages.contain(Stage::ResponseStarted));
}
