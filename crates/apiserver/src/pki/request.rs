//! Requests to sign a certificate: what is asked for, and whether who asks has the key.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

use super::signing::element;

/// What a request (PKCS#10, in PEM) asks a certificate for. Its signature has been checked: whoever made it has
/// the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The common name of the subject.
    pub common_name: String,
    /// The organisations of the subject, in order.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// The subject in DER: all of it goes into the certificate.
    pub(super) subject: Vec<u8>,
    /// The public key in DER, with its algorithm.
    pub(super) key: Vec<u8>,
}

/// Why a text is no such request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is none in it.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// It cannot be read.
    #[error("x509: malformed certificate request")]
    Malformed,
    /// It names more than one user.
    #[error("x509: certificate request with more than one common name")]
    CommonNames,
    /// It was not signed by the key that it is for.
    #[error("x509: certificate request signature could not be verified")]
    Signature,
}

/// Why a text is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is something else in it.
    #[error("only CERTIFICATE PEM blocks are allowed, found {0:?}")]
    Other(String),
    /// There is none in it.
    #[error("must contain at least one CERTIFICATE PEM block")]
    None,
    /// One cannot be read.
    #[error("x509: malformed certificate")]
    Malformed,
}

impl CertificateRequest {
    /// Reads a request.
    pub fn parse(pem: &[u8]) -> Result<Self, RequestError> {
        // The first section decides, as in Kubernetes.
        let (kind, der) = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
            .next()
            .and_then(Result::ok)
            .ok_or(RequestError::Pem)?;
        if kind != SectionKind::Csr {
            return Err(RequestError::Pem);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let (subject, key) = {
            let info = &request.certification_request_info;
            (&info.subject, &info.subject_pki)
        };
        if !is_whole(subject) {
            return Err(RequestError::Malformed);
        }
        // Who approves sees one name, and who is shown the certificate may take another.
        if subject.iter_common_name().count() > 1 {
            return Err(RequestError::CommonNames);
        }
        // What cannot be read here others may read: all of the subject goes into the certificate.
        let text = |it: &AttributeTypeAndValue<'_>| {
            it.as_str().map(str::to_owned).map_err(|_| RequestError::Malformed)
        };
        let common_name = subject.iter_common_name().last().map(text).transpose()?;
        let mut read = Self {
            common_name: common_name.unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect::<Result<_, _>>()?,
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let x509_parser::extensions::ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    read.name(name)?;
                }
            }
        }
        read.subject = subject.as_raw().to_vec();
        read.key = key.raw.to_vec();
        Ok(read)
    }

    fn name(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.addresses.push(address.map_err(|_| RequestError::Malformed)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether all of a name has been read. The library stops where it does not understand one, and leaves out the
/// rest; in the certificate that would be read by others, or with what follows it.
fn is_whole(name: &X509Name<'_>) -> bool {
    let count = || -> Option<usize> {
        let (_, mut parts, []) = element(name.as_raw())? else { return None };
        let mut attributes = 0;
        while !parts.is_empty() {
            let (_, mut set, rest) = element(parts)?;
            while !set.is_empty() {
                set = element(set)?.2;
                attributes += 1;
            }
            parts = rest;
        }
        Some(attributes)
    };
    count() == Some(name.iter_attributes().count())
}

/// Looks at certificates in PEM, one or more.
pub fn check_certificates(pem: &[u8]) -> Result<(), CertificateError> {
    let mut count = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let Ok((kind, der)) = section else { break };
        if kind != SectionKind::Certificate {
            return Err(CertificateError::Other(title(&kind).to_owned()));
        }
        let der = CertificateDer::from(der);
        X509Certificate::from_der(&der).map_err(|_| CertificateError::Malformed)?;
        count += 1;
    }
    if count == 0 { Err(CertificateError::None) } else { Ok(()) }
}

/// When the first certificate in PEM ends, in seconds since 1970.
pub fn certificate_ends(pem: &[u8]) -> Option<i64> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn title(kind: &SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "CERTIFICATE",
        SectionKind::PublicKey => "PUBLIC KEY",
        SectionKind::RsaPrivateKey => "RSA PRIVATE KEY",
        SectionKind::PrivateKey => "PRIVATE KEY",
        SectionKind::EcPrivateKey => "EC PRIVATE KEY",
        SectionKind::Crl => "X509 CRL",
        SectionKind::Csr => "CERTIFICATE REQUEST",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use rcgen::{CertificateParams, KeyPair, SigningKey as _};

    use super::super::signing::{common_name, element, sequence, tagged};
    use super::*;

    /// A request whose subject has these parts, signed by its key. The library keeps one name of each kind, so
    /// the subject of one of its own is exchanged.
    fn request(subject: &[Vec<u8>]) -> String {
        let key = KeyPair::generate().expect("a key");
        let made = CertificateParams::default().serialize_request(&key).expect("a request");
        let (_, content, _) = element(made.der()).expect("DER");
        let (_, information, rest) = element(content).expect("DER");
        let (algorithm, _, _) = element(rest).expect("DER");
        let (version, _, rest) = element(information).expect("DER");
        let (_, _, after) = element(rest).expect("DER");
        let information = sequence(&[version, &sequence(&subject.concat()), after].concat());
        let signature = key.sign(&information).expect("a signature");
        let bits = tagged(0x03, &[&[0], &signature[..]].concat());
        let der = sequence(&[&information, algorithm, &bits].concat());
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    }

    #[test]
    fn a_subject_that_is_not_read_whole_is_malformed() {
        let name = common_name("a");
        let attribute = &name[2..];
        let organization = |tag: u8, text: &[u8]| {
            let kind = tagged(0x06, &[0x55, 0x04, 0x0a]);
            tagged(0x31, &sequence(&[kind, tagged(tag, text)].concat()))
        };
        let good = [name.clone(), organization(0x0c, b"o")].to_vec();
        let read = CertificateRequest::parse(request(&good).as_bytes()).expect("it is one");
        assert_eq!((read.common_name.as_str(), read.organizations), ("a", vec!["o".to_owned()]));
        for subject in [
            // No set.
            vec![name.clone(), sequence(attribute)],
            // A set of something else, alone and behind an attribute.
            vec![name.clone(), tagged(0x31, &tagged(0x04, b"b"))],
            vec![tagged(0x31, &[attribute, &tagged(0x05, b"")].concat())],
            // Longer than what there is.
            vec![name.clone(), vec![0x31, 0x7f, 0x30]],
            // A text of two bytes a letter, and one that is no UTF-8.
            vec![name.clone(), organization(0x1e, b"\0s\0y")],
            vec![name, organization(0x0c, b"\xff")],
        ] {
            let read = CertificateRequest::parse(request(&subject).as_bytes());
            assert_eq!(read, Err(RequestError::Malformed), "{subject:02x?}");
        }
    }

    #[test]
    fn a_request_names_one_user_at_most() {
        // Two names may also be one part, a set.
        let (a, b) = (common_name("a"), common_name("b"));
        let set = tagged(0x31, &[&a[2..], &b[2..]].concat());
        for (subject, expected) in [
            (vec![], Ok("")),
            (vec![a.clone()], Ok("a")),
            (vec![a.clone(), b.clone()], Err(RequestError::CommonNames)),
            (vec![a.clone(), a], Err(RequestError::CommonNames)),
            (vec![set], Err(RequestError::CommonNames)),
        ] {
            let read = CertificateRequest::parse(request(&subject).as_bytes());
            let name = read.as_ref().map(|read| read.common_name.as_str());
            assert_eq!(name, expected.as_ref().copied(), "{subject:?}");
        }
    }
}
