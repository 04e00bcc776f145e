//! Tables in, text of the ruleset out.

use std::collections::BTreeMap;

use super::*;
use crate::{NetworkId, Pool, ServiceEndpoint, ServiceName, ServicePort, ServiceTable};

fn network(kind: NetworkKind, bridge: &str, subnet: &str) -> NetworkView {
    NetworkView {
        id: NetworkId::parse(&"0".repeat(64)).expect("an id"),
        name: bridge.to_owned(),
        kind,
        created: base::Timestamp::UNIX_EPOCH,
        pools: subnet.split(' ').map(pool).collect(),
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

fn pool(subnet: &str) -> Pool {
    let subnet: IpNet = subnet.parse().expect("a subnet");
    Pool { subnet, range: None, gateway: subnet.network(), reserved: Default::default(), configured: true }
}

fn service(last: u8, endpoints: &[(u8, bool)]) -> ServicePort {
    ServicePort {
        addresses: vec![[10, 43, 0, last].into()],
        external_addresses: Vec::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        client_affinity: None,
        external_local: false,
        internal_local: false,
        endpoints: endpoints
            .iter()
            .map(|(last, local)| ServiceEndpoint {
                address: [10, 42, 0, *last].into(),
                port: 8080,
                local: *local,
            })
            .collect(),
    }
}

/// One service for each of `ports`, named by letters in their order.
fn table(ports: &[ServicePort]) -> ServiceTable {
    let named = ('a'..).zip(ports);
    named
        .map(|(name, port)| (ServiceName::new("default", name), [(String::new(), port.clone())].into()))
        .collect()
}

fn services(ports: &[ServicePort]) -> String {
    let mut services = Services::default();
    services.change(table(ports), true);
    services.rulesets().to_string()
}

fn text(networks: &[NetworkView], ports: &[(IpAddr, PortBinding)]) -> String {
    text_of(FAMILIES, networks, ports)
}

fn text_of(families: &[IpFamily], networks: &[NetworkView], ports: &[(IpAddr, PortBinding)]) -> String {
    let gateway = Target { address: [10, 42, 0, 1].into(), port: 5353 };
    let service_cidrs =
        ["10.43.0.0/16".parse().expect("a subnet"), "fd00:43::/108".parse().expect("a subnet")];
    let tables = Tables {
        families,
        networks,
        ports,
        gate: Some(&Gate { out: 7, back: "gantry-gated".to_owned() }),
        service_cidrs: &service_cidrs[..families.len()],
        unknown: &[],
        strangers: &Strangers::default(),
        names: &[(([10, 43, 0, 10].into(), 53), gateway)],
    };
    rulesets(&tables).to_string()
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
    let text = text(&networks, &[]);
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
    let container = IpAddr::from([172, 17, 0, 2]);
    let text = text(&[], &[(container, binding([0; 4], 8080)), (container, binding([127, 0, 0, 1], 8081))]);
    assert_eq!(part(&text, "map ports-any:"), ["tcp . 8080 : 172.17.0.2:80"]);
    assert_eq!(part(&text, "map ports:"), ["127.0.0.1 . tcp . 8081 : 172.17.0.2:80"]);
    assert_eq!(part(&text, "set ports-any-open:"), ["tcp . 8080"]);
    assert_eq!(part(&text, "set ports-open:"), ["127.0.0.1 . tcp . 8081"]);
    assert_eq!(
        part(&text, "map names:"),
        ["10.43.0.10 . tcp . 53 : 10.42.0.1:5353", "10.43.0.10 . udp . 53 : 10.42.0.1:5353"]
    );
}

#[test]
fn services_with_as_many_endpoints_share_a_chain() {
    let text = services(&[
        service(1, &[(2, true), (3, false)]),
        ServicePort { node_port: Some(30080), ..service(2, &[(4, true), (5, true)]) },
        ServicePort { client_affinity: Some(60), ..service(3, &[(6, true), (7, true)]) },
        service(4, &[]),
    ]);
    assert_eq!(
        part(&text, "map services:"),
        [
            "10.43.0.1 . tcp . 80 : goto pick-2",
            "10.43.0.2 . tcp . 80 : goto pick-2",
            "10.43.0.3 . tcp . 80 : goto keep-tcp-10.43.0.3-80",
        ]
    );
    assert_eq!(part(&text, "map node-ports:"), ["tcp . 30080 : goto pick-node-2"]);
    assert_eq!(part(&text, "set node-ports-open:"), ["tcp . 30080"]);
    assert_eq!(
        part(&text, "map endpoints:"),
        [
            "10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080",
            "10.43.0.1 . tcp . 80 . 1 : 10.42.0.3:8080",
            "10.43.0.2 . tcp . 80 . 0 : 10.42.0.4:8080",
            "10.43.0.2 . tcp . 80 . 1 : 10.42.0.5:8080",
        ]
    );
    assert_eq!(
        part(&text, "map node-endpoints:"),
        ["tcp . 30080 . 0 : 10.42.0.4:8080", "tcp . 30080 . 1 : 10.42.0.5:8080"]
    );
    assert_eq!(part(&text, "set remote:"), ["10.42.0.3 . tcp . 8080"]);
    assert_eq!(
        part(&text, "chain pick-2"),
        ["meta nfproto ipv4 dnat to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints"]
    );
    let [six, seven] = [6, 7].map(|last| format!("keep-tcp-10.43.0.3-80-10.42.0.{last}-8080"));
    let remembers =
        |set: &str, last| format!("update @{set} {{ ip saddr timeout 60s }} dnat to 10.42.0.{last}:8080");
    assert_eq!(
        part(&text, "chain keep-tcp-10.43.0.3-80"),
        [
            format!("meta nfproto ipv4 meta l4proto tcp ip saddr @{six} {}", remembers(&six, 6)),
            format!("meta nfproto ipv4 meta l4proto tcp ip saddr @{seven} {}", remembers(&seven, 7)),
            "meta nfproto ipv4 ip daddr . meta l4proto . th dport . numgen random mod 2 vmap @keepers"
                .to_owned(),
        ]
    );
    // Where the set is full the first rule ends, and the next one leads on.
    assert_eq!(
        part(&text, &format!("chain {six}")),
        [
            format!("meta nfproto ipv4 meta l4proto tcp {}", remembers(&six, 6)),
            "meta nfproto ipv4 meta l4proto tcp dnat to 10.42.0.6:8080".to_owned(),
        ]
    );
    assert_eq!(
        part(&text, "map keepers:"),
        [
            format!("10.43.0.3 . tcp . 80 . 0 : goto {six}"),
            format!("10.43.0.3 . tcp . 80 . 1 : goto {seven}"),
        ]
    );
    assert!(text.contains(&format!("set {six}: ip saddr\n")), "{text}");
    assert_eq!(
        part(&text, "chain pick-node-2"),
        ["meta nfproto ipv4 dnat to meta l4proto . th dport . numgen random mod 2 map @node-endpoints"]
    );
}

#[test]
fn only_local_endpoints_take_part_where_the_policy_says_so() {
    let text = services(&[ServicePort {
        node_port: Some(30080),
        external_local: true,
        ..service(1, &[(2, true), (3, false)])
    }]);
    assert_eq!(part(&text, "map node-ports:"), ["tcp . 30080 : goto pick-node-1"]);
    assert_eq!(part(&text, "map services:"), ["10.43.0.1 . tcp . 80 : goto pick-2"]);
}

#[test]
fn of_two_services_with_one_address_the_first_stays_whole() {
    let text = services(&[service(1, &[(2, true)]), service(1, &[(3, true), (4, true)])]);
    assert_eq!(part(&text, "map services:"), ["10.43.0.1 . tcp . 80 : goto pick-1"]);
    assert_eq!(part(&text, "map endpoints:"), ["10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080"]);
}

#[test]
fn the_rules_do_not_depend_on_the_tables() {
    let text = text(&[], &[]);
    assert_eq!(
        part(&text, "chain guard"),
        [
            "iifname @bridges meta nfproto ipv4 ip daddr 127.0.0.0/8 drop",
            "iifname @bridges meta nfproto ipv4 fib saddr . iif oif missing drop",
        ]
    );
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
            "ip daddr . meta l4proto . th dport @ports-open jump detour",
            "meta l4proto . th dport @ports-any-open jump detour",
            "meta l4proto . th dport @node-ports-open jump detour",
        ]
    );
    assert_eq!(part(&text, "chain detour"), ["dup to 169.254.77.77 device 7", "drop"]);
    assert_eq!(
        part(&text, "chain forward"),
        [
            "meta nfproto ipv4 iifname @barred oifname @strangers ct status dnat return",
            "meta nfproto ipv4 iifname @barred oifname @strangers drop",
            "iifname != @bridges oifname != @bridges return",
            "ct state established,related accept",
            "meta nfproto ipv4 ip daddr 10.43.0.0/16 meta l4proto tcp reject with tcp reset",
            "meta nfproto ipv4 ip daddr 10.43.0.0/16 reject",
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
            "meta nfproto ipv4 ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ct status dnat meta nfproto ipv4 ip saddr @bridged ip daddr @bridged masquerade",
            "ct status dnat meta nfproto ipv4 ip saddr . ip daddr @hairpin masquerade",
            "ct status dnat meta nfproto ipv4 ip saddr != @local ip daddr . meta l4proto . th dport @remote masquerade",
            "meta nfproto ipv4 ip saddr @hidden ip daddr != @local masquerade",
        ]
    );
}

/// What a step takes out of the rules and puts into them.
fn changed(services: &mut Services, table: ServiceTable) -> Vec<String> {
    let step = services.change(table, false);
    let lines = |rulesets: &Rulesets| -> Vec<String> {
        let text = rulesets.to_string();
        text.lines()
            .filter(|line| line.starts_with(' ') || line.starts_with("chain"))
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (lines(&step.before), lines(&step.after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {}", line.trim()));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {}", line.trim()));
    gone.chain(come).collect()
}

#[test]
fn one_endpoint_more_or_less_is_a_few_elements_however_many_there_are() {
    let endpoints: Vec<(u8, bool)> = (1..=200).map(|last| (last, false)).collect();
    let mut services = Services::default();
    services.change(table(&[service(1, &endpoints), service(2, &endpoints)]), true);
    let without = |gone: u8| -> Vec<(u8, bool)> {
        endpoints.iter().copied().filter(|(last, _)| *last != gone).collect()
    };
    // The last one takes the place of the one that goes; the other service still leads to it.
    assert_eq!(
        changed(&mut services, table(&[service(1, &without(10))])),
        [
            "- 10.43.0.1 . tcp . 80 . 9 : 10.42.0.10:8080",
            "- 10.43.0.1 . tcp . 80 . 199 : 10.42.0.200:8080",
            "- 10.43.0.1 . tcp . 80 : goto pick-200",
            "+ 10.43.0.1 . tcp . 80 . 9 : 10.42.0.200:8080",
            "+ 10.43.0.1 . tcp . 80 : goto pick-199",
            "+ chain pick-199",
            "+ meta nfproto ipv4 dnat to ip daddr . meta l4proto . th dport . numgen random mod 199 map @endpoints",
        ]
    );
    assert!(changed(&mut services, table(&[service(1, &without(10))])).is_empty());
    let other = changed(&mut services, [(ServiceName::new("default", "b"), BTreeMap::new())].into());
    assert!(other.contains(&"- 10.42.0.10 . tcp . 8080".to_owned()), "nobody leads to it any more");
    assert!(other.contains(&"- chain pick-200".to_owned()));
    assert_eq!(other.iter().filter(|line| line.ends_with(" . tcp . 8080")).count(), 1, "{other:?}");
}

#[test]
fn a_front_goes_to_the_next_that_wants_it_and_comes_back() {
    let mut services = Services::default();
    services.change(table(&[service(1, &[(2, true)]), service(1, &[(3, true), (4, true)])]), true);
    let first = ServiceName::new("default", "a");
    assert_eq!(
        changed(&mut services, [(first.clone(), BTreeMap::new())].into()),
        [
            "- 10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080",
            "- 10.42.0.2 . 10.42.0.2",
            "- 10.43.0.1 . tcp . 80 : goto pick-1",
            "- chain pick-1",
            "- meta nfproto ipv4 dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints",
            "+ 10.43.0.1 . tcp . 80 . 0 : 10.42.0.3:8080",
            "+ 10.43.0.1 . tcp . 80 . 1 : 10.42.0.4:8080",
            "+ 10.43.0.1 . tcp . 80 : goto pick-2",
            "+ chain pick-2",
            "+ meta nfproto ipv4 dnat to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints",
        ]
    );
    services.change(table(&[service(1, &[(2, true)])]), false);
    assert_eq!(
        part(&services.rulesets().to_string(), "map services:"),
        ["10.43.0.1 . tcp . 80 : goto pick-1"]
    );
}

#[test]
fn a_cluster_address_is_nobodys_but_its_services() {
    let api = service(1, &[(2, true)]);
    let mut thief = service(9, &[(66, true)]);
    thief.external_addresses = vec![[10, 43, 0, 1].into(), [192, 0, 2, 9].into()];
    let named = |name: &str, port: &ServicePort| -> ServiceTable {
        [(ServiceName::new("default", name), [(String::new(), port.clone())].into())].into()
    };
    let both =
        [named("a", &thief), named("kubernetes", &api)].into_iter().flatten().collect::<ServiceTable>();
    // Wherever cluster addresses are from.
    let mut services = Services::default();
    services.change(both.clone(), true);
    let text = services.rulesets().to_string();
    assert!(part(&text, "map endpoints:").contains(&"10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080"), "{text}");
    assert!(part(&text, "map endpoints:").contains(&"192.0.2.9 . tcp . 80 . 0 : 10.42.0.66:8080"), "{text}");
    // Nor while its service has no endpoints.
    services.change(named("kubernetes", &service(1, &[])), false);
    assert!(
        !part(&services.rulesets().to_string(), "map services:")
            .iter()
            .any(|line| line.starts_with("10.43.0.1 "))
    );
    // Of those that services get their addresses from an external one leads nowhere.
    let limits =
        Limits { service_cidrs: vec!["10.43.0.0/16".parse().expect("a subnet")], ..Limits::default() };
    let mut services = Services::restore(BTreeMap::new(), limits);
    services.change(named("a", &thief), true);
    assert_eq!(
        part(&services.rulesets().to_string(), "map services:"),
        ["10.43.0.9 . tcp . 80 : goto pick-1", "192.0.2.9 . tcp . 80 : goto pick-1"]
    );
}

#[test]
fn a_service_does_not_lead_to_what_is_the_hosts_own() {
    let mut port = service(1, &[(2, true)]);
    let own =
        ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "239.1.1.1", "255.255.255.255"];
    port.endpoints.extend(own.iter().map(|address| ServiceEndpoint {
        address: address.parse().expect("an address"),
        port: 6443,
        local: false,
    }));
    let text = services(&[port.clone()]);
    assert_eq!(part(&text, "map endpoints:"), ["10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080"]);
    assert_eq!(part(&text, "set remote:"), [""; 0]);
    // But for what this host itself says.
    let limits =
        Limits { loopback_targets: vec!["127.0.0.1:6443".parse().expect("a place")], ..Limits::default() };
    let mut services = Services::restore(BTreeMap::new(), limits);
    services.change(table(&[port]), true);
    assert_eq!(
        part(&services.rulesets().to_string(), "map endpoints:"),
        ["10.43.0.1 . tcp . 80 . 0 : 10.42.0.2:8080", "10.43.0.1 . tcp . 80 . 1 : 127.0.0.1:6443"]
    );
}

/// Who is in a set notices nothing: neither its set nor what leads there is in the step.
#[test]
fn clients_are_remembered_whatever_becomes_of_other_endpoints() {
    let port = |endpoints| ServicePort { client_affinity: Some(60), ..service(1, endpoints) };
    let mut services = Services::default();
    services.change(table(&[port(&[(2, true), (3, true)])]), true);
    let step = services.change(table(&[port(&[(3, true), (4, true), (5, true)])]), false);
    let sets = |rulesets: &Rulesets| -> Vec<(String, usize)> {
        let kept = rulesets.ip.sets.iter().filter(|(name, _)| name.starts_with("keep-"));
        kept.map(|(name, set)| (name.clone(), set.elements.len())).collect()
    };
    let of = |last: u8| (format!("keep-tcp-10.43.0.1-80-10.42.0.{last}-8080"), 0);
    assert_eq!(sets(&step.before), [of(2), of(3)]);
    assert_eq!(sets(&step.after), [of(3), of(4), of(5)]);
    let drawn = |rulesets: &Rulesets| rulesets.ip.sets["keepers"].elements.len();
    assert_eq!((drawn(&step.before), drawn(&step.after)), (1, 2), "the one that stays has its number");
    let text = services.rulesets().to_string();
    let of = |number, last| {
        format!("10.43.0.1 . tcp . 80 . {number} : goto keep-tcp-10.43.0.1-80-10.42.0.{last}-8080")
    };
    assert_eq!(part(&text, "map keepers:"), [of(0, 4), of(1, 3), of(2, 5)]);
}

/// Whatever changes in whatever order: the steps lead to the ruleset that the services have as a whole,
/// and a step that is taken back leaves nothing.
#[test]
fn steps_lead_to_the_same_ruleset_as_beginning_anew() {
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut services = Services::default();
    let mut kernel = services.rulesets();
    for _ in 0..400 {
        let name = ServiceName::new("default", format!("s{}", random(5)));
        let ports = (0..random(3)).map(|port| {
            let endpoints: Vec<_> =
                (0..random(6)).map(|_| (u8::try_from(random(9)).expect("small"), random(2) == 0)).collect();
            let port_of = ServicePort {
                addresses: (0..random(3))
                    .map(|_| [10, 43, 0, u8::try_from(random(3)).expect("small")].into())
                    .collect(),
                external_addresses: (0..random(3))
                    .map(|_| [10, 43, 0, u8::try_from(random(3)).expect("small")].into())
                    .collect(),
                node_port: (random(2) == 0).then(|| 30000 + u16::try_from(random(3)).expect("small")),
                client_affinity: (random(4) == 0).then(|| u32::try_from(10 + random(2)).expect("small")),
                external_local: random(3) == 0,
                protocol: if random(2) == 0 { Protocol::Tcp } else { Protocol::Udp },
                ..service(1, &endpoints)
            };
            (format!("p{port}"), port_of)
        });
        let table: ServiceTable = [(name, ports.collect())].into();
        let whole = services.rulesets();
        let step = services.change(table.clone(), false);
        services.undo(step);
        assert_eq!(services.rulesets().to_string(), whole.to_string());
        let step = services.change(table, false);
        play(&mut kernel.inet, &step.before.inet, &step.after.inet);
        play(&mut kernel.ip, &step.before.ip, &step.after.ip);
        assert_eq!(kernel.to_string(), services.rulesets().to_string());
        let restored = Services::restore(services.ports().clone(), Limits::default());
        assert_eq!(restored.rulesets().to_string(), kernel.to_string());
    }
}

/// Does to `kernel` what the kernel would, and refuses what it would refuse.
fn play(kernel: &mut Ruleset, before: &Ruleset, after: &Ruleset) {
    for (name, set) in &before.sets {
        let elements = &mut kernel.sets.get_mut(name).expect("all sets are there").elements;
        for (key, leads) in &set.elements {
            assert_eq!(elements.remove(key).as_ref(), Some(leads), "{name} {key:?}");
        }
        if !after.sets.contains_key(name) {
            assert_eq!(kernel.sets.remove(name).expect("it is there").content, Content::Remembered);
        }
    }
    for (name, set) in &after.sets {
        if !before.sets.contains_key(name) {
            assert_eq!(kernel.sets.insert(name.clone(), set.clone()), None, "{name}");
            continue;
        }
        let elements = &mut kernel.sets.get_mut(name).expect("all sets are there").elements;
        for (key, leads) in &set.elements {
            assert_eq!(elements.insert(key.clone(), leads.clone()), None, "{name} {key:?}");
        }
    }
    for (name, chain) in &before.chains {
        assert_eq!(kernel.chains.remove(name).as_ref(), Some(chain));
    }
    for (name, chain) in &after.chains {
        assert_eq!(kernel.chains.insert(name.clone(), chain.clone()), None);
    }
    let leads = kernel.sets.values().flat_map(|set| set.elements.values());
    for chain in leads.filter_map(|leads| if let Leads::Chain(chain) = leads { Some(chain) } else { None }) {
        assert!(kernel.chains.contains_key(chain), "{chain} is led to");
    }
}

#[test]
fn nothing_is_in_a_table_of_both_families_as_long_as_networks_have_one() {
    let networks = [network(NetworkKind::Default, "gantry0", "172.17.0.0/16")];
    let text = text(&networks, &[]);
    assert!(text.starts_with("table inet\ntable ip\nset barred"), "{text}");
    assert!(services(&[service(1, &[(2, true)])]).starts_with("table inet\ntable ip\n"));
    let both = text_of(&[IpFamily::V4, IpFamily::V6], &networks, &[]);
    let (inet, ip) = both.split_once("table ip\n").expect("two tables");
    assert!(inet.contains("type nat") && !ip.contains("type nat"), "{both}");
}

#[test]
fn networks_of_both_families_have_both_in_one_table() {
    let both = [IpFamily::V4, IpFamily::V6];
    let networks = [network(NetworkKind::User, "both", "172.18.0.0/16 fd00:18::/64")];
    let port = PortBinding {
        protocol: Protocol::Tcp,
        host_address: [0; 4].into(),
        host_port: 8080,
        container_port: 80,
    };
    let six = |text: &str| text.parse::<IpAddr>().expect("an address");
    let text = text_of(&both, &networks, &[([172, 18, 0, 2].into(), port), (six("fd00:18::2"), port)]);
    assert_eq!(part(&text, "set local:"), ["172.18.0.0/16"]);
    assert_eq!(part(&text, "set local6:"), ["fd00:18::/64"]);
    assert_eq!(part(&text, "map ports-any6:"), ["tcp . 8080 : [fd00:18::2]:80"]);
    assert_eq!(
        part(&text, "chain virtual"),
        [
            "meta nfproto ipv4 dnat to ip daddr . meta l4proto . th dport map @names",
            "meta nfproto ipv4 ip daddr . meta l4proto . th dport vmap @services",
            "meta nfproto ipv6 dnat to ip6 daddr . meta l4proto . th dport map @names6",
            "meta nfproto ipv6 ip6 daddr . meta l4proto . th dport vmap @services6",
        ]
    );
    assert!(part(&text, "chain sent").contains(&"meta nfproto ipv6 ip6 daddr fd00:43::/108 reject"));
    let mut services = Services::of_families(&both);
    let endpoint = |text| ServiceEndpoint { address: six(text), port: 8080, local: true };
    let mut both = service(1, &[(2, true)]);
    both.addresses.push(six("fd00:43::1"));
    both.endpoints.extend([endpoint("fd00:42::2"), endpoint("fd00:42::3")]);
    both.node_port = Some(30080);
    services.change(table(&[both.clone()]), true);
    let text = services.rulesets().to_string();
    assert_eq!(part(&text, "map services:"), ["10.43.0.1 . tcp . 80 : goto pick-1"]);
    assert_eq!(part(&text, "map services6:"), ["fd00:43::1 . tcp . 80 : goto pick6-2"]);
    assert_eq!(part(&text, "map node-ports6:"), ["tcp . 30080 : goto pick6-node-2"]);
    // Where networks have IPv4 only, what else a service has is left out.
    let mut services = Services::default();
    services.change(table(&[both]), true);
    assert!(!services.rulesets().to_string().contains("fd00"));
}
