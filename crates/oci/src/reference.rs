//! Image references: what a person writes after `docker pull`, and its full form.
//!
//! The grammar is that of the distribution project's `reference` package; [`Reference::parse`]
//! also applies Docker's normalisation (`debian` means `docker.io/library/debian`).

mod grammar;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, ParseDigestError};

/// The registry meant where none is named.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag meant where neither tag nor digest is given.
pub const DEFAULT_TAG: &str = "latest";

const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// The longest repository path that the grammar allows.
const PATH_MAX: usize = 255;

/// A normalised image reference: a repository in a registry, perhaps a tag, perhaps a digest.
///
/// ```
/// use oci::Reference;
/// let reference = Reference::parse("debian").unwrap();
/// assert_eq!(reference.name(), "docker.io/library/debian");
/// assert_eq!(reference.with_default_tag().to_string(), "docker.io/library/debian:latest");
/// assert_eq!(reference.familiar(), "debian");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// The text is outside the grammar.
    #[error("invalid reference format: `{0}`")]
    Format(String),
    /// Only the case of the letters is wrong, which deserves its own hint.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// A bare image id was given where a name is needed.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The repository path exceeds the grammar's limit.
    #[error("repository name must not be more than {PATH_MAX} characters")]
    TooLong,
    /// The part after `@` is no digest that is supported.
    #[error("reference `{text}` has an invalid digest")]
    Digest {
        /// The reference.
        text: String,
        /// What is wrong with its digest.
        source: ParseDigestError,
    },
    /// The tag is outside the grammar.
    #[error("invalid tag format: `{0}`")]
    Tag(String),
}

impl Reference {
    /// Reads what a person wrote and normalises it as Docker does.
    ///
    /// No tag is added: see [`Reference::with_default_tag`].
    pub fn parse(text: &str) -> Result<Self, ParseReferenceError> {
        if looks_like_id(text) {
            return Err(ParseReferenceError::LooksLikeId(text.to_owned()));
        }
        let format = || ParseReferenceError::Format(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = Digest::parse(digest)
                    .map_err(|source| ParseReferenceError::Digest { text: text.to_owned(), source })?;
                (rest, Some(parsed))
            }
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            None => (remainder, None),
            Some((path, tag)) => (path, Some(tag)),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) && grammar::is_path(&path.to_lowercase()) {
            return Err(ParseReferenceError::Uppercase(path.to_owned()));
        }
        if !grammar::is_domain(&domain) || !grammar::is_path(path) {
            return Err(format());
        }
        if let Some(tag) = tag
            && !grammar::is_tag(tag)
        {
            return Err(format());
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.len() > PATH_MAX {
            return Err(ParseReferenceError::TooLong);
        }
        Ok(Self { domain, path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host and perhaps port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The full repository name without tag and digest: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository name as people write it: `debian`, `localhost:5000/app`. It is whole where less would be
    /// the name of something else, as of `docker.io/example.org/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short,
            _ => &self.path,
        };
        let is_clear = !looks_like_id(short) && split_domain(short) == (DEFAULT_DOMAIN.to_owned(), short);
        if is_clear { short.to_owned() } else { self.name() }
    }

    /// The whole reference as people write it.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    /// This reference with the tag `latest`, unless it already has a tag or a digest.
    pub fn with_default_tag(&self) -> Self {
        match (&self.tag, &self.digest) {
            (None, None) => Self { tag: Some(DEFAULT_TAG.to_owned()), ..self.clone() },
            _ => self.clone(),
        }
    }

    /// The same repository under `tag`, without digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        if !grammar::is_tag(tag) {
            return Err(ParseReferenceError::Tag(tag.to_owned()));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at `digest`, without tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository alone, without tag and digest.
    pub fn without_suffix(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether what is written is an image's id, which is no name.
fn looks_like_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Splits off the registry: the part before the first slash, if it can only be a host.
fn split_domain(text: &str) -> (String, &str) {
    let named = text.split_once('/').filter(|(first, _)| {
        first.contains(['.', ':']) || *first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    });
    match named {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN.to_owned(), rest),
        Some((domain, rest)) => (domain.to_owned(), rest),
        None => (DEFAULT_DOMAIN.to_owned(), text),
    }
}
