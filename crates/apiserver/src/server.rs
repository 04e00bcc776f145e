//! The server: what it is made of, and its life from start to shutdown.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::handle::Handle;
use crate::pki::{Authority, Issued, PkiError};

/// A Kubernetes API server over a store.
pub struct Server {}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates or keys are missing and could not be made.
    #[error("prepare certificates")]
    Pki(#[from] PkiError),
    /// The address could not be bound.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is stored could not be read.
    #[error("read what is stored")]
    Store(#[from] store::Error),
}

impl Server {
    /// Makes or opens the certificates, binds the address, reads what is stored, and makes the
    /// objects that must always be there. Requests by [`Server::handle`] work from here on.
    pub async fn start(_config: Config, _store: Arc<dyn store::Store>) -> Result<Self, StartError> {
        todo!("follows in this crate's next landing")
    }

    /// The way in for callers that share the process.
    pub fn handle(&self) -> Handle {
        todo!("follows in this crate's next landing")
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        todo!("follows in this crate's next landing")
    }

    /// The installation's certificate authority.
    pub fn authority(&self) -> Arc<Authority> {
        todo!("follows in this crate's next landing")
    }

    /// The administrator's client certificate.
    pub fn administrator(&self) -> Issued {
        todo!("follows in this crate's next landing")
    }

    /// The administrator's kubeconfig, for the server at its own address on this host.
    pub fn kubeconfig(&self) -> String {
        todo!("follows in this crate's next landing")
    }

    /// Serves until `shutdown` is cancelled, then lets requests in flight end: watches at once, the
    /// others within ten seconds.
    pub async fn serve(self, _shutdown: CancellationToken) {
        todo!("follows in this crate's next landing")
    }
}
