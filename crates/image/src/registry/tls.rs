//! TLS as registries are spoken to: the system's authorities and configured ones, or none at all.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::ClientError;

/// Takes any certificate: for registries that the operator has called insecure.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

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
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions");
    if !verified {
        let verifier = Arc::new(AnyCertificate(provider));
        return builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    }
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        tracing::warn!(%error, "a certificate authority of the system could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots.add_parsable_certificates(authorities.iter().cloned());
    builder.with_root_certificates(roots).with_no_client_auth()
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
