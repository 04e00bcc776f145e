//! The client side of the distribution protocol.

use std::fmt;

/// Speaks to registries; keeps connections and tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {}

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Registries (`host` or `host:port`) that may be spoken to without TLS, or with certificates
    /// that nobody vouches for. `localhost` and 127.0.0.0/8 always may.
    pub insecure: Vec<String>,
    /// Certificate authorities to trust besides the system's, PEM.
    pub authorities: Vec<Vec<u8>>,
    /// What this program calls itself to registries.
    pub user_agent: String,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user, for basic authentication or to get a token with.
    Password {
        /// The user's name.
        user: String,
        /// The user's password.
        password: String,
    },
    /// A long-lived token, to get others with (OAuth's refresh token).
    IdentityToken(String),
    /// A token to be shown as it is.
    RegistryToken(String),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate authority cannot be read.
    #[error("read a configured certificate authority")]
    Authority(#[source] reqwest::Error),
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] reqwest::Error),
}

impl Client {
    /// A client.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let _ = config;
        todo!()
    }

    /// Checks credentials against the registry `host` (`docker login`). Gives an identity token if
    /// the registry hands one out.
    pub async fn login(
        &self,
        host: &str,
        credentials: &Credentials,
    ) -> Result<Option<String>, crate::transfer::PullError> {
        let _ = (host, credentials);
        todo!()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Password { .. } => "Password(…)",
            Credentials::IdentityToken(_) => "IdentityToken(…)",
            Credentials::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}
