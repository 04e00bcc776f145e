//! Whose certificates are trusted by those who ask others.

use rustls::ClientConfig;

/// A client that trusts whom these authorities (PEM) vouch for.
pub(super) fn client(authorities: &[u8]) -> Result<ClientConfig, String> {
    let verifier = tls::vouched(authorities).map_err(|error| error.to_string())?;
    Ok(tls::client().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
