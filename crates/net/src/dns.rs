//! Names: what containers and pods can resolve.
//!
//! One server at the pods' gateway answers everybody of the instance; the rules lead questions to the
//! cluster's DNS address there, and those that containers ask `127.0.0.11` by way of their gateway. Who asks
//! is told by the source address, as far as the question came in by the link of the network that has it:
//! containers find those that share a user-defined network with them, whoever asks at the cluster's address
//! finds the cluster's names, and every other name is asked of the host's own resolvers. What those say is
//! [kept](cache) for as long as they let it be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use self::message::{Outcome, Question};
use crate::{Protocol, ServiceName};

mod cache;
mod directory;
mod forward;
mod listener;
mod message;
mod server;
mod shares;
mod zone;

pub(crate) use directory::{Directory, Place, SharedDirectory};
pub(crate) use listener::{Listener, Listeners, is_everywhere};
pub(crate) use server::start;
pub(crate) use zone::SharedZone;

/// Everything that the cluster's DNS answers for.
pub type DnsTable = BTreeMap<ServiceName, DnsService>;

/// What services are as DNS sees them, by name; none that there is no such service (any more).
pub type DnsChanges = BTreeMap<ServiceName, Option<DnsService>>;

/// A service as DNS sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsService {
    /// What its name stands for.
    pub address: DnsAddress,
    /// Its ports, for SRV records.
    pub ports: Vec<DnsPort>,
}

/// What a service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAddress {
    /// Cluster addresses, one of each family that the service has.
    Cluster(Vec<IpAddr>),
    /// No address of its own: the endpoints' (ready ones, or all if the service publishes those not ready).
    Headless(Vec<DnsEndpoint>),
    /// Another name.
    External(String),
}

/// An endpoint of a headless service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// The pod's hostname, if its subdomain is the service; otherwise it is named by its address.
    pub hostname: Option<String>,
}

/// A port of a service, for SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPort {
    /// Its name; without one there is no SRV record by port.
    pub name: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: u16,
}

/// The kinds of record that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ipv4,
    Ipv6,
    Service,
    Pointer,
    Alias,
    Text,
    /// Whatever there is.
    Any,
    /// A kind that we never have.
    Other,
}

/// A record without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Address(IpAddr),
    Service { port: u16, target: String },
    Alias(String),
    Pointer(String),
    Text(String),
}

/// What we know about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// It exists; with these records of the kind asked for.
    Records(Vec<Data>),
    /// It is ours to say that it does not exist.
    NoSuchName,
    /// It is ours, but nobody has told us the names yet: whoever asks should ask again.
    NotYet,
    /// It is not ours: somebody else has to be asked.
    Elsewhere,
}

impl Data {
    fn kind(&self) -> Kind {
        match self {
            Self::Address(IpAddr::V4(_)) => Kind::Ipv4,
            Self::Address(IpAddr::V6(_)) => Kind::Ipv6,
            Self::Service { .. } => Kind::Service,
            Self::Alias(_) => Kind::Alias,
            Self::Pointer(_) => Kind::Pointer,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// Answers a message from a zone of `table`, and keeps it as another server's answer to itself.
pub(crate) fn fuzz(message: &[u8], table: DnsTable) {
    let zone = SharedZone::new("cluster.local");
    zone.replace(table);
    for udp in [true, false] {
        let Some(question) = Question::parse(message) else { break };
        let (outcome, data) =
            match zone.now().answer(&question.name, question.kind, zone::Portion::within(message::LONGEST)) {
                Answer::Records(data) => (Outcome::Found, data),
                Answer::NoSuchName => (Outcome::NoSuchName, Vec::new()),
                Answer::NotYet | Answer::Elsewhere => (Outcome::Failed, Vec::new()),
            };
        let limit = udp.then(|| question.udp_limit());
        let Some(answer) = question.answer(outcome, &data, Vec::new(), Some(zone.now().domain()), limit)
        else {
            continue;
        };
        assert_eq!(answer.get(..2), message.get(..2), "an answer has its question's number");
        assert!(limit.is_none_or(|limit| answer.len() <= limit), "an answer is longer than is taken");
        let (said, records) = message::answers(&answer).expect("an answer of ours can be read");
        assert_eq!(said, outcome);
        assert!(limit.is_some() || records.len() == data.len(), "a record was lost");
    }
    let _ = message::answers(message);
    cache::fuzz(message);
    forward::fuzz(message);
    let _ = std::str::from_utf8(message).map(zone::parse_reverse);
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Service { port, target } => write!(f, "{port} {target}"),
            Self::Alias(text) | Self::Pointer(text) | Self::Text(text) => f.write_str(text),
        }
    }
}
