//! By what servers behind this one know it: a client certificate of an authority that vouches for nothing else.
//!
//! Such a server takes what this one says of whose a request is. Whoever has a certificate of the installation's own
//! authority must therefore not pass for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Random};
use parking_lot::RwLock;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authentication::front_proxy::FrontProxy;
use crate::identity::Identity;
use crate::pki::{Authority, Issued, PkiError};

/// What the certificate is for, as with Kubernetes' own tools.
const NAME: &str = "front-proxy-client";
/// How long it is good for, and how long before its end it is made anew.
const LIFETIME: Duration = Duration::from_secs(365 * 86400);
const RENEW_BEFORE: Duration = Duration::from_secs(122 * 86400);
/// In which headers it is said whose a request is.
pub(super) const USER: &str = "x-remote-user";
pub(super) const UID: &str = "x-remote-uid";
pub(super) const GROUP: &str = "x-remote-group";
pub(super) const EXTRA: &str = "x-remote-extra-";

/// The certificate, kept fresh.
pub(crate) struct FrontProxyClient {
    authority: Authority,
    clock: Arc<dyn Clock>,
    current: RwLock<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    /// When it was made, in seconds.
    made: i64,
}

impl FrontProxyClient {
    /// Opens the authority below `directory`, made there if there is none, and has a certificate made.
    pub(crate) fn open(
        directory: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, PkiError> {
        let directory = directory.join("front-proxy");
        let authority = Authority::open_named("gantry-front-proxy-ca", &directory, clock.clone(), random)?;
        let current = RwLock::new(make(&authority, &*clock)?);
        Ok(Self { authority, clock, current })
    }

    /// Makes the certificate anew where that is due, be it that the clock was set back.
    pub(crate) fn renew(&self) -> Result<bool, PkiError> {
        let age = self.clock.now().as_second() - self.current.read().made;
        let most = (LIFETIME - RENEW_BEFORE).as_secs().cast_signed();
        if (0..most).contains(&age) {
            return Ok(false);
        }
        *self.current.write() = make(&self.authority, &*self.clock)?;
        Ok(true)
    }

    /// By what servers behind this one are told to know it, and those that stand in front of it.
    pub(crate) fn announced(&self, others: Option<&FrontProxy>) -> FrontProxy {
        let mut all = others.cloned().unwrap_or_default();
        // Where any name is good, none is added: then only that one would be.
        let any = others.is_some_and(|others| others.allowed_names.is_empty());
        if !any {
            add(&mut all.allowed_names, NAME);
        }
        if !all.authorities.is_empty() && !all.authorities.ends_with(b"\n") {
            all.authorities.push(b'\n');
        }
        all.authorities.extend_from_slice(self.authority.certificate_pem().as_bytes());
        add(&mut all.username_headers, "X-Remote-User");
        add(&mut all.uid_headers, "X-Remote-Uid");
        add(&mut all.group_headers, "X-Remote-Group");
        add(&mut all.extra_prefixes, "X-Remote-Extra-");
        all
    }
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        names.push(name.to_owned());
    }
}

fn make(authority: &Authority, clock: &dyn Clock) -> Result<Current, PkiError> {
    let identity = Identity { user: NAME.to_owned(), ..Identity::default() };
    let Issued { certificate, key } = authority.issue_client(&identity, LIFETIME)?;
    let unreadable = |_| PkiError::Key { what: "the certificate for servers behind this one" };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unreadable)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let key = Arc::new(CertifiedKey::new(chain.map_err(unreadable)?, key));
    Ok(Current { key, made: clock.now().as_second() })
}

impl ResolvesClientCert for FrontProxyClient {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for FrontProxyClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrontProxyClient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;

    #[test]
    fn the_certificate_is_made_anew_in_time_and_its_authority_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let open = || FrontProxyClient::open(directory.path(), clock.clone(), Arc::new(base::SystemRandom));
        let client = open().expect("made");
        let day = Duration::from_secs(86400);
        clock.advance(200 * day);
        assert!(!client.renew().expect("looked at"));
        clock.advance(60 * day);
        assert!(client.renew().expect("made"));
        assert!(!client.renew().expect("looked at"));
        let again = open().expect("opened");
        assert_eq!(again.authority.certificate_pem(), client.authority.certificate_pem());
    }

    #[test]
    fn those_behind_are_told_of_this_server_and_of_those_in_front_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(base::SystemClock::new());
        let client = FrontProxyClient::open(directory.path(), clock, Arc::new(base::SystemRandom));
        let client = client.expect("made");
        let alone = client.announced(None);
        assert_eq!(alone.allowed_names, [NAME]);
        assert_eq!(alone.username_headers, ["X-Remote-User"]);
        assert_eq!(alone.authorities, client.authority.certificate_pem().as_bytes());
        let front = FrontProxy {
            authorities: b"-----BEGIN CERTIFICATE-----".to_vec(),
            allowed_names: vec!["front".to_owned()],
            username_headers: vec!["X-User".to_owned(), "x-remote-user".to_owned()],
            ..FrontProxy::default()
        };
        let both = client.announced(Some(&front));
        assert_eq!(both.allowed_names, ["front", NAME]);
        assert_eq!(both.username_headers, ["X-User", "x-remote-user"]);
        assert!(both.authorities.starts_with(b"-----BEGIN CERTIFICATE-----\n-----BEGIN"));
        let any = client.announced(Some(&FrontProxy { allowed_names: Vec::new(), ..front }));
        assert_eq!(any.allowed_names, [""; 0], "one name would keep the others out");
    }
}
