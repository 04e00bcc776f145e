//! Whose certificates are good where authorities are named.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::provider;

/// There is no authority in a text, in the words of Kubernetes' own client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAuthority;

impl std::fmt::Display for NoAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unable to parse bytes as PEM block")
    }
}

impl std::error::Error for NoAuthority {}

/// Takes servers for whom these authorities (PEM) vouch, and such as show one of these very certificates: many make one
/// certificate for both. What among them is no certificate is passed over.
pub fn vouched(authorities: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, NoAuthority> {
    let mut roots = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(authorities).flatten() {
        if roots.add(certificate.clone()).is_ok() {
            certificates.push(certificate);
        }
    }
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    // It refuses to be made of nothing.
    let usual = usual.map_err(|_| NoAuthority)?;
    Ok(Arc::new(Vouched { usual, certificates }))
}

/// Trusts as everybody does, and also a server whose very certificate is among the authorities, though that does not
/// say that it is an authority's.
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
        name: &ServerName<'_>,
        response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.certificates.contains(end_entity) {
            return self.usual.verify_server_cert(end_entity, intermediates, name, response, now);
        }
        let encoding = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|_| encoding())?;
        let now = i64::try_from(now.as_secs()).map_err(|_| encoding())?;
        let validity = parsed.validity();
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
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
        let check = |is_authority: bool, name: &str, after: i64, expected: bool| {
            let mut parameters = rcgen::CertificateParams::new(vec!["a.n.svc".to_owned()]).expect("names");
            if is_authority {
                parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            (parameters.not_before, parameters.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = parameters.self_signed(&key).expect("a certificate");
            // What is no certificate, or none of an authority, keeps no other from being one.
            let text =
                format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{}", made.pem());
            let vouched = vouched(text.as_bytes()).expect("an authority");
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let now = u64::try_from(1_577_836_800 + after).expect("a time");
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
            let found = vouched.verify_server_cert(made.der(), &[], &name, &[], now);
            assert_eq!(found.is_ok(), expected, "{is_authority} {name:?} {after}: {found:?}");
        };
        for is_authority in [false, true] {
            check(is_authority, "a.n.svc", 3600, true);
            check(is_authority, "b.n.svc", 3600, false);
            check(is_authority, "a.n.svc", 400 * 86400, false);
            check(is_authority, "a.n.svc", -3600, false);
        }
    }

    #[test]
    fn who_is_not_vouched_for_is_not_trusted() {
        let made = |name: &str| {
            rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate").cert
        };
        let (known, other) = (made("a.n.svc"), made("a.n.svc"));
        let vouched = vouched(known.pem().as_bytes()).expect("an authority");
        let name = ServerName::try_from("a.n.svc").expect("a name");
        let check =
            |der: &CertificateDer<'_>| vouched.verify_server_cert(der, &[], &name, &[], UnixTime::now());
        assert!(check(known.der()).is_ok() && check(other.der()).is_err());
    }

    #[test]
    fn without_an_authority_nobody_is_vouched_for() {
        for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(vouched(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
