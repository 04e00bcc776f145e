//! What is wrong with a policy's expressions, by what is known of the kinds that it is asked about.

use std::fmt;
use std::sync::Arc;

use cel::{Declared, Environment, Type, admission};
use serde_json::Value;

/// Kinds are looked for until there are so many of one rule, and of all rules.
pub(super) const MOST_KINDS: usize = 10;
pub(super) const MOST_KINDS_OF_ALL: usize = 64;
/// So many resources that a policy names are looked for: what rules name is multiplied.
const MOST_RESOURCES: usize = 1_000;
/// So many bytes of sources are compiled, each source once for each kind.
const MOST_COMPILED: usize = 8 << 20;
/// What compiling a source takes however short it is, in bytes of source.
const LEAST_COMPILED: usize = 64;
/// All warnings together have so many bytes; they are to fit into the object beside what they are about.
const MOST_BYTES: usize = 256 << 10;

/// A kind of objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The resources that a policy's rules name, in order: group, version and resource. Rules with wildcards for groups or
/// versions name none, and subresources are not looked at.
pub(super) fn resources(spec: &Value) -> Vec<Vec<(String, String, String)>> {
    let constraints = spec.get("matchConstraints").unwrap_or(&Value::Null);
    let mut left = MOST_RESOURCES;
    let named = |rule| {
        let named: Vec<_> = rule_resources(rule, left);
        left -= named.len();
        named
    };
    list(constraints, "resourceRules").iter().map(named).collect()
}

fn rule_resources(rule: &Value, most: usize) -> Vec<(String, String, String)> {
    let words = |name: &str| {
        let mut words: Vec<&str> = list(rule, name).iter().filter_map(Value::as_str).collect();
        words.sort_unstable();
        words
    };
    let (groups, versions) = (words("apiGroups"), words("apiVersions"));
    if groups.iter().chain(&versions).any(|word| word.contains('*')) {
        return Vec::new();
    }
    let resources: Vec<&str> =
        words("resources").into_iter().filter(|resource| !resource.contains(['*', '/'])).collect();
    let of_version = |group: &str, version: &str| {
        let (group, version) = (group.to_owned(), version.to_owned());
        let named = move |resource: &&str| (group.clone(), version.clone(), (*resource).to_owned());
        resources.iter().map(named)
    };
    let of_group = |group: &&str| {
        versions.iter().flat_map(|version| of_version(group, version)).take(most).collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).take(most).collect()
}

/// The kind of a policy's parameters.
pub(super) fn parameters(spec: &Value) -> Option<Kind> {
    let kind = spec.get("paramKind").filter(|kind| !kind.is_null())?;
    let version = text(kind, "apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Some(Kind { group: group.to_owned(), version: version.to_owned(), kind: text(kind, "kind").to_owned() })
}

/// The kind of a resource, by the list of resources of its group and version.
pub(super) fn kind_of(resources: &Value, group: &str, version: &str, resource: &str) -> Option<Kind> {
    let found = list(resources, "resources").iter().find(|known| text(known, "name") == resource)?;
    let or = |name: &str, own: &str| match text(found, name) {
        "" => own.to_owned(),
        other => other.to_owned(),
    };
    let kind = text(found, "kind").to_owned();
    Some(Kind { group: or("group", group), version: or("version", version), kind })
}

/// What is declared about objects of a kind, by the OpenAPI document of its group and version.
pub(super) fn declared(document: &Value, kind: &Kind) -> Option<Arc<Declared>> {
    let schemas = document.get("components")?.get("schemas")?.as_object()?;
    let is_of = |schema: &&Value| {
        list(schema, "x-kubernetes-group-version-kind").iter().any(|of| {
            text(of, "group") == kind.group
                && text(of, "version") == kind.version
                && text(of, "kind") == kind.kind
        })
    };
    let schema = schemas.values().find(is_of)?;
    let resolve = |name: &str| schemas.get(name.strip_prefix("#/components/schemas/")?);
    cel::schema::declare_with(schema, true, &resolve).map(|declared| declared.named(&kind.kind))
}

/// What is wrong with the expressions of a policy: fields, and what there is to say of them.
pub(super) fn warnings(
    spec: &Value,
    kinds: &[(Kind, Arc<Declared>)],
    parameters: Option<&Arc<Declared>>,
) -> Vec<(String, String)> {
    let mut work = Some(MOST_COMPILED);
    let environments: Vec<(&Kind, Environment)> = kinds
        .iter()
        .map(|(kind, declared)| (kind, environment(spec, declared, parameters, &mut work)))
        .collect();
    let mut warnings = Vec::new();
    let mut left = MOST_BYTES;
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        for name in ["expression", "messageExpression"] {
            let source = text(validation, name);
            if source.is_empty() && name == "messageExpression" {
                continue;
            }
            pay(&mut work, source, environments.len());
            if work.is_none() {
                return warnings;
            }
            let wrong: Vec<String> = environments
                .iter()
                .filter_map(|(kind, environment)| {
                    Some(format!("{kind}: {}\n", environment.compile(source).err()?))
                })
                .collect();
            if wrong.is_empty() {
                continue;
            }
            let warning = wrong.join("\n");
            let Some(less) = left.checked_sub(warning.len()) else { return warnings };
            left = less;
            warnings.push((format!("spec.validations[{index}].{name}"), warning));
        }
    }
    warnings
}

/// Takes off what compiling a source so often costs; nothing is left where that is too much.
fn pay(work: &mut Option<usize>, source: &str, times: usize) {
    *work = work.and_then(|left| left.checked_sub((source.len() + LEAST_COMPILED).saturating_mul(times)));
}

/// The variables of a policy where objects are of a kind.
fn environment(
    spec: &Value,
    object: &Arc<Declared>,
    parameters: Option<&Arc<Declared>>,
    work: &mut Option<usize>,
) -> Environment {
    let authorizer = |name: &str| Type::object(&format!("kubernetes.authorization.{name}"));
    let mut environment = Environment::new()
        .with_declared("object", object)
        .with_declared("oldObject", object)
        .with_declared("request", &admission::REQUEST)
        .with_declared("namespaceObject", &admission::NAMESPACE)
        .with_variable("authorizer", authorizer("Authorizer"))
        .with_variable("authorizer.requestResource", authorizer("ResourceCheck"));
    if let Some(parameters) = parameters {
        environment = environment.with_declared("params", parameters);
    }
    for variable in list(spec, "variables") {
        let source = text(variable, "expression");
        pay(work, source, 1);
        if work.is_none() {
            break;
        }
        let checked = environment.compile(source);
        // What is wrong with it shows where it is used.
        let ty = checked.map_or(Type::Dyn, |checked| checked.output().clone());
        environment = environment.with_variable(&format!("variables.{}", text(variable, "name")), ty);
    }
    environment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(group: &str, version: &str, kind: &str) -> Kind {
        Kind { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn rules_name_resources_where_they_have_no_wildcards() {
        for (rule, expected) in [
            (
                json!([["apps"], ["v1"], ["statefulsets", "deployments"]]),
                "apps v1 deployments, apps v1 statefulsets",
            ),
            (json!([["b", "a"], ["v2", "v1"], ["x"]]), "a v1 x, a v2 x, b v1 x, b v2 x"),
            (json!([[""], ["v1"], ["pods", "pods/status", "*", "*/scale"]]), " v1 pods"),
            (json!([["*"], ["v1"], ["pods"]]), ""),
            (json!([["apps", "*"], ["v1"], ["deployments"]]), ""),
            (json!([["apps"], ["*"], ["deployments"]]), ""),
            (json!([[], ["v1"], ["pods"]]), ""),
        ] {
            let rule = json!({"apiGroups": rule[0], "apiVersions": rule[1], "resources": rule[2]});
            let spec = json!({"matchConstraints": {"resourceRules": [rule]}});
            let found = resources(&spec).concat();
            let found: Vec<String> =
                found.iter().map(|(group, version, of)| format!("{group} {version} {of}")).collect();
            assert_eq!(found.join(", "), expected, "{rule}");
        }
        assert!(resources(&json!({})).is_empty());
        // What three lists name together is more than what is in them.
        let many: Vec<String> = (0..2_000).map(|number| format!("a{number}")).collect();
        let rule = json!({"apiGroups": many, "apiVersions": many, "resources": many});
        let spec = json!({"matchConstraints": {"resourceRules": [rule, rule]}});
        assert_eq!(resources(&spec).iter().map(Vec::len).collect::<Vec<_>>(), [MOST_RESOURCES, 0]);
    }

    #[test]
    fn resources_have_kinds() {
        let resources = json!({"resources": [
            {"name": "deployments", "kind": "Deployment"},
            {"name": "deployments/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"},
            {"name": "others", "kind": "Other", "group": "elsewhere", "version": "v2"},
        ]});
        let of = |resource: &str| kind_of(&resources, "apps", "v1", resource);
        assert_eq!(of("deployments"), Some(kind("apps", "v1", "Deployment")));
        assert_eq!(of("others"), Some(kind("elsewhere", "v2", "Other")));
        assert_eq!(of("pods"), None);
    }

    fn document() -> Value {
        let of = |group: &str, version: &str, kind: &str| json!([{"group": group, "version": version, "kind": kind}]);
        json!({"components": {"schemas": {
            "a.Deployment": {
                "type": "object", "x-kubernetes-group-version-kind": of("apps", "v1", "Deployment"),
                "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/a.Spec"}], "default": {}}},
            },
            "a.Spec": {"type": "object", "properties": {
                "replicas": {"type": "integer"}, "paused": {"type": "boolean"}, "within": {"$ref": "#/components/schemas/a.Spec"},
            }},
            "a.Set": {
                "type": "object", "x-kubernetes-group-version-kind": of("apps", "v1", "Set"),
                "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "string"}}}},
            },
            "a.Limits": {
                "type": "object", "x-kubernetes-group-version-kind": of("", "v1", "Limits"),
                "properties": {"most": {"type": "integer"}},
            },
        }}})
    }

    /// What is said of validations of a policy for deployments and sets, with parameters or without.
    fn said(spec: &Value) -> Vec<(String, String)> {
        let document = document();
        let of = |kind: Kind| (kind.clone(), declared(&document, &kind).expect("it is there"));
        let kinds = [of(kind("apps", "v1", "Deployment")), of(kind("apps", "v1", "Set"))];
        let parameters = parameters(spec).and_then(|kind| declared(&document, &kind));
        warnings(spec, &kinds, parameters.as_ref())
    }

    #[test]
    fn expressions_that_do_not_fit_a_kind_are_told() {
        let mut spec = json!({
            "variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "bad", "expression": "nothing"}],
            "validations": [
                {"expression": "object.metadata.name != '' && request.operation == 'CREATE' && variables.bad"},
                {"expression": "object.spec.replicas > 1", "messageExpression": "object.kind + namespaceObject.metadata.name"},
                {"expression": "object.spec.within.paused", "messageExpression": "'' + object.spec.missing"},
                {"expression": "variables.n == 'a' || authorizer.requestResource.check('get').allowed()"},
                {"expression": "params.most > 1"},
            ],
        });
        let told = |spec: &Value| {
            let told = said(spec).into_iter().map(|(field, warning)| {
                let (lines, kinds) = (warning.lines(), warning.matches("Kind=").count());
                let first = lines.clone().next().unwrap_or_default().to_owned();
                format!("{} {kinds} {first}", field.trim_start_matches("spec.validations"))
            });
            told.collect::<Vec<_>>()
        };
        let found = |message: &str, of: &str| format!("{of}: ERROR: <input>:1:{message}");
        let (deployment, set) = ("apps/v1, Kind=Deployment", "apps/v1, Kind=Set");
        let overload =
            |name: &str, given: &str| format!("found no matching overload for '{name}' applied to '{given}'");
        let mut expected = vec![
            format!("[1].expression 1 {}", found(&format!("22: {}", overload("_>_", "(string, int)")), set)),
            format!("[2].expression 1 {}", found("12: undefined field 'within'", set)),
            format!("[2].messageExpression 2 {}", found("17: undefined field 'missing'", deployment)),
            format!(
                "[3].expression 1 {}",
                found(&format!("13: {}", overload("_==_", "(int, string)")), deployment)
            ),
            format!(
                "[4].expression 2 {}",
                found("1: undeclared reference to 'params' (in container '')", deployment)
            ),
        ];
        assert_eq!(told(&spec), expected);
        spec["paramKind"] = json!({"apiVersion": "v1", "kind": "Limits"});
        expected.pop();
        assert_eq!(told(&spec), expected);
    }

    #[test]
    fn a_warning_is_as_others_show_it_and_all_of_them_are_bounded() {
        let spec = json!({"validations": [{"expression": "object.foo"}]});
        let one = |kind: &str| {
            format!(
                "apps/v1, Kind={kind}: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo\n | ......^\n"
            )
        };
        let expected = format!("{}\n{}", one("Deployment"), one("Set"));
        assert_eq!(said(&spec), [("spec.validations[0].expression".to_owned(), expected)]);
        let spec = json!({"validations": vec![json!({"expression": "object.foo"}); 5_000]});
        assert!((100..4_000).contains(&said(&spec).len()));
        // What is compiled again and again for variables leaves nothing for what speaks of them.
        let variables: Vec<Value> = (0..100)
            .map(|n| json!({"name": format!("v{n}"), "expression": format!("1{}", " ".repeat(90_000))}))
            .collect();
        let mut spec = json!({"variables": variables, "validations": [{"expression": "object.foo"}]});
        assert_eq!(said(&spec), []);
        spec["variables"] = json!(&variables[..3]);
        assert_eq!(said(&spec).len(), 1);
    }
}
