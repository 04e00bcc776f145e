//! Addresses of sockets whose paths are longer than the kernel takes.
//!
//! A Unix socket's address holds 107 bytes of path, and a shim's socket has 64 digits in its name
//! alone. A longer path is reached through its directory, opened: `/proc/self/fd/<n>/<name>`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The longest path that fits, with its terminating NUL.
const LONGEST: usize = 107;

/// A path to bind or connect to; keep it until that is done.
pub struct Address {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl Address {
    /// The address of the socket at `path`. Fails where its directory cannot be opened.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket's path has a directory and a name",
            ));
        };
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    /// The path to give to the kernel.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_is_bound_and_reached_however_long_its_path_is() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("d".repeat(120));
        std::fs::create_dir(&directory).expect("made");
        let socket = directory.join(format!("{}.sock", "a".repeat(64)));
        let _listener = UnixListener::bind(Address::of(&socket).expect("an address").path()).expect("bound");
        UnixStream::connect(Address::of(&socket).expect("an address").path()).expect("connected");
        assert!(socket.exists());
    }
}
