//! What is asked of pods where labels do not say, and who is not asked, in Kubernetes' form.

use std::collections::HashSet;

use model::field::{FieldError, Path, aggregate};
use model::names::{dns1123_label, dns1123_subdomain};
use serde::Deserialize;
use serde_json::Value;

use super::policy::{Level, Policy, Standard, Version};
use super::{Exempt, PodSecurity};
use crate::admission::document::{self, Form};

const FORMS: [Form; 3] = [
    ("pod-security.admission.config.k8s.io/v1", "PodSecurityConfiguration"),
    ("pod-security.admission.config.k8s.io/v1beta1", "PodSecurityConfiguration"),
    ("pod-security.admission.config.k8s.io/v1alpha1", "PodSecurityConfiguration"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

impl PodSecurity {
    /// As a document says.
    pub(in crate::admission) fn configured(document: &Value) -> Result<Self, String> {
        let document: Document = document::read(document, &FORMS)?;
        let (mut errors, defaults, exemptions) = (Vec::new(), document.defaults, document.exemptions);
        let mut standard = |mode: &str, level: &str, version: &str| Standard {
            level: read(&mut errors, mode, level, "privileged", Level::parse).unwrap_or(Level::Restricted),
            version: read(&mut errors, &format!("{mode}-version"), version, "latest", Version::parse)
                .unwrap_or(Version::Latest),
        };
        let policy = Policy {
            enforce: standard("enforce", &defaults.enforce, &defaults.enforce_version),
            warn: standard("warn", &defaults.warn, &defaults.warn_version),
            audit: standard("audit", &defaults.audit, &defaults.audit_version),
        };
        let exempt = Exempt {
            namespaces: set(&mut errors, "namespaces", exemptions.namespaces, dns1123_label),
            runtime_classes: set(
                &mut errors,
                "runtimeClasses",
                exemptions.runtime_classes,
                dns1123_subdomain,
            ),
            users: set(&mut errors, "usernames", exemptions.usernames, |name| {
                let empty = name.is_empty().then(|| "username must not be empty".to_owned());
                empty.into_iter().collect()
            }),
        };
        if errors.is_empty() { Ok(Self { defaults: policy, exempt }) } else { Err(aggregate(&errors)) }
    }
}

fn read<T>(
    errors: &mut Vec<FieldError>,
    name: &str,
    text: &str,
    default: &str,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let text = if text.is_empty() { default } else { text };
    match parse(text) {
        Ok(value) => Some(value),
        Err(wrong) => {
            errors.push(FieldError::invalid(&Path::root("defaults").child(name), text, wrong));
            None
        }
    }
}

fn set(
    errors: &mut Vec<FieldError>,
    field: &str,
    names: Vec<String>,
    wrong: impl Fn(&str) -> Vec<String>,
) -> HashSet<String> {
    let root = Path::root("exemptions");
    let path = root.child(field);
    let mut set = HashSet::new();
    for (index, name) in names.into_iter().enumerate() {
        let wrong = wrong(&name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.index(index), name, wrong.join(", ")));
        } else if set.contains(&name) {
            errors.push(FieldError::duplicate(&path.index(index), name));
        } else {
            set.insert(name);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(defaults: Value, exemptions: Value, wrong: &str) {
        let document = json!({
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": defaults, "exemptions": exemptions,
        });
        let read = PodSecurity::configured(&document);
        assert_eq!(read.err().unwrap_or_default(), wrong, "{document}");
    }

    #[test]
    fn what_is_not_said_asks_for_nothing_and_exempts_nobody() {
        let document = json!({
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        });
        assert_eq!(PodSecurity::configured(&document), Ok(PodSecurity::default()));
        let other = json!({"apiVersion": "v1", "kind": "Pod"});
        let why = "it has to be a PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1, not \"Pod\" of \"v1\"";
        assert_eq!(PodSecurity::configured(&other).err().as_deref(), Some(why));
    }

    #[test]
    fn a_document_is_read_strictly() {
        let names = json!({"usernames": ["a"], "namespaces": ["kube-system"], "runtimeClasses": ["kata.v2"]});
        check(json!({"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}), names, "");
        check(
            json!({"enforce": "strict", "audit-version": "1.2"}),
            json!({}),
            "[defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
             defaults.audit-version: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"]",
        );
        check(
            json!({}),
            json!({"usernames": ["", "a", "a"]}),
            "[exemptions.usernames[0]: Invalid value: \"\": username must not be empty, \
             exemptions.usernames[2]: Duplicate value: \"a\"]",
        );
        check(
            json!({}),
            json!({"namespaces": ["b", "b"]}),
            "exemptions.namespaces[1]: Duplicate value: \"b\"",
        );
        let unknown = PodSecurity::configured(&json!({
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "exemptions": {"users": []},
        }));
        assert!(unknown.is_err_and(|why| why.contains("unknown field `users`")));
    }
}
