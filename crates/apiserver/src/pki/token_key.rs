//! The key that signs service-account tokens: compact JWS with ES256 (RFC 7515, RFC 7518).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{PkiError, files};

/// Signs and checks tokens.
pub struct TokenKey {
    key: EcdsaKeyPair,
    random: ring::rand::SystemRandom,
    id: String,
}

/// Why a token is not accepted as signed by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It has not the form of a token, or was signed by another key.
    #[error("the token is malformed or signed by another key")]
    NotOurs,
    /// It has the form, but the signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
}

impl TokenKey {
    /// Opens the key in `directory`, made there if there is none.
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
        let damaged = |what: String| PkiError::Damaged { path: path.clone(), what };
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let random = ring::rand::SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
            .map_err(|e| damaged(e.to_string()))?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(Self { key, random, id })
    }

    /// Signs `claims`.
    pub fn sign(&self, claims: &Value) -> Result<String, PkiError> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&self.random, signed.as_bytes())
            .map_err(|_| PkiError::Key { what: "signing a service-account token" })?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// The claims of a token that this key has signed; nothing in them has been checked.
    pub fn verify(&self, token: &str) -> Result<Value, VerifyError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::NotOurs)?;
        let (header, claims) = signed.split_once('.').ok_or(VerifyError::NotOurs)?;
        let header = decode(header)?;
        if header["alg"] != "ES256" || header["kid"] != self.id.as_str() {
            return Err(VerifyError::NotOurs);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| VerifyError::NotOurs)?;
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| VerifyError::Signature)?;
        decode(claims)
    }

    /// The public half as a JSON Web Key Set (RFC 7517), for those who check tokens themselves.
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 0x04, then 32 bytes each of x and y.
        let point = self.key.public_key().as_ref();
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }]})
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
        let key = TokenKey::open(here.path()).expect("key");
        let other = TokenKey::open(there.path()).expect("key");
        let claims = json!({"sub": "system:serviceaccount:a:b"});
        let token = key.sign(&claims).expect("token");
        let again = TokenKey::open(here.path()).expect("the same key");
        assert_eq!(again.verify(&token), Ok(claims));
        assert_eq!(other.verify(&token), Err(VerifyError::NotOurs));
        let forged = json!({"sub": "system:serviceaccount:kube-system:admin"}).to_string();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(forged);
        assert_eq!(key.verify(&parts.join(".")), Err(VerifyError::Signature));
        assert_eq!(key.verify("nonsense"), Err(VerifyError::NotOurs));
    }
}
