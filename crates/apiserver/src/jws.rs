//! Tokens in the compact form of JSON Web Signatures, and the keys that they are checked by.
//!
//! What a token's head says is believed in two things only: which of the known keys it is meant for, and which
//! algorithm, if that is one of the key's own. A head that brings a key along, or asks for more than is
//! understood, gains nothing by it.
//! Source: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 8725 (what to beware of).

mod key;
mod strict;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub(crate) use key::{Algorithm, PublicKey, SigningKey};

/// A token longer than this is none: it would not fit into a request's head.
const LONGEST: usize = 64 << 10;

/// A token that was taken apart. Nothing in it has been checked.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    /// What is signed: head and claims as they were sent.
    signed: &'a str,
    /// By which algorithm; none where it is none that is known here, `none` included.
    algorithm: Option<Algorithm>,
    /// Which key it is meant for; empty where it does not say.
    pub(crate) key: String,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

/// The claims of a token whose signature is good.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

impl<'a> Unverified<'a> {
    /// Takes a token apart; none where it has not the form of one.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let part = |part: &str| strict::object(&URL_SAFE_NO_PAD.decode(part).ok()?);
        let head = part(head)?;
        // What has to be understood, and is not (RFC 7515, section 4.1.11).
        if head.contains_key("crit") {
            return None;
        }
        let text = |name: &str| match head.get(name) {
            Some(Value::String(text)) => Some(text.as_str()),
            Some(_) => None,
            None => Some(""),
        };
        Some(Self {
            signed,
            algorithm: Algorithm::named(text("alg")?),
            key: text("kid")?.to_owned(),
            claims: part(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// What it says of who issued it.
    pub(crate) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is signed in a way that is understood here.
    pub(crate) fn has_known_algorithm(&self) -> bool {
        self.algorithm.is_some()
    }

    /// Whether it says that it is signed in one of these ways.
    pub(crate) fn is_signed_by_one_of(&self, algorithms: &[Algorithm]) -> bool {
        self.algorithm.is_some_and(|algorithm| algorithms.contains(&algorithm))
    }

    /// Whether `key` has signed it.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.algorithm.is_some_and(|algorithm| key.verify(algorithm, self.signed.as_bytes(), &self.signature))
    }

    /// The claims, once one of the keys is found to have signed them.
    pub(crate) fn into_claims(self) -> Claims {
        Claims(self.claims)
    }
}

impl Claims {
    /// A claim of text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A claim that is a moment, in seconds since 1970 (RFC 7519, section 2: it may have a fraction).
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        #[allow(clippy::cast_possible_truncation, reason = "what is out of range saturates")]
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    /// Whom it is for.
    pub(crate) fn audiences(&self) -> Option<Vec<&str>> {
        match self.0.get("aud")? {
            Value::String(one) => Some(vec![one]),
            Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
