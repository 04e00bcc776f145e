//! Which webhooks are asked of a write.

use std::sync::Arc;

use apiserver::{Operation, Resource, Write};
use model::{GroupResource, Object, Status};

use super::hook::{Hook, Rule, Scope};

/// What is written, as rules name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) operation: Operation,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    /// Where it is, empty for the cluster; of a namespace, its own name.
    pub(super) namespace: &'a str,
}

/// As what a webhook is asked of a write.
#[derive(Clone, Debug)]
pub(super) enum As {
    /// As what was sent.
    Itself,
    /// As an object of another version.
    Equivalent(Arc<Resource>),
}

impl<'a> Named<'a> {
    /// Of a write of an object.
    pub(super) fn of(write: &'a Write<'_>, namespace: &'a str) -> Self {
        let resource = write.context.resource();
        Self {
            operation: write.operation,
            group: &resource.group,
            version: &resource.version,
            resource: &resource.plural,
            subresource: write.subresource,
            namespace,
        }
    }

    fn is_namespace(&self) -> bool {
        (self.group, self.version, self.resource) == ("", "v1", "namespaces")
    }

    /// Whether a rule names it.
    fn is_named_by(&self, rule: &Rule) -> bool {
        let has = |all: &[String], wanted: &str| all.iter().any(|one| one == "*" || one == wanted);
        let names_resource = rule.resources.iter().any(|named| {
            let (resource, subresource) = named.split_once('/').unwrap_or((named, ""));
            matches!(resource, "*") | (resource == self.resource)
                && matches!(subresource, "*") | (subresource == self.subresource)
        });
        let is_cluster_wide = self.is_namespace() || self.namespace.is_empty();
        let is_there = match rule.scope {
            Scope::Any => true,
            Scope::Cluster => is_cluster_wide,
            Scope::Namespaced => !is_cluster_wide,
        };
        is_there
            && has(&rule.operations, self.operation.as_str())
            && has(&rule.groups, self.group)
            && has(&rule.versions, self.version)
            && names_resource
    }
}

/// As what a webhook is asked of what is named, or could be named as one of `equivalents`; by its rules alone.
pub(super) fn by_rules(hook: &Hook, named: &Named<'_>, equivalents: &[Arc<Resource>]) -> Option<As> {
    if hook.rules.iter().any(|rule| named.is_named_by(rule)) {
        return Some(As::Itself);
    }
    if !hook.takes_equivalents {
        return None;
    }
    let other = |resource: &'_ Resource, rule: &Rule| {
        let other = Named {
            group: &resource.group,
            version: &resource.version,
            resource: &resource.plural,
            ..*named
        };
        other.is_named_by(rule)
    };
    let found = hook.rules.iter().find_map(|rule| equivalents.iter().find(|one| other(one, rule)));
    found.cloned().map(As::Equivalent)
}

/// The namespace that a write is in, as rules and selectors see it: that of a namespace is itself.
pub(in super::super) fn namespace_of<'a>(write: &'a Write<'_>, object: Option<&'a Object>) -> &'a str {
    let resource = write.context.resource();
    if (resource.group.as_str(), resource.plural.as_str()) == ("", "namespaces") {
        return object.or(write.old).map_or("", Object::name);
    }
    write.context.namespace()
}

/// Whether a webhook's selectors select a write that its rules name, or why that cannot be told. `object` is the
/// object as it is to be, `old` as it was.
pub(super) fn by_selectors(
    hook: &Hook,
    write: &Write<'_>,
    named: &Named<'_>,
    object: Option<&Object>,
    old: Option<&Object>,
) -> Result<bool, Status> {
    let cannot = |why: &String| Status::internal(why);
    if let Some(selector) = hook.objects.as_ref().map_err(cannot)? {
        let selected = |object: &Object| object.fields().contains_key("metadata") && selector.matches(object);
        if !object.is_some_and(selected) && !old.is_some_and(selected) {
            return Ok(false);
        }
    }
    let Some(selector) = hook.namespaces.as_ref().map_err(cannot)? else { return Ok(true) };
    let is_namespace = (named.group, named.resource) == ("", "namespaces");
    if named.namespace.is_empty() && !is_namespace {
        return Ok(true);
    }
    // What is being said of a namespace is not known elsewhere yet.
    let itself = match write.operation {
        Operation::Create | Operation::Update if is_namespace && named.subresource.is_empty() => object,
        _ => None,
    };
    if let Some(namespace) = itself {
        return Ok(selector.matches(namespace));
    }
    let namespaces = GroupResource::new("", "namespaces");
    match write.context.find(&namespaces, "", named.namespace) {
        Some(namespace) => Ok(selector.matches(&namespace)),
        None => Err(Status::not_found(&namespaces, named.namespace)),
    }
}

#[cfg(test)]
mod tests {
    use model::GroupVersionKind;
    use serde_json::{Value, json};

    use super::super::hook::read;
    use super::*;

    fn hook(rules: Value, policy: &str) -> Hook {
        let object = json!({"metadata": {"name": "c"}, "webhooks": [{
            "name": "a.b.c", "rules": rules, "matchPolicy": policy, "clientConfig": {"url": "https://a"},
        }]});
        read(&Object::from_value(object).expect("an object")).remove(0)
    }

    fn rule(operations: Value, groups: Value, versions: Value, resources: Value, scope: &str) -> Value {
        json!([{
            "operations": operations, "apiGroups": groups, "apiVersions": versions, "resources": resources,
            "scope": scope,
        }])
    }

    const POD: Named<'_> = Named {
        operation: Operation::Create,
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        namespace: "n",
    };

    #[test]
    fn rules_name_what_is_written() {
        let named = |rules: Value, named: &Named<'_>| by_rules(&hook(rules, "Exact"), named, &[]).is_some();
        let any = |resources: Value| rule(json!(["*"]), json!(["*"]), json!(["*"]), resources, "*");
        let status = Named { subresource: "status", ..POD };
        for (resources, itself, part) in [
            (json!(["pods"]), true, false),
            (json!(["pods/status"]), false, true),
            (json!(["pods/*"]), true, true),
            (json!(["*"]), true, false),
            (json!(["*/status"]), false, true),
            (json!(["*/*"]), true, true),
            (json!(["nodes"]), false, false),
        ] {
            assert_eq!(named(any(resources.clone()), &POD), itself, "{resources}");
            assert_eq!(named(any(resources.clone()), &status), part, "{resources}");
        }
        let pods = |operation: &str, group: &str, version: &str, scope: &str| {
            let words = |word: &str| json!([word]);
            named(rule(words(operation), words(group), words(version), words("pods"), scope), &POD)
        };
        assert!(pods("CREATE", "", "v1", "Namespaced"));
        assert!(!pods("UPDATE", "", "v1", "*"));
        assert!(!pods("CREATE", "apps", "v1", "*"));
        assert!(!pods("CREATE", "", "v2", "*"));
        assert!(!pods("CREATE", "", "v1", "Cluster"));
        // Of a namespace the namespace is itself, and it is in none all the same.
        let namespace = Named { resource: "namespaces", ..POD };
        let scoped =
            |scope| named(rule(json!(["*"]), json!([""]), json!(["v1"]), json!(["*"]), scope), &namespace);
        assert!(scoped("Cluster") && scoped("*") && !scoped("Namespaced"));
    }

    #[test]
    fn what_has_another_name_as_well_is_found_by_either() {
        let other = Arc::new(Resource::new(&GroupVersionKind::new("events.k8s.io", "v1", "Event"), "events"));
        let event = Named { resource: "events", ..POD };
        let rules = rule(json!(["*"]), json!(["events.k8s.io"]), json!(["v1"]), json!(["events"]), "*");
        let equivalents = [other];
        let asked = |policy: &str| by_rules(&hook(rules.clone(), policy), &event, &equivalents);
        assert!(matches!(asked("Equivalent"), Some(As::Equivalent(found)) if found.group == "events.k8s.io"));
        assert!(asked("Exact").is_none());
    }
}
