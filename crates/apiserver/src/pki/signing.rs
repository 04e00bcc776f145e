//! Certificates for keys that others have, as their requests ask for them.
//!
//! The library makes a certificate whose subject has one value of each kind, and for keys of few kinds; a request
//! may name many organisations, and bring any key. So a certificate is made with another subject and another
//! key, these are exchanged for those of the request, byte by byte, and it is signed anew.

use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, SigningKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::new_serial;
use super::{Authority, CertificateRequest};

/// What the parts of a name are called (X.520): organisation and common name.
const ORGANIZATION: [u8; 5] = [0x06, 3, 0x55, 4, 10];
const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
/// A certificate begins so long before it is made, for those whose clocks are late.
const SLACK: Duration = Duration::from_secs(300);

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is to be for something that no certificate of this authority is for.
    #[error("unrecognized usage {0:?}")]
    Usage(String),
    /// A name in it is none.
    #[error("name {name:?} of the request")]
    Name {
        /// The name.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The library could not make it.
    #[error("make the certificate")]
    Make(#[from] rcgen::Error),
    /// What the library made cannot be taken apart.
    #[error("take the certificate apart")]
    Apart,
}

impl Authority {
    /// Signs a certificate for a request, good for the usages that Kubernetes names so, and for so long. It
    /// ends no later than the authority itself.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        usages: &[String],
        lifetime: Duration,
    ) -> Result<String, SignError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // The library would name the key that is exchanged as the subject's along with this.
        params.custom_extensions.push(signs_nothing());
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(new_serial(&*self.random));
        params.subject_alt_names = names(request)?;
        for usage in usages {
            match key_usage(usage) {
                Some(usage) => params.key_usages.push(usage),
                None => {
                    let usage = extended_usage(usage).ok_or_else(|| SignError::Usage(usage.clone()))?;
                    params.extended_key_usages.push(usage);
                }
            }
        }
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = self.clock.now().as_second().max(0).unsigned_abs();
        let end = self.ends().unwrap_or(u64::MAX).min(now.saturating_add(lifetime.as_secs()));
        params.not_before = epoch + Duration::from_secs(now) - SLACK;
        params.not_after = epoch + Duration::from_secs(end);
        let made = params.signed_by(self.issuer.key(), &self.issuer)?;
        let signed = exchange(made.der(), &request.subject, Some(&request.key), self.issuer.key())?;
        Ok(pem(&signed))
    }

    /// A certificate that this authority has made, with another subject: the library knows one organisation at
    /// most.
    pub(super) fn with_subject(
        &self,
        certificate: &[u8],
        name: &str,
        organizations: &[&str],
    ) -> Result<String, SignError> {
        let organizations = organizations.iter().map(|organization| attribute(&ORGANIZATION, organization));
        let parts: Vec<u8> = organizations.chain([common_name(name)]).flatten().collect();
        Ok(pem(&exchange(certificate, &sequence(&parts), None, self.issuer.key())?))
    }

    /// When the authority itself ends, in seconds.
    fn ends(&self) -> Option<u64> {
        let (_, certificate) = X509Certificate::from_der(self.certificate()).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    }
}

/// Whom a certificate with these constraints is for signs no others (RFC 5280, 4.2.1.9).
fn signs_nothing() -> CustomExtension {
    let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], sequence(&[]));
    constraints.set_criticality(true);
    constraints
}

fn names(request: &CertificateRequest) -> Result<Vec<SanType>, SignError> {
    let text = |name: &String| {
        name.as_str().try_into().map_err(|source| SignError::Name { name: name.clone(), source })
    };
    let mut names = Vec::new();
    for name in &request.dns_names {
        names.push(SanType::DnsName(text(name)?));
    }
    for name in &request.emails {
        names.push(SanType::Rfc822Name(text(name)?));
    }
    for name in &request.uris {
        names.push(SanType::URI(text(name)?));
    }
    names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}

/// The certificate with another subject, and another key if one is given, signed anew.
fn exchange(
    certificate: &[u8],
    subject: &[u8],
    other: Option<&[u8]>,
    key: &impl SigningKey,
) -> Result<Vec<u8>, SignError> {
    let (_, content, _) = element(certificate).ok_or(SignError::Apart)?;
    let (whole, to_be_signed, rest) = element(content).ok_or(SignError::Apart)?;
    let (algorithm, _, _) = element(rest).ok_or(SignError::Apart)?;
    debug_assert!(whole.len() > to_be_signed.len());
    // Version, serial number, algorithm, issuer and validity come before the subject and the key.
    let mut before = 0;
    for _ in 0..5 {
        before += element(&to_be_signed[before..]).ok_or(SignError::Apart)?.0.len();
    }
    let (before, rest) = to_be_signed.split_at(before);
    let (_, _, rest) = element(rest).ok_or(SignError::Apart)?;
    let (own, _, after) = element(rest).ok_or(SignError::Apart)?;
    let parts = [before, subject, other.unwrap_or(own), after];
    let to_be_signed = sequence(&parts.concat());
    let signature = key.sign(&to_be_signed)?;
    // A string of bits, of which none is left over.
    let bits = tagged(0x03, &[&[0], &signature[..]].concat());
    Ok(sequence(&[&to_be_signed, algorithm, &bits].concat()))
}

/// A common name, as a part of a subject.
pub(super) fn common_name(name: &str) -> Vec<u8> {
    attribute(&COMMON_NAME, name)
}

fn attribute(kind: &[u8], text: &str) -> Vec<u8> {
    let text = tagged(0x0c, text.as_bytes());
    tagged(0x31, &sequence(&[kind, &text].concat()))
}

/// The first element of DER: as a whole, its content, and what comes after it.
pub(super) fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = *der.get(1)?;
    let (head, length) = if first < 0x80 {
        (2, usize::from(first))
    } else {
        let bytes = usize::from(first & 0x7f);
        if bytes > 4 {
            return None;
        }
        let digits = der.get(2..2 + bytes)?;
        (2 + bytes, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
    };
    let (whole, rest) = der.split_at_checked(head.checked_add(length)?)?;
    Some((whole, &whole[head..], rest))
}

pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    tagged(0x30, content)
}

pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
        out.push(0x80 | digits.len() as u8);
        out.extend(digits);
    }
    out.extend_from_slice(content);
    out
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{DnType, KeyPair};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use x509_parser::extensions::{ParsedExtension, X509Extension};

    use super::*;

    fn authority() -> (tempfile::TempDir, Authority) {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(base::SystemClock::new());
        let authority = Authority::open(directory.path(), clock, Arc::new(base::SystemRandom));
        (directory, authority.expect("an authority"))
    }

    /// What a request asks for is in the certificate, and the authority stands for it.
    #[track_caller]
    fn check(algorithm: &'static rcgen::SignatureAlgorithm) {
        let (_directory, authority) = authority();
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("names");
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "system:node:n");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let request = CertificateRequest::parse(pem.as_bytes()).expect("it can be read");
        assert_eq!(request.common_name, "system:node:n");
        assert_eq!(request.dns_names, ["a.example"]);
        let usages = ["digital signature", "server auth"].map(str::to_owned);
        let signed = authority.sign(&request, &usages, Duration::from_secs(3600)).expect("signed");
        crate::pki::check_certificates(signed.as_bytes()).expect("a certificate");
        let der = CertificateDer::from_pem_slice(signed.as_bytes()).expect("PEM");
        let (rest, certificate) = X509Certificate::from_der(&der).expect("it can be read");
        assert!(rest.is_empty());
        let (_, issuer) = X509Certificate::from_der(authority.certificate()).expect("it can be read");
        certificate.verify_signature(Some(issuer.public_key())).expect("the authority signed it");
        assert_eq!(certificate.subject().to_string(), "CN=system:node:n, O=system:nodes");
        assert_eq!(certificate.public_key().raw, request.key);
        let constraints = certificate.basic_constraints().expect("one").expect("constraints");
        assert!(constraints.critical && !constraints.value.ca);
        let of_keys =
            |e: &X509Extension<'_>| matches!(e.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_));
        assert!(!certificate.extensions().iter().any(of_keys), "the authority's key is nobody else's");
        let names = certificate.subject_alternative_name().expect("one").expect("names");
        assert_eq!(names.value.general_names.len(), 2);
        let usages = certificate.extended_key_usage().expect("one").expect("usages").value;
        assert!(usages.server_auth && !usages.client_auth);
        let lasts =
            certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(lasts, 3600 + 300);
    }

    #[test]
    fn a_certificate_is_of_the_subject_and_the_key_that_ask_for_it() {
        check(&rcgen::PKCS_ECDSA_P256_SHA256);
        check(&rcgen::PKCS_ECDSA_P384_SHA384);
        check(&rcgen::PKCS_ED25519);
    }

    #[test]
    fn a_client_is_in_all_of_its_groups() {
        let (_directory, authority) = authority();
        let identity = crate::Identity::new("eve", ["a", "b", "c"]);
        let issued = authority.issue_client(&identity, Duration::from_secs(3600)).expect("issued");
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
        let told = crate::authentication::certificate::identity(&der).expect("somebody");
        assert_eq!((told.user.as_str(), told.groups), ("eve", identity.groups));
        let (_, certificate) = X509Certificate::from_der(&der).expect("it can be read");
        let (_, issuer) = X509Certificate::from_der(authority.certificate()).expect("it can be read");
        certificate.verify_signature(Some(issuer.public_key())).expect("the authority signed it");
    }

    #[test]
    fn who_has_two_names_is_the_last() {
        let (_directory, authority) = authority();
        let identity = crate::Identity::new("eve", [""; 0]);
        let issued = authority.issue_client(&identity, Duration::from_secs(3600)).expect("issued");
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
        let subject = sequence(&[common_name("bob"), common_name("eve")].concat());
        let certificate = exchange(&der, &subject, None, authority.issuer.key()).expect("exchanged");
        let told = crate::authentication::certificate::identity(&certificate).expect("somebody");
        assert_eq!(told.user, "eve");
    }

    #[test]
    fn nothing_is_signed_that_signs() {
        let (_directory, authority) = authority();
        let request = CertificateRequest::default();
        for usage in ["cert sign", "crl sign", "any", "ipsec user"] {
            let refused = authority.sign(&request, &[usage.to_owned()], Duration::from_secs(3600));
            assert!(matches!(refused, Err(SignError::Usage(found)) if found == usage));
        }
    }

    #[test]
    fn elements_of_der_are_no_longer_than_what_there_is() {
        assert_eq!(element(&[0x30, 0x02, 1, 2, 3]), Some((&[0x30, 2, 1, 2][..], &[1, 2][..], &[3][..])));
        for bad in [&[][..], &[0x30], &[0x30, 0x05, 1], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x82, 1]] {
            assert_eq!(element(bad), None);
        }
        assert_eq!(tagged(0x30, &[0; 200])[..3], [0x30, 0x81, 200]);
        assert_eq!(tagged(0x30, &[0; 300])[..4], [0x30, 0x82, 1, 44]);
    }
}
