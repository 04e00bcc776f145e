//! The way to those whom the Kubernetes API asks: issuers of tokens, webhooks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use apiserver::node::Duplex;
use apiserver::outside::{Outside, Peer, PeerError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::remote::{AskError, Asker, Config, Credentials};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};

/// Asks over HTTPS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverHttps;

struct Elsewhere(Asker);

impl Outside for OverHttps {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let host = host.to_owned();
        async move {
            let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    }

    fn authorities(&self) -> Vec<u8> {
        authorities_of_system().into_bytes()
    }

    fn vouched_for(&self, authorities: Option<&[u8]>) -> Result<Arc<dyn Peer>, String> {
        peer(authorities.unwrap_or_default(), &Credentials::Anonymous)
    }

    fn of_kubeconfig(&self, path: &Path) -> Result<(Uri, Arc<dyn Peer>), String> {
        let config = Config::from_kubeconfig(path).map_err(|error| base::error::chain(&error).to_string())?;
        let url: Uri = config.server.parse().map_err(|error| {
            format!("the server `{}` in {} is no address: {error}", config.server, path.display())
        })?;
        if url.scheme_str() != Some("https") || url.authority().is_none() {
            return Err(format!("the server `{url}` in {} is not at https://", path.display()));
        }
        Ok((url, peer(&config.certificate_authority, &config.credentials)?))
    }
}

/// The system's authorities where none is given.
fn peer(authorities: &[u8], credentials: &Credentials) -> Result<Arc<dyn Peer>, String> {
    let of_system;
    let authorities = if authorities.is_empty() {
        of_system = authorities_of_system();
        of_system.as_bytes()
    } else {
        authorities
    };
    let asker = Asker::new(authorities, credentials);
    Ok(Arc::new(Elsewhere(asker.map_err(|error| base::error::chain(&error).to_string())?)))
}

/// Whom the system trusts, PEM.
pub(crate) fn authorities_of_system() -> String {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority of the system could not be read");
    }
    let pem = |certificate: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
    };
    found.certs.iter().map(|certificate| pem(certificate)).collect()
}

impl Peer for Elsewhere {
    fn ask(
        &self,
        request: Request<Bytes>,
        most: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, PeerError>> {
        let asking = self.0.ask(request, most);
        asking.map(|outcome| outcome.map_err(failed)).boxed()
    }
}

fn failed(error: AskError) -> PeerError {
    match error {
        AskError::TooLong { server, most } => PeerError::TooLong { server, most },
        AskError::Broken { server, source } => PeerError::Reach { server, source },
        error @ AskError::Address(_) => {
            PeerError::Reach { server: "nobody".to_owned(), source: Box::new(error) }
        }
    }
}
