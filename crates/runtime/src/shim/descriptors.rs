//! What a container's configuration names on the host, handed to the shim open.
//!
//! A path that one process checks and another one opens can be swapped in between by a neighbour
//! who may write there. So the daemon opens what is mounted and what is joined, and the shim clones
//! and enters exactly that. A shim opens no path of the host for a container but those below the
//! instance's own directories: bundle, layers, log.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::protocol::{Failure, FailureKind};
use crate::launch::is_bind;
use crate::spec::{NamespaceKind, Spec};

/// How many descriptors the kernel takes with one message.
const AT_ONCE: usize = 253;

/// How many descriptors may wait on one connection for their request.
pub(super) const MOST: usize = 4096;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// The source of the bind mount that is at this place in the configuration's list.
    Mount(u32),
    /// The namespace of this kind.
    Namespace(NamespaceKind),
}

/// Descriptors by what they stand for.
#[derive(Debug, Default)]
pub struct Descriptors {
    open: BTreeMap<Passed, OwnedFd>,
}

impl Descriptors {
    /// Hands over the source of a bind mount, by its place in the configuration.
    pub fn mount(&mut self, place: usize, source: OwnedFd) {
        let place = u32::try_from(place).expect("a configuration has few mounts");
        self.open.insert(Passed::Mount(place), source);
    }

    /// Hands over a namespace.
    pub fn namespace(&mut self, kind: NamespaceKind, namespace: OwnedFd) {
        self.open.insert(Passed::Namespace(kind), namespace);
    }

    /// Opens the sources of bind mounts and the namespaces of `spec` that are not among these yet:
    /// paths that nobody but the host's administrator can change. Relative ones start at `bundle`.
    pub fn complete(&mut self, spec: &Spec, bundle: &Path) -> io::Result<()> {
        for (place, mount) in spec.mounts.iter().enumerate() {
            let Some(source) = mount.source.as_deref().filter(|_| is_bind(mount)) else { continue };
            let place = u32::try_from(place).expect("a configuration has few mounts");
            if let std::collections::btree_map::Entry::Vacant(entry) = self.open.entry(Passed::Mount(place)) {
                let source = bundle.join(source);
                entry.insert(openat(CWD, &source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
            }
        }
        for namespace in spec.linux.iter().flat_map(|linux| &linux.namespaces) {
            let Some(path) = &namespace.path else { continue };
            if let std::collections::btree_map::Entry::Vacant(entry) =
                self.open.entry(Passed::Namespace(namespace.kind))
            {
                entry.insert(std::fs::File::open(path)?.into());
            }
        }
        Ok(())
    }

    /// What they stand for, in the order of [`Descriptors::fds`].
    pub fn names(&self) -> Vec<Passed> {
        self.open.keys().copied().collect()
    }

    /// The descriptors.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.open.values().map(AsFd::as_fd).collect()
    }

    pub(super) fn received(names: Vec<Passed>, fds: Vec<OwnedFd>) -> Result<Self, Failure> {
        if names.len() != fds.len() {
            let message = format!("{} descriptors came, {} were announced", fds.len(), names.len());
            return Err(Failure { kind: FailureKind::Invalid, message });
        }
        Ok(Self { open: names.into_iter().zip(fds).collect() })
    }

    pub(crate) fn take_mount(&mut self, place: usize) -> Option<OwnedFd> {
        self.open.remove(&Passed::Mount(u32::try_from(place).ok()?))
    }

    pub(crate) fn take_namespace(&mut self, kind: NamespaceKind) -> Option<OwnedFd> {
        self.open.remove(&Passed::Namespace(kind))
    }
}

/// Sends a part of `bytes` with as many of `fds` as go with one message, which is at least one byte
/// and one descriptor; gives how many of each. A caller goes on until both are sent, descriptors
/// first: the bytes that follow their request's last must not overtake them.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<(usize, usize)> {
    let now = &fds[..fds.len().min(AT_ONCE)];
    // All bytes go with the last descriptors; of those before, one byte carries each lot.
    let bytes = if now.len() < fds.len() { &bytes[..1.min(bytes.len())] } else { bytes };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !now.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(now));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok((sent, now.len()))
}

/// Receives bytes, and the descriptors that came with them behind `fds`.
pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    if fds.len() > MOST {
        fds.clear();
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn any_number_of_descriptors_arrives_in_order_with_all_bytes() {
        for count in [0, 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let files: Vec<std::fs::File> =
                (0..count).map(|_| tempfile::tempfile().expect("a temporary file")).collect();
            let text = b"a request of some length";
            let (mut bytes, fds): (&[u8], Vec<_>) = (text, files.iter().map(AsFd::as_fd).collect());
            let mut fds = &fds[..];
            while !bytes.is_empty() {
                let (sent, passed) = send(&ours, bytes, fds).expect("send");
                (bytes, fds) = (&bytes[sent..], &fds[passed..]);
            }
            let (mut got, mut passed) = (Vec::new(), Vec::new());
            let mut buffer = [0; 100];
            while got.len() < text.len() {
                let count = receive(&theirs, &mut buffer, &mut passed).expect("receive");
                got.extend_from_slice(&buffer[..count]);
            }
            assert_eq!((got.as_slice(), passed.len()), (&text[..], count));
            let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).expect("stat").st_ino;
            for (file, fd) in files.iter().zip(&passed) {
                assert_eq!(inode(file.as_fd()), inode(fd.as_fd()), "descriptor {}", fd.as_raw_fd());
            }
        }
    }
}
