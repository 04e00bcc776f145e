//! The sockets at which names are asked for.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};

/// How often another port is tried.
const TRIES: u32 = 16;

/// A UDP and a TCP socket at the same port.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    port: u16,
}

impl Listener {
    /// Listens at port 53 of `address`, or at any if a name server of the host has that one; the
    /// rules lead questions to it either way.
    pub(crate) fn bind(address: IpAddr) -> io::Result<Self> {
        let mut result = Self::bind_port(address, 53);
        for _ in 0..TRIES {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    result = Self::bind_port(address, 0)
                }
                _ => break,
            }
        }
        result
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn bind_port(address: IpAddr, port: u16) -> io::Result<Self> {
        let tcp = TcpListener::bind((address, port))?;
        let port = tcp.local_addr()?.port();
        let udp = UdpSocket::bind((address, port))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok(Self { udp, tcp, port })
    }
}
