//! Tokens that somebody else knows: asked by `TokenReview`s, whose answers are remembered for a while.
//! Source: Kubernetes documentation, "Webhook Token Authentication".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base::Clock;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::token::{Accepted, TokenError};
use crate::identity::Identity;
use crate::outside::Outside;
use crate::webhook::{Hook, Remembered};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many answers are remembered.
const MOST: usize = 8192;

/// Somebody who knows whose tokens are.
pub struct TokenWebhook {
    hook: Hook,
    version: &'static str,
    lifetime: Duration,
    known: Remembered<Option<Known>>,
}

/// Whose a token is, and whom it is for.
#[derive(Clone)]
struct Known {
    identity: Identity,
    audiences: Vec<String>,
}

/// What is read of the answer.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    user: Option<User>,
    audiences: Option<Vec<String>>,
    #[serde(default)]
    error: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

impl TokenWebhook {
    /// The one that a kubeconfig names, asked in a version of the API (`v1`, `v1beta1`); its answers are good for
    /// `lifetime`.
    pub fn new(
        outside: &dyn Outside,
        kubeconfig: &Path,
        version: &str,
        lifetime: Duration,
    ) -> Result<Self, String> {
        let version = match version {
            "v1" => "authentication.k8s.io/v1",
            "v1beta1" => "authentication.k8s.io/v1beta1",
            other => return Err(format!("unsupported webhook authenticator version {other:?}")),
        };
        let hook = Hook::of_kubeconfig(outside, kubeconfig)?;
        Ok(Self { hook, version, lifetime, known: Remembered::new(MOST) })
    }

    /// Whose a token is, if it is for any of `wanted`; `own` are those that it is for where nobody says.
    pub(super) async fn authenticate(
        &self,
        clock: &dyn Clock,
        token: &str,
        wanted: &[String],
        own: &[String],
    ) -> Result<Accepted, TokenError> {
        let mut key = Sha256::new();
        for part in std::iter::once(token).chain(wanted.iter().map(String::as_str)) {
            key.update(part.len().to_be_bytes());
            key.update(part);
        }
        let key: [u8; 32] = key.finalize().into();
        let known = match self.known.get(&key, clock.elapsed()) {
            Some(known) => known,
            None => {
                let known = self.ask(token, wanted).await?;
                self.known.keep(key, known.clone(), clock.elapsed() + self.lifetime);
                known
            }
        };
        let Some(Known { identity, audiences }) = known else { return Err(TokenError::Unknown) };
        let meant = if audiences.is_empty() { own } else { &audiences };
        let audiences: Vec<String> = wanted.iter().filter(|one| meant.contains(one)).cloned().collect();
        if audiences.is_empty() {
            return Err(TokenError::Audience);
        }
        Ok(Accepted { identity, audiences })
    }

    /// None where it knows nobody; an error, which is not remembered, where it could not say.
    async fn ask(&self, token: &str, wanted: &[String]) -> Result<Option<Known>, TokenError> {
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": self.version,
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": wanted},
            "status": {"user": {}},
        });
        let failed = |why: String| TokenError::Outside(format!("the webhook for tokens failed: {why}"));
        let Answer { status } = self.hook.ask(&review, PATIENCE).await.map_err(failed)?;
        if !status.authenticated {
            // Whatever user it names besides.
            return if status.error.is_empty() { Ok(None) } else { Err(failed(status.error)) };
        }
        let user = status.user.unwrap_or_default();
        if user.username.is_empty() {
            return Err(failed("it names nobody".to_owned()));
        }
        let mut identity = Identity::of_proxy(user.username, user.groups.unwrap_or_default());
        identity.uid = user.uid;
        identity.extra = user.extra.unwrap_or_default();
        Ok(Some(Known { identity, audiences: status.audiences.unwrap_or_default() }))
    }
}

impl std::fmt::Debug for TokenWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenWebhook").field("hook", &self.hook).finish_non_exhaustive()
    }
}
