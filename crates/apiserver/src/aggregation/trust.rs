//! Who vouches for a server behind this one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::RemoteServer;
use super::certificate::FrontProxyClient;

/// How a server is spoken to by whoever `client` shows to be.
pub(super) fn tls_config(
    server: &RemoteServer,
    client: Arc<FrontProxyClient>,
    of_system: fn() -> String,
) -> Result<ClientConfig, String> {
    let builder = tls::client();
    let mut config = if server.any_certificate {
        builder
            .dangerous()
            .with_custom_certificate_verifier(tls::any_certificate())
            .with_client_cert_resolver(client)
    } else {
        let of_system = if server.authorities.is_empty() { of_system() } else { String::new() };
        let text = if server.authorities.is_empty() { of_system.as_bytes() } else { &server.authorities };
        let unusable = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
        let mut roots = RootCertStore::empty();
        let mut known = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text) {
            let certificate = certificate.map_err(|_| unusable())?;
            // One that is odd keeps no other from being good.
            let _ = roots.add(certificate.clone());
            known.push(certificate);
        }
        if known.is_empty() && !server.authorities.is_empty() {
            return Err(unusable());
        }
        let by_authority = if roots.is_empty() {
            None
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider());
            Some(verifier.build().map_err(|error| error.to_string())?)
        };
        let known = if server.authorities.is_empty() { Vec::new() } else { known };
        let verifier = Vouched { by_authority, known };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(client)
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes the certificates of an authority, and those that are named themselves: a server's own certificate, signed
/// by itself, may be all that there is to vouch for it.
#[derive(Debug)]
struct Vouched {
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    known: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.iter().any(|known| known == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            let bad = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
            let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else { return Err(bad) };
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let validity = certificate.validity();
            if now > validity.not_after.timestamp() {
                return Err(CertificateError::Expired.into());
            }
            if now < validity.not_before.timestamp() {
                return Err(CertificateError::NotValidYet.into());
            }
            return Ok(ServerCertVerified::assertion());
        }
        match &self.by_authority {
            Some(verifier) => verifier.verify_server_cert(end_entity, intermediates, name, response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
