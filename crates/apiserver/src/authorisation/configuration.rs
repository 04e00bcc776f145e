//! Who decides on rights, in which order: a configuration in Kubernetes' form.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use model::field::{FieldError, Path};
use serde::Deserialize;

use super::matching::{self, Conditions};
use super::webhook::{AccessWebhook, AccessWebhookOptions};
use crate::outside::Outside;

/// One of those who decide on rights.
#[derive(Clone, Debug)]
pub enum AuthorizationMode {
    /// Nodes' agents may what their nodes need.
    Node,
    /// Roles and their bindings.
    Rbac,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is.
    AlwaysDeny,
    /// Somebody elsewhere.
    Webhook(Arc<AccessWebhook>),
}

/// Why a configuration cannot be used, with the place in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ModesError(String);

const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    authorizers: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default, rename = "type")]
    of: String,
    #[serde(default)]
    name: String,
    webhook: Option<Webhook>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Webhook {
    #[serde(default, rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(default = "yes")]
    cache_authorized_requests: bool,
    #[serde(default, rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    #[serde(default = "yes")]
    cache_unauthorized_requests: bool,
    timeout: Option<String>,
    #[serde(default)]
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    #[serde(default)]
    failure_policy: String,
    #[serde(default)]
    connection_info: Connection,
    #[serde(default)]
    match_conditions: Vec<MatchCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Connection {
    #[serde(default, rename = "type")]
    of: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatchCondition {
    #[serde(default)]
    expression: String,
}

fn yes() -> bool {
    true
}

impl AuthorizationMode {
    /// Those of a configuration, in its order.
    pub fn parse(text: &str, outside: &dyn Outside, clock: &Arc<dyn Clock>) -> Result<Vec<Self>, ModesError> {
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| ModesError(error.to_string()))?;
        let version = document.api_version.strip_prefix("apiserver.config.k8s.io/");
        if document.kind != "AuthorizationConfiguration" || !matches!(version, Some("v1" | "v1beta1")) {
            return Err(ModesError(format!(
                "it has to be an AuthorizationConfiguration of apiserver.config.k8s.io/v1, not {} of {}",
                model::field::quote(&document.kind),
                model::field::quote(&document.api_version),
            )));
        }
        let errors = document.check();
        if !errors.is_empty() {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(ModesError(if texts.len() == 1 {
                texts.concat()
            } else {
                format!("[{}]", texts.join(", "))
            }));
        }
        document.authorizers.iter().map(|entry| entry.mode(outside, clock)).collect()
    }

    /// Those that `--authorization-mode` names; `webhook` makes the one elsewhere.
    pub fn named(
        names: &[String],
        webhook: Option<&dyn Fn() -> Result<AccessWebhook, String>>,
    ) -> Result<Vec<Self>, ModesError> {
        if names.is_empty() {
            return Err(ModesError("at least one authorization-mode must be passed".to_owned()));
        }
        let mut seen = BTreeSet::new();
        let mut modes = Vec::new();
        for name in names {
            if !seen.insert(name) {
                let why = format!("authorization-mode {name:?} has mode specified more than once");
                return Err(ModesError(why));
            }
            modes.push(match (name.as_str(), webhook) {
                ("Node", _) => Self::Node,
                ("RBAC", _) => Self::Rbac,
                ("AlwaysAllow", _) => Self::AlwaysAllow,
                ("AlwaysDeny", _) => Self::AlwaysDeny,
                ("Webhook", Some(make)) => Self::Webhook(Arc::new(make().map_err(ModesError)?)),
                ("Webhook", None) => {
                    let why = "authorization-mode Webhook's authorization config file not passed";
                    return Err(ModesError(why.to_owned()));
                }
                _ => return Err(ModesError(format!("authorization-mode {name:?} is not a valid mode"))),
            });
        }
        if webhook.is_some() && !seen.iter().any(|name| *name == "Webhook") {
            let why = "cannot specify --authorization-webhook-config-file without mode Webhook";
            return Err(ModesError(why.to_owned()));
        }
        Ok(modes)
    }
}

impl Document {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::root("authorizers");
        if self.authorizers.is_empty() {
            let why = "at least one authorization mode must be defined";
            errors.push(FieldError::required(&path, why));
        }
        let (mut types, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (index, entry) in self.authorizers.iter().enumerate() {
            let path = path.index(index);
            let of = entry.of.as_str();
            if of.is_empty() {
                errors.push(FieldError::required(&path.child("type"), ""));
                continue;
            }
            if !TYPES.contains(&of) {
                errors.push(FieldError::not_supported(&path.child("type"), of, &TYPES));
                continue;
            }
            if !types.insert(of) && of != "Webhook" {
                errors.push(FieldError::duplicate(&path.child("type"), of));
                continue;
            }
            entry.check_name(&mut names, &path, &mut errors);
            match (&entry.webhook, of) {
                (Some(webhook), "Webhook") => webhook.check(&path, &mut errors),
                (None, "Webhook") => {
                    errors.push(FieldError::required(&path.child("webhook"), "required when type=Webhook"));
                }
                (Some(_), _) => {
                    let why = "may only be specified when type=Webhook";
                    errors.push(FieldError::invalid(&path.child("webhook"), "non-null", why));
                }
                (None, _) => {}
            }
        }
        errors
    }
}

impl Entry {
    fn check_name<'a>(
        &'a self,
        names: &mut BTreeSet<&'a str>,
        path: &Path<'_>,
        errors: &mut Vec<FieldError>,
    ) {
        let (place, name) = (path.child("name"), self.name.as_str());
        let wrong = model::names::dns1123_subdomain(name);
        if name.is_empty() {
            errors.push(FieldError::required(&place, ""));
        } else if names.contains(name) {
            errors.push(FieldError::duplicate(&place, name));
        } else if !wrong.is_empty() {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.push(FieldError::invalid(&place, name, why));
        }
        names.insert(name);
    }

    fn mode(&self, outside: &dyn Outside, clock: &Arc<dyn Clock>) -> Result<AuthorizationMode, ModesError> {
        let webhook = match (self.of.as_str(), &self.webhook) {
            ("Node", _) => return Ok(AuthorizationMode::Node),
            ("RBAC", _) => return Ok(AuthorizationMode::Rbac),
            ("AlwaysAllow", _) => return Ok(AuthorizationMode::AlwaysAllow),
            ("AlwaysDeny", _) => return Ok(AuthorizationMode::AlwaysDeny),
            (_, Some(webhook)) => webhook,
            (_, None) => return Err(ModesError("a webhook says nothing of itself".to_owned())),
        };
        let file = webhook.connection_info.kube_config_file.as_deref().unwrap_or(FilePath::new(""));
        let remembered = |cached: bool, text: &Option<String>, default: u64| {
            let lifetime = text.as_deref().and_then(duration).filter(|lifetime| !lifetime.is_zero());
            let lifetime = lifetime.unwrap_or(Duration::from_secs(default));
            cached.then_some(lifetime)
        };
        let options = AccessWebhookOptions {
            name: self.name.clone(),
            version: webhook.subject_access_review_version.clone(),
            timeout: webhook.timeout.as_deref().and_then(duration).unwrap_or_default(),
            authorized: remembered(webhook.cache_authorized_requests, &webhook.authorized_ttl, 300),
            unauthorized: remembered(webhook.cache_unauthorized_requests, &webhook.unauthorized_ttl, 30),
            denies_on_failure: webhook.failure_policy == "Deny",
        };
        let conditions =
            Conditions::of(webhook.match_conditions.iter().map(|condition| condition.expression.as_str()));
        let made = conditions.and_then(|conditions| {
            Ok(AccessWebhook::new(outside, file, options, clock.clone())?.asked_where(conditions))
        });
        made.map(|made| AuthorizationMode::Webhook(Arc::new(made)))
            .map_err(|why| ModesError(format!("authorizer {:?}: {why}", self.name)))
    }
}

impl Webhook {
    fn check(&self, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let place = path.child("timeout");
        let longest = Duration::from_secs(30);
        match self.timeout.as_deref() {
            None => errors.push(FieldError::required(&place, "")),
            Some(text) => match duration(text) {
                Some(Duration::ZERO) => errors.push(FieldError::required(&place, "")),
                Some(timeout) if timeout <= longest => {}
                _ => errors.push(FieldError::invalid(&place, text, "must be > 0s and <= 30s")),
            },
        }
        for (name, text) in
            [("authorizedTTL", &self.authorized_ttl), ("unauthorizedTTL", &self.unauthorized_ttl)]
        {
            // None, and none at all, are the default.
            if let Some(text) = text.as_deref().filter(|text| duration(text).is_none()) {
                errors.push(FieldError::invalid(&path.child(name), text, "must be > 0s"));
            }
        }
        let one_of = |name: &str, value: &str, known: &[&str], errors: &mut Vec<FieldError>| {
            let place = path.child(name);
            if value.is_empty() {
                errors.push(FieldError::required(&place, ""));
            } else if !known.contains(&value) {
                errors.push(FieldError::not_supported(&place, value, known));
            }
        };
        let version = &self.subject_access_review_version;
        one_of("subjectAccessReviewVersion", version, &["v1", "v1beta1"], errors);
        let place = path.child("matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if !self.match_conditions.is_empty() => {
                errors.push(FieldError::required(&place, "required if match conditions are specified"));
            }
            "" | "v1" => {}
            other => errors.push(FieldError::not_supported(&place, other, &["v1"])),
        }
        one_of("failurePolicy", &self.failure_policy, &["NoOpinion", "Deny"], errors);
        self.connection_info.check(&path.child("connectionInfo"), errors);
        self.check_conditions(&path.child("matchConditions"), errors);
    }

    fn check_conditions(&self, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let (all, mut seen) = (&self.match_conditions, BTreeSet::new());
        if all.len() > matching::MOST {
            return errors.push(FieldError::too_many(path, all.len(), matching::MOST));
        }
        for (index, condition) in all.iter().enumerate() {
            let path = path.index(index);
            let (path, source) = (path.child("expression"), condition.expression.as_str());
            if source.trim().is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if !seen.insert(source) {
                errors.push(FieldError::duplicate(&path, source));
            } else if let Err(why) = matching::read(source) {
                errors.push(FieldError::invalid(&path, source, why));
            }
        }
    }
}

impl Connection {
    fn check(&self, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let (of, file) = (path.child("type"), path.child("kubeConfigFile"));
        match (self.of.as_str(), self.kube_config_file.as_deref()) {
            ("", _) => errors.push(FieldError::required(&of, "")),
            ("InClusterConfig", Some(path)) => {
                let why = "can only be set when type=KubeConfigFile";
                errors.push(FieldError::invalid(&file, path.to_string_lossy(), why));
            }
            ("InClusterConfig", None) => {
                errors.push(FieldError::invalid(&of, "InClusterConfig", "this server does not run in a pod"));
            }
            ("KubeConfigFile", None) => errors.push(FieldError::required(&file, "")),
            ("KubeConfigFile", Some(path)) if path.as_os_str().is_empty() => {
                errors.push(FieldError::required(&file, ""));
            }
            ("KubeConfigFile", Some(path)) if !path.is_absolute() => {
                errors.push(FieldError::invalid(&file, path.to_string_lossy(), "must be an absolute path"));
            }
            ("KubeConfigFile", Some(_)) => {}
            (other, _) => {
                errors.push(FieldError::not_supported(&of, other, &["InClusterConfig", "KubeConfigFile"]));
            }
        }
    }
}

/// A duration that is not negative.
fn duration(text: &str) -> Option<Duration> {
    let nanoseconds = base::duration::parse(text).ok()?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests;
