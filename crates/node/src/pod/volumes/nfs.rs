//! `nfs`: a directory of a server, mounted by the kernel itself.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounting::{self, is_mounted, text};

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
    first_that_answers(&addresses(&nfs.server)?, |address| mount_from(address, path, nfs))
}

/// Tries the addresses of a server, one after the other: not at each of them it need be there for us.
fn first_that_answers(
    addresses: &[IpAddr],
    mut attempt: impl FnMut(IpAddr) -> io::Result<()>,
) -> io::Result<()> {
    let mut last = io::Error::other("the server has no address");
    for address in addresses {
        let error = match attempt(*address) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            Some(
                Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::ACCESS
                | Errno::PERM,
            ) => last = error,
            _ => return Err(error),
        }
    }
    Err(last)
}

fn mount_from(address: IpAddr, path: &Path, nfs: &Nfs) -> io::Result<()> {
    let (flags, options) = options(nfs);
    let source = text(source(&nfs.server, &nfs.path))?;
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

/// What is mounted, as the kernel reads it: colons are an address's only in brackets.
fn source(server: &str, path: &str) -> String {
    if server.parse::<Ipv6Addr>().is_ok() { format!("[{server}]:{path}") } else { format!("{server}:{path}") }
}

/// Where a server is, by its name or its address.
fn addresses(server: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = server.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let mut found = Vec::new();
    for address in (server, PORT).to_socket_addrs()? {
        if !found.contains(&address.ip()) {
            found.push(address.ip());
        }
    }
    Ok(found)
}

/// What `mount` would make of the options: flags, and what is left for the file system. The address is worked out
/// here, and by nobody else.
fn options(nfs: &Nfs) -> (MountFlags, Vec<String>) {
    let (mut flags, mut left) = mounting::options(&nfs.options);
    flags.set(MountFlags::RDONLY, nfs.read_only || flags.contains(MountFlags::RDONLY));
    left.retain(|option| !option.starts_with("addr="));
    (flags, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_alone_writes_nothing_and_nobody_names_another_address() {
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
        let of =
            |server| addresses(server).expect("an address").iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(of("192.0.2.7"), ["192.0.2.7"]);
        assert_eq!(of("[2001:db8::1]"), ["2001:db8::1"]);
        assert_eq!(source("2001:db8::1", "/a"), "[2001:db8::1]:/a");
        assert_eq!(source("[2001:db8::1]", "/a"), "[2001:db8::1]:/a");
        assert_eq!(source("files.example.org", "/a"), "files.example.org:/a");
    }

    #[test]
    fn a_server_with_several_addresses_is_asked_at_each_until_it_answers() {
        let both = ["2001:db8::1", "192.0.2.7"].map(|address| address.parse().expect("an address"));
        let check = |answers: [Errno; 2], expected: (usize, Option<Errno>)| {
            let mut asked = 0;
            let done = first_that_answers(&both, |address| {
                assert_eq!(address, both[asked]);
                asked += 1;
                Err(answers[asked - 1].into())
            });
            assert_eq!((asked, Errno::from_io_error(&done.expect_err("nobody answers"))), expected);
        };
        check([Errno::CONNREFUSED, Errno::HOSTUNREACH], (2, Some(Errno::HOSTUNREACH)));
        check([Errno::ACCESS, Errno::NOENT], (2, Some(Errno::NOENT)));
        check([Errno::NOENT, Errno::ACCESS], (1, Some(Errno::NOENT)));
        let mut asked = 0;
        let second = first_that_answers(&both, |_| {
            asked += 1;
            if asked == 2 { Ok(()) } else { Err(Errno::TIMEDOUT.into()) }
        });
        second.expect("the second answers");
        first_that_answers(&[], |_| Ok(())).expect_err("there is none");
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
        assert!(mounting::remove(&place).is_err(), "what is in it is not removed");
        fs::remove_file(place.join("not-ours")).expect("remove");
        mounting::remove(&place).expect("removed");
        mounting::remove(&place).expect("there is nothing left to remove");
    }
}
