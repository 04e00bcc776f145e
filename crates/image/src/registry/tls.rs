//! TLS as registries are spoken to: the system's authorities and configured ones, or none at all.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;

/// Reads and checks authorities.
pub(super) fn read_authorities(pem: &[Vec<u8>]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let mut authorities = Vec::new();
    for bundle in pem {
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            authorities.push(certificate.map_err(ClientError::Authority)?);
        }
    }
    let mut probe = RootCertStore::empty();
    for authority in &authorities {
        probe.add(authority.clone()).map_err(ClientError::Certificate)?;
    }
    Ok(authorities)
}

/// The client's side of TLS; `verified` unless the registry is insecure.
pub(super) fn config(authorities: &[CertificateDer<'static>], verified: bool) -> ClientConfig {
    if !verified {
        return tls::client_of_anyone();
    }
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        tracing::warn!(%error, "a certificate authority of the system could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots.add_parsable_certificates(authorities.iter().cloned());
    tls::client().with_root_certificates(roots).with_no_client_auth()
}
