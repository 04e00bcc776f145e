//! Rights that somebody else decides on: asked by `SubjectAccessReview`s, whose answers are remembered for a
//! while.
//! Source: Kubernetes documentation, "Webhook Mode" and "Configuring the API Server using an Authorization Config
//! File".

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use futures::FutureExt as _;
use model::lenient::null_is_default;
use model::select::label::Test;
use model::select::{Condition, Requirement};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::matching::Conditions;
use super::{Attributes, Authorizer, Deciding, Decision, KnownRules, decided};
use crate::identity::Identity;
use crate::outside::Outside;
use crate::webhook::{Hook, On, Remembered, cut};

/// How many answers are remembered, and how long what was asked may be for that.
const MOST: usize = 8192;
const LONGEST_REMEMBERED: usize = 10_000;

/// How a webhook for rights is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessWebhookOptions {
    /// What it is called in what is logged.
    pub name: String,
    /// The version of the API: `v1`, `v1beta1`.
    pub version: String,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it is remembered what it allows; not at all where there is none.
    pub authorized: Option<Duration>,
    /// How long it is remembered what it does not.
    pub unauthorized: Option<Duration>,
    /// Whether what cannot be asked for is denied, or left to the others.
    pub denies_on_failure: bool,
}

/// Somebody who decides on rights.
pub struct AccessWebhook {
    hook: Hook,
    options: AccessWebhookOptions,
    version: String,
    conditions: Conditions,
    clock: Arc<dyn Clock>,
    known: Remembered<Decision>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "null_is_default")]
    allowed: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    denied: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    reason: String,
}

impl AccessWebhook {
    /// The one that a kubeconfig names.
    pub fn new(
        outside: &dyn Outside,
        kubeconfig: &Path,
        options: AccessWebhookOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        if !matches!(options.version.as_str(), "v1" | "v1beta1") {
            return Err(format!("unsupported webhook authorizer version {:?}", options.version));
        }
        let version = format!("authorization.k8s.io/{}", options.version);
        let hook = Hook::of_kubeconfig(outside, kubeconfig)?;
        let (conditions, known) = (Conditions::default(), Remembered::new(MOST));
        Ok(Self { hook, options, version, conditions, clock, known })
    }

    /// The same, asked only where these hold.
    pub(super) fn asked_where(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    async fn ask(&self, user: &str, spec: Value, key: Option<[u8; 32]>) -> Decision {
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": self.version,
            "metadata": {"creationTimestamp": null},
            "spec": spec,
            "status": {"allowed": false},
        });
        let status: Status = match self.hook.ask(On::User(user), &review, self.options.timeout).await {
            Ok(status) => status,
            Err(why) => {
                let name = &self.options.name;
                tracing::warn!(webhook = name, why, "a webhook cannot be asked for a right");
                return self.failed(format!("the webhook authorizer {name} cannot be asked"));
            }
        };
        let reason = cut(status.reason).into();
        let decision = match (status.allowed, status.denied) {
            (_, true) => Decision::Denied(reason),
            (true, false) => Decision::Allowed(reason),
            (false, false) => Decision::NoOpinion(reason),
        };
        let lifetime =
            if decision.is_allowed() { self.options.authorized } else { self.options.unauthorized };
        if let (Some(key), Some(lifetime)) = (key, lifetime) {
            self.known.keep(key, decision.clone(), self.clock.elapsed() + lifetime);
        }
        decision
    }

    fn failed(&self, why: String) -> Decision {
        let why = why.into();
        if self.options.denies_on_failure { Decision::Denied(why) } else { Decision::NoOpinion(why) }
    }

    /// What is decided without asking what would be asked in the first version: nothing of what it is not asked of.
    fn unasked(&self, spec: &Value) -> Option<Decision> {
        match self.conditions.hold(spec) {
            Ok(true) => None,
            Ok(false) => Some(Decision::NoOpinion("".into())),
            Err(why) => {
                let name = &self.options.name;
                tracing::warn!(
                    webhook = name,
                    why,
                    "it cannot be told whether a webhook is to be asked for a right"
                );
                Some(
                    self.failed(format!(
                        "the conditions of the webhook authorizer {name} cannot be evaluated"
                    )),
                )
            }
        }
    }
}

impl Authorizer for AccessWebhook {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let told = spec(identity, attributes, false);
        if let Some(decision) = self.unasked(&told) {
            return decided(decision);
        }
        let spec = if self.options.version == "v1beta1" { spec(identity, attributes, true) } else { told };
        let text = spec.to_string();
        let key = (text.len() <= LONGEST_REMEMBERED).then(|| Sha256::digest(&text).into());
        if let Some(known) = key.and_then(|key| self.known.get(&key, self.clock.elapsed())) {
            return decided(known);
        }
        Deciding::Right(self.ask(&identity.user, spec, key).boxed())
    }

    fn rules(&self, _: &Identity, _: &str) -> KnownRules {
        KnownRules {
            incomplete: true,
            errors: vec!["webhook authorizer does not support user rule resolution".to_owned()],
            ..KnownRules::default()
        }
    }
}

impl std::fmt::Debug for AccessWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessWebhook")
            .field("hook", &self.hook)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What is asked, as a webhook reads it.
fn spec(identity: &Identity, attributes: Attributes<'_>, is_beta: bool) -> Value {
    let mut spec = serde_json::Map::new();
    let filled = |fields: &[(&str, &str)]| -> serde_json::Map<String, Value> {
        let filled = fields.iter().filter(|(_, value)| !value.is_empty());
        filled.map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    };
    match attributes {
        Attributes::Resource(asked) => {
            let mut resource = filled(&[
                ("namespace", asked.namespace),
                ("verb", asked.verb),
                ("group", asked.group),
                ("version", asked.version),
                ("resource", asked.resource),
                ("subresource", asked.subresource),
                ("name", asked.name),
            ]);
            if !asked.fields.is_empty() {
                let requirements: Vec<Value> = asked.fields.iter().map(field).collect();
                resource.insert("fieldSelector".to_owned(), json!({"requirements": requirements}));
            }
            let requirements: Vec<Value> = asked.labels.iter().filter_map(label).collect();
            if !requirements.is_empty() {
                resource.insert("labelSelector".to_owned(), json!({"requirements": requirements}));
            }
            spec.insert("resourceAttributes".to_owned(), resource.into());
        }
        Attributes::Path { verb, path } => {
            spec.insert("nonResourceAttributes".to_owned(), filled(&[("path", path), ("verb", verb)]).into());
        }
    }
    spec.extend(filled(&[("user", &identity.user)]));
    if !identity.groups.is_empty() {
        spec.insert(if is_beta { "group" } else { "groups" }.to_owned(), json!(identity.groups));
    }
    if !identity.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(identity.extra));
    }
    spec.extend(filled(&[("uid", &identity.uid)]));
    spec.into()
}

fn field(condition: &Condition) -> Value {
    let operator = if condition.equal { "In" } else { "NotIn" };
    json!({"key": condition.field, "operator": operator, "values": [condition.value]})
}

/// None of those that reviews cannot say: the webhook is asked for more then, not for less.
fn label(requirement: &Requirement) -> Option<Value> {
    let key = &requirement.key;
    Some(match &requirement.test {
        Test::Equals(value) => json!({"key": key, "operator": "In", "values": [value]}),
        Test::NotEquals(value) => json!({"key": key, "operator": "NotIn", "values": [value]}),
        Test::In(values) => json!({"key": key, "operator": "In", "values": values}),
        Test::NotIn(values) => json!({"key": key, "operator": "NotIn", "values": values}),
        Test::Exists => json!({"key": key, "operator": "Exists"}),
        Test::DoesNotExist => json!({"key": key, "operator": "DoesNotExist"}),
        _ => return None,
    })
}
