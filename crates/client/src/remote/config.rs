//! Whom to talk to, and as whom: what a kubeconfig says of one context.

use std::fmt;

use http::Uri;
use http::header::HeaderValue;
use http::uri::{Authority, Scheme};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's address: `https://host:port`.
    pub server: String,
    /// The certificates that the server's own must descend from, in PEM.
    pub certificate_authority: Vec<u8>,
    /// How to show who one is.
    pub credentials: Credentials,
}

/// How to show who one is.
#[derive(Clone)]
pub enum Credentials {
    /// Not at all.
    Anonymous,
    /// By a client certificate and its key, in PEM.
    Certificate {
        /// The certificate, with its chain.
        certificate: Vec<u8>,
        /// Its private key.
        key: Vec<u8>,
    },
    /// By a bearer token.
    Token(String),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The server's address cannot be read.
    #[error("`{server}` is no address of a server: it should look like https://host:port")]
    Address {
        /// What was given.
        server: String,
    },
    /// A certificate or key is no PEM, or there is none.
    #[error("read the {what}")]
    Pem {
        /// Which.
        what: &'static str,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate or key does not fit.
    #[error("use the {what}")]
    Tls {
        /// Which.
        what: &'static str,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The token has characters that no header can hold.
    #[error("the token has characters that it cannot have")]
    Token,
}

impl Config {
    pub(super) fn address(&self) -> Result<(Scheme, Authority), ConfigError> {
        let wrong = || ConfigError::Address { server: self.server.clone() };
        let parts = self.server.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP);
        match (scheme, parts.authority, parts.path_and_query) {
            (Some(scheme), Some(authority), path) if path.as_ref().is_none_or(|path| path == "/") => {
                Ok((scheme, authority))
            }
            _ => Err(wrong()),
        }
    }

    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Credentials::Token(token) = &self.credentials else { return Ok(None) };
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| ConfigError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    pub(super) fn tls(&self) -> Result<ClientConfig, ConfigError> {
        let mut roots = RootCertStore::empty();
        let what = "certificate authority";
        for certificate in CertificateDer::pem_slice_iter(&self.certificate_authority) {
            let certificate = certificate.map_err(|source| ConfigError::Pem { what, source })?;
            roots.add(certificate).map_err(|source| ConfigError::Tls { what, source })?;
        }
        if roots.is_empty() {
            return Err(ConfigError::Pem { what, source: rustls_pki_types::pem::Error::NoItemsFound });
        }
        let builder = tls::client().with_root_certificates(roots);
        match &self.credentials {
            Credentials::Anonymous | Credentials::Token(_) => Ok(builder.with_no_client_auth()),
            Credentials::Certificate { certificate, key } => {
                let what = "client certificate";
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|source| ConfigError::Pem { what, source })?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|source| ConfigError::Pem { what: "client key", source })?;
                builder.with_client_auth_cert(chain, key).map_err(|source| ConfigError::Tls { what, source })
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out of logs.
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Certificate { .. } => "Certificate",
            Self::Token(_) => "Token",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str) -> Config {
        Config {
            server: server.to_owned(),
            certificate_authority: Vec::new(),
            credentials: Credentials::Token("t0ken\n".to_owned()),
        }
    }

    #[test]
    fn addresses_have_scheme_host_and_port_and_nothing_else() {
        for good in ["https://127.0.0.1:6443", "https://[::1]:6443/", "http://api.example"] {
            assert!(config(good).address().is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:6443", "unix:///run/x.sock", "https://host/prefix", "", "ftp://host"] {
            assert!(matches!(config(bad).address(), Err(ConfigError::Address { .. })), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", config("https://a")).contains("t0ken"));
        let header = config("https://a").authorization().expect("valid").expect("a token");
        assert_eq!(header, "Bearer t0ken");
        assert!(!format!("{header:?}").contains("t0ken"));
    }

    #[test]
    fn a_missing_authority_is_named() {
        let error = config("https://a").tls().expect_err("there is none");
        assert_eq!(error.to_string(), "read the certificate authority");
    }
}
