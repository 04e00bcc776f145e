//! Who a client certificate stands for: its common name is the user, its organisations the groups.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::Identity;
use crate::pki::PkiError;
use crate::state::State;

/// Who is at the other end of a connection, as its certificate says.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The user that it stands for.
    pub(crate) identity: Option<Identity>,
    /// The common name of a proxy in front of the server, which says of each request whose it is.
    pub(crate) proxy: Option<String>,
    /// Until when that is good, in seconds; none where nothing was shown.
    pub(crate) until: Option<i64>,
}

/// Tells whose a certificate is that TLS has taken.
pub(crate) struct Certificates {
    /// Takes those of clients and of proxies.
    pub(crate) all: Arc<dyn ClientCertVerifier>,
    /// Take those of one of them only, where there are proxies at all.
    apart: Option<[Arc<dyn ClientCertVerifier>; 2]>,
}

impl Certificates {
    pub(crate) fn new(state: &State) -> Result<Self, PkiError> {
        let mut own = RootCertStore::empty();
        own.add(state.authority.certificate().clone())?;
        let Some(proxy) = &state.front_proxy else { return Ok(Self { all: verifier(own)?, apart: None }) };
        let what = "the authorities of proxies in front of the server";
        let mut theirs = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&proxy.authorities) {
            theirs.add(certificate.map_err(|_| PkiError::Key { what })?)?;
        }
        if theirs.is_empty() {
            return Err(PkiError::Key { what });
        }
        // By the key: the same authority may have several certificates.
        let is_own = theirs.roots.iter().any(|root| {
            own.roots.iter().any(|own| own.subject_public_key_info == root.subject_public_key_info)
        });
        if is_own && proxy.allowed_names.is_empty() {
            return Err(PkiError::Overlap);
        }
        let mut all = own.clone();
        all.roots.extend(theirs.roots.iter().cloned());
        Ok(Self { all: verifier(all)?, apart: Some([verifier(own)?, verifier(theirs)?]) })
    }

    /// Whose the certificates are that a client has shown.
    pub(crate) fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Shown {
        let Some([certificate, rest @ ..]) = chain else { return Shown::default() };
        let Some([own, theirs]) = &self.apart else {
            return Shown { identity: identity(certificate), proxy: None, until: until(certificate, rest) };
        };
        let is_of = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(certificate, rest, UnixTime::now()).is_ok()
        };
        Shown {
            identity: identity(certificate).filter(|_| is_of(own)),
            proxy: common_name(certificate).filter(|_| is_of(theirs)),
            until: until(certificate, rest),
        }
    }
}

/// Until when a certificate is good that was so when it was shown, as far as those go that vouch for it. What was
/// over by then did not.
fn until(certificate: &[u8], rest: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = |der: &[u8]| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    let own = ends(certificate)?;
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    let rest = rest.iter().filter_map(|der| ends(der)).filter(|end| *end >= now);
    Some(rest.fold(own, i64::min))
}

fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|_| PkiError::Key { what: "checking client certificates" })
}

/// The identity in a certificate that TLS has verified; none where it names nobody.
pub(crate) fn identity(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let user = common_name(der)?;
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok());
    let mut identity = Identity::new(user, groups);
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    identity.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    Some(identity)
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    // Where there are several, the last: others, whoever looks at a request for it among them, take that too.
    let name = certificate.subject().iter_common_name().last()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
