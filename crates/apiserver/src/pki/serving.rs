//! The certificates that age: the server's own and the administrator's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authority, Issued, PkiError, addresses, files};
use crate::identity::Identity;

/// How long the server's and the administrator's certificates are good for.
const LIFETIME: Duration = Duration::from_secs(365 * 86400);
/// They are renewed when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(122 * 86400);

/// The server's certificate and the administrator's, kept fresh.
///
/// As a resolver of rustls it shows the server's as it is now.
pub struct Serving {
    directory: PathBuf,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
    names: Names,
    current: RwLock<Arc<CertifiedKey>>,
    administrator: RwLock<Issued>,
}

/// The names by which clients know the server, besides the host's changing addresses.
#[derive(Clone, Debug, Default)]
pub struct Names {
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// Those of a server that is no part of a cluster: this host's own, and `address` where it is one of them.
    pub fn of_host(address: IpAddr) -> Self {
        let mut names = Self::default();
        names.dns.insert("localhost".to_owned());
        names.addresses.insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if !address.is_unspecified() {
            names.addresses.insert(address);
        }
        names
    }

    /// The names that every cluster has, and `extra`.
    pub(crate) fn new(cluster_domain: &str, service_address: Ipv4Addr, extra: &[String]) -> Self {
        let mut names = Self::default();
        for name in ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"] {
            names.dns.insert(name.to_owned());
        }
        names.dns.insert(format!("kubernetes.default.svc.{cluster_domain}"));
        names.addresses.insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
        names.addresses.insert(IpAddr::V4(service_address));
        for name in extra {
            match name.parse() {
                Ok(address) => names.addresses.insert(address),
                Err(_) => names.dns.insert(name.clone()),
            };
        }
        names
    }

    fn with_host(&self) -> Self {
        let mut names = self.clone();
        names.addresses.extend(addresses::host_addresses());
        names.dns.extend(addresses::host_name());
        names
    }
}

impl Serving {
    /// Opens both certificates in `directory`, made where they are missing, old or incomplete.
    pub fn open(
        directory: &Path,
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
        names: Names,
    ) -> Result<Self, PkiError> {
        let server = ensure_server(directory, &authority, &*clock, &names.with_host())?.0;
        let administrator = ensure_administrator(directory, &authority, &*clock)?.0;
        Ok(Self {
            directory: directory.to_owned(),
            authority,
            clock,
            names,
            current: RwLock::new(Arc::new(certified(&server)?)),
            administrator: RwLock::new(administrator),
        })
    }

    /// The administrator's certificate and key.
    pub fn administrator(&self) -> Issued {
        self.administrator.read().clone()
    }

    /// An address of this host that others can reach it by.
    pub(crate) fn host_address(&self) -> Option<IpAddr> {
        addresses::host_addresses().into_iter().find(|a| a.is_ipv4() && !a.is_loopback())
    }

    /// Renews what is due, the host's addresses as they are now included; says whether the
    /// administrator's certificate changed.
    pub fn renew(&self) -> Result<bool, PkiError> {
        let names = self.names.with_host();
        let (server, renewed) = ensure_server(&self.directory, &self.authority, &*self.clock, &names)?;
        if renewed {
            *self.current.write() = Arc::new(certified(&server)?);
            tracing::info!("renewed the server's certificate");
        }
        let (administrator, renewed) = ensure_administrator(&self.directory, &self.authority, &*self.clock)?;
        if renewed {
            *self.administrator.write() = administrator;
            tracing::info!("renewed the administrator's certificate");
        }
        Ok(renewed)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn ensure_server(
    directory: &Path,
    authority: &Authority,
    clock: &dyn Clock,
    names: &Names,
) -> Result<(Issued, bool), PkiError> {
    ensure(
        directory,
        "server",
        |issued| still_good(issued, authority, clock, Some(names)),
        || {
            let dns: Vec<String> = names.dns.iter().cloned().collect();
            let addresses: Vec<IpAddr> = names.addresses.iter().copied().collect();
            authority.issue_server("gantry", &dns, &addresses, LIFETIME)
        },
    )
}

fn ensure_administrator(
    directory: &Path,
    authority: &Authority,
    clock: &dyn Clock,
) -> Result<(Issued, bool), PkiError> {
    ensure(
        directory,
        "admin",
        |issued| still_good(issued, authority, clock, None),
        || authority.issue_client(&Identity::administrator(), LIFETIME),
    )
}

fn ensure(
    directory: &Path,
    name: &str,
    good: impl FnOnce(&Issued) -> bool,
    make: impl FnOnce() -> Result<Issued, PkiError>,
) -> Result<(Issued, bool), PkiError> {
    let certificate_path = directory.join(format!("{name}.crt"));
    let key_path = directory.join(format!("{name}.key"));
    if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?) {
        let issued = Issued { certificate, key };
        if good(&issued) {
            return Ok((issued, false));
        }
    }
    let issued = make()?;
    files::write(&key_path, &issued.key)?;
    files::write(&certificate_path, &issued.certificate)?;
    Ok((issued, true))
}

/// Whether a certificate fits its key, comes from this authority, has every name, and has time left.
fn still_good(issued: &Issued, authority: &Authority, clock: &dyn Clock, names: Option<&Names>) -> bool {
    let Ok(key) = certified(issued) else { return false };
    if key.keys_match().is_err() {
        return false;
    }
    let Ok((_, certificate)) = X509Certificate::from_der(&key.cert[0]) else { return false };
    let Ok((_, issuer)) = X509Certificate::from_der(authority.certificate()) else { return false };
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return false;
    }
    // Both ends: where the clock was set back, a certificate may lie in the future, and nobody takes it.
    let now = clock.now().as_second();
    let left = certificate.validity().not_after.timestamp() - now;
    if now < certificate.validity().not_before.timestamp() || left < RENEW_BEFORE.as_secs().cast_signed() {
        return false;
    }
    names.is_none_or(|names| carries(&certificate, names))
}

fn carries(certificate: &X509Certificate<'_>, wanted: &Names) -> bool {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return false };
    let mut has = Names::default();
    for name in &alternatives.value.general_names {
        match name {
            GeneralName::DNSName(name) => drop(has.dns.insert((*name).to_owned())),
            GeneralName::IPAddress(octets) => {
                let address = match octets.len() {
                    4 => <[u8; 4]>::try_from(*octets).map(IpAddr::from),
                    _ => <[u8; 16]>::try_from(*octets).map(IpAddr::from),
                };
                has.addresses.extend(address);
            }
            _ => {}
        }
    }
    wanted.dns.is_subset(&has.dns) && wanted.addresses.is_subset(&has.addresses)
}

fn certified(issued: &Issued) -> Result<CertifiedKey, PkiError> {
    let unreadable = |_| PkiError::Key { what: "the server's certificate" };
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(PkiError::Key { what: "the server's certificate" });
    }
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(unreadable)?;
    Ok(CertifiedKey::new(chain, rustls::crypto::ring::sign::any_supported_type(&key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;

    #[test]
    fn certificates_are_kept_until_their_last_third_and_then_renewed() {
        let directory = tempfile::tempdir().expect("dir");
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let random = Arc::new(base::SystemRandom);
        let authority =
            Arc::new(Authority::open(directory.path(), clock.clone(), random).expect("authority"));
        let names = Names::new("cluster.local", Ipv4Addr::new(10, 43, 0, 1), &["example.org".to_owned()]);
        let serving = Serving::open(directory.path(), authority, clock.clone(), names).expect("certificates");
        let first = serving.administrator().certificate;

        clock.advance(Duration::from_secs(200 * 86400));
        assert!(!serving.renew().expect("nothing due"));
        assert_eq!(serving.administrator().certificate, first);

        clock.advance(Duration::from_secs(60 * 86400));
        assert!(serving.renew().expect("renewed"));
        assert_ne!(serving.administrator().certificate, first);
    }

    #[test]
    fn a_certificate_of_the_future_is_made_again() {
        let directory = tempfile::tempdir().expect("dir");
        let late = Arc::new(ManualClock::new("2036-01-01T00:00:00Z".parse().expect("a time")));
        let random = Arc::new(base::SystemRandom);
        let open = |clock: &Arc<ManualClock>| {
            let authority =
                Authority::open(directory.path(), clock.clone(), random.clone()).expect("authority");
            let names = Names::new("cluster.local", Ipv4Addr::new(10, 43, 0, 1), &[]);
            Serving::open(directory.path(), Arc::new(authority), clock.clone(), names).expect("certificates")
        };
        // The authority is of an honest time; then the clock ran ahead, and was set right.
        let early = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let first = open(&early).administrator().certificate;
        let ahead = open(&late).administrator().certificate;
        assert_ne!(ahead, first, "expired");
        let serving = open(&early);
        assert_ne!(serving.administrator().certificate, ahead, "of the future, seen at the start");
        // The same while it runs: seen by the next look.
        early.advance(Duration::from_secs(10 * 365 * 86400));
        assert!(serving.renew().expect("expired"));
        assert!(!serving.renew().expect("good"));
    }

    #[test]
    fn an_authority_out_of_its_time_is_told() {
        let directory = tempfile::tempdir().expect("dir");
        let clock = Arc::new(ManualClock::new("2026-06-01T00:00:00Z".parse().expect("a time")));
        let random = Arc::new(base::SystemRandom);
        let authority = Authority::open(directory.path(), clock, random.clone()).expect("authority");
        let at = |now: &str| authority.out_of_time(now.parse().expect("a time")).map(|why| why.to_string());
        assert_eq!(at("2026-06-02T00:00:00Z"), None);
        let future = at("2025-01-01T00:00:00Z").expect("of the future");
        assert!(
            future.contains("begins at 2026-05-31T23:00:00Z") && future.contains("set the clock"),
            "{future}"
        );
        let past = at("2050-01-01T00:00:00Z").expect("expired");
        assert!(past.contains("ended at 2046-05-27T00:00:00Z"), "{past}");
        let soon = at("2046-03-01T00:00:00Z").expect("ends soon");
        assert!(soon.contains("ends at"), "{soon}");
    }

    #[test]
    fn a_certificate_that_lacks_a_name_is_made_again() {
        let directory = tempfile::tempdir().expect("dir");
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let authority = Authority::open(directory.path(), clock.clone(), Arc::new(base::SystemRandom))
            .expect("authority");
        let make = |extra: &[String]| {
            let names = Names::new("cluster.local", Ipv4Addr::new(10, 43, 0, 1), extra);
            ensure_server(directory.path(), &authority, &*clock, &names).expect("certificate").1
        };
        assert!(make(&[]));
        assert!(!make(&[]));
        assert!(make(&["192.0.2.7".to_owned()]));
        assert!(!make(&["192.0.2.7".to_owned()]));
    }
}
