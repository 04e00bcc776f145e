//! One issuer: its keys, fetched when they are needed, and what its tokens say.
//!
//! Nobody waits for an issuer but those who show a token of it, and of those a bounded number for a bounded time.
//! Keys are asked for by one of them for all, and not again for a while, whatever anybody shows.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::{Request, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::configuration::{Jwt, Prefixed};
use super::mapping::Mapping;
use crate::authentication::token::TokenError;
use crate::identity::Identity;
use crate::jws::{Algorithm, Claims, PublicKey, Unverified};
use crate::outside::{Outside, Peer};

/// How long an issuer may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its keys are not asked for again.
const PAUSE: Duration = Duration::from_secs(10);
/// How much it may answer, and how many keys it may have.
const LONGEST: usize = 1 << 20;
const MOST_KEYS: usize = 256;
/// So many may wait for its keys at a time.
const WAITING: usize = 64;
/// How much earlier than it says a token is good, since clocks differ; as Kubernetes has it.
const LEEWAY: i64 = 60;

/// An issuer.
pub(super) struct Issuer {
    pub(super) jwt: Jwt,
    mapping: Mapping,
    peer: Arc<dyn Peer>,
    waiting: Semaphore,
    keys: Arc<Mutex<Keys>>,
}

#[derive(Default)]
struct Keys {
    known: Arc<Vec<Key>>,
    /// When they were asked for last, since the start.
    asked: Option<Duration>,
    asking: Option<Shared<BoxFuture<'static, ()>>>,
    /// Why there are none, if that is so.
    why: String,
}

struct Key {
    id: String,
    /// What it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

impl Issuer {
    pub(super) fn new(jwt: Jwt, outside: &dyn Outside) -> Result<Self, String> {
        let authority = &jwt.issuer.certificate_authority;
        let peer = outside.vouched_for((!authority.is_empty()).then_some(authority.as_bytes()))?;
        let mapping = Mapping::of(&jwt)?;
        Ok(Self { jwt, mapping, peer, waiting: Semaphore::new(WAITING), keys: Arc::default() })
    }

    /// Whether a token says that it is of this one.
    pub(super) fn issues(&self, token: &Unverified<'_>) -> bool {
        let said = token.issuer();
        // An old name of one of them.
        let said = if said == "accounts.google.com" { "https://accounts.google.com" } else { said };
        !said.is_empty() && said == self.jwt.issuer.url
    }

    /// Whose a token is.
    pub(super) async fn authenticate(
        &self,
        token: Unverified<'_>,
        clock: &dyn Clock,
    ) -> Result<Identity, TokenError> {
        if !token.is_signed_by_one_of(self.jwt.algorithms.as_deref().unwrap_or(&Algorithm::ALL)) {
            return Err(wrong("oidc: the token is not signed in a way that is allowed"));
        }
        let known = self.keys.lock().known.clone();
        if !has_signed(&known, &token) {
            let fresh = self.ask_for_keys(clock.elapsed()).await?;
            if !has_signed(&fresh, &token) {
                let why = self.keys.lock().why.clone();
                return Err(if why.is_empty() {
                    wrong("oidc: verify token: failed to verify id token signature")
                } else {
                    wrong(format!(
                        "oidc: verifier not initialized for issuer {:?}: {why}",
                        self.jwt.issuer.url
                    ))
                });
            }
        }
        let claims = token.into_claims();
        self.check(&claims, clock.now().as_second())?;
        self.identity(claims)
    }

    fn check(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let meant = claims.audiences().unwrap_or_default();
        if !self.jwt.issuer.audiences.iter().any(|audience| meant.contains(&audience.as_str())) {
            return Err(TokenError::Audience);
        }
        let expires = claims.seconds("exp").ok_or(TokenError::Claim("exp"))?;
        let from = claims.seconds("nbf").unwrap_or(i64::MIN);
        if now > expires || now.saturating_add(LEEWAY) < from {
            return Err(TokenError::Time);
        }
        Ok(())
    }

    fn identity(&self, claims: Claims) -> Result<Identity, TokenError> {
        let claims: Value = claims.0.into();
        let mapped = self.mapping.applied(&claims);
        let user = match mapped.username() {
            Some(name) => name.map_err(outside)?,
            None => self.username(&claims)?,
        };
        if user.is_empty() {
            return Err(wrong("oidc: the token names an empty user"));
        }
        let groups = match mapped.groups() {
            Some(groups) => groups.map_err(outside)?,
            None => self.groups(&claims)?,
        };
        let mut identity = Identity::new(user, groups.iter().cloned());
        let claim = self.jwt.claim_mappings.uid.claim.as_str();
        if let Some(uid) = mapped.uid() {
            identity.uid = uid.map_err(outside)?;
        } else if !claim.is_empty() {
            let uid = claims.get(claim).and_then(text_or_none);
            let uid = uid.ok_or_else(|| wrong(format!("oidc: parse uid claim {claim:?}")))?;
            uid.clone_into(&mut identity.uid);
        }
        identity.extra.extend(mapped.extra().map_err(outside)?);
        self.check_required(&claims)?;
        mapped.check_claims().map_err(outside)?;
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            identity.extra.insert(key, vec![format!("JTI={id}")]);
        }
        mapped.check_user(&identity, &groups).map_err(outside)?;
        Ok(identity)
    }

    fn username(&self, claims: &Value) -> Result<String, TokenError> {
        let mapping = &self.jwt.claim_mappings.username;
        let claim = mapping.claim.as_str();
        let name = claims.get(claim).and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong(format!("oidc: parse username claims {claim:?}")))?;
        if claim == "email" {
            // One that nobody has verified is whatever its owner has put there.
            match claims.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(_) => return Err(wrong("oidc: email not verified")),
            }
        }
        Ok(prefixed(mapping, name))
    }

    /// Whether the claims are there, and are, what they have to be.
    fn check_required(&self, claims: &Value) -> Result<(), TokenError> {
        for rule in self.jwt.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
            let claim = &rule.claim;
            let value = claims
                .get(claim)
                .ok_or_else(|| wrong(format!("oidc: required claim {claim} not present in ID token")))?;
            if text_or_none(value) != Some(&rule.required_value) {
                return Err(wrong(format!(
                    "oidc: required claim {claim} value does not match. Got = {value}, want = {}",
                    rule.required_value
                )));
            }
        }
        Ok(())
    }

    fn groups(&self, claims: &Value) -> Result<Vec<String>, TokenError> {
        let mapping = &self.jwt.claim_mappings.groups;
        let claim = mapping.claim.as_str();
        let elsewhere = claims.get("_claim_names").and_then(|names| names.get(claim)).is_some();
        if claim.is_empty() {
            return Ok(Vec::new());
        }
        let wrong = || wrong(format!("oidc: parse groups claim {claim:?}"));
        match claims.get(claim) {
            // They are to be asked for elsewhere, at an address that the token names.
            None if elsewhere => Err(wrong()),
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![prefixed(mapping, one)]),
            Some(Value::Array(many)) => {
                let group = |group: &Value| group.as_str().map(|group| prefixed(mapping, group));
                many.iter().map(|one| group(one).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Its keys, asked for now unless that was a moment ago.
    async fn ask_for_keys(&self, now: Duration) -> Result<Arc<Vec<Key>>, TokenError> {
        let _place =
            self.waiting.try_acquire().map_err(|_| wrong("oidc: too many wait for the issuer's keys"))?;
        let asking = {
            let mut keys = self.keys.lock();
            match &keys.asking {
                Some(asking) => Some(asking.clone()),
                None if keys.asked.is_some_and(|asked| now.saturating_sub(asked) < PAUSE) => None,
                None => {
                    keys.asked = Some(now);
                    let asking = self.fetch().boxed().shared();
                    keys.asking = Some(asking.clone());
                    Some(asking)
                }
            }
        };
        if let Some(asking) = asking {
            asking.await;
        }
        Ok(self.keys.lock().known.clone())
    }

    /// Fetches the keys; ends in bounded time.
    fn fetch(&self) -> impl Future<Output = ()> + Send + 'static {
        let (peer, keys) = (self.peer.clone(), self.keys.clone());
        let (url, discovery) = (self.jwt.issuer.url.clone(), self.jwt.issuer.discovery_url.clone());
        async move {
            let fetching = fetch(&*peer, &url, &discovery);
            let outcome = match base::panics::catch_async(fetching).await {
                Ok(outcome) => outcome,
                Err(panic) => Err(panic.to_string()),
            };
            let mut keys = keys.lock();
            keys.asking = None;
            match outcome {
                Ok(fresh) => {
                    keys.known = Arc::new(fresh);
                    keys.why.clear();
                }
                // Those that are known stay good.
                Err(why) => {
                    tracing::warn!(issuer = url, why, "the keys of an issuer of tokens cannot be had");
                    if keys.known.is_empty() {
                        keys.why = why;
                    }
                }
            }
        }
    }
}

/// Whether one of the keys has signed a token.
fn has_signed(keys: &[Key], token: &Unverified<'_>) -> bool {
    keys.iter().any(|key| {
        (token.key.is_empty() || key.id == token.key)
            && key.algorithm.is_none_or(|algorithm| token.is_signed_by_one_of(&[algorithm]))
            && token.is_signed_by(&key.key)
    })
}

fn prefixed(mapping: &Prefixed, value: &str) -> String {
    format!("{}{value}", mapping.prefix.as_deref().unwrap_or_default())
}

/// A text. Nothing is an empty one, as it is to Kubernetes.
fn text_or_none(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Null => Some(""),
        _ => None,
    }
}

fn outside(why: String) -> TokenError {
    wrong(format!("oidc: {why}"))
}

fn wrong(why: impl Into<String>) -> TokenError {
    TokenError::Outside(why.into())
}

/// The keys of the issuer at `url`, found by what it says of itself, or by what `discovery` says of it.
async fn fetch(peer: &dyn Peer, url: &str, discovery: &str) -> Result<Vec<Key>, String> {
    let about = match discovery {
        "" => format!("{}/.well-known/openid-configuration", url.trim_end_matches('/')),
        discovery => discovery.to_owned(),
    };
    let about = get(peer, &about).await?;
    let named = about["issuer"].as_str().unwrap_or_default();
    if named != url {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {url:?} got {named:?}"
        ));
    }
    let keys = about["jwks_uri"].as_str().unwrap_or_default();
    // Whoever could change what is sent in clear could sign for the issuer.
    if !keys.starts_with("https://") {
        return Err(format!("the issuer's jwks_uri {keys:?} is not at https://"));
    }
    let set = get(peer, keys).await?;
    let listed = set["keys"].as_array().ok_or("the set of keys has none")?;
    if listed.len() > MOST_KEYS {
        return Err(format!("the set of keys has more than {MOST_KEYS}"));
    }
    let key = |key: &Value| {
        let algorithm = match key.get("alg").and_then(Value::as_str) {
            // One for something else, encryption for example.
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let id = key.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Key { id, algorithm, key: PublicKey::of_jwk(key)? })
    };
    let keys: Vec<Key> = listed.iter().filter_map(key).collect();
    if keys.is_empty() {
        Err("the set of keys has none that tokens can be checked by".to_owned())
    } else {
        Ok(keys)
    }
}

async fn get(peer: &dyn Peer, url: &str) -> Result<Value, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no address: {error}"))?;
    let request = Request::get(uri).header(header::ACCEPT, "application/json").body(Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(PATIENCE, peer.ask(request, LONGEST)).await;
    let answer = answer.map_err(|_| format!("{url} did not answer within {} s", PATIENCE.as_secs()))?;
    let answer = answer.map_err(|error| base::error::chain(&error).to_string())?;
    // One that sends elsewhere is taken by its word by nobody here.
    if answer.status() != StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|error| format!("{url} is no JSON: {error}"))
}
