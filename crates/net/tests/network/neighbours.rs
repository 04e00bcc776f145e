//! What a container with raw sockets sends to be taken for somebody else.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use net::NetworkSpec;

use crate::host::*;

const ETHERNET: u16 = 0x0003;

/// A raw socket on `eth0` of `netns`, as CAP_NET_RAW gives it.
struct Wire(OwnedFd);

impl Wire {
    fn of(netns: &OwnedFd) -> Self {
        inside(netns, || {
            // SAFETY: the descriptor is new and nobody else's.
            let socket = unsafe {
                let socket = libc::socket(
                    libc::AF_PACKET,
                    libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                    i32::from(ETHERNET.to_be()),
                );
                assert!(socket >= 0, "{}", std::io::Error::last_os_error());
                OwnedFd::from_raw_fd(socket)
            };
            Self(socket)
        })
    }

    /// Sends a frame out of the link with this index.
    fn send(&self, netns: &OwnedFd, frame: &[u8]) {
        // SAFETY: the name ends with a zero byte.
        let index = inside(netns, || unsafe { libc::if_nametoindex(c"eth0".as_ptr()) });
        // SAFETY: all-zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        // SAFETY: frame and address live as long as the call.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

/// "`address` is at `mac`", to everybody.
fn claim(mac: [u8; 6], address: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0xff; 6]);
    frame.extend(to.octets());
    frame.resize(60, 0);
    frame
}

/// "I am the way to everywhere", as a router says it (RFC 4861), with a prefix to make addresses of.
fn advertisement(mac: [u8; 6]) -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66];
    let all_nodes = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    // Router advertisement: hop limit 64, preference high, a lifetime of half an hour.
    let mut message = vec![134, 0, 0, 0, 64, 0x08, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([1, 1]);
    message.extend(mac);
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    message.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut summed: Vec<u8> = [source, all_nodes].concat();
    summed.extend([0, 0, 0, message.len() as u8, 0, 0, 0, 58]);
    summed.extend(&message);
    let mut sum: u32 = summed.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(mac);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    frame.extend(source);
    frame.extend(all_nodes);
    frame.extend(message);
    frame
}

#[test]
fn a_containers_router_advertisement_gives_the_host_no_route_cve_2020_13401() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default();
        let evil = sandbox(&network, &bridge.id, "evil", &[]).await;
        let wire = Wire::of(&evil.netns);
        let frame = advertisement(evil.endpoint.mac);
        tcp_server(&here(), 7777, "host");
        let advertise = || {
            wire.send(&evil.netns, &frame);
            // What was sent before this has been dealt with when this is answered.
            ask(&evil.netns, gateway_of(&bridge), 7777).expect("the host answers");
            command("ip -6 route show table all")
        };
        for _ in 0..20 {
            let routes = advertise();
            assert!(!routes.contains("fe80::66") && !routes.contains("2001:db8:"), "{routes}");
        }
        // A host that speaks IPv6 there believes it: the advertisement is a good one.
        let conf = format!("/proc/sys/net/ipv6/conf/{}", bridge.bridge);
        std::fs::write(format!("{conf}/accept_ra"), "2").expect("set");
        std::fs::write(format!("{conf}/disable_ipv6"), "0").expect("set");
        testkit::wait_until("a route through the container", || {
            let routes = advertise();
            if routes.contains("fe80::66") { Ok(()) } else { Err(routes) }
        });
        network.close().await;
    });
}

#[test]
fn a_pod_cannot_take_the_place_of_another_or_of_the_host() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods();
        let victim = sandbox(&network, &pods.id, "victim", &[]).await;
        let evil = sandbox(&network, &pods.id, "evil", &[]).await;
        tcp_server(&victim.netns, 80, "victim");
        tcp_server(&host.outside, 80, "outside");
        tcp_server(&evil.netns, 80, "evil");
        inside(&evil.netns, || {
            command(&format!("ip addr add {}/32 dev lo", victim.address()));
            command(&format!("ip addr add {OUTSIDE}/32 dev lo"));
        });
        let wire = Wire::of(&evil.netns);
        let (mine, theirs) = (evil.endpoint.mac, victim.endpoint.mac);
        // Longer than the kernel keeps to what it has just learnt (one second).
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            wire.send(&evil.netns, &claim(mine, victim.address(), gateway_of(&pods)));
            wire.send(&evil.netns, &claim(mine, gateway_of(&pods), victim.address()));
            // "The victim's hardware is here", to the bridge.
            wire.send(&evil.netns, &claim(theirs, Ipv4Addr::UNSPECIFIED, gateway_of(&pods)));
            assert!(ask_here(victim.address(), 80).expect("the pod").starts_with("victim "));
            assert!(ask(&victim.netns, OUTSIDE, 80).expect("its way out").starts_with("outside "));
        }
        // It can still be reached itself, by the host and by others.
        let third = sandbox(&network, &pods.id, "third", &[]).await;
        assert!(ask_here(evil.address(), 80).expect("from the host").starts_with("evil "));
        assert!(ask(&third.netns, evil.address(), 80).expect("from a pod").starts_with("evil "));
        network.endpoint_detach(&pods.id, "evil-id").await.expect("detach");
        let neighbours = command(&format!("ip neigh show dev {}", pods.bridge));
        assert!(!neighbours.contains(&evil.address().to_string()), "{neighbours}");
        network.close().await;
    });
}

/// What a datagram's receiver makes of its sender's address it makes of one that the host would look for there.
#[test]
fn nobody_comes_from_an_address_at_which_the_host_looks_for_somebody_else() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default();
        let other = NetworkSpec { name: "other".into(), ..NetworkSpec::default() };
        let other = network.network_create(other).await.expect("create");
        let evil = sandbox(&network, &bridge.id, "evil", &[]).await;
        let away = sandbox(&network, &other.id, "away", &[]).await;
        let socket = UdpSocket::bind(("0.0.0.0", 7777)).expect("bind");
        socket.set_nonblocking(true).expect("set");
        let gateway = gateway_of(&bridge);
        let claimed = [away.address(), OUTSIDE, Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(10, 42, 0, 9)];
        inside(&evil.netns, || {
            claimed.iter().for_each(|claimed| drop(command(&format!("ip addr add {claimed}/32 dev eth0"))));
        });
        let say = |from: Ipv4Addr| {
            inside(&evil.netns, || {
                let socket = UdpSocket::bind((from, 0)).expect("bind");
                socket.send_to(b"hello", (gateway, 7777)).expect("send");
            });
        };
        let heard = || {
            let mut buffer = [0; 16];
            socket.recv_from(&mut buffer).map(|(_, from)| v4(from.ip()))
        };
        claimed.into_iter().for_each(say);
        // Its own comes after all of those.
        say(evil.address());
        let first = testkit::wait_until("a datagram", heard);
        assert_eq!(first, evil.address());
        // One that the host is told to look for there may come from there.
        command(&format!("ip route add 203.0.113.0/24 via {}", evil.address()));
        say(Ipv4Addr::new(203, 0, 113, 9));
        assert_eq!(testkit::wait_until("a datagram", heard), Ipv4Addr::new(203, 0, 113, 9));
        // It is the guard that stops them, not this test's mistake.
        network.close().await;
        command("nft flush chain ip gantry guard");
        say(away.address());
        assert_eq!(testkit::wait_until("a datagram", heard), away.address());
    });
}

/// A namespace at another link of the host's.
fn elsewhere() -> OwnedFd {
    let elsewhere = namespace();
    command("ip link add eth1 type veth peer name wire");
    command("ip addr add 198.51.100.1/24 dev eth1");
    command("ip link set eth1 up");
    command(&format!("ip link set wire netns /proc/{}/fd/{}", std::process::id(), elsewhere.as_raw_fd()));
    inside(&elsewhere, || {
        command("ip link set wire up");
        command("ip addr add 198.51.100.2/24 dev wire");
        command("ip route add default via 198.51.100.1");
    });
    elsewhere
}

/// The host is no router, though both sides of it would take it for one: the other side answers on port 80.
fn no_router_between(outside: &OwnedFd) -> OwnedFd {
    std::fs::write(FORWARDING, "0").expect("set");
    let elsewhere = elsewhere();
    tcp_server(&elsewhere, 80, "elsewhere");
    inside(outside, || command("ip route add default via 192.0.2.1"));
    elsewhere
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

#[test]
fn a_host_that_was_no_router_does_not_become_one_for_strangers() {
    on_host(|host| async move {
        let _elsewhere = no_router_between(&host.outside);
        let network = host.open().await;
        let bridge = network.network_default();
        let one = sandbox(&network, &bridge.id, "one", &[]).await;
        assert!(ask(&one.netns, ELSEWHERE, 80).is_ok(), "containers get out");
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nothing passes from one link to another");
        network.close().await;
        // The next start finds forwarding on, and knows who turned it on.
        let network = host.open().await;
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nor after a restart");
        assert!(ask(&one.netns, ELSEWHERE, 80).is_ok(), "containers get out");
        network.endpoint_detach_all("one-id").await.expect("detach");
        drop(one);
        network.teardown().await.expect("take everything away");
        assert_eq!(std::fs::read_to_string(FORWARDING).expect("read"), "0\n", "as it was found");
    });
}

#[test]
fn a_host_does_not_become_a_router_for_strangers_where_its_record_cannot_be_read() {
    on_host(|host| async move {
        let _elsewhere = no_router_between(&host.outside);
        let network = host.open().await;
        let bridge = network.network_default();
        let one = sandbox(&network, &bridge.id, "one", &[publish(net::Protocol::Tcp, 8080, 80)]).await;
        tcp_server(&one.netns, 80, "one");
        network.close().await;
        drop(network);
        let record = host.state.path().join("gantry/forwarding.json");
        let whole = std::fs::read(&record).expect("the record");
        for (text, readable) in [(&b"{\"version\":99}"[..], false), (b"garbage", false), (&whole[..], true)] {
            std::fs::write(&record, text).expect("write");
            let network = host.open().await;
            unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nothing passes");
            assert!(ask(&one.netns, ELSEWHERE, 80).is_ok(), "containers get out");
            assert!(ask(&host.outside, HOST, 8080).is_ok(), "and are reached");
            let told: Vec<_> = network.troubles().into_iter().map(|trouble| trouble.path).collect();
            assert_eq!(told.contains(&record), !readable, "{told:?}");
            assert_eq!(std::fs::read(&record).expect("it is left alone"), text);
            network.close().await;
        }
        // What belongs to another boot says nothing of this one, nor does what it left half written.
        let text = String::from_utf8(whole).expect("text");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
        let other = text.replace(boot.trim(), "another");
        assert_ne!(text, other);
        for text in [other.as_str(), ""] {
            std::fs::write(&record, text).expect("write");
            let network = host.open().await;
            assert!(ask(&host.outside, ELSEWHERE, 80).is_ok(), "it was a router before this");
            network.close().await;
        }
    });
}

#[test]
fn a_host_that_was_a_router_remains_one() {
    on_host(|host| async move {
        std::fs::write(FORWARDING, "1").expect("set");
        let elsewhere = elsewhere();
        tcp_server(&elsewhere, 80, "elsewhere");
        inside(&host.outside, || command("ip route add default via 192.0.2.1"));
        let network = host.open().await;
        assert!(ask(&host.outside, ELSEWHERE, 80).expect("it passes").starts_with("elsewhere "));
        network.teardown().await.expect("take everything away");
        assert_eq!(std::fs::read_to_string(FORWARDING).expect("read"), "1\n");
    });
}

#[test]
fn a_host_that_passes_packets_on_from_single_links_goes_on_doing_so() {
    on_host(|host| async move {
        let _elsewhere = no_router_between(&host.outside);
        let single = |link: &str| format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
        for link in ["eth0", "eth1"] {
            std::fs::write(single(link), "1").expect("set");
        }
        assert!(ask(&host.outside, ELSEWHERE, 80).is_ok(), "it is a router");
        let network = host.open().await;
        assert!(ask(&host.outside, ELSEWHERE, 80).expect("it stays one").starts_with("elsewhere "));
        network.teardown().await.expect("take everything away");
        assert!(ask(&host.outside, ELSEWHERE, 80).is_ok(), "and is one afterwards");
        assert_eq!(std::fs::read_to_string(FORWARDING).expect("read"), "0\n", "by its single links");
    });
}

/// The kernel asks where a packet comes in: a router between some of its links lets nobody in by another.
#[test]
fn nobody_comes_in_by_a_link_from_which_nothing_was_passed_on() {
    on_host(|host| async move {
        let _elsewhere = no_router_between(&host.outside);
        std::fs::write("/proc/sys/net/ipv4/conf/eth1/forwarding", "1").expect("set");
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nothing passes by eth0");
        let network = host.open().await;
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nor now");
        network.close().await;
        let network = host.open().await;
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nor after a restart");
        network.teardown().await.expect("take everything away");
        unanswered_tcp(&host.outside, ELSEWHERE, 80).expect_err("nor when it is gone");
        let switch = |link: &str| {
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/forwarding")).expect("read")
        };
        assert_eq!((switch("eth0").as_str(), switch("eth1").as_str()), ("0\n", "1\n"), "as they were found");
    });
}

#[test]
fn where_pods_are_is_said_again_at_every_start() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods();
        let gone = sandbox(&network, &pods.id, "gone", &[]).await;
        let pod = sandbox(&network, &pods.id, "pod", &[]).await;
        let neighbours = || command(&format!("ip neigh show dev {} nud permanent", pods.bridge));
        assert!(neighbours().contains(&pod.address().to_string()));
        network.close().await;
        // As after an upgrade from a version that did not say it, and the end of a pod meanwhile.
        command(&format!("ip neigh del {} dev {}", pod.address(), pods.bridge));
        command(&format!(
            "ip link set {} type bridge_slave learning on flood on",
            pod.endpoint.host_interface
        ));
        command(&format!("ip link del {}", gone.endpoint.host_interface));
        let network = host.open().await;
        let said = neighbours();
        assert!(said.contains(&pod.address().to_string()), "{said}");
        assert!(!said.contains(&gone.address().to_string()), "{said}");
        let port = command(&format!("ip -d link show {}", pod.endpoint.host_interface));
        assert!(port.contains("learning off") && port.contains("flood off"), "{port}");
        network.close().await;
    });
}
