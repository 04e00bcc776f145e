//! Links, addresses and routes, by the kernel's route protocol.
//!
//! Every link is made with a hardware address that we choose, at both ends: one that the kernel made
//! up is replaced by udev (`MACAddressPolicy=persistent`) at a moment that nobody knows, and with it
//! goes whatever others have been told of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::{IpNet, Ipv4Net};

use crate::netlink::{Attributes, Family, Message, Reply, Socket, attribute_text, attribute_u32};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;

/// Index of a setting in `IFLA_INET_CONF`: the names under `net.ipv4.conf.<link>`.
const CONF_FORWARDING: u16 = 1;
const CONF_SEND_REDIRECTS: u16 = 6;
const CONF_RP_FILTER: u16 = 8;
const CONF_ROUTE_LOCALNET: u16 = 26;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u8 = 0x40;
const NUD_PERMANENT: u8 = 0x80;
const NTF_MASTER: u8 = 0x04;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// A socket for links, addresses and routes of one network namespace.
pub(crate) struct Links {
    socket: Socket,
}

/// A link as it is.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its number in its namespace.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// The text that its owner left on it.
    pub(crate) alias: String,
    /// What it is, as `bridge` or `veth`; empty for hardware.
    pub(crate) kind: String,
    /// The bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// Whether it is kept from other isolated ports of its bridge.
    pub(crate) isolated: bool,
    /// The number of a cable's other end, in the namespace where that is.
    pub(crate) peer: Option<u32>,
    /// Its hardware address; zero if it has none of six bytes.
    pub(crate) mac: [u8; 6],
}

/// The two ends of a veth to be made.
#[derive(Clone, Debug)]
pub(crate) struct Veth<'a> {
    /// Name of the end that stays here.
    pub(crate) host: &'a str,
    /// Hardware address of the end that stays here.
    pub(crate) host_mac: [u8; 6],
    /// The bridge that it becomes a port of.
    pub(crate) bridge: u32,
    /// How it is one.
    pub(crate) port: Port,
    /// Where the other end goes.
    pub(crate) netns: BorrowedFd<'a>,
    /// Name of the other end.
    pub(crate) inside: &'a str,
    /// Hardware address of the other end.
    pub(crate) mac: [u8; 6],
    /// Largest packet.
    pub(crate) mtu: Option<u32>,
}

/// How a link is a port of its bridge. It is the port's, and lost with it: a link that is put on a bridge
/// once more has to be told again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    /// Whether other isolated ports of the bridge cannot be reached through it.
    pub(crate) isolated: bool,
    /// Whether the bridge takes the addresses behind the port as it is told (`Links::port_address_set`),
    /// instead of learning them from what comes in there.
    pub(crate) is_fixed: bool,
}

impl Port {
    fn write(self, message: &mut Message) {
        let learns = [u8::from(!self.is_fixed)];
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |data| {
                // Where the host filters bridged packets (bridge-nf-call-iptables), what a container
                // sends to a port that it has published itself is turned round inside the bridge.
                data.bytes(IFLA_BRPORT_MODE, &[1]).bytes(IFLA_BRPORT_ISOLATED, &[u8::from(self.isolated)]);
                data.bytes(IFLA_BRPORT_LEARNING, &learns).bytes(IFLA_BRPORT_UNICAST_FLOOD, &learns);
            });
        });
    }
}

/// A route to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// Where to; everything if the prefix is 0.
    pub(crate) destination: IpNet,
    /// Through whom; directly if none.
    pub(crate) gateway: Option<IpAddr>,
    /// Out of which link.
    pub(crate) link: u32,
    /// Tells routes to the same destination apart; the lowest is used.
    pub(crate) metric: u32,
}

impl Links {
    /// Opens a socket in the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Family::Route, 0)? })
    }

    /// All links.
    pub(crate) fn list(&mut self) -> io::Result<Vec<Link>> {
        let replies = self.socket.dump(&Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0)))?;
        Ok(replies.iter().filter_map(|reply| parse_link(&reply.payload)).collect())
    }

    /// The link with this name, if there is one.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = Message::new(RTM_GETLINK, 0, &link_header(0, 0, 0));
        message.text(IFLA_IFNAME, name);
        match self.socket.get(&message) {
            Ok(reply) => Ok(parse_link(&reply.payload)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge with `alias` on it, up, that may carry packets for 127.0.0.0/8.
    pub(crate) fn bridge_add(
        &mut self,
        name: &str,
        alias: &str,
        mac: [u8; 6],
        mtu: Option<u32>,
    ) -> io::Result<u32> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, 0, 0));
        message.text(IFLA_IFNAME, name).bytes(IFLA_ADDRESS, &mac);
        if let Some(mtu) = mtu {
            message.u32(IFLA_MTU, mtu);
        }
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge");
            // Snooping delays multicast on ports that have just come up, and nobody queries here.
            info.nest(IFLA_INFO_DATA, |bridge| {
                bridge.bytes(IFLA_BR_MCAST_SNOOPING, &[0]);
            });
        });
        self.socket.request(&[message])?;
        let link = self.find(name)?.ok_or(io::ErrorKind::NotFound)?;
        self.bridge_set(link.index, alias)?;
        Ok(link.index)
    }

    /// Puts a bridge into the state that all our bridges have.
    pub(crate) fn bridge_set(&mut self, index: u32, alias: &str) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, libc::IFF_UP, libc::IFF_UP));
        message.text(IFLA_IFALIAS, alias);
        message.nest(IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET as u16, |inet| {
                inet.nest(IFLA_INET_CONF, |conf| {
                    // Ports published at 127.0.0.1 lead from the loopback to the bridge.
                    conf.u32(CONF_ROUTE_LOCALNET, 1);
                    conf.u32(CONF_FORWARDING, 1);
                    // Pods talk to each other through the bridge's address; a redirect would undo that.
                    conf.u32(CONF_SEND_REDIRECTS, 0);
                });
            });
        });
        self.socket.request(&[message, no_ipv6(index)]).or_else(ignore_missing_ipv6)
    }

    /// Gives a link an address; nothing happens if it has it.
    pub(crate) fn address_add(&mut self, link: u32, address: IpNet) -> io::Result<()> {
        self.socket.request(&[address_message(link, address)]).or_else(ignore_exists)
    }

    /// All addresses of IPv4 with the links that have them.
    pub(crate) fn address_list(&mut self) -> io::Result<Vec<(u32, IpNet)>> {
        let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];
        let replies = self.socket.dump(&Message::new(RTM_GETADDR, 0, &header))?;
        Ok(replies.iter().filter_map(|reply| parse_address(&reply.payload)).collect())
    }

    /// Makes a route, in place of another to the same destination.
    pub(crate) fn route_replace(&mut self, route: Route) -> io::Result<()> {
        self.socket.request(&[route_message(route)])
    }

    /// All routes of IPv4 of the main table: destination and link.
    pub(crate) fn route_list(&mut self) -> io::Result<Vec<(IpNet, u32)>> {
        let mut header = [0; 12];
        header[0] = libc::AF_INET as u8;
        let replies = self.socket.dump(&Message::new(RTM_GETROUTE, 0, &header))?;
        Ok(replies.iter().filter_map(|reply| parse_route(&reply.payload)).collect())
    }

    /// Makes a veth between a bridge and a namespace; the end in the namespace is not up yet.
    pub(crate) fn veth_add(&mut self, veth: &Veth<'_>) -> io::Result<()> {
        let up = link_header(0, libc::IFF_UP, libc::IFF_UP);
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up);
        message.text(IFLA_IFNAME, veth.host).bytes(IFLA_ADDRESS, &veth.host_mac);
        message.u32(IFLA_MASTER, veth.bridge);
        if let Some(mtu) = veth.mtu {
            message.u32(IFLA_MTU, mtu);
        }
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    // It comes up later: the kernel refuses to while the two are not connected yet.
                    peer.raw(&link_header(0, 0, 0))
                        .text(IFLA_IFNAME, veth.inside)
                        .bytes(IFLA_ADDRESS, &veth.mac);
                    if let Some(mtu) = veth.mtu {
                        peer.u32(IFLA_MTU, mtu);
                    }
                    peer.u32(IFLA_NET_NS_FD, veth.netns.as_raw_fd() as u32);
                });
            });
        });
        let mut port = Message::new(RTM_NEWLINK, 0, &link_header(0, 0, 0));
        port.text(IFLA_IFNAME, veth.host);
        veth.port.write(&mut port);
        self.socket.request(&[message, port])
    }

    /// Brings up the link `index` inside a sandbox with its addresses and routes, in one exchange.
    pub(crate) fn configure(&mut self, index: u32, addresses: &[IpNet], routes: &[Route]) -> io::Result<()> {
        let up = Message::new(RTM_NEWLINK, 0, &link_header(index, libc::IFF_UP, libc::IFF_UP));
        let mut messages = vec![up];
        messages.extend(addresses.iter().map(|address| address_message(index, *address)));
        messages.extend(routes.iter().copied().map(route_message));
        self.socket.request(&messages)
    }

    /// Lets a link carry packets for 127.0.0.0/8.
    pub(crate) fn route_localnet(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, 0, 0));
        message.nest(IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET as u16, |inet| {
                inet.nest(IFLA_INET_CONF, |conf| {
                    conf.u32(CONF_ROUTE_LOCALNET, 1);
                });
            });
        });
        self.socket.request(&[message])
    }

    /// Makes a cable with both ends here: names and hardware addresses.
    pub(crate) fn cable_add(&mut self, one: (&str, [u8; 6]), other: (&str, [u8; 6])) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, 0, 0));
        message.text(IFLA_IFNAME, one.0).bytes(IFLA_ADDRESS, &one.1).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_header(0, 0, 0)).text(IFLA_IFNAME, other.0).bytes(IFLA_ADDRESS, &other.1);
                });
            });
        });
        self.socket.request(&[message])
    }

    /// Brings up an end of a cable that takes packets from anybody.
    ///
    /// Of the two values for all links and for one the greater holds: with 2, sources are asked for no
    /// more than being reachable at all, even where all other links are strict (1), as `ufw` sets them.
    pub(crate) fn cable_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, libc::IFF_UP, libc::IFF_UP));
        message.nest(IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET as u16, |inet| {
                inet.nest(IFLA_INET_CONF, |conf| {
                    conf.u32(CONF_FORWARDING, 1).u32(CONF_RP_FILTER, 2);
                });
            });
        });
        self.socket.request(&[no_ipv6(index)]).or_else(ignore_missing_ipv6)?;
        self.socket.request(&[message])
    }

    /// Says for good which hardware address a neighbour on a link has.
    pub(crate) fn neighbour_set(&mut self, link: u32, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        let mut header = [family(address), 0, 0, 0, 0, 0, 0, 0, NUD_PERMANENT, 0, 0, 0];
        header[4..8].copy_from_slice(&link.to_ne_bytes());
        let mut message = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header);
        message.bytes(NDA_DST, &octets(address)).bytes(NDA_LLADDR, &mac);
        self.socket.request(&[message])
    }

    /// Forgets a neighbour; nothing happens if nobody knows it.
    pub(crate) fn neighbour_remove(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
        let mut header = [family(address), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&link.to_ne_bytes());
        let mut message = Message::new(RTM_DELNEIGH, 0, &header);
        message.bytes(NDA_DST, &octets(address));
        match self.socket.request(&[message]) {
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Says how a link is a port of its bridge.
    pub(crate) fn port_set(&mut self, link: u32, port: Port) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0, &link_header(link, 0, 0));
        port.write(&mut message);
        self.socket.request(&[message])
    }

    /// Says for good behind which port of its bridge a hardware address is.
    pub(crate) fn port_address_set(&mut self, port: u32, mac: [u8; 6]) -> io::Result<()> {
        let mut header = [libc::AF_BRIDGE as u8, 0, 0, 0, 0, 0, 0, 0, NUD_NOARP, 0, NTF_MASTER, 0];
        header[4..8].copy_from_slice(&port.to_ne_bytes());
        let mut message = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header);
        message.bytes(NDA_LLADDR, &mac);
        self.socket.request(&[message])
    }

    /// Makes a link a port of a bridge.
    pub(crate) fn master_set(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, 0, 0));
        message.u32(IFLA_MASTER, bridge);
        self.socket.request(&[message])
    }

    /// Brings a link up.
    pub(crate) fn up(&mut self, index: u32) -> io::Result<()> {
        self.socket.request(&[Message::new(RTM_NEWLINK, 0, &link_header(index, libc::IFF_UP, libc::IFF_UP))])
    }

    /// Removes a link; nothing happens if it is gone.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::new(RTM_DELLINK, 0, &link_header(0, 0, 0));
        message.text(IFLA_IFNAME, name);
        match self.socket.request(&[message]) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }
}

fn link_header(index: u32, flags: i32, change: i32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Keeps a link from getting an IPv6 address of its own: networks have IPv4 only, and a link with
/// an address that nobody asked for is a way around isolation.
fn no_ipv6(index: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, 0, &link_header(index, 0, 0));
    message.nest(IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |inet6| {
            inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
    message
}

/// Keeps the host from speaking IPv6 on a link of ours at all: a container's router advertisement would
/// give it a default route through that container (CVE-2020-13401).
pub(crate) fn ipv6_disable(link: &str) -> io::Result<()> {
    let place = |switch: &str| format!("/proc/sys/net/ipv6/conf/{link}/{switch}");
    let is =
        |switch: &str, value: u8| std::fs::read(place(switch)).is_ok_and(|now| now.first() == Some(&value));
    if is("disable_ipv6", b'1') {
        return Ok(());
    }
    match std::fs::write(place("disable_ipv6"), "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Somebody has taken care of it, and shows the switches read-only.
        Err(_) if is("accept_ra", b'0') => Ok(()),
        written => written,
    }
}

/// Has the kernel deal at once with the news that the other end of a cable is up. It does so by itself a
/// moment later, and until then what is sent by this end, or comes in at a port of a bridge, is dropped.
pub(crate) fn settle(link: &str) -> io::Result<()> {
    /// Whether there is a carrier, after all news of it (`linux/ethtool.h`).
    const ETHTOOL_GLINK: u32 = 0x0a;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut value: [u32; 2] = [ETHTOOL_GLINK, 0];
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: name and data live as long as the call, and the kernel writes the eight bytes of the data only.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn ignore_missing_ipv6(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => Ok(()),
        _ => Err(error),
    }
}

fn ignore_exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// The kernel's number of an address' family.
fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_message(link: u32, address: IpNet) -> Message {
    let is_link_local = matches!(address.addr(), IpAddr::V4(address) if address.is_link_local());
    let scope = if is_link_local { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
    let mut header = [family(address.addr()), address.prefix_len(), 0, scope, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header);
    let own = octets(address.addr());
    message.bytes(IFA_LOCAL, &own).bytes(IFA_ADDRESS, &own);
    if address.prefix_len() < 31 && address.addr().is_ipv4() {
        message.bytes(IFA_BROADCAST, &octets(address.broadcast()));
    }
    message
}

fn route_message(route: Route) -> Message {
    let scope = if route.gateway.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    let header = [
        family(route.destination.addr()),
        route.destination.prefix_len(),
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        scope,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header);
    if route.destination.prefix_len() > 0 {
        message.bytes(RTA_DST, &octets(route.destination.network()));
    }
    if let Some(gateway) = route.gateway {
        message.bytes(RTA_GATEWAY, &octets(gateway));
    }
    message.u32(RTA_OIF, route.link);
    if route.metric > 0 {
        message.u32(RTA_PRIORITY, route.metric);
    }
    message
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let attributes = Attributes::after(payload, 16);
    let kind = attributes
        .find(IFLA_LINKINFO)
        .and_then(|info| Attributes::new(info).find(IFLA_INFO_KIND))
        .map(attribute_text)
        .unwrap_or_default();
    Some(Link {
        index: attribute_u32(payload.get(4..)?)?,
        name: attributes.find(IFLA_IFNAME).map(attribute_text)?,
        alias: attributes.find(IFLA_IFALIAS).map(attribute_text).unwrap_or_default(),
        kind,
        master: attributes.find(IFLA_MASTER).and_then(attribute_u32),
        isolated: attributes
            .find(IFLA_LINKINFO)
            .and_then(|info| Attributes::new(info).find(IFLA_INFO_SLAVE_DATA))
            .and_then(|port| Attributes::new(port).find(IFLA_BRPORT_ISOLATED))
            .is_some_and(|isolated| isolated.first() == Some(&1)),
        peer: attributes.find(IFLA_LINK).and_then(attribute_u32),
        mac: attributes.find(IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()).unwrap_or_default(),
    })
}

/// A link, and an address that it has.
fn parse_address(payload: &[u8]) -> Option<(u32, IpNet)> {
    let index = attribute_u32(payload.get(4..)?)?;
    let local = Attributes::after(payload, 8).find(IFA_LOCAL)?;
    Some((index, Ipv4Net::new(ipv4(local)?, *payload.get(1)?).ok()?.into()))
}

/// Where a route of the main table leads to, and by which link.
fn parse_route(payload: &[u8]) -> Option<(IpNet, u32)> {
    let attributes = Attributes::after(payload, 12);
    let table = attributes.find(RTA_TABLE).and_then(attribute_u32)?;
    if table != u32::from(RT_TABLE_MAIN) {
        return None;
    }
    let destination = attributes.find(RTA_DST).and_then(ipv4).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let net = Ipv4Net::new(destination, *payload.get(1)?).ok()?;
    Some((net.into(), attributes.find(RTA_OIF).and_then(attribute_u32)?))
}

/// Reads a reply as a link, an address and a route.
pub(crate) fn fuzz(reply: &Reply) {
    let _ = parse_link(&reply.payload);
    let _ = parse_address(&reply.payload);
    let _ = parse_route(&reply.payload);
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value.get(..4)?).ok()?))
}
