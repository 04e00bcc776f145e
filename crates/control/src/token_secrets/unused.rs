//! Tokens in Secrets that were made for an account without being asked for, and that nobody has used for a year:
//! they are marked, which makes them no good, and a year later they go.
//!
//! It is Kubernetes' `legacy-service-account-token-cleaner`. The API server notes on each Secret when its token was
//! used last, and since when it does so in a ConfigMap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use client::api::{Patch, PatchOptions};
use client::{Api, Client, DeleteOptions, Error, Resource as _, Store};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use serde_json::{Value, json};

use super::{account_of, is_of};
use crate::Context;

const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// How often it is looked, and for how long one may be unused.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long to wait for what there is to be known.
const SYNCING: Duration = Duration::from_millis(200);

/// What is to be done about a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Mark,
    Delete,
}

/// What is known of all of them.
pub(super) struct Known {
    pub(super) secrets: Store<Secret>,
    pub(super) accounts: Store<ServiceAccount>,
    pub(super) pods: Store<Pod>,
}

/// Looks once a day, until it is told to stop.
pub(super) async fn run(context: &Context, known: &Known) {
    let client = context.client_of("legacy-service-account-token-cleaner");
    let looking = async {
        while !(known.secrets.is_synced() && known.accounts.is_synced() && known.pods.is_synced()) {
            tokio::time::sleep(SYNCING).await;
        }
        loop {
            if let Err(error) = look(&client, known, context.clock.now()).await {
                let error = base::error::chain(&error);
                tracing::warn!(%error, "tokens that nobody uses are not looked through; tomorrow again");
            }
            tokio::time::sleep(DAY).await;
        }
    };
    let _: Option<()> = context.stop.run_until_cancelled(looking).await;
}

async fn look(client: &Client, known: &Known, now: Timestamp) -> Result<(), Error> {
    let tracking: Option<ConfigMap> = Api::namespaced(client, "kube-system").find(TRACKING).await?;
    let since = tracking.and_then(|tracking| tracking.data?.remove("since"));
    let Some(before) = since.and_then(|since| unused_before(&since, now)) else { return Ok(()) };
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for secret in known.secrets.list() {
        let Some(key) = account_of(&secret) else { continue };
        let Some(account) = known.accounts.get(&key).filter(|account| is_of(&secret, account)) else {
            continue;
        };
        // One that somebody has made is his to remove.
        let names = account.secrets.iter().flatten().filter_map(|secret| secret.name.as_deref());
        if !names.into_iter().any(|name| name == secret.name()) {
            continue;
        }
        let namespace = key.namespace.clone();
        let in_pods = named.entry(namespace.clone()).or_insert_with(|| {
            known.pods.list_namespace(&namespace).iter().flat_map(|pod| secrets_of(pod)).collect()
        });
        if in_pods.contains(secret.name()) {
            continue;
        }
        let api: Api<Secret> = Api::namespaced(client, &namespace);
        let (name, uid) = (secret.name(), secret.metadata.uid.as_deref().unwrap_or_default());
        let done = match judge(&secret, &before) {
            Verdict::Keep => Ok(()),
            Verdict::Mark => {
                let mark = json!({"metadata": {"uid": uid, "labels": {INVALID_SINCE: day(now)}}});
                tracing::info!(
                    namespace,
                    secret = name,
                    "the token in it is unused for a year, and good no more"
                );
                api.patch(name, &Patch::Merge(mark), &PatchOptions::default()).await.map(drop)
            }
            Verdict::Delete => {
                let mut options = DeleteOptions::default().uid(uid);
                options.preconditions.resource_version.clone_from(&secret.metadata.resource_version);
                tracing::info!(namespace, secret = name, "the token in it was marked a year ago, and goes");
                api.delete(name, &options).await
            }
        };
        match done {
            Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The moment a year ago, if uses have been noted for that long: from the day after it was begun with.
fn unused_before(since: &str, now: Timestamp) -> Option<Timestamp> {
    let before = now.checked_sub(YEAR).ok()?;
    let since = model::time::parse(&format!("{since}T00:00:00Z"))?;
    (since.checked_add(DAY).ok()? <= before).then_some(before)
}

fn day(at: Timestamp) -> String {
    model::time::format(at).split('T').next().unwrap_or_default().to_owned()
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && model::time::parse(&format!("{text}T00:00:00Z")).is_some()
}

fn judge(secret: &Secret, before: &Timestamp) -> Verdict {
    let made = secret.metadata.creation_timestamp.as_ref().map(|made| made.0);
    if secret.metadata.deletion_timestamp.is_some() || made.is_none_or(|made| made >= *before) {
        return Verdict::Keep;
    }
    let label =
        |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let last = day(*before);
    match label(LAST_USED) {
        // What is no day tells nothing.
        Some(used) if !is_day(used) || used >= last.as_str() => return Verdict::Keep,
        _ => {}
    }
    match label(INVALID_SINCE) {
        Some(since) if is_day(since) && since >= last.as_str() => Verdict::Keep,
        Some(since) if is_day(since) => Verdict::Delete,
        _ => Verdict::Mark,
    }
}

/// The Secrets that a pod names, wherever.
fn secrets_of(pod: &Pod) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let spec = pod.spec.as_ref().and_then(|spec| serde_json::to_value(spec).ok()).unwrap_or_default();
    gather("", &spec, &mut names);
    names
}

fn gather(key: &str, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(key, item, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_name =
                    name == "secretName" || (name == "name" && key.to_lowercase().contains("secret"));
                match value.as_str().filter(|_| is_name) {
                    Some(secret) => drop(names.insert(secret.to_owned())),
                    None => gather(name, value, names),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        model::time::parse(text).expect("a time")
    }

    #[test]
    fn uses_have_to_be_noted_for_a_year() {
        let now = at("2027-06-02T12:00:00Z");
        assert_eq!(unused_before("2026-06-01", now), Some(at("2026-06-02T12:00:00Z")));
        assert_eq!(unused_before("2026-06-02", now), None);
        assert_eq!(unused_before("ages ago", now), None);
    }

    #[test]
    fn a_token_is_marked_after_a_year_and_goes_after_another() {
        let before = at("2026-06-02T12:00:00Z");
        let check = |made: &str, labels: Value, expected: Verdict| {
            let metadata = json!({"name": "s", "creationTimestamp": made, "labels": labels});
            let secret: Secret = serde_json::from_value(json!({"metadata": metadata})).expect("a Secret");
            assert_eq!(judge(&secret, &before), expected, "{made} {labels}");
        };
        let old = "2025-01-01T00:00:00Z";
        check(old, json!({}), Verdict::Mark);
        check("2026-06-02T12:00:00Z", json!({}), Verdict::Keep);
        check(old, json!({LAST_USED: "2026-06-02"}), Verdict::Keep);
        check(old, json!({LAST_USED: "2026-06-01"}), Verdict::Mark);
        check(old, json!({LAST_USED: "never"}), Verdict::Keep);
        check(old, json!({INVALID_SINCE: "2026-06-02"}), Verdict::Keep);
        check(old, json!({INVALID_SINCE: "2026-06-01"}), Verdict::Delete);
        check(old, json!({INVALID_SINCE: "yes"}), Verdict::Mark);
        check(old, json!({INVALID_SINCE: "2026-06-01", LAST_USED: "2027-01-01"}), Verdict::Keep);
    }

    #[test]
    fn a_pod_names_secrets_in_many_places() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "a"}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "b"}},
                {"name": "w", "projected": {"sources": [{"secret": {"name": "c"}}, {"configMap": {"name": "no"}}]}},
                {"name": "x", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "d"}}},
            ],
            "containers": [{
                "name": "main",
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "e", "key": "k"}}}],
                "envFrom": [{"secretRef": {"name": "f"}}],
            }],
        }}))
        .expect("a pod");
        assert_eq!(secrets_of(&pod).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "f"]);
    }
}
