//! What blocks, of the standard library and of libraries that we use.

/// Paths that begin like this block, but for [`HARMLESS`].
const PATHS: &[&str] = &[
    "std::fs::",
    "std::thread::sleep",
    "std::process::Command::",
    "std::os::unix::fs::chown",
    "std::os::unix::fs::symlink",
    "std::os::unix::net::UnixStream::connect",
    "std::net::TcpStream::connect",
    "std::io::copy",
    "std::io::read_to_string",
    "base::fs::",
    "base::tree::",
    "rustix::fs::",
    "rustix::mount::",
    "rustix::process::wait",
];

/// What only looks as if it did.
const HARMLESS: &[&str] = &[
    "std::fs::File::from",
    "std::fs::Permissions",
    "std::fs::DirEntry::file_name",
    "rustix::fs::major",
    "rustix::fs::minor",
    "rustix::fs::makedev",
    "rustix::fs::inotify",
    "rustix::fs::fcntl_",
    "rustix::fs::Mode",
    "rustix::fs::OFlags",
    "rustix::fs::AtFlags",
    "rustix::fs::ResolveFlags",
    "rustix::fs::FileType",
];

/// Methods that block whatever has them.
const METHODS: &[&str] = &[
    "blocking_lock",
    "blocking_recv",
    "blocking_send",
    "canonicalize",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "try_exists",
];

/// Methods of paths that take nothing but the path.
const PATH_METHODS: &[&str] = &["exists", "is_file"];

pub(super) fn path(path: &str) -> bool {
    PATHS.iter().any(|known| path.starts_with(known)) && !HARMLESS.iter().any(|known| path.starts_with(known))
}

pub(super) fn method(name: &str, arguments: usize) -> bool {
    METHODS.contains(&name) || arguments == 0 && PATH_METHODS.contains(&name)
}
