//! Who vouches for a server behind this one.

use std::sync::Arc;

use rustls::ClientConfig;

use super::RemoteServer;
use super::certificate::FrontProxyClient;

/// How a server is spoken to by whoever `client` shows to be.
pub(super) fn tls_config(
    server: &RemoteServer,
    client: Arc<FrontProxyClient>,
    of_system: &str,
) -> Result<ClientConfig, String> {
    let verifier = if server.any_certificate {
        tls::any_certificate()
    } else {
        let authorities =
            if server.authorities.is_empty() { of_system.as_bytes() } else { &server.authorities };
        tls::vouched(authorities).map_err(|why| format!("unable to load root certificates: {why}"))?
    };
    let builder = tls::client().dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_client_cert_resolver(client);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
