//! Tables in, text of the ruleset out.

use super::*;
use crate::{NetworkId, ServiceEndpoint, ServicePort};

fn network(kind: NetworkKind, bridge: &str, subnet: &str) -> NetworkView {
    NetworkView {
        id: NetworkId::parse(&"0".repeat(64)).expect("an id"),
        name: bridge.to_owned(),
        kind,
        created: base::Timestamp::UNIX_EPOCH,
        subnet: subnet.parse().expect("a subnet"),
        range: None,
        gateway: Ipv4Addr::UNSPECIFIED,
        reserved: Default::default(),
        internal: false,
        mtu: None,
        isolate_endpoints: false,
        no_masquerade: false,
        bridge: bridge.to_owned(),
        host_address: None,
        options: Default::default(),
        labels: Default::default(),
    }
}

fn service(name: &str, last: u8, endpoints: &[(u8, bool)]) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        addresses: vec![Ipv4Addr::new(10, 43, 0, last)],
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        client_affinity: false,
        external_local: false,
        internal_local: false,
        endpoints: endpoints
            .iter()
            .map(|(last, local)| ServiceEndpoint {
                address: Ipv4Addr::new(10, 42, 0, *last),
                port: 8080,
                local: *local,
            })
            .collect(),
    }
}

fn text(networks: &[NetworkView], ports: &[(Ipv4Addr, PortBinding)], services: Vec<ServicePort>) -> String {
    let gateway = Target { address: Ipv4Addr::new(10, 42, 0, 1), port: 5353 };
    let tables = Tables {
        networks,
        ports,
        services: &ServiceTable { ports: services },
        gate: Some(&Gate { out: 7, back: "gantry-gated".to_owned() }),
        service_cidr: "10.43.0.0/16".parse().expect("a subnet"),
        strangers: &Strangers::default(),
        names: &[(Ipv4Addr::new(10, 43, 0, 10), gateway)],
    };
    ruleset(&tables).to_string()
}

/// The part of `text` about one set or chain.
fn part<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
    lines.next().expect("there is such a part");
    lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect()
}

#[test]
fn each_network_is_a_few_elements() {
    let networks = [
        network(NetworkKind::Default, "gantry0", "172.17.0.0/16"),
        network(NetworkKind::Pods, "gantry-pods", "10.42.0.0/16"),
        NetworkView { internal: true, ..network(NetworkKind::User, "cut", "172.18.0.0/16") },
        NetworkView {
            no_masquerade: true,
            isolate_endpoints: true,
            ..network(NetworkKind::User, "open", "172.19.0.0/16")
        },
    ];
    let text = text(&networks, &[], Vec::new());
    let check =
        |set: &str, expected: &[&str]| assert_eq!(part(&text, &format!("set {set}:")), expected, "{set}");
    check("bridges", &[r#""cut""#, r#""gantry-pods""#, r#""gantry0""#, r#""open""#]);
    check("internal", &[r#""cut""#]);
    check("linked", &[r#""cut" . "cut""#, r#""gantry-pods" . "gantry-pods""#, r#""gantry0" . "gantry0""#]);
    check("local", &["10.42.0.0/16", "172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"]);
    check("bridged", &["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"]);
    check("hidden", &["10.42.0.0/16", "172.17.0.0/16"]);
}

#[test]
fn a_published_port_is_one_element() {
    let binding = |host_address: [u8; 4], host_port| PortBinding {
        protocol: Protocol::Tcp,
        host_address: host_address.into(),
        host_port,
        container_port: 80,
    };
    let container = Ipv4Addr::new(172, 17, 0, 2);
    let text = text(
        &[],
        &[(container, binding([0; 4], 8080)), (container, binding([127, 0, 0, 1], 8081))],
        Vec::new(),
    );
    assert_eq!(part(&text, "map ports-any:"), ["tcp . 8080 : 172.17.0.2:80"]);
    assert_eq!(part(&text, "map ports:"), ["127.0.0.1 . tcp . 8081 : 172.17.0.2:80"]);
    assert_eq!(
        part(&text, "map names:"),
        ["10.43.0.10 . tcp . 53 : 10.42.0.1:5353", "10.43.0.10 . udp . 53 : 10.42.0.1:5353"]
    );
}

#[test]
fn services_with_as_many_endpoints_share_a_chain() {
    let services = vec![
        service("a", 1, &[(2, true), (3, false)]),
        ServicePort { node_port: Some(30080), ..service("b", 2, &[(4, true), (5, true)]) },
        ServicePort { client_affinity: true, ..service("c", 3, &[(6, true)]) },
        service("none", 4, &[]),
    ];
    let text = text(&[], &[], services);
    assert_eq!(
        part(&text, "map services:"),
        [
            "10.43.0.1 . tcp . 80 : goto pick-2",
            "10.43.0.2 . tcp . 80 : goto pick-2",
            "10.43.0.3 . tcp . 80 : goto pick-sticky-1",
        ]
    );
    assert_eq!(part(&text, "map node-ports:"), ["tcp . 30080 : goto pick-node-2"]);
    assert_eq!(
        part(&text, "map endpoints:"),
        [
            "10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080",
            "10.43.0.1 . tcp . 80 . 1 : 10.42.0.3:8080",
            "10.43.0.2 . tcp . 80 . 0 : 10.42.0.4:8080",
            "10.43.0.2 . tcp . 80 . 1 : 10.42.0.5:8080",
            "10.43.0.3 . tcp . 80 . 0 : 10.42.0.6:8080",
        ]
    );
    assert_eq!(
        part(&text, "map node-endpoints:"),
        ["tcp . 30080 . 0 : 10.42.0.4:8080", "tcp . 30080 . 1 : 10.42.0.5:8080"]
    );
    assert_eq!(part(&text, "set remote:"), ["10.42.0.3 . tcp . 8080"]);
    assert_eq!(
        part(&text, "chain pick-2"),
        ["dnat to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints"]
    );
    assert_eq!(
        part(&text, "chain pick-sticky-1"),
        ["dnat to ip daddr . meta l4proto . th dport . jhash ip saddr mod 1 map @endpoints"]
    );
    assert_eq!(
        part(&text, "chain pick-node-2"),
        ["dnat to meta l4proto . th dport . numgen random mod 2 map @node-endpoints"]
    );
}

#[test]
fn only_local_endpoints_take_part_where_the_policy_says_so() {
    let services = vec![ServicePort {
        node_port: Some(30080),
        external_local: true,
        ..service("a", 1, &[(2, true), (3, false)])
    }];
    let text = text(&[], &[], services);
    assert_eq!(part(&text, "map node-ports:"), ["tcp . 30080 : goto pick-node-1"]);
    assert_eq!(part(&text, "map services:"), ["10.43.0.1 . tcp . 80 : goto pick-2"]);
}

#[test]
fn of_two_services_with_one_address_the_first_stays_whole() {
    let text = text(&[], &[], vec![service("a", 1, &[(2, true)]), service("b", 1, &[(3, true), (4, true)])]);
    assert_eq!(part(&text, "map services:"), ["10.43.0.1 . tcp . 80 : goto pick-1"]);
    assert_eq!(part(&text, "map endpoints:"), ["10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080"]);
}

#[test]
fn the_rules_do_not_depend_on_the_tables() {
    let text = text(&[], &[], Vec::new());
    assert_eq!(part(&text, "chain guard"), ["iifname @bridges ip daddr 127.0.0.0/8 drop"]);
    assert_eq!(
        part(&text, "chain prerouting"),
        ["iifname @bridges jump virtual", "iifname @trusted jump host"]
    );
    assert_eq!(part(&text, "set trusted:"), [r#""gantry-gated""#]);
    assert_eq!(
        part(&text, "chain admit"),
        [
            "ct state established,related return",
            "iifname @trusted return",
            "iifname \"lo\" return",
            "fib daddr type != local return",
            "ip daddr . meta l4proto . th dport @ports jump detour",
            "meta l4proto . th dport @ports-any jump detour",
            "meta l4proto . th dport @node-ports-open jump detour",
        ]
    );
    assert_eq!(part(&text, "chain detour"), ["dup to 169.254.77.77 device 7", "drop"]);
    assert_eq!(
        part(&text, "chain forward"),
        [
            "iifname @barred oifname @strangers ct status dnat return",
            "iifname @barred oifname @strangers drop",
            "iifname != @bridges oifname != @bridges return",
            "ct state established,related accept",
            "ip daddr 10.43.0.0/16 meta l4proto tcp reject with tcp reset",
            "ip daddr 10.43.0.0/16 reject",
            "iifname . oifname @linked accept",
            "iifname @internal drop",
            "oifname @internal drop",
            "oifname @bridges ct status dnat accept",
            "oifname @bridges drop",
        ]
    );
    assert_eq!(
        part(&text, "chain postrouting"),
        [
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ct status dnat ip saddr @bridged ip daddr @bridged masquerade",
            "ct status dnat ip saddr . ip daddr @hairpin masquerade",
            "ct status dnat ip saddr != @local ip daddr . meta l4proto . th dport @remote masquerade",
            "ip saddr @hidden ip daddr != @local masquerade",
        ]
    );
}
