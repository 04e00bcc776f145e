//! Who makes a policy or a binding has to be able to read what it takes its parameters from: it could tell them of it
//! otherwise.

use apiserver::{Admitting, Context, Error, Identity, ResourceAttributes, Result, Strategy, after_asking};
use model::field::{FieldError, Path};
use model::validate::text;
use model::{GroupResource, Object, Status};
use serde_json::Value;

use crate::spec_and_status::SpecAndStatus;

const GROUP: &str = "admissionregistration.k8s.io";

/// The strategy of policies or of their bindings.
pub(super) struct Readable {
    inner: SpecAndStatus,
    of: Of,
}

#[derive(Clone, Copy)]
enum Of {
    Policies,
    /// With the plural name of the policies that they bind.
    Bindings(&'static str),
}

/// What somebody has to be able to read.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    namespace: String,
    name: String,
}

impl Readable {
    /// That of policies.
    pub(super) fn policies(inner: SpecAndStatus) -> Self {
        Self { inner, of: Of::Policies }
    }

    /// That of bindings of the policies of this resource.
    pub(super) fn bindings(inner: SpecAndStatus, policies: &'static str) -> Self {
        Self { inner, of: Of::Bindings(policies) }
    }

    async fn check(&self, context: &Context<'_>, object: &Object, old: Option<&Object>) -> Result<()> {
        let Some(wanted) = self.wanted(context, object, old) else { return Ok(()) };
        let identity = context.identity();
        if identity.is_administrator() {
            return Ok(());
        }
        let asked = ResourceAttributes {
            verb: wanted.verb,
            group: &wanted.group,
            version: &wanted.version,
            namespace: &wanted.namespace,
            resource: &wanted.resource,
            name: &wanted.name,
            ..ResourceAttributes::default()
        };
        if context.decide(asked).await.is_allowed() {
            return Ok(());
        }
        Err(self.refusal(context, identity, object, wanted.verb))
    }

    /// What has to be readable, where that is new.
    fn wanted(&self, context: &Context<'_>, object: &Object, old: Option<&Object>) -> Option<Wanted> {
        match self.of {
            Of::Policies => {
                let kind = field(Some(object), "paramKind")?;
                (field(old, "paramKind") != Some(kind)).then(|| of_policy(kind, plural(context)))
            }
            Of::Bindings(policies) => {
                let reference = field(Some(object), "paramRef")?;
                let is_known = field(old, "paramRef") == Some(reference)
                    && field(old, "policyName") == field(Some(object), "policyName");
                if is_known {
                    return None;
                }
                let name = object.get_str(&["spec", "policyName"]).unwrap_or_default();
                let policy = context.find(&GroupResource::new(GROUP, policies), "", name);
                let kind = field(policy.as_ref(), "paramKind");
                Some(of_binding(reference, kind, plural(context)))
            }
        }
    }

    fn refusal(&self, context: &Context<'_>, identity: &Identity, object: &Object, verb: &str) -> Error {
        let spec = Path::root("spec");
        let user = go(identity);
        let (path, why) = match self.of {
            Of::Policies => {
                let nothing = Value::Null;
                let kind = field(Some(object), "paramKind").unwrap_or(&nothing);
                let why = format!(
                    "user {user} must have \"get\" permission on all objects of the referenced paramKind (kind={}, \
                     apiVersion={})",
                    text(kind, "kind"),
                    text(kind, "apiVersion")
                );
                (spec.child("paramKind"), why)
            }
            // As Kubernetes says it: the two have changed places there.
            Of::Bindings(_) => {
                let why = format!(
                    "user {verb} does not have \"{user}\" permission on the object referenced by paramRef"
                );
                (spec.child("paramRef"), why)
            }
        };
        let errors = [FieldError::forbidden(&path, why)];
        Status::invalid(&context.resource().group_kind(), object.name(), &errors).into()
    }
}

fn field<'o>(object: Option<&'o Object>, name: &str) -> Option<&'o Value> {
    object?.get(&["spec", name]).filter(|value| !value.is_null())
}

/// The plural name of a kind, if there is such a kind.
fn plural<'c>(context: &'c Context<'_>) -> impl Fn(&str, &str, &str) -> Option<String> + 'c {
    |group, version, kind| {
        context.resource_of_kind(group, version, kind).map(|resource| resource.plural.clone())
    }
}

/// All objects of a kind of parameters.
fn of_policy(kind: &Value, plural: impl Fn(&str, &str, &str) -> Option<String>) -> Wanted {
    let any = || "*".to_owned();
    let (group, version, resource) = resource_of(Some(kind), plural);
    Wanted { verb: "get", group, version, resource, namespace: any(), name: any() }
}

/// What a binding refers to, of the kind that its policy takes parameters from, if that is known.
fn of_binding(
    reference: &Value,
    kind: Option<&Value>,
    plural: impl Fn(&str, &str, &str) -> Option<String>,
) -> Wanted {
    let (group, version, resource) = resource_of(kind, plural);
    let name = text(reference, "name").to_owned();
    let verb = if name.is_empty() { "list" } else { "get" };
    Wanted { verb, group, version, resource, namespace: text(reference, "namespace").to_owned(), name }
}

/// Group, version and plural name: any, as far as they are not known.
fn resource_of(
    kind: Option<&Value>,
    plural: impl Fn(&str, &str, &str) -> Option<String>,
) -> (String, String, String) {
    let any = || "*".to_owned();
    let Some(kind) = kind else { return (any(), any(), any()) };
    let version = text(kind, "apiVersion");
    if version.matches('/').count() > 1 {
        return (any(), any(), any());
    }
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = plural(group, version, text(kind, "kind")).unwrap_or_else(any);
    (group.to_owned(), version.to_owned(), resource)
}

/// Somebody, as Go prints him.
fn go(identity: &Identity) -> String {
    let extra: Vec<String> =
        identity.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    let Identity { user, uid, groups, .. } = identity;
    format!("&{{{user} {uid} [{}] map[{}]}}", groups.join(" "), extra.join(" "))
}

impl Strategy for Readable {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        after_asking(async move {
            self.inner.admit_create(context, object).await?;
            self.check(context, object, None).await
        })
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        after_asking(async move {
            self.inner.admit_update(context, object, old).await?;
            self.check(context, object, Some(old)).await
        })
    }

    fn counts_generations(&self) -> bool {
        Strategy::counts_generations(&self.inner)
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        Strategy::kept_by_status(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_to_be_readable_is_what_parameters_are_taken_from() {
        let plural = |group: &str, version: &str, kind: &str| {
            ((group, version, kind) == ("", "v1", "Secret")).then(|| "secrets".to_owned())
        };
        let shown = |wanted: Wanted| {
            let Wanted { verb, group, version, resource, namespace, name } = wanted;
            format!("{verb} {group}/{version} {resource} {namespace}/{name}")
        };
        let secret = json!({"apiVersion": "v1", "kind": "Secret"});
        let other = json!({"apiVersion": "example.com/v1", "kind": "Limit"});
        assert_eq!(shown(of_policy(&secret, plural)), "get /v1 secrets */*");
        assert_eq!(shown(of_policy(&other, plural)), "get example.com/v1 * */*");
        let named = json!({"name": "s", "namespace": "kube-system"});
        let selected = json!({"selector": {}});
        assert_eq!(shown(of_binding(&named, Some(&secret), plural)), "get /v1 secrets kube-system/s");
        assert_eq!(shown(of_binding(&selected, Some(&secret), plural)), "list /v1 secrets /");
        assert_eq!(shown(of_binding(&named, None, plural)), "get */* * kube-system/s");
    }
}
