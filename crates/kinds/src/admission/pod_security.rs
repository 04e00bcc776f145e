//! Pods hold to the level of security that the labels of their namespace ask for, or are refused.
//!
//! What they may not have is in [`checks`], what labels ask for in [`policy`]. Whoever writes what makes pods is
//! warned of the pods that would be refused.

mod checks;
mod configuration;
mod existing;
mod policy;

use std::collections::{BTreeMap, HashSet};

use apiserver::{Admission, Admitting, Operation, Result, Write, after_asking, at_once};
use model::field::{FieldError, aggregate};
use model::{GroupResource, Object, Status};
use serde_json::{Map, Value};

use checks::{Finding, Pod, details, findings};
use policy::{Level, Policy, Standard};

/// Holds pods to the level of their namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSecurity {
    /// What is asked where labels do not say.
    defaults: Policy,
    exempt: Exempt,
}

/// What is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exempt {
    users: HashSet<String>,
    namespaces: HashSet<String>,
    runtime_classes: HashSet<String>,
}

/// What is to be said of pods that are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Opinion {
    /// Why they are not.
    refusal: Option<String>,
    /// What to warn of.
    warnings: Vec<String>,
    /// What to note in the audit log, by what it is.
    notes: BTreeMap<&'static str, String>,
}

impl Default for PodSecurity {
    fn default() -> Self {
        Self { defaults: Policy::PRIVILEGED, exempt: Exempt::default() }
    }
}

impl Admission for PodSecurity {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let Some(object) = object.filter(|_| write.operation != Operation::Delete) else {
            return at_once(Ok(()));
        };
        let resource = write.context.resource();
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("", "namespaces") if write.subresource.is_empty() => {
                after_asking(async move { self.namespace(write, object).await })
            }
            ("", "pods") if !is_ignored(write.subresource) => at_once(self.admit(write, object, true)),
            (group, plural) if write.subresource.is_empty() && template(group, plural).is_some() => {
                at_once(self.admit(write, object, false))
            }
            _ => at_once(Ok(())),
        }
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Subresources of pods by which nothing changes that is looked at here.
fn is_ignored(subresource: &str) -> bool {
    matches!(
        subresource,
        "exec" | "attach" | "binding" | "eviction" | "log" | "portforward" | "proxy" | "status"
    )
}

/// Where what makes pods has their template.
fn template(group: &str, plural: &str) -> Option<&'static [&'static str]> {
    match (group, plural) {
        ("", "podtemplates") => Some(&["template"]),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

impl PodSecurity {
    /// Whether a pod may be, or with what warnings something that makes pods.
    fn admit(&self, write: &Write<'_>, object: &Object, is_pod: bool) -> Result<()> {
        let opinion = self.opinion(write, object, is_pod)?;
        for (what, note) in &opinion.notes {
            write.context.note(format!("{}{what}", policy::PREFIX), note);
        }
        for warning in opinion.warnings {
            write.warn(warning);
        }
        opinion.refusal.map_or(Ok(()), |why| Err(write.context.forbidden(object, why)))
    }

    fn opinion(&self, write: &Write<'_>, object: &Object, is_pod: bool) -> Result<Opinion> {
        let name = write.context.namespace();
        if self.exempt.namespaces.contains(name) {
            return Ok(Opinion::exempt("namespace"));
        }
        if self.exempt.users.contains(&write.identity.user) {
            return Ok(Opinion::exempt("user"));
        }
        let Some(namespace) = write.context.find(&GroupResource::new("", "namespaces"), "", name) else {
            let why = format!("failed to lookup namespace {}", model::field::quote(name));
            return Err(Status::internal(why).into());
        };
        let (policy, errors) = Policy::of(|label| namespace.label(label), &self.defaults);
        if is_pod {
            if errors.is_empty() && policy.is_privileged() {
                return Ok(Opinion::noting("enforce-policy", Standard::PRIVILEGED.to_string()));
            }
            if write.old.is_some_and(|old| !is_significant(object, old)) {
                return Ok(Opinion::default());
            }
        } else if errors.is_empty()
            && [policy.warn, policy.audit].iter().all(|standard| standard.level == Level::Privileged)
        {
            return Ok(Opinion::default());
        }
        let resource = write.context.resource();
        let template = template(&resource.group, &resource.plural).filter(|_| !is_pod).unwrap_or_default();
        let Some(pod) = pod_at(object, template) else { return Ok(Opinion::default()) };
        Ok(self.evaluate(&policy, &errors, &pod, is_pod))
    }

    /// What is to be said of a pod, or of one that would be made.
    fn evaluate(&self, policy: &Policy, errors: &[FieldError], pod: &Pod<'_>, is_pod: bool) -> Opinion {
        if self.is_exempt(pod) {
            return Opinion::exempt("runtimeClass");
        }
        let mut opinion = Opinion::default();
        if !errors.is_empty() {
            opinion.notes.insert("error", format!("Failed to parse policy: {}", aggregate(errors)));
        }
        let mut known: Vec<(Standard, Vec<Finding>)> = Vec::new();
        let mut violations = |standard: Standard| {
            let found = match known.iter().find(|(of, _)| *of == standard) {
                Some((_, found)) => found.clone(),
                None => findings(standard, pod),
            };
            let details = (!found.is_empty()).then(|| details(&found));
            known.push((standard, found));
            details.map(|details| format!("PodSecurity \"{standard}\": {details}"))
        };
        if is_pod {
            opinion.notes.insert("enforce-policy", policy.enforce.to_string());
            opinion.refusal = violations(policy.enforce).map(|violation| format!("violates {violation}"));
        }
        if let Some(violation) = violations(policy.audit) {
            opinion.notes.insert("audit-violations", format!("would violate {violation}"));
        }
        // Whoever is refused need not be warned.
        if opinion.refusal.is_none()
            && let Some(violation) = violations(policy.warn)
        {
            opinion.warnings.push(format!("would violate {violation}"));
        }
        opinion
    }

    /// Whether a pod is not looked at, for what runs it.
    fn is_exempt(&self, pod: &Pod<'_>) -> bool {
        let class = pod.spec["runtimeClassName"].as_str();
        class.is_some_and(|class| self.exempt.runtime_classes.contains(class))
    }

    /// The labels of a namespace can be read; whoever asks for more than before is told which of the pods that are
    /// there would not be let in.
    async fn namespace(&self, write: &Write<'_>, namespace: &Object) -> Result<()> {
        let name = namespace.name();
        let (policy, errors) = Policy::of(|label| namespace.label(label), &self.defaults);
        let refuse = |errors: &[FieldError]| {
            let kind = write.context.resource().group_kind();
            Err(Status::invalid(&kind, name, errors).into())
        };
        let is_exempt = self.exempt.namespaces.contains(name);
        let warn_of_exemption = || {
            if let Some(warning) = self.exemption(namespace, &policy) {
                write.warn(warning);
            }
        };
        let Some(old) = write.old else {
            if !errors.is_empty() {
                return refuse(&errors);
            }
            if is_exempt {
                warn_of_exemption();
            }
            return Ok(());
        };
        let (before, errors_before) = Policy::of(|label| old.label(label), &self.defaults);
        // What was wrong already keeps nobody from changing something else.
        if !errors.is_empty() && errors != errors_before {
            return refuse(&errors);
        }
        let (new, old) = (policy.enforce, before.enforce);
        let is_laxer = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || is_laxer {
            return Ok(());
        }
        if is_exempt {
            warn_of_exemption();
            return Ok(());
        }
        for warning in existing::warnings(self, &write.context, name, new).await {
            write.warn(warning);
        }
        Ok(())
    }

    /// What is said of labels of a namespace that is not looked at.
    fn exemption(&self, namespace: &Object, policy: &Policy) -> Option<String> {
        if policy.is_privileged() || policy.is_as(&self.defaults) {
            return None;
        }
        let has = |name: &str| namespace.label(&format!("{}{name}", policy::PREFIX)).is_some();
        let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
        let asked: Vec<String> = modes
            .into_iter()
            .filter(|(mode, standard)| {
                standard.level != Level::Privileged && (has(mode) || has(&format!("{mode}-version")))
            })
            .map(|(mode, standard)| format!("{mode}={standard}"))
            .collect();
        Some(format!(
            "namespace {} is exempt from Pod Security, and the policy ({}) will be ignored",
            model::field::quote(namespace.name()),
            asked.join(", ")
        ))
    }
}

impl Opinion {
    fn noting(what: &'static str, note: impl Into<String>) -> Self {
        Self { notes: BTreeMap::from([(what, note.into())]), ..Self::default() }
    }

    fn exempt(by: &str) -> Self {
        Self::noting("exempt", by)
    }
}

/// The pod, or the template of one, that is there in an object.
fn pod_at<'a>(object: &'a Object, path: &[&str]) -> Option<Pod<'a>> {
    let of = |path: &[&str], rest: &[&'static str]| object.get(&[path, rest].concat());
    if path.is_empty() {
        object.get(&["spec"])?;
    } else {
        object.get(path).filter(|template| !template.is_null())?;
    }
    let annotations: Option<&Map<String, Value>> =
        of(path, &["metadata", "annotations"]).and_then(Value::as_object);
    Some(Pod { annotations, spec: of(path, &["spec"]).unwrap_or(&Value::Null) })
}

/// Whether what is looked at here may be different: other containers, or other images.
fn is_significant(pod: &Object, old: &Object) -> bool {
    let lists = |list: &str| (pod.get_list(&["spec", list]), old.get_list(&["spec", list]));
    let of_both = ["containers", "initContainers"].into_iter().any(|list| {
        let (new, old) = lists(list);
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    });
    let (added, known) = lists("ephemeralContainers");
    of_both
        || added.iter().any(|container| {
            let before = known.iter().find(|known| known["name"] == container["name"]);
            before.is_none_or(|before| before["image"] != container["image"])
        })
}

#[cfg(test)]
mod tests;
