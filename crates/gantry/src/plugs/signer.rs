//! The cluster's own authority and key, as the controllers sign certificates and tokens by them.

use std::sync::Arc;
use std::time::Duration;

use apiserver::pki::{Authority, CertificateRequest, TokenKeys, certificate_ends};

/// Signs by the authority and the key of the API.
pub(crate) struct Signer(pub(crate) Arc<Authority>, pub(crate) Arc<TokenKeys>);

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

    fn sign_token(&self, claims: &serde_json::Value) -> Result<String, String> {
        self.1.sign(claims).map_err(|error| base::error::chain(&error).to_string())
    }

    fn ends(&self, certificate: &[u8]) -> Option<i64> {
        certificate_ends(certificate)
    }
}

fn parse(request: &[u8]) -> Result<CertificateRequest, String> {
    CertificateRequest::parse(request).map_err(|error| error.to_string())
}
