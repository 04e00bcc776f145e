//! Tokens that somebody else knows: asked by `TokenReview`s, whose answers are remembered for a while.
//! Source: Kubernetes documentation, "Webhook Token Authentication".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base::Clock;
use model::lenient::null_is_default;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::token::{Accepted, TokenError};
use crate::identity::Identity;
use crate::outside::Outside;
use crate::webhook::{Hook, On, Remembered};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many answers are remembered that name somebody, and how many that do not: whoever shows one thing after the
/// other makes none of those be forgotten.
const MOST: usize = 8192;
const MOST_UNKNOWN: usize = 1024;
/// How much of one is remembered.
const LONGEST_REMEMBERED: usize = 16 << 10;

/// Somebody who knows whose tokens are.
pub struct TokenWebhook {
    hook: Hook,
    version: &'static str,
    lifetime: Duration,
    known: Remembered<Known>,
    unknown: Remembered<()>,
}

/// Whose a token is, and whom it is for.
#[derive(Clone)]
struct Known {
    identity: Identity,
    audiences: Vec<String>,
}

impl Known {
    /// How many bytes it has, about.
    fn size(&self) -> usize {
        let Identity { user, uid, groups, extra } = &self.identity;
        let values = extra.iter().flat_map(|(key, values)| std::iter::once(key).chain(values));
        let texts = [user, uid].into_iter().chain(groups).chain(values).chain(&self.audiences);
        texts.map(|text| text.len() + size_of::<String>()).sum()
    }
}

/// What is read of the answer.
#[derive(Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "null_is_default")]
    authenticated: bool,
    user: Option<User>,
    audiences: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_default")]
    error: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
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
        Ok(Self {
            hook,
            version,
            lifetime,
            known: Remembered::new(MOST),
            unknown: Remembered::new(MOST_UNKNOWN),
        })
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
        let now = clock.elapsed();
        if self.unknown.get(&key, now).is_some() {
            return Err(TokenError::Unknown);
        }
        let Known { identity, audiences } = match self.known.get(&key, now) {
            Some(known) => known,
            None => self.learn(clock, key, token, wanted).await?,
        };
        let meant = if audiences.is_empty() { own } else { &audiences };
        let audiences: Vec<String> = wanted.iter().filter(|one| meant.contains(one)).cloned().collect();
        if audiences.is_empty() {
            return Err(TokenError::Audience);
        }
        Ok(Accepted { identity, audiences })
    }

    /// Asks, and remembers what is answered.
    async fn learn(
        &self,
        clock: &dyn Clock,
        key: [u8; 32],
        token: &str,
        wanted: &[String],
    ) -> Result<Known, TokenError> {
        // Whoever was known the last time does not stand behind those of whom that is to be found out.
        let last = self.known.last(&key);
        let on = last.as_ref().map_or(On::Strangers, |known| On::User(&known.identity.user));
        let known = self.ask(on, token, wanted).await?;
        let until = clock.elapsed() + self.lifetime;
        match known {
            None => {
                self.known.forget(&key);
                self.unknown.keep(key, (), until);
                Err(TokenError::Unknown)
            }
            Some(known) => {
                if known.size() <= LONGEST_REMEMBERED {
                    self.known.keep(key, known.clone(), until);
                }
                Ok(known)
            }
        }
    }

    /// None where it knows nobody; an error, which is not remembered, where it could not say.
    async fn ask(&self, on: On<'_>, token: &str, wanted: &[String]) -> Result<Option<Known>, TokenError> {
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": self.version,
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": wanted},
            "status": {"user": {}},
        });
        let failed = |why: String| TokenError::Outside(format!("the webhook for tokens failed: {why}"));
        let status: Status = self.hook.ask(on, &review, PATIENCE).await.map_err(failed)?;
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
