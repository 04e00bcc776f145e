//! The certificate authority and what it issues.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Random, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, files};
use crate::identity::Identity;

/// How long the authority itself is good for.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 86400);
/// Its end is told so long before.
const ENDS_SOON: Duration = Duration::from_secs(182 * 86400);
/// Certificates begin a little in the past, so that a client whose clock is late accepts them.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// The installation's own certificate authority.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

/// What is wrong with an authority's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTime {
    /// It begins in the future.
    #[error(
        "the certificate authority (ca.crt) begins at {from}, but by this machine's clock it is {now}: \
         no client trusts it until then; set the clock, or remove pki/ to have a new authority made"
    )]
    Future {
        /// When it begins.
        from: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// It has ended.
    #[error(
        "the certificate authority (ca.crt) ended at {until}: no client trusts it any more; \
         set the clock if it is wrong, else remove pki/ to have a new authority made, and hand out the new kubeconfig"
    )]
    Past {
        /// When it ended.
        until: Timestamp,
    },
    /// It ends within half a year.
    #[error("the certificate authority (ca.crt) ends at {until}: plan to replace it before")]
    EndsSoon {
        /// When it ends.
        until: Timestamp,
    },
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Opens the authority in `directory`, made there if there is none.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, PkiError> {
        Self::open_named("gantry-ca", directory, clock, random)
    }

    /// As [`Authority::open`], for an authority that is called so.
    pub(crate) fn open_named(
        name: &str,
        directory: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, PkiError> {
        files::make_directory(directory)?;
        let (key_path, certificate_path) = (directory.join("ca.key"), directory.join("ca.crt"));
        let key = match files::read(&key_path)? {
            Some(text) => KeyPair::from_pem(&text)
                .map_err(|e| PkiError::Damaged { path: key_path.clone(), what: e.to_string() })?,
            None => {
                let key = new_key(name)?;
                files::write(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let certificate_pem = match files::read(&certificate_path)? {
            Some(text) => text,
            None => {
                let text = self_signed(name, &key, clock.now(), &*random)?;
                files::write(&certificate_path, &text)?;
                text
            }
        };
        let damaged = |what: String| PkiError::Damaged { path: certificate_path.clone(), what };
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { certificate_pem, certificate, issuer, clock, random })
    }

    /// What is wrong with the authority's own time at `now`: nothing that it signs is trusted outside of
    /// it, and it cannot be made anew without every client having to learn the new one.
    pub fn out_of_time(&self, now: Timestamp) -> Option<OutOfTime> {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).ok()?;
        let moment = |time: i64| Timestamp::from_second(time).unwrap_or_default();
        let from = moment(certificate.validity().not_before.timestamp());
        let until = moment(certificate.validity().not_after.timestamp());
        if now < from {
            Some(OutOfTime::Future { from, now })
        } else if now >= until {
            Some(OutOfTime::Past { until })
        } else if now.as_second() > until.as_second() - ENDS_SOON.as_secs().cast_signed() {
            Some(OutOfTime::EndsSoon { until })
        } else {
            None
        }
    }

    /// The authority's certificate, PEM: what clients trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Issues a client certificate: the user becomes the common name, the groups organisations.
    pub fn issue_client(&self, identity: &Identity, lifetime: Duration) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.user.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut issued = self.issue(params, &identity.user, lifetime)?;
        let groups: Vec<&str> = identity
            .groups
            .iter()
            .map(String::as_str)
            .filter(|g| *g != crate::identity::AUTHENTICATED)
            .collect();
        if !groups.is_empty() {
            let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
            let der = der.map_err(|_| PkiError::Key { what: "a client's certificate" })?;
            issued.certificate = self.with_subject(&der, &identity.user, &groups)?;
        }
        Ok(issued)
    }

    /// Issues a server certificate for `names` and `addresses`.
    pub fn issue_server(
        &self,
        common_name: &str,
        names: &[String],
        addresses: &[IpAddr],
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::new(names.to_vec())
            .map_err(|source| PkiError::Make { name: common_name.to_owned(), source })?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, common_name, lifetime)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        name: &str,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let fail = |source| PkiError::Make { name: name.to_owned(), source };
        let key = new_key(name)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, self.clock.now(), lifetime);
        params.serial_number = Some(new_serial(&*self.random));
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn new_key(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(|source| PkiError::Make { name: name.to_owned(), source })
}

pub(super) fn new_serial(random: &dyn Random) -> SerialNumber {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    // A serial number is positive.
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

fn self_signed(name: &str, key: &KeyPair, now: Timestamp, random: &dyn Random) -> Result<String, PkiError> {
    // The time in the name tells the authorities of two installations apart in error messages.
    let name = format!("{name}@{}", now.as_second());
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, AUTHORITY_LIFETIME);
    params.serial_number = Some(new_serial(random));
    params.self_signed(key).map(|c| c.pem()).map_err(|source| PkiError::Make { name, source })
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + Duration::from_secs(now.as_second().max(0).unsigned_abs());
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + lifetime;
}
