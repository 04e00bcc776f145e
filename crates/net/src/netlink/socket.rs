//! A netlink socket: requests, dumps and notifications.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::message::{Attributes, HEADER, Message, attribute_text};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The largest transaction that is put into one send.
const SEND_BUFFER: usize = 64 << 20;

/// A socket of one family, in the network namespace of the thread that opened it.
pub(crate) struct Socket {
    fd: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Whom a socket talks to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    /// Links, addresses, routes.
    Route,
    /// Packet filter and connection tracking.
    Netfilter,
}

/// A message from the kernel: its type and what follows the header.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The message's type.
    pub(crate) kind: u16,
    /// Everything after the header.
    pub(crate) payload: Vec<u8>,
}

impl Socket {
    /// Opens a socket that also hears of the multicast groups in the mask `groups`.
    pub(crate) fn open(family: Family, groups: u32) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        let address: SocketAddrNetlink = rustix::net::getsockname(&fd)?
            .try_into()
            .map_err(|_| io::Error::other("not a netlink address"))?;
        // The kernel answers at once; a limit turns a lost answer into an error instead of a hang.
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(10)))?;
        option_on(&fd, libc::NETLINK_EXT_ACK)?;
        option_on(&fd, libc::NETLINK_CAP_ACK)?;
        Ok(Self { fd, port: address.pid(), sequence: 1, buffer: vec![0; 64 << 10] })
    }

    /// The address of this socket, which notifications name.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Keeps notifications of what the socket with the address `port` did from being queued here: one's
    /// own large transactions would fill the queue, and what others do would be lost.
    pub(crate) fn ignore_port(&self, port: u32) -> io::Result<()> {
        const PORT_OFFSET: u32 = 12;
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        // Loading turns the bytes round as if they came from the network.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let mut program = [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PORT_OFFSET),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, port),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        option(&self.fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    /// Sends `messages` at once and waits for an answer to each; the first refusal is the result,
    /// the messages after it have been carried out all the same.
    pub(crate) fn request(&mut self, messages: &[Message]) -> io::Result<()> {
        let first = self.sequence;
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum());
        for message in messages {
            message.finish(&mut bytes, NLM_F_REQUEST | NLM_F_ACK, self.next_sequence());
        }
        self.send(&bytes)?;
        let mut answers = vec![None; messages.len()];
        let mut missing = messages.len();
        let mut refusal = None;
        while missing > 0 {
            self.receive(|header, payload| {
                let Some(answer) =
                    header.sequence.checked_sub(first).and_then(|at| answers.get_mut(at as usize))
                else {
                    return;
                };
                if header.kind == NLMSG_ERROR && answer.is_none() {
                    *answer = Some(());
                    missing -= 1;
                    if let (None, Err(error)) = (&refusal, verdict(header.flags, payload)) {
                        refusal = Some(error);
                    }
                }
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends one message and returns its single reply.
    pub(crate) fn get(&mut self, message: &Message) -> io::Result<Reply> {
        let mut replies = self.collect(message, NLM_F_REQUEST | NLM_F_ACK)?;
        if replies.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(replies.swap_remove(0)) }
    }

    /// Sends a request for a list and returns it.
    pub(crate) fn dump(&mut self, message: &Message) -> io::Result<Vec<Reply>> {
        // The kernel says when a list changed while it was read; then it is read again.
        for _ in 0..10 {
            match self.collect(message, NLM_F_REQUEST | NLM_F_DUMP) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                result => return result,
            }
        }
        Err(io::Error::other("the list keeps changing while it is read"))
    }

    /// Sends an nftables transaction: `messages` between its two marks, all or nothing.
    pub(crate) fn transaction(
        &mut self,
        begin: &Message,
        messages: &[Message],
        end: &Message,
    ) -> io::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum::<usize>() + 64);
        begin.finish(&mut bytes, NLM_F_REQUEST, self.next_sequence());
        let first = self.sequence;
        let last = messages.len() - 1;
        for (index, message) in messages.iter().enumerate() {
            let flags = if index == last { NLM_F_REQUEST | NLM_F_ACK } else { NLM_F_REQUEST };
            message.finish(&mut bytes, flags, self.next_sequence());
        }
        let last = self.sequence - 1;
        end.finish(&mut bytes, NLM_F_REQUEST, self.next_sequence());
        if bytes.len() > 128 << 10 {
            // Needs CAP_NET_ADMIN, which whoever writes rules has.
            sockopt::set_socket_send_buffer_size_force(&self.fd, SEND_BUFFER)?;
        }
        self.send(&bytes)?;
        let (mut done, mut refusal) = (false, None);
        while !done {
            self.receive(|header, payload| {
                if header.kind != NLMSG_ERROR || header.sequence + 1 < first {
                    return;
                }
                if let (None, Err(error)) = (&refusal, verdict(header.flags, payload)) {
                    // Which message it was is worth more than the code alone.
                    let index = header.sequence.wrapping_sub(first);
                    refusal = Some((index, error));
                }
                // A refused mark at the beginning is the only answer that there will be.
                done = header.sequence == last || header.sequence < first;
            })?;
        }
        match refusal {
            None => Ok(()),
            Some((index, error)) => {
                tracing::debug!(index, %error, "transaction refused");
                Err(error)
            }
        }
    }

    /// Reads the notifications that are there; an overflow is an error with `ENOBUFS`.
    pub(crate) fn notifications(&mut self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        let length = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN) => return Ok(replies),
            Err(error) => return Err(error.into()),
        };
        each(&self.buffer[..length], |header, payload| replies.push(header.reply(payload)));
        Ok(replies)
    }

    fn collect(&mut self, message: &Message, flags: u16) -> io::Result<Vec<Reply>> {
        let sequence = self.next_sequence();
        let mut bytes = Vec::with_capacity(message.len());
        message.finish(&mut bytes, flags, sequence);
        self.send(&bytes)?;
        let mut replies = Vec::new();
        let mut end = None;
        let mut interrupted = false;
        while end.is_none() {
            self.receive(|header, payload| {
                if header.sequence != sequence {
                    return;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_ERROR => end = Some(verdict(header.flags, payload)),
                    NLMSG_DONE => end = Some(Ok(())),
                    _ => replies.push(header.reply(payload)),
                }
            })?;
        }
        end.unwrap_or(Ok(()))?;
        if interrupted {
            return Err(io::Error::from_raw_os_error(libc::EINTR));
        }
        Ok(replies)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence - 1
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self, mut visit: impl FnMut(Header, &[u8])) -> io::Result<()> {
        let length = loop {
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        };
        each(&self.buffer[..length], &mut visit);
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[derive(Clone, Copy)]
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    fn reply(self, payload: &[u8]) -> Reply {
        Reply { kind: self.kind, payload: payload.to_vec() }
    }
}

fn each(mut bytes: &[u8], mut visit: impl FnMut(Header, &[u8])) {
    let word = |bytes: &[u8], at: usize| {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
    };
    while bytes.len() >= HEADER {
        let length = word(bytes, 0) as usize;
        let Some(payload) = bytes.get(HEADER..length) else { return };
        let kinds = word(bytes, 4).to_ne_bytes();
        let header = Header {
            kind: u16::from_ne_bytes([kinds[0], kinds[1]]),
            flags: u16::from_ne_bytes([kinds[2], kinds[3]]),
            sequence: word(bytes, 8),
        };
        visit(header, payload);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// What an acknowledgement says: the code, and the kernel's own words where it has some.
fn verdict(flags: u16, payload: &[u8]) -> io::Result<()> {
    let code = payload
        .get(..4)
        .map_or(0, |code| i32::from_ne_bytes(code.try_into().expect("four bytes were sliced")));
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    if flags & NLM_F_ACK_TLVS != 0 {
        // The refused message's header follows the code; its body only if it was not cut off.
        let body = if flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            payload.get(4..8).map_or(HEADER, |length| {
                u32::from_ne_bytes(length.try_into().expect("four bytes were sliced")) as usize
            })
        };
        if let Some(text) = Attributes::after(payload, 4 + body).find(NLMSGERR_ATTR_MSG) {
            tracing::debug!(%error, said = attribute_text(text), "netlink refusal");
        }
    }
    Err(error)
}

/// Reads received bytes in each of the ways in which a socket is read.
pub(crate) fn fuzz(received: &[u8], mut read: impl FnMut(&Reply)) {
    each(received, |header, payload| {
        let _ = verdict(header.flags, payload);
        read(&header.reply(payload));
    });
}

fn option_on(fd: &OwnedFd, name: i32) -> io::Result<()> {
    option(fd, libc::SOL_NETLINK, name, &1_i32)
}

fn option<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = std::mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `fd` is open for the time of the call, and pointer and length describe `value`, which
    // the kernel copies (as it does a program that the value points to).
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_an_error_whatever_its_number() {
        let said = |code: i32| verdict(0, &code.to_ne_bytes()).map_err(|error| error.raw_os_error());
        assert_eq!(said(0), Ok(()));
        assert_eq!(said(-libc::EEXIST), Err(Some(libc::EEXIST)));
        assert_eq!(said(i32::MIN), Err(Some(i32::MAX)));
    }
}
