//! Documents about registries and who may use them.

use serde::{Deserialize, Serialize};

/// Credentials for a registry: the body of `POST /auth`, and `X-Registry-Auth` after decoding.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AuthConfig {
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) username: String,
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) password: String,
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) auth: String,
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) serveraddress: String,
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) identitytoken: String,
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    pub(crate) registrytoken: String,
}

/// The answer to `POST /auth`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AuthAnswer {
    pub(crate) status: String,
    pub(crate) identity_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("username", &self.username).finish_non_exhaustive()
    }
}
