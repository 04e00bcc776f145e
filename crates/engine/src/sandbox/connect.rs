//! Reaching a port inside a sandbox, whatever addresses its programs listen on.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::engine::Engine;
use crate::id::SandboxId;

/// How long a program may take to accept.
const LIMIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Connects to `localhost:port` inside a sandbox, as `kubectl port-forward` does.
    pub async fn sandbox_connect(&self, id: &SandboxId, port: u16) -> std::io::Result<tokio::net::TcpStream> {
        let sandbox = self.inner.registry.sandbox(id).map_err(std::io::Error::other)?;
        let shim = sandbox.shim().ok_or_else(|| std::io::Error::other("the sandbox is down"))?;
        let namespace = self.netns_of(id, &shim)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own, which ends in the other namespace: none that is used again may be there.
        std::thread::Builder::new().name("connect".to_owned()).spawn(move || {
            let _ = sender.send(connect(&namespace, port));
        })?;
        let stream = receiver.await.map_err(std::io::Error::other)??;
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)
    }
}

fn connect(namespace: &std::os::fd::OwnedFd, port: u16) -> std::io::Result<TcpStream> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd as _;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT)
}
