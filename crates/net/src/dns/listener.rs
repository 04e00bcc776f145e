//! The sockets at which names are asked for.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use tokio::io::Interest;

/// How often another port is tried.
const TRIES: u32 = 16;

/// Where names are asked for.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// By whoever means the cluster: its names are known there.
    pub(crate) of_cluster: Listener,
    /// By containers in networks of their own, to which 127.0.0.11 leads: no more than they know of each other
    /// and the host of the rest.
    pub(crate) of_containers: Listener,
}

/// A UDP and a TCP socket at the same port.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    port: u16,
}

impl Listener {
    /// Listens at a port of `address`, or at any if somebody else of the host has that one; the rules lead
    /// questions to it either way, but a firewall of the host's can only know the one that was meant.
    pub(crate) fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        match Self::bind_port(address, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let bound = Self::bind_any(address)?;
                tracing::info!(%address, port, instead = bound.port, "a port for names is somebody else's");
                Ok(bound)
            }
            bound => bound,
        }
    }

    fn bind_any(address: IpAddr) -> io::Result<Self> {
        let mut result = Self::bind_port(address, 0);
        for _ in 0..TRIES {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    result = Self::bind_port(address, 0);
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
        if address.is_ipv4() {
            tell_link(&udp)?;
        }
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok(Self { udp, tcp, port })
    }
}

/// Whether somebody listens at a port of every address, so that nobody can at one of them.
pub(crate) fn is_everywhere(port: u16) -> bool {
    // Of the loopback's addresses, one that nobody means.
    let address = (Ipv4Addr::new(127, 11, 15, 3), port);
    let is_in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    UdpSocket::bind(address).is_err_and(|error| is_in_use(&error))
        || TcpListener::bind(address).is_err_and(|error| is_in_use(&error))
}

/// Has the kernel tell with each datagram by which link it came in.
fn tell_link(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the socket is open for the time of the call, and pointer and length describe `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_PKTINFO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next datagram: how long it is, who sent it, and the number of the link that it came in by, as far
/// as the kernel tells. More than the buffer holds of it is cut off.
pub(super) async fn receive(
    socket: &tokio::net::UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<u32>)> {
    if socket.local_addr()?.is_ipv6() {
        return socket.recv_from(buffer).await.map(|(length, from)| (length, from, None));
    }
    socket.async_io(Interest::READABLE, || receive_now(socket, buffer)).await
}

fn receive_now(
    socket: &tokio::net::UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<u32>)> {
    // Room for what is told of a packet, aligned as the kernel writes it.
    let mut control = [0u64; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: both are plain numbers and pointers, for which all zeroes are values.
    let (mut from, mut message): (libc::sockaddr_in, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all that the message points to lives until after the call, with the lengths that it says.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut link = None;
    // SAFETY: the kernel filled the message's control part, and these walk within what it says of it; the
    // data of such a header is an `in_pktinfo`, which is read wherever it lies.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
                let told: libc::in_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                link = u32::try_from(told.ipi_ifindex).ok();
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let address = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
    Ok((length, (address, u16::from_be(from.sin_port)).into(), link))
}
