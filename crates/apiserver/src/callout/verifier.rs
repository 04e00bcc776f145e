//! Whose certificates are trusted by those who ask others.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A client that trusts whom these authorities (PEM) vouch for. What among them is no certificate is passed over.
pub(super) fn client(authorities: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(authorities).flatten() {
        if roots.add(certificate.clone()).is_ok() {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err("unable to parse bytes as PEM block".to_owned());
    }
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build();
    let usual = usual.map_err(|error| error.to_string())?;
    let verifier = Arc::new(Vouched { usual, certificates });
    Ok(tls::client().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts as everybody does, and also a server whose very certificate is among the authorities: many make one
/// certificate for both, which says that it is an authority's.
#[derive(Debug)]
struct Vouched {
    usual: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.certificates.contains(end_entity) {
            return self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        let encoding = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|_| encoding())?;
        let seconds = i64::try_from(now.as_secs()).map_err(|_| encoding())?;
        let now = x509_parser::time::ASN1Time::from_timestamp(seconds).map_err(|_| encoding())?;
        if !parsed.validity().is_valid_at(now) {
            return Err(rustls::Error::InvalidCertificate(CertificateError::Expired));
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_as_an_authority_is_trusted_under_its_names_and_in_its_time() {
        let check = |is_authority: bool, name: &str, after: u64, expected: bool| {
            let mut parameters = rcgen::CertificateParams::new(vec!["a.n.svc".to_owned()]).expect("names");
            if is_authority {
                parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            (parameters.not_before, parameters.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = parameters.self_signed(&key).expect("a certificate");
            let client = client(made.pem().as_bytes()).expect("an authority");
            drop(client);
            let mut roots = RootCertStore::empty();
            roots.add(made.der().clone()).expect("an authority");
            let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider());
            let usual = usual.build().expect("a verifier");
            let vouched = Vouched { usual, certificates: vec![made.der().clone()] };
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let begin = 1_577_836_800 + after;
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(begin));
            let found = vouched.verify_server_cert(made.der(), &[], &name, &[], now);
            assert_eq!(found.is_ok(), expected, "{is_authority} {name:?} {after}: {found:?}");
        };
        for is_authority in [false, true] {
            check(is_authority, "a.n.svc", 3600, true);
            check(is_authority, "b.n.svc", 3600, false);
            check(is_authority, "a.n.svc", 400 * 86400, false);
        }
    }

    #[test]
    fn without_an_authority_there_is_no_client() {
        for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(client(bad.as_bytes()).err().as_deref(), Some("unable to parse bytes as PEM block"));
        }
    }
}
