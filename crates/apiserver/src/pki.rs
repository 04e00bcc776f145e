//! Certificates and keys: made at first start, kept in one directory, renewed by themselves.
//!
//! | file | what |
//! | --- | --- |
//! | `ca.crt`, `ca.key` | the installation's own authority, good for twenty years |
//! | `server.crt`, `server.key` | what the server shows; good for a year, renewed in its last third |
//! | `admin.crt`, `admin.key` | the administrator's client certificate; likewise |
//! | `front-proxy/ca.crt`, `front-proxy/ca.key` | the authority by whose certificates servers behind this one know it, and for nothing else |
//! | `service-account.key` | signs and checks service-account tokens; may have several keys |
//!
//! A certificate can be made again from its key, and a key is written before its certificate, so a
//! crash in between heals at the next start. All files are 0600 and appear whole.

mod addresses;
mod authority;
mod files;
mod kubeconfig;
mod request;
mod serving;
mod signing;
mod token_keys;

use std::path::PathBuf;

pub use authority::{Authority, Issued, OutOfTime};
pub use kubeconfig::kubeconfig;
pub use request::{CertificateError, CertificateRequest, RequestError, certificate_ends, check_certificates};
pub use serving::{Names, Serving};
pub use signing::SignError;
pub use token_keys::{KeyFile, TokenKeys, VerifyError};

/// Why a certificate or key could not be read, made or kept.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The directory or a file in it could not be used.
    #[error("{doing} `{}`", path.display())]
    File {
        /// What was being tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` is damaged ({what}); restore it from a backup, or remove it to have a new one made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file that somebody brings does not hold what it should.
    #[error("use `{}`: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate could not be made.
    #[error("make a certificate for `{name}`")]
    Make {
        /// The certificate's common name.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A key could not be made or used.
    #[error("use the key for {what}")]
    Key {
        /// What the key is for.
        what: &'static str,
    },
    /// Whoever has a certificate of this installation could speak for others.
    #[error(
        "--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; \
         --requestheader-allowed-names must be specified to ensure regular client certificates cannot set \
         authenticating proxy headers for arbitrary users"
    )]
    Overlap,
    /// A certificate could not be signed.
    #[error("sign a certificate")]
    Sign(#[from] SignError),
    /// The TLS library refused a certificate.
    #[error("prepare TLS")]
    Tls(#[from] rustls::Error),
}
