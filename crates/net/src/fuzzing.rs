//! Doors for the fuzzer to what reads bytes of others. Nobody else has any use for them.

use std::net::{IpAddr, Ipv4Addr};

use crate::{DnsAddress, DnsEndpoint, DnsPort, DnsService, DnsTable, Protocol, ServiceName};

/// Takes a message as the server of names would, as a question and as another server's answer.
pub fn dns(message: &[u8]) {
    let endpoint = |last, hostname: Option<&str>| DnsEndpoint {
        address: IpAddr::V4(Ipv4Addr::new(10, 42, 0, last)),
        hostname: hostname.map(str::to_owned),
    };
    let port = DnsPort { name: Some("http".to_owned()), protocol: Protocol::Tcp, port: 80 };
    let service = |address| DnsService { address, ports: vec![port.clone()] };
    let table: DnsTable = [
        (
            ServiceName::new("default", "web"),
            service(DnsAddress::Cluster(vec![Ipv4Addr::new(10, 43, 0, 1).into()])),
        ),
        (
            ServiceName::new("default", "set"),
            service(DnsAddress::Headless(vec![endpoint(1, Some("set-0")), endpoint(2, None)])),
        ),
        (ServiceName::new("other", "out"), service(DnsAddress::External("example.org".to_owned()))),
    ]
    .into();
    crate::dns::fuzz(message, table);
}

/// Reads what a socket to the kernel gave, as each of those who listen to it does.
pub fn netlink(received: &[u8]) {
    crate::netlink::fuzz(received, |reply| {
        crate::nft::fuzz(reply);
        crate::conntrack::fuzz(reply);
        crate::link::fuzz(reply);
    });
}
