//! The keys of service-account tokens: compact JWS with ES256 (RFC 7515, RFC 7518).
//!
//! There can be several, one after another in one file: the first signs, each is good to check with. So a
//! key is changed without ending the tokens of the old one, and servers whose keys differ take each other's
//! tokens: put the new one, or the others' public halves, into the file of each, then the new one first.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{PkiError, files};

/// How many bytes the public half has: an uncompressed point of P-256 (SEC 1, section 2.3.3).
const POINT: usize = 65;

/// Signs and checks tokens.
pub struct TokenKeys {
    signs: EcdsaKeyPair,
    random: ring::rand::SystemRandom,
    /// The one that signs first.
    checks: Vec<PublicKey>,
}

/// One that tokens may be signed by.
struct PublicKey {
    id: String,
    /// An uncompressed point: 0x04, then 32 bytes each of x and y.
    point: Vec<u8>,
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
    /// Opens the keys in `directory`: a file of PEM sections, private keys (PKCS #8) and public ones; one is
    /// made there if there is none.
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
        Self::parse(&text).map_err(|what| PkiError::Damaged { path, what })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let random = ring::rand::SystemRandom::new();
        let mut signs = None;
        let mut checks = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            match section.map_err(|error| error.to_string())? {
                (SectionKind::PrivateKey, der) => {
                    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
                        .map_err(|error| error.to_string())?;
                    let public = PublicKey::new(key.public_key().as_ref());
                    if signs.is_none() {
                        checks.insert(0, public);
                        signs = Some(key);
                    } else {
                        checks.push(public);
                    }
                }
                (SectionKind::PublicKey, der) => {
                    let (_, key) = SubjectPublicKeyInfo::from_der(&der).map_err(|error| error.to_string())?;
                    let point = key.subject_public_key.data;
                    if point.len() != POINT || point[0] != 4 {
                        return Err("it has a public key that is none of P-256".to_owned());
                    }
                    checks.push(PublicKey::new(&point));
                }
                (other, _) => return Err(format!("it has a section of another kind: {other:?}")),
            }
        }
        let signs = signs.ok_or("it has no private key")?;
        Ok(Self { signs, random, checks })
    }

    /// Signs `claims`, by the first key.
    pub fn sign(&self, claims: &Value) -> Result<String, PkiError> {
        let header = json!({"alg": "ES256", "kid": self.checks[0].id});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .signs
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| PkiError::Key { what: "signing a service-account token" })?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// The claims of a token that one of the keys has signed; nothing in them has been checked.
    pub fn verify(&self, token: &str) -> Result<Value, VerifyError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::NotOurs)?;
        let (header, claims) = signed.split_once('.').ok_or(VerifyError::NotOurs)?;
        let header = decode(header)?;
        let key = self.checks.iter().find(|key| header["kid"] == key.id.as_str());
        let key = key.filter(|_| header["alg"] == "ES256").ok_or(VerifyError::NotOurs)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| VerifyError::NotOurs)?;
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| VerifyError::Signature)?;
        decode(claims)
    }

    /// The public halves as a JSON Web Key Set (RFC 7517), for those who check tokens themselves.
    pub fn key_set(&self) -> Value {
        let keys = self.checks.iter().map(|key| {
            json!({
                "use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": "ES256",
                "x": URL_SAFE_NO_PAD.encode(&key.point[1..33]),
                "y": URL_SAFE_NO_PAD.encode(&key.point[33..65]),
            })
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

impl PublicKey {
    fn new(point: &[u8]) -> Self {
        Self { id: URL_SAFE_NO_PAD.encode(Sha256::digest(point)), point: point.to_vec() }
    }
}

fn decode(part: &str) -> Result<Value, VerifyError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::NotOurs)?;
    serde_json::from_slice(&bytes).map_err(|_| VerifyError::NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_key_has_signed_is_accepted() {
        let (here, there) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let key = TokenKeys::open(here.path()).expect("key");
        let other = TokenKeys::open(there.path()).expect("key");
        let claims = json!({"sub": "system:serviceaccount:a:b"});
        let token = key.sign(&claims).expect("token");
        let again = TokenKeys::open(here.path()).expect("the same key");
        assert_eq!(again.verify(&token), Ok(claims));
        assert_eq!(other.verify(&token), Err(VerifyError::NotOurs));
        let forged = json!({"sub": "system:serviceaccount:kube-system:admin"}).to_string();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(forged);
        assert_eq!(key.verify(&parts.join(".")), Err(VerifyError::Signature));
        assert_eq!(key.verify("nonsense"), Err(VerifyError::NotOurs));
    }

    #[test]
    fn the_first_of_several_keys_signs_and_each_is_good_to_check_with() {
        let [old, new, other] = [(); 3].map(|()| rcgen::KeyPair::generate().expect("a key"));
        let parse = |sections: &[String]| TokenKeys::parse(&sections.concat());
        let alone = |key: &rcgen::KeyPair| parse(&[key.serialize_pem()]).expect("one key");
        let claims = json!({"sub": "a"});
        let several =
            parse(&[other.public_key_pem(), new.serialize_pem(), old.serialize_pem()]).expect("three keys");
        for key in [&old, &new, &other] {
            let token = alone(key).sign(&claims).expect("token");
            assert_eq!(several.verify(&token), Ok(claims.clone()));
        }
        let token = several.sign(&claims).expect("token");
        assert_eq!(alone(&new).verify(&token), Ok(claims));
        assert_eq!(alone(&old).verify(&token), Err(VerifyError::NotOurs));
        let kids = |keys: &TokenKeys| -> Vec<Value> {
            keys.key_set()["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect()
        };
        assert_eq!(kids(&several), [kids(&alone(&new)), kids(&alone(&other)), kids(&alone(&old))].concat());
        assert_eq!(parse(&[other.public_key_pem()]).err().as_deref(), Some("it has no private key"));
    }
}
