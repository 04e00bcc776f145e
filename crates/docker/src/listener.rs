//! Where connections come from: the Unix socket of this host, or TCP.
//!
//! Whoever is served may do everything on this host. The Unix socket is guarded by its permissions; over TCP a client
//! shows a certificate, and shows none only where the listener is this host's own alone and its owner wants it so.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::socket::Socket;

/// How long a client over TCP may take until it is known.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// What a TLS connection begins with, and no request does.
const HANDSHAKE: u8 = 0x16;
/// How long a client over TCP may be silent before its machine is asked whether it is there, how long the next
/// question waits for an answer to the last one, and how many there are.
const LOSS: Duration = Duration::from_secs(15);
const LOSS_PROBES: u32 = 9;
/// What one gets who speaks without TLS where it is needed; as Go's servers say it, which clients look for.
const NO_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A bound socket, and how its clients introduce themselves.
pub struct Listener(Kind);

enum Kind {
    Unix(UnixListener),
    Tcp { socket: TcpListener, tls: TlsAcceptor, plain: bool },
}

/// A connection whose client is not known yet.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tcp { stream: TcpStream, tls: TlsAcceptor, plain: bool },
}

impl Listener {
    /// The Unix socket: who may open it is served.
    pub fn unix(socket: UnixListener) -> Self {
        Self(Kind::Unix(socket))
    }

    /// A TCP socket. `tls` says which certificates of clients are taken; it must ask for one. Where the socket is
    /// bound to a loopback address, clients that speak without TLS are served too: they are on this host.
    pub fn tcp(socket: TcpListener, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let plain = is_own(socket.local_addr()?.ip());
        Ok(Self(Kind::Tcp { socket, tls: TlsAcceptor::from(tls), plain }))
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Unix(socket) => socket.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            Kind::Tcp { socket, tls, plain } => {
                let (stream, _) = socket.accept().await?;
                Ok(Accepted::Tcp { stream, tls: tls.clone(), plain: *plain })
            }
        }
    }
}

impl Accepted {
    /// The connection, once it is known whose it is.
    pub(crate) async fn introduce(self) -> io::Result<Socket> {
        match self {
            Self::Unix(stream) => Ok(Socket::unix(stream)),
            Self::Tcp { stream, tls, plain } => {
                let introduced = tokio::time::timeout(INTRODUCTION, introduce(stream, tls, plain)).await;
                introduced.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

async fn introduce(mut stream: TcpStream, tls: TlsAcceptor, plain: bool) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    notice_loss(&stream)?;
    let mut first = [0];
    if stream.peek(&mut first).await? > 0 && first[0] != HANDSHAKE {
        if plain {
            return Ok(Socket::tcp(stream));
        }
        stream.write_all(NO_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::other("a client spoke without TLS"));
    }
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.peer_certificates().is_none_or(<[_]>::is_empty) {
        return Err(io::Error::other("a client showed no certificate"));
    }
    Ok(Socket::tls(stream))
}

/// Whether nobody but this host's own programs reaches an address.
fn is_own(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Lets the kernel ask a silent client whether it is there, as often as Go's servers do: one whose machine is gone, or
/// whose program ended while nothing was written to it, would otherwise keep its streams for ever.
fn notice_loss(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, LOSS)?;
    sockopt::set_tcp_keepintvl(stream, LOSS)?;
    sockopt::set_tcp_keepcnt(stream, LOSS_PROBES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_this_host_s_own_only_if_it_is_a_loopback_one() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_own(text.parse().expect("an address")), expected, "{text}");
        };
        check("127.0.0.1", true);
        check("127.3.2.1", true);
        check("::1", true);
        check("::ffff:127.0.0.1", true);
        check("0.0.0.0", false);
        check("::", false);
        check("10.0.0.1", false);
    }
}
