//! Services: balancing, node ports, refusal, stickiness, pods that ask themselves.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use net::{Protocol, ServiceEndpoint, ServiceName, ServicePort, ServiceTable};

use crate::host::*;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 7);

fn service(endpoints: &[&Sandbox]) -> ServicePort {
    ServicePort {
        addresses: vec![VIP.into()],
        external_addresses: Vec::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: Some(30080),
        client_affinity: None,
        external_local: false,
        internal_local: false,
        endpoints: endpoints
            .iter()
            .map(|pod| ServiceEndpoint { address: pod.address().into(), port: 8080, local: true })
            .collect(),
    }
}

/// A service with a port for each of `ports`.
fn table(ports: Vec<ServicePort>) -> ServiceTable {
    let ports = (0..).zip(ports).map(|(number, port): (u16, _)| (format!("port-{number}"), port));
    [(ServiceName::new("default", "web"), ports.collect())].into()
}

/// How often each server answered, of `times` questions.
fn tally(netns: &OwnedFd, address: Ipv4Addr, port: u16, times: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..times {
        let answer = ask(netns, address, port).expect("an answer");
        *tally.entry(answer.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    tally
}

#[test]
fn a_service_is_balanced_over_its_endpoints_and_refuses_without_any() {
    balanced(false);
}

#[test]
fn a_service_is_balanced_where_the_host_filters_bridged_packets() {
    balanced(true);
}

fn balanced(filter_bridged: bool) {
    on_host(|host| async move {
        filter_bridged_packets(filter_bridged);
        let network = host.open().await;
        let pods = network.network_pods().id;
        let bridge = network.network_default().id;
        let client = sandbox(&network, &pods, "client", &[]).await;
        let container = sandbox(&network, &bridge, "container", &[]).await;
        let names = ["a", "b", "c"];
        let mut servers = Vec::new();
        for name in names {
            let pod = sandbox(&network, &pods, name, &[]).await;
            tcp_server(&pod.netns, 8080, name);
            udp_server(&pod.netns, 8080, name);
            servers.push(pod);
        }
        let all: Vec<_> = servers.iter().collect();
        // Pods reach each other by address, and are seen with their own.
        let direct = ask(&client.netns, servers[0].address(), 8080).expect("pod to pod");
        assert_eq!(direct, format!("a {}", client.address()));
        let udp = ServicePort { protocol: Protocol::Udp, ..service(&all[..1]) };
        network.services_replace(table(vec![service(&all), udp.clone()])).await.expect("apply");
        let seen = tally(&client.netns, VIP, 80, 60);
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.values().all(|count| *count >= 5), "{seen:?}");
        let answer = ask(&client.netns, VIP, 80).expect("an answer");
        assert!(answer.ends_with(&client.address().to_string()), "the client's own address: {answer}");
        assert_eq!(tally(&here(), VIP, 80, 40).len(), 3, "from the host");
        assert_eq!(tally(&container.netns, VIP, 80, 40).len(), 3, "from a container");
        assert_eq!(tally(&servers[0].netns, VIP, 80, 40).len(), 3, "from an endpoint, itself included");
        assert_eq!(tally(&host.outside, HOST, 30080, 40).len(), 3, "by the node port");
        assert!(ask_here(Ipv4Addr::LOCALHOST, 30080).is_ok(), "by the node port of 127.0.0.1");
        let outside = ask(&host.outside, HOST, 30080).expect("an answer");
        assert!(outside.ends_with(&OUTSIDE.to_string()), "the client's own address: {outside}");
        assert!(ask_udp(&client.netns, VIP, 80).expect("udp").starts_with("a "));

        // One endpoint less: it is not led to any more; the UDP service moves to another.
        let udp = ServicePort { endpoints: service(&all[1..2]).endpoints, ..udp };
        network.services_replace(table(vec![service(&all[1..]), udp])).await.expect("apply");
        assert_eq!(tally(&client.netns, VIP, 80, 30).len(), 2);
        assert!(ask_udp(&client.netns, VIP, 80).expect("udp").starts_with("b "));

        // None: refused at once, from everywhere.
        network.services_replace(table(vec![service(&[])])).await.expect("apply");
        let refused = |result: std::io::Result<String>| result.expect_err("nobody is there").kind();
        assert_eq!(refused(ask(&client.netns, VIP, 80)), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(ask(&container.netns, VIP, 80)), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(ask_here(VIP, 80)), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(ask(&host.outside, HOST, 30080)), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(
            refused(ask(&client.netns, VIP, 81)),
            std::io::ErrorKind::ConnectionRefused,
            "no such port"
        );
        // The kernel sends few errors a second to one address, so the first may not come.
        testkit::wait_until("UDP to be refused", || match unanswered_udp(&client.netns, VIP, 80) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => Err(other),
        });
        network.close().await;
    });
}

#[test]
fn a_client_keeps_its_endpoint_if_the_service_says_so() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let mut servers = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let pod = sandbox(&network, &pods, name, &[]).await;
            tcp_server(&pod.netns, 8080, name);
            servers.push(pod);
        }
        let all: Vec<_> = servers.iter().collect();
        let keeping = |seconds, servers: &[&Sandbox]| {
            table(vec![ServicePort { client_affinity: Some(seconds), ..service(servers) }])
        };
        network.services_replace(keeping(600, &all[..2])).await.expect("apply");
        let mut clients = Vec::new();
        for number in 0..8 {
            clients.push(sandbox(&network, &pods, &format!("client-{number}"), &[]).await);
        }
        let whose = || -> Vec<String> {
            let only = |client: &Sandbox| {
                let seen = tally(&client.netns, VIP, 80, 10);
                assert_eq!(seen.len(), 1, "{seen:?}");
                seen.into_keys().next().expect("one")
            };
            clients.iter().map(only).collect()
        };
        let before = whose();
        // More come: whoever has one keeps it.
        network.services_change(keeping(600, &all)).await.expect("apply");
        assert_eq!(whose(), before);
        // One goes: its own clients go elsewhere, nobody else does, and they stay there when it comes back.
        let rest: Vec<_> = all[1..].to_vec();
        network.services_change(keeping(600, &rest)).await.expect("apply");
        let after = whose();
        for (then, now) in before.iter().zip(&after) {
            assert!(now != "a" && (then == now || then == "a"), "a is gone: {then}, {now}");
        }
        network.services_change(keeping(600, &all)).await.expect("apply");
        assert_eq!(whose(), after);
        // A restart moves nobody, and neither does writing the rules anew.
        network.close().await;
        drop(network);
        let network = host.open().await;
        assert_eq!(whose(), after, "after a restart");
        network.services_replace(keeping(600, &all)).await.expect("apply");
        rewritten("flush chain ip gantry virtual").await;
        assert_eq!(whose(), after, "after the rules were written anew");
        // Who takes the table away takes along what it remembers; everybody has one again, and keeps it.
        rewritten("delete table ip gantry").await;
        let anew = whose();
        assert_eq!(whose(), anew);
        // Who puts it to sleep while nobody looks does not end the services: it is awake after the next start.
        network.close().await;
        drop(network);
        nft("add table ip gantry { flags dormant; }");
        let network = host.open().await;
        let anew = whose();
        assert_eq!(whose(), anew);
        network.close().await;
    });
}

/// Has somebody do `damage` to the table, and waits until it was written anew for that.
async fn rewritten(damage: &str) {
    // What is in no ruleset of ours is gone then.
    nft("add chain ip gantry foundling");
    nft(damage);
    testkit::wait_until("the rules to come back", || {
        let listed = std::process::Command::new("nft").args(["list", "table", "ip", "gantry"]).output();
        let listed = String::from_utf8_lossy(&listed.expect("run nft").stdout).into_owned();
        if listed.contains("vmap @services") && !listed.contains("foundling") { Ok(()) } else { Err(listed) }
    });
}

#[test]
fn a_client_whose_time_is_over_is_drawn_again_and_not_before() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let mut servers = Vec::new();
        for name in ["a", "b", "c"] {
            let pod = sandbox(&network, &pods, name, &[]).await;
            tcp_server(&pod.netns, 8080, name);
            servers.push(pod);
        }
        let client = sandbox(&network, &pods, "client", &[]).await;
        let all: Vec<_> = servers.iter().collect();
        let keeping = |seconds| table(vec![ServicePort { client_affinity: Some(seconds), ..service(&all) }]);
        let ways = [(&client.netns, VIP, 80, client.address()), (&host.outside, HOST, 30080, OUTSIDE)];
        let sets = |port: u16| {
            let front = if port == 80 { format!("tcp-{VIP}-80") } else { format!("node-tcp-{port}") };
            servers.iter().map(move |server| format!("keep-{front}-{}-8080", server.address()))
        };
        // For how many seconds a client is remembered yet, in whichever set.
        let left = |port: u16, client: Ipv4Addr| -> Vec<u64> {
            sets(port).filter_map(|set| remaining(&set, client)).collect()
        };
        network.services_replace(keeping(600)).await.expect("apply");
        for (netns, address, port, source) in ways {
            let first = tally(netns, address, port, 30);
            assert_eq!(first.len(), 1, "{first:?}");
            // As if it had come a while ago.
            let whose = first.keys().next().expect("one").clone();
            let set =
                sets(port).zip(["a", "b", "c"]).find(|(_, name)| *name == whose).expect("one of them").0;
            nft(&format!(
                "delete element ip gantry {set} {{ {source} }}; \
                 add element ip gantry {set} {{ {source} timeout 600s expires 300s }}"
            ));
            // Whatever is written anew, its time goes on.
            rewritten("flush chain ip gantry virtual").await;
            let [seconds] = left(port, source)[..] else { panic!("one set has it") };
            assert!((1..=300).contains(&seconds), "{seconds}");
            // And begins again when it comes.
            assert_eq!(tally(netns, address, port, 1).into_keys().collect::<Vec<_>>(), [whose]);
            let [seconds] = left(port, source)[..] else { panic!("one set has it") };
            assert!(seconds > 300, "{seconds}");
        }
        network.services_change(keeping(1)).await.expect("apply");
        for (netns, address, port, source) in ways {
            // Of three, one is missed in 54 draws once in 10^9 times.
            let mut met = BTreeMap::<String, usize>::new();
            for _ in 0..54 {
                met.extend(tally(netns, address, port, 1));
                testkit::wait_until("the client to be forgotten", || match left(port, source) {
                    left if left.is_empty() => Ok(()),
                    left => Err(left),
                });
                if met.len() == 3 {
                    break;
                }
            }
            assert_eq!(met.len(), 3, "the same client meets all of them: {met:?}");
        }
        network.close().await;
    });
}

/// For how many seconds yet a set remembers a client.
fn remaining(set: &str, client: Ipv4Addr) -> Option<u64> {
    let listed = command(&format!("nft -j list set ip gantry {set}"));
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let sets = listed["nftables"].as_array().expect("a list").iter();
    let elements = sets.filter_map(|item| item["set"]["elem"].as_array()).flatten();
    let mut elements = elements.map(|element| &element["elem"]);
    let client = client.to_string();
    elements.find(|element| element["val"] == *client)?["expires"].as_u64()
}

/// More clients than the kernel is to remember: those that come then are led, and not remembered.
#[test]
fn a_client_that_cannot_be_remembered_is_not_refused() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let server = sandbox(&network, &pods, "server", &[]).await;
        let client = sandbox(&network, &pods, "client", &[]).await;
        tcp_server(&server.netns, 8080, "server");
        let port = ServicePort { client_affinity: Some(600), ..service(&[&server]) };
        network.services_replace(table(vec![port])).await.expect("apply");
        // Who looks after the table would write it anew.
        network.close().await;
        let set = format!("ip gantry keep-tcp-{VIP}-80-{}-8080", server.address());
        let others: Vec<String> =
            (0..65_535u32).map(|number| Ipv4Addr::from(0x6440_0000 + number).to_string()).collect();
        for some in others.chunks(4096) {
            nft(&format!("add element {set} {{ {} timeout 1h }}", some.join(" timeout 1h, ")));
        }
        assert_eq!(ask(&client.netns, VIP, 80).expect("led"), format!("server {}", client.address()));
        let listed = command(&format!("nft list set {set}"));
        assert!(!listed.contains(&client.address().to_string()), "it was full");
        // Nor are those forgotten that were remembered, however many they are.
        let network = host.open().await;
        assert_eq!(command(&format!("nft list set {set}")).matches("expires").count(), 65_535);
        assert_eq!(ask(&client.netns, VIP, 80).expect("led"), format!("server {}", client.address()));
        network.close().await;
    });
}

/// What is translated to the loopback passes the guards, which see where a packet was sent to.
#[test]
fn a_service_does_not_lead_to_the_hosts_own_loopback() {
    on_host(|host| async move {
        let config = host.config("gantry");
        let api = (Ipv4Addr::LOCALHOST, 6443);
        let network = net::Network::open(net::Config { loopback_targets: vec![api.into()], ..config })
            .await
            .expect("open");
        let pod = sandbox(&network, &network.network_pods().id, "pod", &[]).await;
        tcp_server(&here(), 6443, "api");
        tcp_server(&here(), 9000, "secret");
        let to = |port| {
            let endpoint = ServiceEndpoint { address: Ipv4Addr::LOCALHOST.into(), port, local: true };
            ServicePort { node_port: None, endpoints: vec![endpoint], ..service(&[]) }
        };
        network.services_replace(table(vec![to(9000)])).await.expect("apply");
        unanswered_tcp(&pod.netns, VIP, 80).expect_err("it is the host's own");
        network.services_replace(table(vec![to(6443)])).await.expect("apply");
        assert!(ask(&pod.netns, VIP, 80).expect("the API may be there").starts_with("api "));
        network.close().await;
    });
}

#[test]
fn services_work_while_the_daemon_is_away_and_after_it_is_back() {
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let pod = sandbox(&network, &pods, "a", &[]).await;
        tcp_server(&pod.netns, 8080, "a");
        network.services_replace(table(vec![service(&[&pod])])).await.expect("apply");
        network.close().await;
        drop(network);
        assert!(ask_here(VIP, 80).is_ok(), "while the daemon is away");
        let network = host.open().await;
        assert!(ask_here(VIP, 80).is_ok(), "before anybody tells the services again");
        command("nft delete table ip gantry");
        testkit::wait_until("the service to come back", || ask_here(VIP, 80));
        network.close().await;
    });
}

#[test]
fn an_endpoint_elsewhere_answers_through_this_node() {
    on_host(|host| async move {
        tcp_server(&host.outside, 8080, "elsewhere");
        let network = host.open().await;
        let pod = sandbox(&network, &network.network_pods().id, "pod", &[]).await;
        let mut remote = service(&[]);
        remote.endpoints = vec![ServiceEndpoint { address: OUTSIDE.into(), port: 8080, local: false }];
        let local = ServicePort {
            addresses: vec![[10, 43, 0, 8].into()],
            node_port: Some(30081),
            external_local: true,
            internal_local: true,
            ..remote.clone()
        };
        network.services_replace(table(vec![remote, local])).await.expect("apply");
        assert_eq!(ask(&pod.netns, VIP, 80).expect("from a pod"), format!("elsewhere {HOST}"));
        assert_eq!(ask_here(VIP, 80).expect("from the host"), format!("elsewhere {HOST}"));
        assert_eq!(ask(&host.outside, HOST, 30080).expect("by the node port"), format!("elsewhere {HOST}"));
        unanswered_tcp(&host.outside, HOST, 30081).expect_err("only local endpoints, and there are none");
        unanswered_tcp(&pod.netns, Ipv4Addr::new(10, 43, 0, 8), 80)
            .expect_err("only local endpoints, and there are none");
        network.close().await;
    });
}

#[test]
fn a_thousand_services_are_one_transaction_and_a_change_to_one_is_small() {
    on_host(|host| async move {
        let network = host.open().await;
        let port = |number: u16, last: u8| ServicePort {
            addresses: vec![
                Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 43, 1, 0)) + u32::from(number)).into(),
            ],
            node_port: None,
            endpoints: (1..=last)
                .map(|host| ServiceEndpoint {
                    address: Ipv4Addr::new(10, 42, 1, host).into(),
                    port: 8080,
                    local: true,
                })
                .collect(),
            ..service(&[])
        };
        let mut ports: Vec<_> = (0..1000).map(|number| port(number, 10)).collect();
        network.services_replace(table(ports.clone())).await.expect("apply");
        let elements = || command("nft list map ip gantry endpoints").matches(" . 8080").count();
        assert_eq!(elements(), 10_000);
        ports[500] = port(500, 3);
        network.services_replace(table(ports.clone())).await.expect("apply");
        assert_eq!(elements(), 9_993);
        ports.truncate(1);
        network.services_replace(table(ports)).await.expect("apply");
        assert_eq!(elements(), 10);
        assert!(!command("nft list table ip gantry").contains("pick-3"), "no chain is left behind");
        network.close().await;
    });
}
