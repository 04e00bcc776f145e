//! The configuration in Kubernetes' form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::KeyInit;
use crypto_secretbox::XSalsa20Poly1305;
use serde::Deserialize;
use serde_json::Value;

use super::provider::{Gcm, Named, Provider};
use super::{Pattern, Rule};

/// The document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<Offered>,
}

/// One of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offered {
    identity: Option<Value>,
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
    aescbc: Option<Value>,
    kms: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    secret: String,
}

/// The installation's own configuration, with a key that was made for it.
pub(super) fn own(name: &str, key: &str) -> String {
    format!(
        "\
# How Secrets are kept on disk. Whoever has the keys below can read them: keep a copy of this file where the
# backups of the store are not. To change the key, put a new one before the one that is here (32 random bytes in
# base64) and restart: all Secrets are written anew with it, and the old one can be removed.
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - aesgcm:
          keys:
            - name: key-{name}
              secret: {key}
      - identity: {{}}
"
    )
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let group = document.api_version.strip_prefix("apiserver.config.k8s.io/");
        if document.kind != "EncryptionConfiguration" || group != Some("v1") {
            return Err(format!(
                "it has to be an EncryptionConfiguration of apiserver.config.k8s.io/v1, not {} of {}",
                model::field::quote(&document.kind),
                model::field::quote(&document.api_version),
            ));
        }
        Ok(document)
    }

    pub(super) fn rules(self) -> Result<Vec<Rule>, String> {
        if self.resources.is_empty() {
            return Err("resources: Required value: at least one resource is needed".to_owned());
        }
        let rules = self.resources.into_iter().enumerate();
        rules.map(|(index, entry)| entry.rule(&format!("resources[{index}]"))).collect()
    }
}

impl Entry {
    fn rule(self, path: &str) -> Result<Rule, String> {
        if self.resources.is_empty() {
            return Err(format!("{path}.resources: Required value: at least one resource is needed"));
        }
        if self.providers.is_empty() {
            return Err(format!("{path}.providers: Required value: at least one provider is needed"));
        }
        let resources = self.resources.iter().enumerate().map(|(index, text)| {
            Pattern::parse(text).map_err(|why| format!("{path}.resources[{index}]: Invalid value: {why}"))
        });
        let resources = resources.collect::<Result<_, _>>()?;
        let providers = self.providers.into_iter().enumerate();
        let providers =
            providers.map(|(index, offered)| offered.provider(&format!("{path}.providers[{index}]")));
        Ok(Rule { resources, providers: providers.collect::<Result<_, _>>()? })
    }
}

impl Offered {
    fn provider(self, path: &str) -> Result<Provider, String> {
        let Self { identity, aesgcm, secretbox, aescbc, kms } = self;
        for (name, given) in [("aescbc", aescbc), ("kms", kms)] {
            if given.is_some() {
                return Err(format!("{path}.{name}: not supported here; aesgcm, secretbox and identity are"));
            }
        }
        let gcm = |key: &[u8]| Gcm::new(key);
        let sealed_box = |key: &[u8]| XSalsa20Poly1305::new_from_slice(key).ok();
        match (identity, aesgcm, secretbox) {
            (Some(_), None, None) => Ok(Provider::Identity),
            (None, Some(keys), None) => {
                Ok(Provider::AesGcm(keys.named(&format!("{path}.aesgcm"), "[16 24 32]", gcm)?))
            }
            (None, None, Some(keys)) => {
                Ok(Provider::SecretBox(keys.named(&format!("{path}.secretbox"), "[32]", sealed_box)?))
            }
            (None, None, None) => {
                Err(format!("{path}: provider does not contain any of the expected providers"))
            }
            _ => Err(format!(
                "{path}: more than one provider specified in a single element, should split into different list elements"
            )),
        }
    }
}

impl Keys {
    fn named<T>(
        self,
        path: &str,
        lengths: &str,
        make: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<Named<T>>, String> {
        if self.keys.is_empty() {
            return Err(format!("{path}.keys: Required value: at least one key is needed"));
        }
        let mut named: Vec<Named<T>> = Vec::new();
        for (index, key) in self.keys.into_iter().enumerate() {
            let path = format!("{path}.keys[{index}]");
            if key.name.is_empty() || key.name.contains(':') || named.iter().any(|one| one.name == key.name) {
                return Err(format!("{path}.name: a name of its own is needed, without colons"));
            }
            // What is wrong with a key is told without it.
            let bytes = STANDARD.decode(&key.secret).map_err(|_| {
                format!("{path}.secret: Invalid value: \"REDACTED\": secret must be base64 encoded")
            })?;
            let cipher = make(&bytes).ok_or_else(|| {
                format!(
                    "{path}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, expected one of {lengths}",
                    bytes.len()
                )
            })?;
            named.push(Named { name: key.name, cipher });
        }
        Ok(named)
    }
}
