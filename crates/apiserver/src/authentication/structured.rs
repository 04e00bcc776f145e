//! Tokens of issuers elsewhere (OpenID Connect), and who may come without showing anything: as a configuration in
//! Kubernetes' form says, which can be replaced while the server runs.
//! Source: Kubernetes documentation, "Authenticating: using structured authentication configuration".

mod configuration;
mod issuer;
mod mapping;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use base::Clock;
use parking_lot::RwLock;

use crate::identity::Identity;
use crate::jws::Unverified;
use crate::outside::{Nobody, Outside};

pub use configuration::OidcOptions;
use configuration::{Anonymous, Document, Jwt};
use issuer::Issuer;

use super::token::TokenError;

/// Who is known by what issuers elsewhere say, and what may be asked by those who show nothing.
pub struct Structured {
    outside: Arc<dyn Outside>,
    /// Whether those who show nothing may ask, where the configuration does not say.
    anonymous: bool,
    /// Whether they may not, whatever else is said.
    closed: AtomicBool,
    /// What the first configuration said of them: that stays.
    first: OnceLock<Option<Anonymous>>,
    current: RwLock<Arc<InForce>>,
}

/// What a configuration says.
struct InForce {
    issuers: Vec<Arc<Issuer>>,
    anonymous: Anonymous,
}

/// Why a configuration cannot be used, with the place in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StructuredError(String);

impl Structured {
    /// Knows no issuer; whether those who show nothing may ask says `anonymous`.
    pub fn new(outside: Arc<dyn Outside>, anonymous: bool) -> Self {
        let all = Anonymous { enabled: anonymous, conditions: Vec::new() };
        let current = RwLock::new(Arc::new(InForce { issuers: Vec::new(), anonymous: all }));
        Self { outside, anonymous, closed: AtomicBool::new(false), first: OnceLock::new(), current }
    }

    /// Puts a configuration in force, or says what is wrong with it; `own` are the issuers of the server's own
    /// tokens. What is known of issuers that stay is kept. Says whether it tells of those who show nothing, which none
    /// may do otherwise than the first.
    pub fn replace(&self, text: &str, own: &[String]) -> Result<bool, StructuredError> {
        let document = Document::parse(text).map_err(StructuredError)?;
        let anonymous = document.anonymous.clone();
        if self.first.get().is_some_and(|first| *first != anonymous) {
            let why = "anonymous: Forbidden: changed from initial configuration file";
            return Err(StructuredError(why.to_owned()));
        }
        self.put(document, own)?;
        Ok(self.first.get_or_init(|| anonymous).is_some())
    }

    /// Puts in force what the options of before say.
    pub fn set_options(&self, options: &OidcOptions, own: &[String]) -> Result<(), StructuredError> {
        self.put(Document::of_options(options).map_err(StructuredError)?, own)
    }

    fn put(&self, document: Document, own: &[String]) -> Result<(), StructuredError> {
        let errors = document.check(own);
        if !errors.is_empty() {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let text = if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) };
            return Err(StructuredError(text));
        }
        let before = self.current.read().clone();
        let issuer = |jwt: Jwt| match before.issuers.iter().find(|known| known.jwt == jwt) {
            Some(known) => Ok(known.clone()),
            None => {
                let url = jwt.issuer.url.clone();
                let made = Issuer::new(jwt, &*self.outside);
                made.map(Arc::new).map_err(|why| StructuredError(format!("issuer {url:?}: {why}")))
            }
        };
        let issuers = document.jwt.into_iter().map(issuer).collect::<Result<_, _>>()?;
        let anonymous =
            document.anonymous.unwrap_or(Anonymous { enabled: self.anonymous, conditions: Vec::new() });
        *self.current.write() = Arc::new(InForce { issuers, anonymous });
        Ok(())
    }

    /// Whether those may ask anything at all who show nothing.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && self.current.read().anonymous.enabled
    }

    /// Lets nobody ask any more who shows nothing, whatever the configuration says.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether somebody who shows nothing may ask for this path.
    pub(crate) fn takes_anonymous(&self, path: &str) -> bool {
        if !self.is_open() {
            return false;
        }
        let current = self.current.read();
        let Anonymous { enabled, conditions } = &current.anonymous;
        *enabled && (conditions.is_empty() || conditions.iter().any(|condition| condition.path == path))
    }

    /// Whose a token is; none where it is of no issuer that is known.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        clock: &dyn Clock,
    ) -> Option<Result<Identity, TokenError>> {
        let current = self.current.read().clone();
        if current.issuers.is_empty() {
            return None;
        }
        let token = Unverified::parse(token)?;
        let issuer = current.issuers.iter().find(|issuer| issuer.issues(&token))?;
        Some(issuer.authenticate(token, clock).await)
    }
}

impl Default for Structured {
    fn default() -> Self {
        Self::new(Arc::new(Nobody), true)
    }
}

impl fmt::Debug for Structured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> =
            self.current.read().issuers.iter().map(|issuer| issuer.jwt.issuer.url.clone()).collect();
        f.debug_struct("Structured").field("issuers", &urls).finish_non_exhaustive()
    }
}
