//! The cluster's own authority, as the controllers sign certificates by it.

use std::sync::Arc;
use std::time::Duration;

use apiserver::pki::{Authority, CertificateRequest, certificate_ends};

/// Signs by the authority of the API.
pub(crate) struct Signer(pub(crate) Arc<Authority>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl control::Signer for Signer {
    fn read(&self, request: &[u8]) -> Result<control::Asked, String> {
        let asked = parse(request)?;
        Ok(control::Asked {
            common_name: asked.common_name,
            organizations: asked.organizations,
            dns_names: asked.dns_names,
            addresses: asked.addresses,
            emails: asked.emails,
            uris: asked.uris,
        })
    }

    fn sign(&self, request: &[u8], usages: &[String], lifetime: Duration) -> Result<String, String> {
        let signed = self.0.sign(&parse(request)?, usages, lifetime);
        signed.map_err(|error| base::error::chain(&error).to_string())
    }

    fn ends(&self, certificate: &[u8]) -> Option<i64> {
        certificate_ends(certificate)
    }
}

fn parse(request: &[u8]) -> Result<CertificateRequest, String> {
    CertificateRequest::parse(request).map_err(|error| error.to_string())
}
