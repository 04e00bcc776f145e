//! How the server asks others: who issued a token, what a webhook says of a user.
//!
//! The binary plugs an implementation in. Whoever is asked may be slow, gone or hostile: the implementation bounds
//! what it reads, and whoever asks bounds how long it waits.

use std::future::ready;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};

use crate::node::Duplex;

/// Makes ways to others.
pub trait Outside: Send + Sync + 'static {
    /// Connects to a port of a host by its name or address. Dropping the future ends it.
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>>;

    /// The authorities of the system, in PEM.
    fn authorities(&self) -> Vec<u8>;

    /// The way to servers that these authorities (PEM) vouch for, or those of the system.
    fn vouched_for(&self, authorities: Option<&[u8]>) -> Result<Arc<dyn Peer>, String>;

    /// The way to the server that the current context of a kubeconfig names, as whom it says, and its address.
    fn of_kubeconfig(&self, path: &Path) -> Result<(Uri, Arc<dyn Peer>), String>;
}

/// A way to others, over TLS.
pub trait Peer: Send + Sync + 'static {
    /// Sends a request with an absolute address, and reads the answer, of which the body may have `most` bytes.
    /// Answers are given as they are: nobody is sent elsewhere. Dropping the future ends it.
    fn ask(
        &self,
        request: Request<Bytes>,
        most: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, PeerError>>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody was reached, or the connection broke.
    #[error("ask {server}")]
    Reach {
        /// Who was asked.
        server: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is longer than it may be.
    #[error("the answer of {server} has more than {most} bytes")]
    TooLong {
        /// Who was asked.
        server: String,
        /// How many it may have.
        most: usize,
    },
}

/// No way to anybody: for a server that is told of nobody to ask.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Outside for Nobody {
    fn dial(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        Box::pin(ready(Err(io::Error::other("this server has no way to others"))))
    }

    fn authorities(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vouched_for(&self, _: Option<&[u8]>) -> Result<Arc<dyn Peer>, String> {
        Err("this server has no way to others".to_owned())
    }

    fn of_kubeconfig(&self, _: &Path) -> Result<(Uri, Arc<dyn Peer>), String> {
        Err("this server has no way to others".to_owned())
    }
}
