//! What seals and opens a value.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes192;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use base::Random;
use bytes::Bytes;
use crypto_secretbox::XSalsa20Poly1305;

use super::SEALED;

/// What seals and opens a value.
pub(super) enum Provider {
    /// Keeps it in clear.
    Identity,
    /// AES-GCM with a random nonce of 96 bits; the key in the store is authenticated with the value, so that
    /// one value is not taken for another's.
    AesGcm(Vec<Named<Gcm>>),
    /// XSalsa20 and Poly1305 with a random nonce of 192 bits.
    SecretBox(Vec<Named<XSalsa20Poly1305>>),
}

/// A key, with the name that values tell which are sealed with it.
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) cipher: T,
}

/// AES-GCM, by the length of its key.
pub(super) enum Gcm {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

const GCM_NONCE: usize = 12;
const BOX_NONCE: usize = 24;

impl Gcm {
    /// None where keys have another length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Aes128(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
            24 => Self::Aes192(Box::new(AesGcm::new_from_slice(key).ok()?)),
            32 => Self::Aes256(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    fn seal(&self, nonce: &[u8; GCM_NONCE], payload: Payload<'_, '_>) -> Vec<u8> {
        let nonce = nonce.into();
        let sealed = match self {
            Self::Aes128(cipher) => cipher.encrypt(nonce, payload),
            Self::Aes192(cipher) => cipher.encrypt(nonce, payload),
            Self::Aes256(cipher) => cipher.encrypt(nonce, payload),
        };
        sealed.expect("values are a few megabytes at most, AES-GCM takes gigabytes")
    }

    fn open(&self, nonce: &[u8], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        let nonce = <&[u8; GCM_NONCE]>::try_from(nonce).ok()?.into();
        match self {
            Self::Aes128(cipher) => cipher.decrypt(nonce, payload),
            Self::Aes192(cipher) => cipher.decrypt(nonce, payload),
            Self::Aes256(cipher) => cipher.decrypt(nonce, payload),
        }
        .ok()
    }
}

impl Provider {
    fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::AesGcm(_) => "aesgcm",
            Self::SecretBox(_) => "secretbox",
        }
    }

    /// The form in which it writes, without what is secret.
    pub(super) fn form(&self) -> String {
        let key = match self {
            Self::Identity => "",
            Self::AesGcm(keys) => &keys[0].name,
            Self::SecretBox(keys) => &keys[0].name,
        };
        format!("{}:{key}", self.name())
    }

    /// The value as it is kept.
    pub(super) fn seal(&self, random: &dyn Random, key: &[u8], value: &[u8]) -> Bytes {
        let kept = |name: &str, nonce: &[u8], sealed: Vec<u8>| {
            let mut kept = format!("k8s:enc:{}:v1:{name}:", self.name()).into_bytes();
            kept.extend_from_slice(nonce);
            kept.extend_from_slice(&sealed);
            Bytes::from(kept)
        };
        match self {
            Self::Identity => Bytes::copy_from_slice(value),
            Self::AesGcm(keys) => {
                let mut nonce = [0; GCM_NONCE];
                random.fill(&mut nonce);
                let sealed = keys[0].cipher.seal(&nonce, Payload { msg: value, aad: key });
                kept(&keys[0].name, &nonce, sealed)
            }
            Self::SecretBox(keys) => {
                let mut nonce = [0; BOX_NONCE];
                random.fill(&mut nonce);
                let sealed = keys[0].cipher.encrypt((&nonce).into(), value);
                kept(&keys[0].name, &nonce, sealed.expect("there is no limit that values come to"))
            }
        }
    }

    /// The value, and whether it would be kept in the same form today; none where it is not this provider's
    /// to open.
    pub(super) fn open(&self, key: &[u8], kept: &Bytes) -> Option<Result<(Bytes, bool), String>> {
        if matches!(self, Self::Identity) {
            return (!kept.starts_with(SEALED)).then(|| Ok((kept.clone(), true)));
        }
        let rest = kept.strip_prefix(SEALED)?.strip_prefix(self.name().as_bytes())?.strip_prefix(b":v1:")?;
        let end = rest.iter().position(|&byte| byte == b':')?;
        let (name, sealed) = (&rest[..end], &rest[end + 1..]);
        let (index, opened) = match self {
            Self::Identity => return None,
            Self::AesGcm(keys) => {
                let index = keys.iter().position(|named| named.name.as_bytes() == name)?;
                let open = |(nonce, msg)| keys[index].cipher.open(nonce, Payload { msg, aad: key });
                (index, sealed.split_at_checked(GCM_NONCE).and_then(open))
            }
            Self::SecretBox(keys) => {
                let index = keys.iter().position(|named| named.name.as_bytes() == name)?;
                let open = |(nonce, sealed): (&[u8], &[u8])| {
                    let nonce = <&[u8; BOX_NONCE]>::try_from(nonce).ok()?;
                    keys[index].cipher.decrypt(nonce.into(), sealed).ok()
                };
                (index, sealed.split_at_checked(BOX_NONCE).and_then(open))
            }
        };
        let name = model::field::quote(&String::from_utf8_lossy(name));
        let wrong = || {
            format!(
                "it is damaged or another's, or the key {name} of {} is not the one that it was encrypted with",
                self.name()
            )
        };
        Some(opened.map(|value| (Bytes::from(value), index == 0)).ok_or_else(wrong))
    }
}

/// The provider and the key that a value says it is sealed with.
pub(super) fn named(kept: &[u8]) -> Option<(String, String)> {
    let rest = kept.strip_prefix(SEALED)?;
    let mut parts = rest.splitn(4, |&byte| byte == b':');
    let mut part = || Some(String::from_utf8_lossy(parts.next()?).into_owned());
    let (provider, _version, name) = (part()?, part()?, part()?);
    Some((provider, name))
}
