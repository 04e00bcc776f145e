//! From a program just started to a shim that listens.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use super::address::Address;
use super::launch::{NetworkOrder, Orders, Report};
use super::server::{Identity, Server};
use crate::cgroup::{Cgroup, CgroupError};
use crate::launch::{Holder, Inherited, ProcessError};
use crate::spec::{IdMapping, NamespaceKind};
use crate::sys::clone::{Cloned, clone3, setns, unshare};
use crate::sys::exec::close_from;
use crate::sys::{network, process, signal};
use base::error::chain;

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why a shim could not come to be.
#[derive(Debug, thiserror::Error)]
enum BecomeError {
    #[error("usage: shim ORDERS (started by the engine)")]
    Usage,
    #[error("read the orders")]
    Orders(#[source] serde_json::Error),
    #[error("{what}")]
    System { what: &'static str, source: io::Error },
    #[error("enter the shim's cgroup")]
    Cgroup(#[source] CgroupError),
    #[error("a sandbox with users of its own needs a new network")]
    Network,
    #[error("make the sandbox's user namespace")]
    Users(#[source] ProcessError),
    #[error("another shim already listens at `{0}`")]
    Taken(String),
    #[error("listen at `{path}`")]
    Listen { path: String, source: io::Error },
}

pub(super) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match prepare(args) {
        Ok(Some(server)) => server.run(),
        // The process that was started: the shim proper has left it.
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            report(&Report::Failed(chain(&error).to_string()));
            eprintln!("gantry shim: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn prepare(args: impl IntoIterator<Item = OsString>) -> Result<Option<Server>, BecomeError> {
    let system = |what| move |source: io::Error| BecomeError::System { what, source };
    // It will have descriptors of the host, and its children, who inherit this, may be seen in
    // containers.
    process::forbid_tracing().map_err(system("keep the shim from being traced"))?;
    let orders =
        args.into_iter().next().and_then(|text| text.into_string().ok()).ok_or(BecomeError::Usage)?;
    let orders: Orders = serde_json::from_str(&orders).map_err(BecomeError::Orders)?;
    // What the daemon had open without meaning to hand it on must not stay open for years.
    // SAFETY: nothing has been opened yet by this program.
    unsafe { close_from(3) }.map_err(system("close the daemon's descriptors"))?;
    // A terminal that goes away must not end containers; what `SIGTERM` does is up to the loop.
    signal::ignore(&[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE]);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::chdir("/").map_err(|error| system("leave the caller's directory")(error.into()))?;
    // A name is for people only: a shim without one holds its containers all the same.
    let _ = process::set_title(&super::title(&orders.id));
    if let Some(path) = &orders.cgroup {
        let cgroup = Cgroup::at(path).map_err(BecomeError::Cgroup)?;
        cgroup.create().and_then(|()| cgroup.add(std::process::id())).map_err(BecomeError::Cgroup)?;
    }
    let (inherited, users) = enter_namespaces(&orders)?;
    let path = orders.socket.display().to_string();
    let address =
        Address::of(&orders.socket).map_err(|source| BecomeError::Listen { path: path.clone(), source })?;
    if UnixStream::connect(address.path()).is_ok() {
        return Err(BecomeError::Taken(path));
    }
    match std::fs::remove_file(&orders.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BecomeError::Listen { path, source: error });
        }
        _ => {}
    }
    let listener = UnixListener::bind(address.path())
        .map_err(|source| BecomeError::Listen { path: path.clone(), source })?;
    listener.set_nonblocking(true).map_err(|source| BecomeError::Listen { path, source })?;

    // SAFETY: this program has one thread; the child is the shim and goes on as this code does.
    match unsafe { clone3(0, None) }.map_err(system("fork the shim"))? {
        Cloned::Parent { .. } => return Ok(None),
        Cloned::Child => {}
    }
    rustix::process::setsid()
        .map_err(|error| BecomeError::System { what: "begin a session", source: error.into() })?;
    // Said again by this process, so that the kernel knows who it is that listens.
    rustix::net::listen(&listener, BACKLOG)
        .map_err(|error| BecomeError::System { what: "listen", source: error.into() })?;
    let init = if orders.pid {
        let title = super::title(&orders.id).replace("shim", "init");
        Some(
            crate::init::start(&title, users.as_ref())
                .map_err(|(what, source)| BecomeError::System { what, source })?,
        )
    } else {
        None
    };
    let pid = std::process::id();
    let identity = Identity {
        id: orders.id,
        pid,
        start_time: process::start_time(pid).unwrap_or(0),
        init_pid: init.as_ref().map(|(pid, _)| *pid),
        socket: orders.socket,
        state_dir: orders.state_dir,
        inherited,
    };
    let ready = Report::Ready { pid, start_time: identity.start_time, init_pid: identity.init_pid };
    let server =
        Server::new(identity, listener, init.map(|(_, pidfd)| pidfd)).map_err(system("prepare to listen"))?;
    report(&ready);
    leave_streams().map_err(system("leave the caller's streams"))?;
    Ok(Some(server))
}

/// Enters or makes the sandbox's shared namespaces. The user namespace is not entered, but given: the
/// shim is the host's.
fn enter_namespaces(orders: &Orders) -> Result<(Inherited, Option<OwnedFd>), BecomeError> {
    let system = |what| move |source: io::Error| BecomeError::System { what, source };
    let inherited = Inherited {
        network: !matches!(orders.network, NetworkOrder::Host),
        ipc: orders.ipc,
        uts: orders.hostname.is_some(),
    };
    if let Some(users) = &orders.users {
        let namespace = enter_owned(orders, users)?;
        return Ok((inherited, Some(namespace)));
    }
    match orders.network {
        NetworkOrder::Host => {}
        NetworkOrder::Stdin => {
            let flag = NamespaceKind::Network.flag();
            setns(rustix::stdio::stdin(), flag).map_err(system("enter the sandbox's network namespace"))?;
        }
        NetworkOrder::New => {
            unshare(NamespaceKind::Network.flag()).map_err(system("make a network namespace"))?;
            network::loopback_up().map_err(system("set the loopback interface up"))?;
        }
    }
    let mut flags = 0;
    if orders.ipc {
        flags |= NamespaceKind::Ipc.flag();
    }
    if orders.hostname.is_some() {
        flags |= NamespaceKind::Uts.flag();
    }
    if flags != 0 {
        unshare(flags).map_err(system("make the sandbox's namespaces"))?;
    }
    set_hostname(orders)?;
    Ok((inherited, None))
}

/// Makes a user namespace, and enters those that it owns.
fn enter_owned(orders: &Orders, users: &IdMapping) -> Result<OwnedFd, BecomeError> {
    if !matches!(orders.network, NetworkOrder::New) {
        return Err(BecomeError::Network);
    }
    let mut kinds = vec![NamespaceKind::Network];
    kinds.extend(orders.ipc.then_some(NamespaceKind::Ipc));
    kinds.extend(orders.hostname.as_ref().map(|_| NamespaceKind::Uts));
    let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
    let maps = std::slice::from_ref(users);
    let holder = Holder::start(flags, maps, maps).map_err(BecomeError::Users)?;
    for kind in kinds {
        let namespace = holder.namespace(kind).map_err(BecomeError::Users)?;
        setns(namespace.as_fd(), kind.flag())
            .map_err(|source| BecomeError::System { what: "enter the sandbox's namespaces", source })?;
    }
    network::loopback_up()
        .map_err(|source| BecomeError::System { what: "set the loopback interface up", source })?;
    set_hostname(orders)?;
    holder.namespace(NamespaceKind::User).map_err(BecomeError::Users)
}

fn set_hostname(orders: &Orders) -> Result<(), BecomeError> {
    let Some(name) = &orders.hostname else { return Ok(()) };
    rustix::system::sethostname(name.as_bytes())
        .map_err(|error| BecomeError::System { what: "set the sandbox's host name", source: error.into() })
}

/// Tells the launcher, on standard output.
fn report(report: &Report) {
    let text = serde_json::to_string(report).expect("a report has only string keys");
    // A launcher that has gone finds the shim by its socket.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

/// Gives up standard input and output, which belong to the launcher; errors still go to the log.
fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    Ok(())
}
