//! The keys of service-account tokens.
//!
//! There can be several: one signs, each is good to check with. So a key is changed without ending the tokens of
//! the old one, and servers whose keys differ take each other's tokens: put the new one, or the others' public
//! halves, into the file of each, then the new one first.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{PkiError, files};
use crate::jws::{Claims, PublicKey, SigningKey, Unverified};

/// Signs and checks tokens.
pub struct TokenKeys {
    signs: SigningKey,
    /// The one that signs first.
    checks: Vec<Check>,
}

/// A file of keys in PEM, that somebody else has read.
#[derive(Clone)]
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: Vec<u8>,
}

/// One that tokens may be signed by.
struct Check {
    id: String,
    /// What it was called before.
    former_id: Option<String>,
    key: PublicKey,
}

/// Why a token is not accepted as signed by one of these keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It has not the form of a token, or was signed by another key.
    #[error("the token is malformed or signed by another key")]
    NotOurs,
    /// It has the form, but the signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
}

impl TokenKeys {
    /// Opens the keys in `directory`: a file of PEM sections, private keys and public ones, of which the first
    /// private one signs; one is made there if there is none.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join("service-account.key");
        let text = match files::read(&path)? {
            Some(text) => text,
            None => {
                let text = rcgen::KeyPair::generate()
                    .map_err(|source| PkiError::Make { name: "service accounts".to_owned(), source })?
                    .serialize_pem();
                files::write(&path, &text)?;
                text
            }
        };
        Self::parse(text.as_bytes()).map_err(|what| PkiError::Damaged { path, what })
    }

    /// The keys that somebody brings: all of `files` check; `signing`'s signs, or the first private one.
    pub fn given(files: &[KeyFile], signing: Option<&KeyFile>) -> Result<Self, PkiError> {
        let unusable = |file: &KeyFile| {
            let path = file.path.clone();
            move |what| PkiError::Unusable { path, what }
        };
        let mut keys = Vec::new();
        let mut first = None;
        for file in files {
            keys.extend(PublicKey::all(&file.text).map_err(unusable(file))?);
            if first.is_none() {
                first = SigningKey::first(&file.text).map_err(unusable(file))?;
            }
        }
        let signs = match signing {
            Some(file) => SigningKey::first(&file.text)
                .and_then(|key| key.ok_or_else(|| "it has no private key".to_owned()))
                .map_err(unusable(file))?,
            None => first.ok_or(PkiError::Key { what: "signing service-account tokens: none is private" })?,
        };
        Ok(Self::new(signs, keys))
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let keys = PublicKey::all(text)?;
        let signs = SigningKey::first(text)?.ok_or("it has no private key")?;
        Ok(Self::new(signs, keys))
    }

    fn new(signs: SigningKey, keys: Vec<PublicKey>) -> Self {
        let first = signs.public();
        let mut checks: Vec<Check> = Vec::new();
        for key in std::iter::once(first).chain(keys) {
            if checks.iter().all(|known| known.key != key) {
                checks.push(Check { id: key.id(), former_id: key.former_id(), key });
            }
        }
        Self { signs, checks }
    }

    /// Signs `claims`.
    pub fn sign(&self, claims: &Value) -> Result<String, PkiError> {
        let header = json!({"alg": self.signs.algorithm().name(), "kid": self.checks[0].id});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.signs.sign(signed.as_bytes());
        let signature = signature.ok_or(PkiError::Key { what: "signing a service-account token" })?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that one of the keys has signed; nothing in them has been checked.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let token = Unverified::parse(token).filter(Unverified::has_known_algorithm);
        let token = token.ok_or(VerifyError::NotOurs)?;
        let is_meant = |check: &&Check| {
            token.key.is_empty() || token.key == check.id || Some(&token.key) == check.former_id.as_ref()
        };
        let mut meant = self.checks.iter().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(VerifyError::NotOurs);
        }
        if !meant.any(|check| token.is_signed_by(&check.key)) {
            return Err(VerifyError::Signature);
        }
        Ok(token.into_claims())
    }

    /// The public halves as a JSON Web Key Set (RFC 7517), for those who check tokens themselves. One that tokens
    /// of an earlier version call by another name is there by both.
    pub fn key_set(&self) -> Value {
        let mut keys = Vec::new();
        for check in &self.checks {
            let key = check.key.jwk();
            let former = check.former_id.as_ref().map(|id| {
                let mut key = key.clone();
                key["kid"] = json!(id);
                key
            });
            keys.push(key);
            keys.extend(former);
        }
        json!({"keys": keys})
    }

    /// How tokens that are good here may be signed.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self
            .checks
            .iter()
            .map(|check| match check.key {
                PublicKey::Rsa { .. } => "RS256",
                PublicKey::P256(_) => "ES256",
                PublicKey::P384(_) => "ES384",
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is in it stays out of logs.
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
