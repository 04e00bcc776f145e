//! Finding a shim that an earlier engine started.

use std::path::Path;
use std::time::Duration;

use runtime::shim::ShimHandle;
use runtime::shim::protocol::{Request, Response, Sandbox};

use super::{Connection, Shim};
use crate::error::{Context as _, Result};
use crate::id::SandboxId;

/// How long a shim may take to say what it holds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What there is at a shim's socket.
pub(crate) enum Found {
    /// A shim, and what it holds.
    Shim(Shim, Sandbox),
    /// Somebody listens and says nothing; the process that does, if the kernel tells.
    Silent(Option<u32>),
    /// Nobody.
    Nothing,
}

impl Shim {
    /// Looks who listens at `socket`.
    ///
    /// An error says nothing about the shim: the engine itself may lack descriptors.
    pub(crate) async fn find(socket: &Path) -> Result<Found> {
        let stream = match Connection::dial(socket).await {
            Ok(stream) => stream,
            Err(error) => {
                use std::io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
                return match error.kind() {
                    ConnectionRefused | NotFound => Ok(Found::Nothing),
                    // As many wait for it already as can.
                    WouldBlock => Ok(Found::Silent(None)),
                    _ => Err(error).context(|| format!("connect to the shim at `{}`", socket.display())),
                };
            }
        };
        let listener = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
        let mut connection = Connection::over(stream);
        match tokio::time::timeout(PATIENCE, connection.ask(&Request::State)).await {
            Ok(Ok(Response::Sandbox(sandbox))) => {
                let handle = ShimHandle {
                    id: sandbox.id.clone(),
                    socket: socket.to_owned(),
                    pid: sandbox.pid,
                    start_time: sandbox.start_time,
                    init_pid: sandbox.init_pid,
                };
                Ok(Found::Shim(Self::new(handle, sandbox.version), sandbox))
            }
            Ok(Ok(other)) => Err(super::unexpected(&other)),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(Found::Silent(listener)),
        }
    }
}

impl Shim {
    /// The shim at `socket`, of which nothing is known but that it may live, and perhaps as what process:
    /// number and start.
    pub(crate) fn unheard(socket: &Path, id: &SandboxId, process: Option<(u32, u64)>) -> Self {
        let (pid, start_time) = process.unwrap_or((0, 0));
        let handle =
            ShimHandle { id: id.to_string(), socket: socket.to_owned(), pid, start_time, init_pid: None };
        // Nothing is begun in it before it has said what it is.
        let shim = Self::new(handle, 0);
        shim.silent.store(true, std::sync::atomic::Ordering::Relaxed);
        shim
    }
}
