//! `nfs`: a directory of a server, mounted by the kernel itself.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

/// A directory of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nfs {
    /// The server's name or address.
    pub server: String,
    /// The directory there.
    pub path: String,
    /// Nothing is written.
    pub read_only: bool,
    /// As `mount` takes them.
    pub options: Vec<String>,
}

const PORT: u16 = 2049;
/// What is asked for where the options name no version, one after the other.
const VERSIONS: [&str; 3] = ["4.2", "4.1", "4.0"];
const NO_KERNEL: &str = "the kernel of this node has no NFS client (CONFIG_NFS_FS, CONFIG_NFS_V4): build it in, or load the module nfs";

/// Mounts it at `path`, unless something is mounted there.
pub(super) fn mount(path: &Path, nfs: &Nfs) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mounted(path)? {
        return Ok(());
    }
    let address = address(&nfs.server)?;
    let (flags, options) = options(nfs);
    let source = text(format!("{}:{}", nfs.server, nfs.path))?;
    let names_version =
        options.iter().any(|option| option.starts_with("vers=") || option.starts_with("nfsvers="));
    let versions: &[&str] = if names_version { &[""] } else { &VERSIONS };
    let mut refused = Errno::PROTONOSUPPORT;
    for version in versions {
        let mut data: Vec<String> = options.clone();
        if !version.is_empty() {
            data.push(format!("vers={version}"));
        }
        data.push(format!("addr={address}"));
        let data = text(data.join(","))?;
        match rustix::mount::mount(&source, path, "nfs", flags, Some(data.as_c_str())) {
            Ok(()) => return Ok(()),
            Err(Errno::NODEV) => return Err(io::Error::new(io::ErrorKind::Unsupported, NO_KERNEL)),
            // It speaks no such version: an older one may do.
            Err(error @ (Errno::PROTONOSUPPORT | Errno::INVAL)) => refused = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.into())
}

/// Removes the directory that it was mounted at; what is mounted there still is the server's, and stays.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let above = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(above)?.dev())
}

fn address(server: &str) -> io::Result<IpAddr> {
    if let Ok(address) = server.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(address);
    }
    let found = (server, PORT).to_socket_addrs()?.next();
    found.map(|found| found.ip()).ok_or_else(|| io::Error::other(format!("`{server}` has no address")))
}

fn text(text: String) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it has a NUL in it"))
}

/// What `mount` would make of the options: flags, and what is left for the file system.
fn options(nfs: &Nfs) -> (MountFlags, Vec<String>) {
    let mut flags = if nfs.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let mut left = Vec::new();
    for option in nfs.options.iter().flat_map(|options| options.split(',')) {
        match option {
            "" | "rw" | "defaults" | "_netdev" | "auto" | "noauto" | "nofail" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            // The address is worked out here, and by nobody else.
            other if other.starts_with("addr=") => {}
            other => left.push(other.to_owned()),
        }
    }
    (flags, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_or_are_the_file_system_s() {
        let of = |read_only, given: &[&str]| {
            let given = given.iter().map(|option| (*option).to_owned()).collect();
            options(&Nfs { server: "s".to_owned(), path: "/".to_owned(), read_only, options: given })
        };
        assert_eq!(of(false, &[]), (MountFlags::empty(), Vec::new()));
        let (flags, left) = of(true, &["noexec,hard", "nfsvers=4.1", "addr=192.0.2.1"]);
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOEXEC);
        assert_eq!(left, ["hard", "nfsvers=4.1"]);
    }

    #[test]
    fn a_server_is_an_address_or_has_one() {
        assert_eq!(address("192.0.2.7").expect("an address").to_string(), "192.0.2.7");
        assert_eq!(address("[2001:db8::1]").expect("an address").to_string(), "2001:db8::1");
    }

    #[test]
    fn what_cannot_be_mounted_is_said_and_leaves_nothing() {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let place = root.path().join("v");
        let options = ["soft", "timeo=1", "retrans=0"].map(str::to_owned).to_vec();
        let nobody =
            Nfs { server: "127.0.0.1".to_owned(), path: "/none".to_owned(), read_only: false, options };
        let error = mount(&place, &nobody).expect_err("nobody serves it");
        let kernel = fs::read_to_string("/proc/filesystems").expect("procfs");
        if !kernel.split_whitespace().any(|name| name == "nfs") {
            assert_eq!(error.to_string(), NO_KERNEL);
        }
        fs::write(place.join("not-ours"), "x").expect("write");
        assert!(remove(&place).is_err(), "what is in it is not removed");
        fs::remove_file(place.join("not-ours")).expect("remove");
        remove(&place).expect("removed");
        remove(&place).expect("there is nothing left to remove");
    }
}
