//! Digests: `sha256:<hex>` and `sha512:<hex>`, the names of content.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// The digest of some content, always lower case and of the right length.
///
/// ```
/// let digest = oci::Digest::sha256_of(b"hello");
/// assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
/// assert_eq!(digest.hex().len(), 64);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// The hash functions that the OCI image specification registers and that this crate computes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// SHA-256: what everybody uses.
    Sha256,
    /// SHA-512: allowed, rare.
    Sha512,
}

/// Computes a digest over bytes as they pass by.
#[derive(Clone)]
pub enum Hasher {
    /// Computes `sha256:…`.
    Sha256(sha2::Sha256),
    /// Computes `sha512:…`.
    Sha512(sha2::Sha512),
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon between algorithm and hex digits.
    #[error("`{0}` is not a digest of the form algorithm:hex")]
    Shape(String),
    /// The algorithm is none that is known here.
    #[error("digest algorithm `{0}` is not supported (sha256 and sha512 are)")]
    Algorithm(String),
    /// The encoded part has the wrong length or is not lower-case hex.
    #[error("`{0}` is not a {len}-digit lower-case hexadecimal {1}", len = .1.hex_len())]
    Encoded(String, Algorithm),
}

/// Content is not what its digest promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content has digest {actual}, expected {expected}")]
pub struct Mismatch {
    /// The digest that was asked for.
    pub expected: Digest,
    /// The digest of what came.
    pub actual: Digest,
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// How many hex digits a digest of this algorithm has.
    pub fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    /// A hasher that computes this algorithm.
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Hasher {
    /// A SHA-256 hasher.
    pub fn sha256() -> Self {
        Algorithm::Sha256.hasher()
    }

    /// Takes in more content.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => {
                Digest { algorithm: Algorithm::Sha256, hex: hex::encode(hasher.finalize()) }
            }
            Hasher::Sha512(hasher) => {
                Digest { algorithm: Algorithm::Sha512, hex: hex::encode(hasher.finalize()) }
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hasher::Sha256(_) => f.write_str("Hasher(sha256)"),
            Hasher::Sha512(_) => f.write_str("Hasher(sha512)"),
        }
    }
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn sha256_of(content: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(content);
        hasher.finish()
    }

    /// Reads `sha256:<64 hex>` or `sha512:<128 hex>`.
    pub fn parse(text: &str) -> Result<Self, ParseDigestError> {
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| ParseDigestError::Shape(text.to_owned()))?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(ParseDigestError::Algorithm(other.to_owned())),
        };
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != algorithm.hex_len() || !is_hex {
            return Err(ParseDigestError::Encoded(hex.to_owned(), algorithm));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }

    /// Reads a bare SHA-256 in hex, as ids are often written.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, ParseDigestError> {
        Self::parse(&format!("sha256:{hex}"))
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as listings show ids.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }

    /// Checks that `content` is what this digest names.
    pub fn verify(&self, content: &[u8]) -> Result<(), Mismatch> {
        let mut hasher = self.algorithm.hasher();
        hasher.update(content);
        self.expect(hasher.finish())
    }

    /// Checks that `actual`, computed elsewhere, is this digest.
    pub fn expect(&self, actual: Digest) -> Result<(), Mismatch> {
        if *self == actual { Ok(()) } else { Err(Mismatch { expected: self.clone(), actual }) }
    }

    /// The chain id of the layer with `diff_id` on top of `parent`, as the OCI image
    /// specification defines it ("Layer ChainID").
    pub fn chain(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
        match parent {
            None => diff_id.clone(),
            Some(parent) => Digest::sha256_of(format!("{parent} {diff_id}").as_bytes()),
        }
    }

    /// The places of layers that lie on each other, lowest first.
    pub fn chains<'a>(diff_ids: impl IntoIterator<Item = &'a Digest>) -> Vec<Digest> {
        let mut chains: Vec<Digest> = Vec::new();
        for diff_id in diff_ids {
            chains.push(Digest::chain(chains.last(), diff_id));
        }
        chains
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.short())
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = Digest::parse(text).map(|d| d.to_string()).map_err(|e| e.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn only_whole_lower_case_digests_of_known_algorithms_parse() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let whole = format!("sha256:{hex}");
        check(&whole, Ok(&whole));
        check(hex, Err(&format!("`{hex}` is not a digest of the form algorithm:hex")));
        check("md5:00", Err("digest algorithm `md5` is not supported (sha256 and sha512 are)"));
        check("sha256:00", Err("`00` is not a 64-digit lower-case hexadecimal sha256"));
        check("sha256:../../etc", Err("`../../etc` is not a 64-digit lower-case hexadecimal sha256"));
        let upper = hex.to_uppercase();
        check(
            &format!("sha256:{upper}"),
            Err(&format!("`{upper}` is not a 64-digit lower-case hexadecimal sha256")),
        );
    }

    #[test]
    fn a_digest_accepts_its_content_and_refuses_any_other() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.verify(b""), Ok(()));
        assert!(digest.verify(b"x").is_err());
        let mut hasher = Algorithm::Sha512.hasher();
        hasher.update(b"x");
        assert_eq!(hasher.finish().verify(b"x"), Ok(()));
    }

    #[test]
    fn the_chain_id_of_the_lowest_layer_is_its_diff_id() {
        let a = Digest::sha256_of(b"a");
        let b = Digest::sha256_of(b"b");
        assert_eq!(Digest::chain(None, &a), a);
        assert_eq!(Digest::chain(Some(&a), &b), Digest::sha256_of(format!("{a} {b}").as_bytes()));
    }
}
