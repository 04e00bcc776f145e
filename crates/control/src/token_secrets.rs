//! Tokens that Secrets keep: one of type `kubernetes.io/service-account-token` is filled in for the account that it
//! names, and goes with it. Those of bootstrap tokens go when they are over.
//!
//! They are Kubernetes' `serviceaccount-token-controller`, which acts as the controllers' own user,
//! `legacy-service-account-token-cleaner` and `token-cleaner`. How a token is signed is behind [`Signer`].

mod unused;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::{
    Action, Api, Controller, DeleteOptions, Error, Informer, ListOptions, ObjectKey, Resource as _,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use serde_json::json;

use crate::{Context, Signer};

const TOKEN: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// The index of Secrets by the account that they name, and of accounts by the Secrets that they name.
const BY_ACCOUNT: &str = "of-account";
const BY_SECRET: &str = "names-secret";
/// When to look again at what somebody else has changed.
const SOON: Duration = Duration::from_millis(50);

/// What a Secret lacks.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Leave,
    /// Its account is not known, nor was it when it was looked for.
    Delete,
    /// Some of what it has to say, and the token where `token` says so.
    Fill { token: bool },
}

/// Fills in tokens for accounts, and removes them with their account.
pub(crate) async fn accounts(context: Context, authority: String, signer: Arc<dyn Signer>) {
    let secrets = Informer::<Secret>::new(Api::all(&context.client), of_type(TOKEN));
    let accounts = context.informers.of::<ServiceAccount>();
    secrets.index(BY_ACCOUNT, |secret| account_of(secret).map(|key| key.to_string()).into_iter().collect());
    accounts.index(BY_SECRET, |account| {
        let namespace = account.namespace().unwrap_or_default();
        let names = account.secrets.iter().flatten().filter_map(|secret| secret.name.as_ref());
        names.map(|name| ObjectKey::new(namespace, name).to_string()).collect()
    });
    let (secret_store, account_store, client) = (secrets.store(), accounts.store(), context.client.clone());
    let of_account = {
        let secrets = secret_store.clone();
        move |account: &ServiceAccount| -> Vec<ObjectKey> {
            let key = ObjectKey::new(account.namespace().unwrap_or_default(), account.name());
            let of = secrets.by_index(BY_ACCOUNT, &key.to_string());
            of.iter()
                .map(|secret| ObjectKey::new(secret.namespace().unwrap_or_default(), secret.name()))
                .collect()
        }
    };
    let reconcile = move |key: ObjectKey| {
        let (secrets, accounts, client) = (secret_store.clone(), account_store.clone(), client.clone());
        let (authority, signer) = (authority.clone(), signer.clone());
        async move {
            let Some(secret) = secrets.get(&key) else {
                return forget(&client, accounts.by_index(BY_SECRET, &key.to_string()), &key).await;
            };
            let Some(account_key) = account_of(&secret) else { return Ok(Action::Done) };
            let account = match accounts.get(&account_key) {
                Some(account) if is_of(&secret, &account) => Some(ServiceAccount::clone(&account)),
                // One that the copy does not show yet may be there.
                _ => {
                    let api: Api<ServiceAccount> = Api::namespaced(&client, &account_key.namespace);
                    api.find(&account_key.name).await?.filter(|account| is_of(&secret, account))
                }
            };
            let api: Api<Secret> = Api::namespaced(&client, &key.namespace);
            let written = match (plan(&secret, account.is_some(), &authority), account) {
                (Step::Fill { token }, Some(account)) => {
                    let filled = fill(&secret, &account, &authority, token.then_some(&*signer));
                    let Some(filled) = filled else { return Ok(Action::Done) };
                    api.update(&filled).await.map(drop)
                }
                (Step::Delete, _) => {
                    let uid = secret.metadata.uid.as_deref().unwrap_or_default();
                    api.delete(&key.name, &DeleteOptions::default().uid(uid)).await
                }
                _ => return Ok(Action::Done),
            };
            settled(written)
        }
    };
    let controller = Controller::new("serviceaccount-token", &secrets).watches(&accounts, of_account);
    let known = unused::Known {
        secrets: secrets.store(),
        accounts: accounts.store(),
        pods: context.informers.of::<Pod>().store(),
    };
    tokio::join!(
        secrets.run(context.stop.clone()),
        controller.run(reconcile, context.stop.clone()),
        unused::run(&context, &known),
    );
}

/// Removes bootstrap tokens that are over.
pub(crate) async fn bootstrap(context: Context) {
    let api: Api<Secret> = Api::namespaced(&context.client, "kube-system");
    let secrets = Informer::new(api.clone(), of_type("bootstrap.kubernetes.io/token"));
    let (store, clock) = (secrets.store(), context.clock.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, clock, api) = (store.clone(), clock.clone(), api.clone());
        async move {
            let Some(secret) = store.get(&key) else { return Ok(Action::Done) };
            match remaining(&secret, clock.now()) {
                None => Ok(Action::Done),
                Some(Duration::ZERO) => {
                    let mut options =
                        DeleteOptions::default().uid(secret.metadata.uid.as_deref().unwrap_or_default());
                    options.preconditions.resource_version.clone_from(&secret.metadata.resource_version);
                    settled(api.delete(&key.name, &options).await)
                }
                Some(remaining) => Ok(Action::After(remaining)),
            }
        }
    };
    let controller = Controller::new("token-cleaner", &secrets);
    tokio::join!(secrets.run(context.stop.clone()), controller.run(reconcile, context.stop));
}

fn of_type(name: &str) -> ListOptions {
    let mut fields = model::select::FieldSelector::default();
    fields.also("type", true, name);
    ListOptions::default().fields(fields)
}

fn settled(written: Result<(), Error>) -> Result<Action, Error> {
    match written {
        Ok(()) | Err(Error::NotFound(_)) => Ok(Action::Done),
        Err(Error::Conflict(_)) => Ok(Action::After(SOON)),
        Err(error) => Err(error),
    }
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(name)).map_or("", String::as_str)
}

/// The account that a Secret names.
fn account_of(secret: &Secret) -> Option<ObjectKey> {
    let name = annotation(secret, NAME);
    (!name.is_empty()).then(|| ObjectKey::new(secret.namespace().unwrap_or_default(), name))
}

/// Whether it is this account that the Secret is of, and not another of the name.
fn is_of(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = annotation(secret, UID);
    uid.is_empty() || Some(uid) == account.metadata.uid.as_deref()
}

fn plan(secret: &Secret, has_account: bool, authority: &str) -> Step {
    if secret.metadata.deletion_timestamp.is_some() {
        return Step::Leave;
    }
    if !has_account {
        return Step::Delete;
    }
    let data =
        |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let is_empty = |key| data(key).is_none_or(<[u8]>::is_empty);
    let token = is_empty("token");
    if token || is_empty("namespace") || data("ca.crt") != Some(authority.as_bytes()) {
        Step::Fill { token }
    } else {
        Step::Leave
    }
}

/// The Secret with all that it has to say; none where no token can be signed.
fn fill(
    secret: &Secret,
    account: &ServiceAccount,
    authority: &str,
    signer: Option<&dyn Signer>,
) -> Option<Secret> {
    let mut filled = secret.clone();
    let (namespace, name) = (account.namespace().unwrap_or_default(), account.name());
    let uid = account.metadata.uid.as_deref().unwrap_or_default();
    let data = filled.data.get_or_insert_with(BTreeMap::new);
    data.insert("ca.crt".to_owned(), ByteString(authority.as_bytes().to_vec()));
    data.entry("namespace".to_owned()).or_insert_with(|| ByteString(namespace.as_bytes().to_vec()));
    if let Some(signer) = signer {
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret.name(),
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": uid,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        match signer.sign_token(&claims) {
            Ok(token) => drop(data.insert("token".to_owned(), ByteString(token.into_bytes()))),
            Err(why) => {
                tracing::error!(namespace, secret = secret.name(), why, "a token cannot be signed");
                return None;
            }
        }
    }
    let annotations = filled.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(NAME.to_owned(), name.to_owned());
    annotations.insert(UID.to_owned(), uid.to_owned());
    Some(filled)
}

/// Accounts name a Secret no more that is gone.
async fn forget(
    client: &client::Client,
    accounts: Vec<Arc<ServiceAccount>>,
    key: &ObjectKey,
) -> Result<Action, Error> {
    for account in accounts {
        let mut changed = ServiceAccount::clone(&account);
        if let Some(secrets) = &mut changed.secrets {
            secrets.retain(|secret| secret.name.as_deref() != Some(&key.name));
        }
        let api: Api<ServiceAccount> = Api::namespaced(client, &key.namespace);
        let action = settled(api.update(&changed).await.map(drop))?;
        if action != Action::Done {
            return Ok(action);
        }
    }
    Ok(Action::Done)
}

/// How long a bootstrap token is good yet; none where it does not end. What is no time is over.
fn remaining(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let ends = &secret.data.as_ref()?.get("expiration")?.0;
    if ends.is_empty() {
        return None;
    }
    let ends = std::str::from_utf8(ends).ok().and_then(model::time::parse);
    let left = ends.map_or(0, |ends| ends.as_millisecond() - now.as_millisecond());
    Some(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn a_secret_is_filled_in_while_it_lacks_something_and_goes_with_its_account() {
        let whole = [("token", "t"), ("namespace", "n"), ("ca.crt", "a")];
        assert_eq!(plan(&secret(&whole), true, "a"), Step::Leave);
        assert_eq!(plan(&secret(&whole), false, "a"), Step::Delete);
        assert_eq!(plan(&secret(&whole), true, "b"), Step::Fill { token: false });
        assert_eq!(plan(&secret(&whole[..1]), true, "a"), Step::Fill { token: false });
        assert_eq!(plan(&secret(&whole[1..]), true, "a"), Step::Fill { token: true });
        assert_eq!(plan(&secret(&[("token", "")]), true, "a"), Step::Fill { token: true });
        assert_eq!(plan(&Secret::default(), true, "a"), Step::Fill { token: true });
    }

    #[test]
    fn a_bootstrap_token_says_when_it_ends() {
        let now = model::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let left = |ends: &str| remaining(&secret(&[("expiration", ends)]), now);
        assert_eq!(left("2026-01-01T00:01:00Z"), Some(Duration::from_secs(60)));
        assert_eq!(left("2026-01-01T01:01:00+01:00"), Some(Duration::from_secs(60)));
        assert_eq!(left("2025-12-31T23:59:59Z"), Some(Duration::ZERO));
        assert_eq!(left("2026-01-01T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(left("never"), Some(Duration::ZERO));
        assert_eq!(left(""), None);
        assert_eq!(remaining(&Secret::default(), now), None);
    }
}
