//! One instance at a time chooses subnets on a host.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

/// How long another instance may take; then it is no instance that holds the name.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);

/// Held while subnets are chosen and their bridges made; given back when dropped or when the process dies.
pub(crate) struct Exclusive {
    _name: Option<UnixListener>,
}

impl Exclusive {
    /// Waits for others. Two instances that look for a free subnet at the same time would find the
    /// same one. An abstract socket name belongs to the network namespace, as subnets do.
    pub(crate) fn acquire() -> Self {
        let deadline = Instant::now() + PATIENCE;
        let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(b"gantry/subnets")?);
        loop {
            match bind() {
                Ok(name) => return Self { _name: Some(name) },
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    std::thread::sleep(STEP);
                }
                Err(error) => {
                    tracing::warn!(%error, "choosing subnets without knowing whether another instance does");
                    return Self { _name: None };
                }
            }
        }
    }
}
