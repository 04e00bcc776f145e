//! Objects that are kept so that only this server can read them: Secrets, unless the configuration names
//! others.
//!
//! Configuration and form are Kubernetes' own (`EncryptionConfiguration`), so that its documentation holds:
//! the first provider of a resource writes, each of them reads. A value is kept as
//! `k8s:enc:PROVIDER:v1:KEY:` and the sealed bytes. The server itself knows nothing of it: it stands in front of
//! its store ([`store::Sealed`]).
//!
//! To change a key: put the new one first, restart, remove the old one at the next occasion. What is kept
//! under another key, or in clear, is written anew at the start ([`store::Sealed::renew`]).
//! Source: Kubernetes documentation, "Encrypting Confidential Data at Rest".

mod configuration;
mod provider;

use std::fmt;
use std::sync::Arc;

use base::Random;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use store::{KeyRange, Opened, Seal, SealError};

use crate::cache::ROOT;
use crate::resource::partition;

use configuration::Document;
use provider::Provider;

/// What every value begins with that is not kept in clear.
const SEALED: &[u8] = b"k8s:enc:";

/// How objects are kept that not everybody is to read who can read the disk.
pub struct Encryption {
    rules: Vec<Rule>,
    random: Arc<dyn Random>,
}

/// What one entry of the configuration says.
struct Rule {
    resources: Vec<Pattern>,
    /// The first one writes.
    providers: Vec<Provider>,
}

/// Which resources an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `secrets`, `deployments.apps`: the partition that they are stored in.
    One(String),
    /// `*.`, `*.apps`: what the partitions of the group begin with.
    Group(String),
    /// `*.*`
    All,
}

/// Why a configuration cannot be used, with the place in it and without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncryptionError(String);

impl Encryption {
    /// Reads a configuration.
    pub fn parse(text: &str, random: Arc<dyn Random>) -> Result<Self, EncryptionError> {
        let rules = Document::parse(text).and_then(Document::rules).map_err(EncryptionError)?;
        Ok(Self { rules, random })
    }

    /// A configuration for a new installation: Secrets are encrypted, with a key that is made here.
    pub fn new_configuration(random: &dyn Random) -> String {
        let (mut key, mut name) = ([0; 32], [0; 4]);
        random.fill(&mut key);
        random.fill(&mut name);
        configuration::own(&hex::encode(name), &STANDARD.encode(key))
    }

    fn rule(&self, key: &[u8]) -> Option<&Rule> {
        let path = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        self.rules.iter().find(|rule| rule.resources.iter().any(|pattern| pattern.covers(path)))
    }
}

impl Pattern {
    /// Whether it is for an object at this path below the root.
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::One(partition) => path.strip_prefix(&**partition).is_some_and(|rest| rest.starts_with('/')),
            Self::Group(prefix) => path.starts_with(prefix),
            Self::All => true,
        }
    }

    /// The keys that it is for.
    fn keys(&self) -> KeyRange {
        KeyRange::prefix(match self {
            Self::One(partition) => format!("{ROOT}{partition}/"),
            Self::Group(prefix) => format!("{ROOT}{prefix}"),
            Self::All => ROOT.to_owned(),
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.split_once('.') {
            Some(("*", "*")) => Self::All,
            Some(("*", group)) if !group.contains('*') => Self::Group(partition(group, "")),
            Some((plural, group)) if !text.contains('*') => Self::One(partition(group, plural)),
            None if !text.contains('*') && !text.is_empty() => Self::One(partition("", text)),
            None if text == "*" => {
                return Err("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
                    .to_owned());
            }
            _ => {
                return Err(format!(
                    "{} is no resource: `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`",
                    model::field::quote(text)
                ));
            }
        })
    }
}

impl Seal for Encryption {
    fn keys(&self) -> Vec<KeyRange> {
        self.rules.iter().flat_map(|rule| &rule.resources).map(Pattern::keys).collect()
    }

    fn form(&self) -> Bytes {
        let forms = self.rules.iter().map(|rule| {
            let writes = rule.providers.first().map(Provider::form).unwrap_or_default();
            format!("{:?} {writes}\n", rule.resources)
        });
        Bytes::from(forms.collect::<String>())
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.rule(key).is_some()
    }

    fn seal(&self, key: &[u8], value: &[u8]) -> Bytes {
        match self.rule(key).and_then(|rule| rule.providers.first()) {
            Some(provider) => provider.seal(&*self.random, key, value),
            None => Bytes::copy_from_slice(value),
        }
    }

    fn open(&self, key: &[u8], kept: &Bytes) -> Result<Opened, SealError> {
        let Some(rule) = self.rule(key) else { return Ok(Opened { value: kept.clone(), is_current: true }) };
        for (index, provider) in rule.providers.iter().enumerate() {
            if let Some(opened) = provider.open(key, kept) {
                let (value, is_first) = opened.map_err(SealError)?;
                return Ok(Opened { value, is_current: index == 0 && is_first });
            }
        }
        Err(SealError(match provider::named(kept) {
            Some((provider, name)) => format!(
                "it is encrypted by {provider} with the key {}, which the encryption configuration does not have: \
                 add that key to it",
                model::field::quote(&name)
            ),
            None => "it is not encrypted, and the encryption configuration does not have the provider `identity`, \
                     which reads such values"
                .to_owned(),
        }))
    }
}

/// Shows no key.
impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources: Vec<&Pattern> = self.rules.iter().flat_map(|rule| &rule.resources).collect();
        f.debug_struct("Encryption").field("resources", &resources).finish_non_exhaustive()
    }
}
