//! Keys that tokens are signed and checked by: RSA, and the curves P-256 and P-384.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature as by;
use ring::signature::{EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::{PublicKey as Parsed, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// How a token is signed (RFC 7518, section 3.1). Never with a secret that both sides share, nor not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points: 4, then both coordinates (SEC 1, section 2.3.3).
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// A key that signs.
pub(crate) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

/// What comes before the point in the DER form of a public key of a curve (RFC 5480).
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_HEAD: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// What names the algorithm in the DER form of a public RSA key (RFC 8017, appendix A.1).
const RSA_NAME: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// What comes before the key of a curve in PKCS #8: version and the curve's name (RFC 5208, RFC 5915).
const P256_NAME: &[u8] = &[
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];
const P384_NAME: &[u8] = &[
    0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22,
];

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Es256,
        Self::Es384,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// How RSA checks it; none where it is of a curve.
    fn rsa(self) -> Option<&'static by::RsaParameters> {
        match self {
            Self::Rs256 => Some(&by::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&by::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&by::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&by::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&by::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&by::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 => None,
        }
    }
}

impl PublicKey {
    /// Whether `signature` is this key's, made in this way, under `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let of_curve = |checks: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(checks, point).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::P256(point), Algorithm::Es256) => of_curve(&by::ECDSA_P256_SHA256_FIXED, point),
            (Self::P384(point), Algorithm::Es384) => of_curve(&by::ECDSA_P384_SHA384_FIXED, point),
            (Self::Rsa { modulus, exponent }, algorithm) => {
                let components = by::RsaPublicKeyComponents { n: modulus, e: exponent };
                algorithm.rsa().is_some_and(|checks| components.verify(checks, message, signature).is_ok())
            }
            _ => false,
        }
    }

    /// The public keys in a text of PEM sections: of public keys, private ones and certificates.
    pub(crate) fn all(text: &[u8]) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|error| error.to_string())?;
            all.push(match kind {
                SectionKind::PublicKey => Self::of_info(&der)?,
                SectionKind::Certificate => {
                    let (_, certificate) =
                        X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
                    Self::of_info(certificate.public_key().raw)?
                }
                other => SigningKey::of_section(other, &der)?.public(),
            });
        }
        if all.is_empty() { Err("it has no key in PEM".to_owned()) } else { Ok(all) }
    }

    /// One in DER (RFC 5280, section 4.1.2.7).
    pub(crate) fn of_info(der: &[u8]) -> Result<Self, String> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| error.to_string())?;
        let raw = info.raw;
        match info.parsed().map_err(|error| error.to_string())? {
            Parsed::RSA(rsa) => Ok(Self::rsa(&rsa)),
            Parsed::EC(point) => {
                let point = point.data();
                [(P256_HEAD, 65, Self::P256 as fn(_) -> _), (P384_HEAD, 97, Self::P384)]
                    .into_iter()
                    .find(|(head, length, _)| {
                        raw.starts_with(head) && point.len() == *length && point[0] == 4
                    })
                    .map(|(.., make)| make(point.to_vec()))
                    .ok_or_else(|| {
                        "it has a public key of a curve that is neither P-256 nor P-384".to_owned()
                    })
            }
            _ => Err("it has a public key that is neither RSA nor of a curve".to_owned()),
        }
    }

    fn rsa(key: &RSAPublicKey<'_>) -> Self {
        Self::Rsa { modulus: bare(key.modulus), exponent: bare(key.exponent) }
    }

    /// One of a set of keys (RFC 7517); none where it is of a kind that is not known here, or no key to check by.
    pub(crate) fn of_jwk(key: &Value) -> Option<Self> {
        let part = |name: &str| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok();
        if key.get("use").and_then(Value::as_str).is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (part("x")?, part("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
        };
        match (key.get("kty")?.as_str()?, key.get("crv").and_then(Value::as_str)) {
            ("RSA", _) => Some(Self::Rsa { modulus: bare(&part("n")?), exponent: bare(&part("e")?) }),
            ("EC", Some("P-256")) => Some(Self::P256(point(32)?)),
            ("EC", Some("P-384")) => Some(Self::P384(point(48)?)),
            _ => None,
        }
    }

    /// As one of a set of keys.
    pub(crate) fn jwk(&self) -> Value {
        let id = self.id();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let curve = |point: &[u8], name: &str, algorithm: Algorithm| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({
                "use": "sig", "kty": "EC", "kid": id, "crv": name, "alg": algorithm.name(),
                "x": encoded(x), "y": encoded(y),
            })
        };
        match self {
            Self::P256(point) => curve(point, "P-256", Algorithm::Es256),
            Self::P384(point) => curve(point, "P-384", Algorithm::Es384),
            Self::Rsa { modulus, exponent } => json!({
                "use": "sig", "kty": "RSA", "kid": id, "alg": Algorithm::Rs256.name(),
                "n": encoded(modulus), "e": encoded(exponent),
            }),
        }
    }

    /// What tokens call it, as Kubernetes' own do: the digest of its DER form.
    pub(crate) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.info()))
    }

    /// What tokens of versions before this one called it, where there were such.
    pub(crate) fn former_id(&self) -> Option<String> {
        match self {
            Self::P256(point) => Some(URL_SAFE_NO_PAD.encode(Sha256::digest(point))),
            _ => None,
        }
    }

    /// Its DER form (RFC 5280, section 4.1.2.7).
    fn info(&self) -> Vec<u8> {
        match self {
            Self::P256(point) => [P256_HEAD, point].concat(),
            Self::P384(point) => [P384_HEAD, point].concat(),
            Self::Rsa { modulus, exponent } => {
                let key = der(0x30, &[integer(modulus), integer(exponent)].concat());
                der(0x30, &[RSA_NAME.to_vec(), der(0x03, &[&[0], key.as_slice()].concat())].concat())
            }
        }
    }
}

impl SigningKey {
    /// The first private key in a text of PEM sections.
    pub(crate) fn first(text: &[u8]) -> Result<Option<Self>, String> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|error| error.to_string())?;
            if !matches!(kind, SectionKind::PublicKey | SectionKind::Certificate) {
                return Self::of_section(kind, &der).map(Some);
            }
        }
        Ok(None)
    }

    fn of_section(kind: SectionKind, der: &[u8]) -> Result<Self, String> {
        let random = SystemRandom::new();
        let curve = |key: &[u8]| {
            let of = |checks| EcdsaKeyPair::from_pkcs8(checks, key, &random).ok();
            of(&by::ECDSA_P256_SHA256_FIXED_SIGNING)
                .map(Self::P256)
                .or_else(|| of(&by::ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384))
        };
        let unusable =
            || "it has a private key that is neither RSA of 2048 bits or more nor of P-256 or P-384";
        match kind {
            SectionKind::PrivateKey => {
                let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(|key| Self::Rsa(Box::new(key)));
                curve(der).or_else(rsa).ok_or_else(|| unusable().to_owned())
            }
            SectionKind::RsaPrivateKey => {
                let key = RsaKeyPair::from_der(der).map_err(|_| unusable().to_owned())?;
                Ok(Self::Rsa(Box::new(key)))
            }
            SectionKind::EcPrivateKey => {
                let wrapped = |name: &[u8]| self::der(0x30, &[name, &self::der(0x04, der)].concat());
                let found = [P256_NAME, P384_NAME].into_iter().find_map(|name| curve(&wrapped(name)));
                found.ok_or_else(|| unusable().to_owned())
            }
            other => Err(format!("it has a section of another kind: {other:?}")),
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Rsa(key) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public());
                PublicKey::Rsa { modulus: bare(&n), exponent: bare(&e) }
            }
            Self::P256(key) => PublicKey::P256(key.public_key().as_ref().to_vec()),
            Self::P384(key) => PublicKey::P384(key.public_key().as_ref().to_vec()),
        }
    }

    /// How it signs.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::P384(_) => Algorithm::Es384,
        }
    }

    /// The signature under `message`; none where there is no randomness to be had.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&by::RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) | Self::P384(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}

/// Without leading zeros.
fn bare(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// A positive integer in DER.
fn integer(number: &[u8]) -> Vec<u8> {
    let sign = number.first().is_none_or(|byte| *byte >= 0x80);
    let body = if sign { [&[0], number].concat() } else { number.to_vec() };
    der(0x02, &body)
}

/// A value in DER with its tag and length (X.690).
fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length = bare(&length);
    let mut all = vec![tag];
    match length.as_slice() {
        [] => all.push(0),
        [short] if *short < 0x80 => all.push(*short),
        long => {
            all.push(0x80 | u8::try_from(long.len()).expect("a length has at most eight bytes"));
            all.extend(long);
        }
    }
    all.extend(body);
    all
}
