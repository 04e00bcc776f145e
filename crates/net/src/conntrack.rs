//! Forgetting tracked connections whose translation is no longer right.
//!
//! A translation is chosen for the first packet of a connection and kept. A TCP connection ends when
//! its other end goes; a UDP client that keeps sending from one port never does, and would go on
//! sending to an address that is gone.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::netlink::{Attributes, Family, Message, Reply, Socket};
use crate::plan::{Change, Changes};
use crate::{PortBinding, Protocol, ServicePort};

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];

/// A tracked UDP flow.
#[derive(Clone, Debug)]
struct Flow {
    /// Where the client sends to.
    destination: End,
    /// Who answers.
    answers: End,
    /// Whether the client is hidden behind an address of the host.
    masqueraded: bool,
    /// The kernel's own name for it.
    tuple: Vec<u8>,
}

/// Forgets the UDP flows to published ports that have just come or gone.
pub(crate) fn forget_ports(ports: &[PortBinding]) {
    let udp: Vec<_> = ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if !udp.is_empty() {
        forget(|flow| {
            udp.iter().any(|port| {
                let address = port.host_address.is_unspecified() || port.host_address == flow.destination.0;
                // Masqueraded and not translated otherwise: a container's own question to somewhere else.
                let outgoing = flow.masqueraded && flow.answers == flow.destination;
                address && port.host_port == flow.destination.1 && !outgoing
            })
        });
    }
}

/// Forgets the UDP flows that services led to an endpoint before `changes` and do not any more.
pub(crate) fn forget_services(changes: &Changes) {
    fn ends(port: &ServicePort) -> impl Iterator<Item = (Option<IpAddr>, u16, End)> + use<'_> {
        port.endpoints.iter().flat_map(move |endpoint| {
            let target = (endpoint.address, endpoint.port);
            let addresses = port.addresses.iter().chain(&port.external_addresses);
            let fronts = addresses.map(move |address| (Some(*address), port.port));
            let fronts = fronts.chain(port.node_port.map(|node_port| (None, node_port)));
            fronts.map(move |(address, port)| (address, port, target))
        })
    }
    let of = |port: fn(&Change) -> &Option<ServicePort>| -> BTreeSet<_> {
        let ports = changes.values().filter_map(|change| port(change).as_ref());
        ports.filter(|port| port.protocol == Protocol::Udp).flat_map(ends).collect()
    };
    let (old, new) = (of(|change| &change.old), of(|change| &change.new));
    // A service that had nowhere to lead to left flows to its own address.
    let fronts: Vec<_> = old.symmetric_difference(&new).collect();
    if !fronts.is_empty() {
        forget(|flow| {
            fronts.iter().any(|(address, port, target)| {
                let front = address.is_none_or(|address| address == flow.destination.0)
                    && *port == flow.destination.1;
                front && (*target == flow.answers || flow.answers == flow.destination)
            })
        });
    }
}

/// Best effort: a flow that stays costs one client its answers until it is idle for some seconds.
fn forget(stale: impl Fn(&Flow) -> bool) {
    if let Err(error) = try_forget(stale) {
        tracing::warn!(%error, "stale UDP flows could not be forgotten");
    }
}

fn try_forget(stale: impl Fn(&Flow) -> bool) -> io::Result<()> {
    let mut socket = Socket::open(Family::Netfilter, 0)?;
    let flows = match socket.dump(&Message::new(CT_GET, 0, &HEADER)) {
        // How some kernels say that nothing is tracked (yet), or that nobody tracks.
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => return Ok(()),
        flows => flows?,
    };
    let deletes: Vec<_> = flows
        .iter()
        .filter_map(parse)
        .filter(|flow| stale(flow))
        .map(|flow| {
            let mut message = Message::new(CT_DELETE, 0, &HEADER);
            message.bytes(CTA_TUPLE_ORIG | NESTED, &flow.tuple);
            message
        })
        .collect();
    match socket.request(&deletes) {
        // It ended by itself meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

const NESTED: u16 = 1 << 15;

fn parse(reply: &Reply) -> Option<Flow> {
    if reply.kind != CT_NEW {
        return None;
    }
    let attributes = Attributes::after(&reply.payload, 4);
    let tuple = attributes.find(CTA_TUPLE_ORIG)?;
    let (protocol, client, destination) = ends(tuple)?;
    let (_, answers, answered) = ends(attributes.find(CTA_TUPLE_REPLY)?)?;
    let masqueraded = client != answered;
    (protocol == Protocol::Udp.number()).then(|| Flow {
        destination,
        answers,
        masqueraded,
        tuple: tuple.to_vec(),
    })
}

/// Reads a reply as a flow.
pub(crate) fn fuzz(reply: &Reply) {
    let _ = parse(reply);
}

type End = (IpAddr, u16);

fn ends(tuple: &[u8]) -> Option<(u8, End, End)> {
    let parts = Attributes::new(tuple);
    let ip = Attributes::new(parts.find(CTA_TUPLE_IP)?);
    let proto = Attributes::new(parts.find(CTA_TUPLE_PROTO)?);
    let address = |kind| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip.find(kind)?).ok()?)));
    let port = |kind| Some(u16::from_be_bytes(<[u8; 2]>::try_from(proto.find(kind)?).ok()?));
    Some((
        *proto.find(CTA_PROTO_NUM)?.first()?,
        (address(CTA_IP_V4_SRC)?, port(CTA_PROTO_SRC_PORT)?),
        (address(CTA_IP_V4_DST)?, port(CTA_PROTO_DST_PORT)?),
    ))
}
