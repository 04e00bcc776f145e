//! A webhook, as its object says.

use std::sync::Arc;
use std::time::Duration;

use apiserver::callout::Callee;
use model::Object;
use model::select::LabelSelector;
use model::validate::{list, number, text};
use serde_json::Value;

use super::super::policies::Conditions;
use crate::webhook_configuration::client;

/// How long one is waited for that does not say.
const PATIENCE: i64 = 10;

/// A webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    /// The object that it is of.
    pub(super) configuration: Arc<str>,
    pub(super) name: String,
    /// Tells it from all others.
    pub(super) id: String,
    /// Where it is, or why it cannot be asked.
    pub(super) callee: Result<Callee, String>,
    pub(super) rules: Vec<Rule>,
    /// What it cannot be asked of passes.
    pub(super) fails_open: bool,
    /// It is asked as well of what its rules name under another version or group.
    pub(super) takes_equivalents: bool,
    /// None selects all.
    pub(super) namespaces: Selector,
    pub(super) objects: Selector,
    /// It does nothing that lasts where nothing will be stored.
    pub(super) bears_dry_runs: bool,
    pub(super) patience: Duration,
    pub(super) version: Version,
    /// It is asked again about what others have changed since.
    pub(super) asked_again: bool,
    /// It is asked only where all of these hold.
    pub(super) conditions: Arc<Conditions>,
}

/// Which labels are wanted: any, where there is none; or why that cannot be told.
pub(super) type Selector = Result<Option<LabelSelector>, String>;

/// The version of the reviews that it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

/// Of what one is asked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) operations: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) versions: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) scope: Scope,
}

/// Where the objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Any,
    Cluster,
    Namespaced,
}

impl Version {
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let words = |name| list(rule, name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Self {
            operations: words("operations"),
            groups: words("apiGroups"),
            versions: words("apiVersions"),
            resources: words("resources"),
            scope: match text(rule, "scope") {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::Any,
            },
        }
    }
}

/// The webhooks of an object, in their order.
pub(super) fn read(object: &Object) -> Vec<Hook> {
    let configuration: Arc<str> = object.name().into();
    let webhooks = object.get_list(&["webhooks"]).iter().enumerate();
    webhooks.map(|(index, webhook)| one(&configuration, index, webhook)).collect()
}

pub(super) fn one(configuration: &Arc<str>, index: usize, webhook: &Value) -> Hook {
    let name = text(webhook, "name").to_owned();
    let nothing = Value::Null;
    let seconds = number(webhook, "timeoutSeconds").unwrap_or(PATIENCE).clamp(1, 30);
    let versions = list(webhook, "admissionReviewVersions").iter().filter_map(Value::as_str);
    let version = versions
        .filter_map(|version| match version {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        })
        .next();
    Hook {
        configuration: configuration.clone(),
        id: format!("{configuration}/{name}/{index}"),
        callee: client::callee(webhook.get("clientConfig").unwrap_or(&nothing)),
        rules: list(webhook, "rules").iter().map(Rule::read).collect(),
        fails_open: text(webhook, "failurePolicy") == "Ignore",
        takes_equivalents: text(webhook, "matchPolicy") != "Exact",
        namespaces: selector(webhook, "namespaceSelector"),
        objects: selector(webhook, "objectSelector"),
        bears_dry_runs: matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun"),
        patience: Duration::from_secs(seconds.unsigned_abs()),
        version: version.unwrap_or(Version::V1),
        conditions: Arc::new(Conditions::read(list(webhook, "matchConditions"))),
        asked_again: text(webhook, "reinvocationPolicy") == "IfNeeded",
        name,
    }
}

fn selector(webhook: &Value, name: &str) -> Selector {
    let Some(selector) = webhook.get(name).filter(|selector| !selector.is_null()) else { return Ok(None) };
    let is_empty = ["matchLabels", "matchExpressions"].iter().all(|part| {
        selector.get(part).is_none_or(|part| {
            part.as_object().is_none_or(serde_json::Map::is_empty)
                && part.as_array().is_none_or(Vec::is_empty)
        })
    });
    if is_empty {
        return Ok(None);
    }
    LabelSelector::from_json(Some(selector)).map(Some).map_err(|error| error.to_string())
}
