//! A host of its own for each test: network namespaces that only the test knows.
//!
//! The test's thread moves into a fresh namespace and starts a runtime there; every thread of that
//! runtime is born in it, so the code under test takes it for the machine's. A second namespace,
//! connected by a cable, plays everybody outside. Nothing of the machine itself is touched.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use net::{Config, EndpointSpec, Network, NetworkId, NetworkView, PortSpec, Protocol};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// The host's address on the cable.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Everybody outside.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long an answer may take on a machine that is busy with other work.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer that must not come is waited for.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// What a test has: its state directory and the namespace outside.
pub(crate) struct Host {
    pub(crate) state: tempfile::TempDir,
    pub(crate) outside: OwnedFd,
}

/// Runs `test` on a host of its own.
pub(crate) fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send) {
    testkit::require_root();
    let run = || {
        unshare();
        command("ip link set lo up");
        let outside = namespace();
        command("ip link add eth0 type veth peer name cable");
        command("ip addr add 192.0.2.1/24 dev eth0");
        command("ip link set eth0 up");
        move_link("cable", &outside);
        inside(&outside, || {
            command("ip addr add 192.0.2.2/24 dev cable");
            command("ip link set cable up");
            command("ip link set lo up");
        });
        // Who sends to an address that nobody outside knows must not think that it is unreachable.
        command("ip route add default via 192.0.2.2");
        let host = Host { state: tempfile::tempdir().expect("temporary directory"), outside };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("start a runtime");
        runtime.block_on(test(host));
    };
    std::thread::scope(|scope| {
        let result = scope.spawn(run).join();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Host {
    /// The configuration of the instance `name`.
    pub(crate) fn config(&self, name: &str) -> Config {
        let resolv = self.state.path().join("resolv.conf");
        if !resolv.exists() {
            std::fs::write(&resolv, format!("nameserver {OUTSIDE}\nsearch example.org\n"))
                .expect("write resolv.conf");
        }
        Config {
            host_resolv_conf: resolv,
            resolved_resolv_conf: self.state.path().join("resolved.conf"),
            ..Config::new(name, self.state.path().join(name))
        }
    }

    /// Opens the instance named `gantry`.
    pub(crate) async fn open(&self) -> Network {
        Network::open(self.config("gantry")).await.expect("open the network")
    }
}

/// A sandbox attached to one network.
pub(crate) struct Sandbox {
    pub(crate) netns: OwnedFd,
    pub(crate) endpoint: net::Endpoint,
}

impl Sandbox {
    /// Its address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        v4(self.endpoint.ip())
    }
}

/// The bridge's address in a network.
pub(crate) fn gateway_of(network: &NetworkView) -> Ipv4Addr {
    v4(network.pools[0].gateway)
}

/// An address of IPv4, which is all that there are.
pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("an address of IPv6: {address}"),
    }
}

/// Attaches a new namespace to `network`.
pub(crate) async fn sandbox(network: &Network, id: &NetworkId, name: &str, ports: &[PortSpec]) -> Sandbox {
    let netns = network.netns_take().await.expect("take a namespace");
    let spec = EndpointSpec {
        owner: format!("{name}-id"),
        name: name.to_owned(),
        ports: ports.to_vec(),
        ..EndpointSpec::default()
    };
    let endpoint = network.endpoint_attach(netns.as_fd(), id, spec).await.expect("attach");
    Sandbox { netns, endpoint }
}

/// A port to publish everywhere.
pub(crate) fn publish(protocol: Protocol, host: u16, container: u16) -> PortSpec {
    PortSpec {
        protocol,
        host_address: Ipv4Addr::UNSPECIFIED.into(),
        host_ports: (host, host),
        container_port: container,
    }
}

/// Runs `work` on a thread in `netns`.
pub(crate) fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enter the namespace");
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Answers every TCP connection to `port` in `netns` with `name` and the client's address.
pub(crate) fn tcp_server(netns: &OwnedFd, port: u16, name: &str) {
    let listener = inside(netns, || TcpListener::bind(("0.0.0.0", port)).expect("listen"));
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().expect("a connected stream has a peer").ip();
            let _ = write!(stream, "{name} {peer}");
        }
    });
}

/// Answers every UDP packet to `port` in `netns` with `name` and the client's address.
pub(crate) fn udp_server(netns: &OwnedFd, port: u16, name: &str) {
    let socket = inside(netns, || UdpSocket::bind(("0.0.0.0", port)).expect("listen"));
    let name = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What a TCP server at `address` says to somebody in `netns`.
pub(crate) fn ask(netns: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<String> {
    inside(netns, || ask_here(address, port))
}

/// What a TCP server at `address` says to the host itself.
pub(crate) fn ask_here(address: Ipv4Addr, port: u16) -> io::Result<String> {
    ask_tcp(address, port, PATIENCE)
}

/// As [`ask`], where no answer is expected.
pub(crate) fn unanswered_tcp(netns: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<String> {
    inside(netns, || ask_tcp(address, port, IMPATIENCE))
}

/// As [`ask_udp`], where no answer is expected.
pub(crate) fn unanswered_udp(netns: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<String> {
    inside(netns, || ask_over_udp(address, port, IMPATIENCE))
}

fn ask_tcp(address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a UDP server at `address` says to somebody in `netns`.
pub(crate) fn ask_udp(netns: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<String> {
    inside(netns, || ask_udp_here(address, port))
}

/// What a UDP server at `address` says to the host itself.
pub(crate) fn ask_udp_here(address: Ipv4Addr, port: u16) -> io::Result<String> {
    ask_over_udp(address, port, PATIENCE)
}

fn ask_over_udp(address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect((address, port))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The namespace of the test's own thread.
pub(crate) fn here() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").expect("procfs is mounted").into()
}

/// A new namespace.
pub(crate) fn namespace() -> OwnedFd {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            unshare();
            here()
        });
        made.join().expect("the thread does not panic")
    })
}

/// Whether packets between ports of a bridge pass the host's rules, as other engines switch on.
pub(crate) fn filter_bridged_packets(on: bool) {
    // Without the kernel's module nothing is ever filtered there.
    let switch = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if switch.exists() {
        std::fs::write(switch, if on { "1" } else { "0" }).expect("set the switch of this namespace");
    }
}

/// Runs a command line on this thread's host and returns what it prints.
pub(crate) fn command(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a command line is not empty"))
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("`{line}`: {error}"));
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs one command of `nft`.
pub(crate) fn nft(text: &str) {
    let output = Command::new("nft").arg(text).output().expect("run nft");
    assert!(output.status.success(), "`{text}`: {}", String::from_utf8_lossy(&output.stderr));
}

fn unshare() {
    // SAFETY: only the network namespace is unshared, never the table of descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("make a network namespace");
}

/// Moves a link into another namespace, which `ip` can name by a thread that is in it.
fn move_link(link: &str, netns: &OwnedFd) {
    use std::os::fd::AsRawFd;
    command(&format!("ip link set {link} netns /proc/{}/fd/{}", std::process::id(), netns.as_raw_fd()));
}
