//! Published ports: from outside, from the host, from 127.0.0.1, from containers, across restarts.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use net::{
    EndpointSpec, Network, NetworkSpec, PortSpec, Protocol, ServiceEndpoint, ServiceName, ServicePort,
};
use std::os::fd::AsFd;

use crate::host::*;

#[test]
fn a_published_port_is_reached_from_everywhere_and_sees_the_clients_address() {
    published(false);
}

#[test]
fn a_published_port_is_reached_from_everywhere_where_the_host_filters_bridged_packets() {
    published(true);
}

fn published(filter_bridged: bool) {
    on_host(|host| async move {
        filter_bridged_packets(filter_bridged);
        let network = host.open().await;
        let bridge = network.network_default().id;
        let ports = [publish(Protocol::Tcp, 8080, 80), publish(Protocol::Udp, 8080, 80)];
        let web = sandbox(&network, &bridge, "web", &ports).await;
        let other = sandbox(&network, &bridge, "other", &[]).await;
        tcp_server(&web.netns, 80, "web");
        udp_server(&web.netns, 80, "web");
        assert_eq!(ask(&host.outside, HOST, 8080).expect("outside"), format!("web {OUTSIDE}"));
        assert_eq!(ask_udp(&host.outside, HOST, 8080).expect("outside, udp"), format!("web {OUTSIDE}"));
        assert_eq!(ask_here(HOST, 8080).expect("the host"), format!("web {HOST}"));
        assert_eq!(ask_here(Ipv4Addr::LOCALHOST, 8080).expect("127.0.0.1"), "web 172.17.0.1");
        assert_eq!(ask_udp_here(Ipv4Addr::LOCALHOST, 8080).expect("127.0.0.1, udp"), "web 172.17.0.1");
        assert_eq!(ask(&other.netns, HOST, 8080).expect("a neighbour"), "web 172.17.0.1");
        assert_eq!(ask(&web.netns, HOST, 8080).expect("itself"), "web 172.17.0.1");
        assert_eq!(
            ask(&web.netns, v4(web.endpoint.addresses[0].gateway.expect("has one")), 8080)
                .expect("by the gateway"),
            "web 172.17.0.1"
        );
        network.endpoint_detach_all("web-id").await.expect("detach");
        unanswered_tcp(&host.outside, HOST, 8080).expect_err("not published any more");
        network.close().await;
    });
}

#[test]
fn a_port_published_at_one_address_is_not_reached_at_another() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let local = PortSpec { host_address: Ipv4Addr::LOCALHOST.into(), ..publish(Protocol::Tcp, 8080, 80) };
        let web = sandbox(&network, &bridge, "web", &[local]).await;
        tcp_server(&web.netns, 80, "web");
        assert!(ask_here(Ipv4Addr::LOCALHOST, 8080).is_ok());
        unanswered_tcp(&here(), HOST, 8080).expect_err("another address");
        unanswered_tcp(&host.outside, HOST, 8080).expect_err("outside");
        network.close().await;
    });
}

#[test]
fn a_container_cannot_reach_the_hosts_own_loopback() {
    on_host(|host| async move {
        let network = host.open().await;
        let container = sandbox(&network, &network.network_default().id, "container", &[]).await;
        tcp_server(&here(), 9000, "host");
        inside(&container.netns, || {
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("set the switch");
            command("ip route add 127.0.0.1/32 via 172.17.0.1 table 9");
            command("ip rule add pref 100 lookup local");
            command("ip rule del pref 0");
            command("ip rule add pref 1 to 127.0.0.1 ipproto tcp lookup 9");
        });
        unanswered_tcp(&container.netns, Ipv4Addr::LOCALHOST, 9000).expect_err("guarded");
        // It is the guard that stops it, not this test's mistake.
        network.close().await;
        command("nft flush chain ip gantry guard");
        assert!(ask(&container.netns, Ipv4Addr::LOCALHOST, 9000).expect("not guarded").starts_with("host"));
    });
}

#[test]
fn a_taken_port_is_refused_with_its_name_and_nothing_is_left_behind() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let _web = sandbox(&network, &bridge, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
        let process = TcpListener::bind(("0.0.0.0", 9090)).expect("a process of the host listens");
        let refused = |port| {
            let network = network.clone();
            let bridge = bridge.clone();
            async move {
                let netns = network.netns_take().await.expect("take");
                let spec = EndpointSpec {
                    owner: "late".into(),
                    ports: vec![publish(Protocol::Tcp, 7000, 80), publish(Protocol::Tcp, port, 80)],
                    ..EndpointSpec::default()
                };
                network.endpoint_attach(netns.as_fd(), &bridge, spec).await.expect_err("taken").to_string()
            }
        };
        assert_eq!(refused(8080).await, "Bind for 0.0.0.0:8080 failed: port is already allocated");
        assert_eq!(refused(9090).await, "listen tcp4 0.0.0.0:9090: bind: address already in use");
        drop(process);
        TcpListener::bind(("0.0.0.0", 7000)).expect("given back");
        TcpListener::bind(("0.0.0.0", 8080)).expect_err("a process cannot take a published port");
        assert_eq!(network.endpoint_list().len(), 1);
        let any = PortSpec { host_ports: (0, 0), ..publish(Protocol::Tcp, 0, 80) };
        let chosen = sandbox(&network, &bridge, "any", &[any]).await;
        assert!((32768..=60999).contains(&chosen.endpoint.ports[0].host_port));
        network.close().await;
    });
}

#[test]
fn traffic_goes_on_without_the_daemon_and_a_restart_finds_what_lives() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default();
        let web = sandbox(&network, &bridge.id, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
        let gone = sandbox(&network, &bridge.id, "gone", &[publish(Protocol::Tcp, 8081, 80)]).await;
        tcp_server(&web.netns, 80, "web");
        network.close().await;
        drop(network);
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "without the daemon");

        let gone_link = gone.endpoint.host_interface.clone();
        drop(gone);
        testkit::wait_until("the link to go with its namespace", || {
            let links = command("ip -br link");
            if links.contains(&gone_link) { Err(links) } else { Ok(()) }
        });
        let network = host.open().await;
        assert_eq!(network.network_default(), bridge);
        assert_eq!(network.endpoint_list(), std::slice::from_ref(&web.endpoint));
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "after the restart");
        TcpListener::bind(("0.0.0.0", 8080)).expect_err("the port is held again");
        let next = sandbox(&network, &bridge.id, "next", &[publish(Protocol::Tcp, 8081, 80)]).await;
        assert_ne!(next.address(), web.address());
        network.close().await;
    });
}

#[test]
fn flushed_rules_come_back() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let web = sandbox(&network, &bridge, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
        tcp_server(&web.netns, 80, "web");
        for flush in ["nft flush ruleset", "nft flush table ip gantry", "nft flush map ip gantry ports-any"] {
            command(flush);
            testkit::wait_until("the rules to come back", || {
                let rules = command("nft list ruleset");
                let back = rules.contains("tcp . 8080 : 172.17.0.2 . 80") && rules.contains("masquerade");
                if back { Ok(()) } else { Err(rules) }
            });
            assert!(ask(&host.outside, HOST, 8080).is_ok(), "after `{flush}`");
        }
        network.close().await;
    });
}

/// The first programs had one table, of the family `ip`, later ones one of the family `inet` too. They are
/// replaced in the transaction that makes today's.
#[test]
fn the_table_of_an_earlier_program_goes_when_todays_come() {
    on_host(|host| async move {
        for line in [
            "add table ip gantry",
            "add set ip gantry bridges { type ifname; }",
            "add chain ip gantry host",
            "add rule ip gantry host tcp dport 8080 dnat to 172.17.0.9:80",
            "add chain ip gantry output { type nat hook output priority -100; }",
            "add rule ip gantry output jump host",
            "add table inet gantry",
            "add chain inet gantry host",
            "add rule inet gantry host tcp dport 8080 dnat ip to 172.17.0.9:80",
            "add chain inet gantry output { type nat hook output priority -100; }",
            "add rule inet gantry output jump host",
        ] {
            nft(line);
        }
        let network = host.open().await;
        let bridge = network.network_default().id;
        let web = sandbox(&network, &bridge, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
        tcp_server(&web.netns, 80, "web");
        let left = command("nft list table ip gantry");
        assert!(!left.contains("172.17.0.9") && left.contains("chain admit"), "{left}");
        assert_eq!(command("nft list tables").trim(), "table ip gantry");
        assert!(ask_here(Ipv4Addr::LOCALHOST, 8080).expect("locally").starts_with("web"));
        assert!(ask(&host.outside, HOST, 8080).expect("from outside").starts_with("web"));
        network.close().await;
    });
}

#[test]
fn a_second_instance_lives_beside_the_first() {
    on_host(|host| async move {
        // At the same time, so that both look for subnets at once.
        let (first, second) = tokio::join!(host.open(), Network::open(host.config("gantry-two")));
        let second = second.expect("open a second one");
        assert_ne!(first.network_default().pools[0].subnet, second.network_default().pools[0].subnet);
        assert_ne!(first.network_pods().pools[0].subnet, second.network_pods().pools[0].subnet);
        let one =
            sandbox(&first, &first.network_default().id, "one", &[publish(Protocol::Tcp, 8080, 80)]).await;
        let two =
            sandbox(&second, &second.network_default().id, "two", &[publish(Protocol::Tcp, 8081, 80)]).await;
        tcp_server(&one.netns, 80, "one");
        tcp_server(&two.netns, 80, "two");
        assert!(ask(&host.outside, HOST, 8080).expect("first").starts_with("one"));
        assert!(ask(&host.outside, HOST, 8081).expect("second").starts_with("two"));
        assert!(ask_here(Ipv4Addr::LOCALHOST, 8081).expect("second, locally").starts_with("two"));
        second.teardown().await.expect("teardown");
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "the first goes on");
        unanswered_tcp(&host.outside, HOST, 8081).expect_err("the second is gone");
        assert_eq!(command("nft list tables").trim(), "table ip gantry");
        first.close().await;
    });
}

#[test]
fn published_ports_obey_the_hosts_input_rules_whoever_the_client_is() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let ports = [publish(Protocol::Tcp, 8080, 80), publish(Protocol::Udp, 8080, 80)];
        let web = sandbox(&network, &bridge, "web", &ports).await;
        tcp_server(&web.netns, 80, "web");
        udp_server(&web.netns, 80, "web");
        command("nft add table ip firewall");
        nft("add chain ip firewall input { type filter hook input priority 0; policy drop; }");
        nft("add rule ip firewall input ct state established,related accept");
        nft("add rule ip firewall input iifname lo accept");
        unanswered_tcp(&host.outside, HOST, 8080).expect_err("the host lets nobody in");
        unanswered_udp(&host.outside, HOST, 8080).expect_err("the host lets nobody in");
        assert!(ask_here(HOST, 8080).is_ok(), "the host itself");
        nft("add rule ip firewall input ip saddr 192.0.2.2 tcp dport 8080 accept");
        nft("add rule ip firewall input ip saddr 192.0.2.2 udp dport 8080 accept");
        assert_eq!(ask(&host.outside, HOST, 8080).expect("let in"), format!("web {OUTSIDE}"));
        assert_eq!(ask_udp(&host.outside, HOST, 8080).expect("let in"), format!("web {OUTSIDE}"));
        // The daemon has no part in it.
        network.close().await;
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "without the daemon");
    });
}

#[test]
fn they_obey_them_where_sources_are_strictly_checked_too() {
    on_host(|host| async move {
        // As `ufw` sets it, before Gantry starts or after.
        for strict_first in [true, false] {
            let switch = |value: &str| {
                std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", value).expect("set the switch");
                std::fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", value).expect("set the switch");
            };
            switch(if strict_first { "1" } else { "0" });
            let network = host.open().await;
            switch("1");
            let bridge = network.network_default().id;
            let web = sandbox(&network, &bridge, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
            tcp_server(&web.netns, 80, "web");
            assert_eq!(ask(&host.outside, HOST, 8080).expect("published"), format!("web {OUTSIDE}"));
            command("nft add table ip firewall");
            nft("add chain ip firewall input { type filter hook input priority 0; policy drop; }");
            unanswered_tcp(&host.outside, HOST, 8080).expect_err("the host lets nobody in");
            nft("add rule ip firewall input tcp dport 8080 accept");
            assert!(ask(&host.outside, HOST, 8080).is_ok(), "let in");
            let problems = network.doctor().await;
            let problems: Vec<_> =
                problems.iter().filter(|finding| finding.severity == net::Severity::Problem).collect();
            assert!(problems.is_empty(), "{problems:?}");
            command("nft delete table ip firewall");
            network.teardown().await.expect("teardown");
        }
    });
}

#[test]
fn the_table_is_listed_in_a_form_that_nft_reads_back() {
    on_host(|host| async move {
        let network = host.open().await;
        let user = NetworkSpec { name: "user".into(), internal: true, ..NetworkSpec::default() };
        network.network_create(user).await.expect("create");
        let ports = [publish(Protocol::Tcp, 8080, 80), publish(Protocol::Udp, 8080, 80)];
        let web = sandbox(&network, &network.network_default().id, "web", &ports).await;
        let port = |client_affinity, last| ServicePort {
            addresses: vec![[10, 43, 0, last].into()],
            external_addresses: Vec::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080 + u16::from(last)),
            client_affinity,
            internal_local: false,
            external_local: false,
            endpoints: vec![
                ServiceEndpoint { address: web.address().into(), port: 80, local: true },
                ServiceEndpoint { address: Ipv4Addr::new(10, 42, 9, 9).into(), port: 80, local: false },
            ],
        };
        let ports = [("a".into(), port(None, 7)), ("b".into(), port(Some(60), 8))].into();
        let table = [(ServiceName::new("default", "web"), ports)].into();
        network.services_replace(table).await.expect("apply");
        let before = command("nft list table ip gantry");
        assert!(before.contains("timeout 1m } dnat to 10.42.9.9:80\n"), "{before}");
        network.close().await;
        nft("delete table ip gantry");
        nft(&before);
        assert_eq!(command("nft list table ip gantry"), before);
    });
}

#[test]
fn the_doctor_names_rules_of_others_that_stop_our_traffic() {
    on_host(|host| async move {
        let network = host.open().await;
        assert_eq!(network.doctor().await, []);
        command("nft add table ip filter");
        nft("add chain ip filter INPUT { type filter hook input priority 0; policy drop; }");
        let findings = network.doctor().await;
        let says = |text: &str| findings.iter().any(|finding| finding.message.contains(text));
        assert!(says("chain `INPUT` of table `ip filter` lets in only what it knows"), "{findings:?}");
        network.close().await;
    });
}

#[test]
fn where_others_drop_what_they_do_not_know_our_links_pass() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let web = sandbox(&network, &bridge, "web", &[publish(Protocol::Tcp, 8080, 80)]).await;
        let client = sandbox(&network, &bridge, "client", &[]).await;
        tcp_server(&web.netns, 80, "web");
        tcp_server(&host.outside, 80, "outside");
        // As another engine does that is started later.
        command("nft add table ip filter");
        nft("add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }");
        nft("insert rule ip filter FORWARD tcp dport 81 drop");
        filter_bridged_packets(true);
        let rules = || command("nft list chain ip filter FORWARD");
        let passes = || match rules() {
            rules if rules.matches("gantry: ").count() == 4 => Ok(()),
            rules => Err(rules),
        };
        testkit::wait_until("our links to pass", passes);
        assert!(ask(&client.netns, web.address(), 80).is_ok(), "each other");
        assert!(ask(&client.netns, OUTSIDE, 80).is_ok(), "the outside");
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "from outside");
        assert_eq!(network.doctor().await, []);
        tcp_server(&web.netns, 81, "web");
        unanswered_tcp(&client.netns, web.address(), 81).expect_err("their rules come first");
        command("nft flush chain ip filter FORWARD");
        testkit::wait_until("our rules to come back", passes);
        let own = network
            .network_create(NetworkSpec { name: "more".into(), ..NetworkSpec::default() })
            .await
            .expect("another network");
        assert_eq!(rules().matches("gantry: ").count(), 6, "{}", rules());
        network.network_remove(&own.id).await.expect("remove it");
        passes().expect("as many as before");
        nft("chain ip filter FORWARD { policy accept; }");
        testkit::wait_until("what is not needed to go", || match rules() {
            rules if !rules.contains("gantry") => Ok(()),
            rules => Err(rules),
        });
        nft("chain ip filter FORWARD { policy drop; }");
        testkit::wait_until("our links to pass again", passes);
        network.teardown().await.expect("teardown");
        assert!(!rules().contains("gantry"), "{}", rules());
    });
}

#[test]
fn containers_find_names_and_the_api_where_the_hosts_input_stops_what_it_does_not_know() {
    const API: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 1);
    on_host(|host| async move {
        let network = host.open().await;
        let pods = network.network_pods().id;
        let pod = sandbox(&network, &pods, "", &[]).await;
        let api = ServicePort {
            addresses: vec![API.into()],
            external_addresses: Vec::new(),
            protocol: Protocol::Tcp,
            port: 443,
            node_port: None,
            client_affinity: None,
            internal_local: false,
            external_local: false,
            endpoints: vec![ServiceEndpoint { address: HOST.into(), port: 6443, local: false }],
        };
        let api = [("https".into(), api)].into();
        let table = [(ServiceName::new("default", "kubernetes"), api)].into();
        network.services_replace(table).await.expect("apply");
        tcp_server(&here(), 6443, "api");
        tcp_server(&here(), 22, "ssh");
        let patience = std::time::Duration::from_secs(2);
        let names = || TcpStream::connect_timeout(&(Ipv4Addr::new(10, 43, 0, 10), 53).into(), patience);
        // By default, at a rule, and at the end of a chain that a rule leads to, as `ufw` and others do.
        let ways: [&[&str]; 4] = [
            &["chain ip filter INPUT { policy drop; }"],
            &["add rule ip filter INPUT counter reject"],
            &[
                "add chain ip filter rest",
                "add rule ip filter rest drop",
                "add rule ip filter INPUT jump rest",
            ],
            // Not all that comes to such a chain ends in it.
            &[
                "add chain ip filter not-local",
                "add rule ip filter not-local fib daddr type local return",
                "add rule ip filter not-local drop",
                "add rule ip filter INPUT jump not-local",
                "chain ip filter INPUT { policy drop; }",
            ],
        ];
        for way in ways {
            command("nft add table ip filter");
            nft("add chain ip filter INPUT { type filter hook input priority 0; policy accept; }");
            nft("add rule ip filter INPUT ct state established,related accept");
            for line in way {
                nft(line);
            }
            let rules = || command("nft -a list chain ip filter INPUT");
            testkit::wait_until("our rules", || match rules() {
                rules if rules.matches("gantry: from").count() == 2 => Ok(()),
                rules => Err(rules),
            });
            let last = |text: &str| rules().rfind(text).unwrap_or_default();
            assert!(
                !rules().contains("jump not-local") || last("jump not-local") < last("gantry: from"),
                "{}",
                rules()
            );
            assert!(ask(&pod.netns, API, 443).is_ok(), "the API, {}", rules());
            assert!(unanswered_tcp(&pod.netns, HOST, 22).is_err(), "the host itself, {}", rules());
            assert!(unanswered_tcp(&host.outside, HOST, 22).is_err(), "from outside, {}", rules());
            assert!(inside(&pod.netns, names).is_ok(), "names, {}", rules());
            let problems = network.doctor().await;
            let problems: Vec<_> =
                problems.iter().filter(|finding| finding.severity == net::Severity::Problem).collect();
            assert!(problems.is_empty(), "{problems:?}");
            command("nft delete table ip filter");
        }
        // The program that owns such tables must still be able to read them. It reads few rules that it has not written.
        if iptables("-V").is_ok() {
            for line in [
                "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A INPUT -p tcp --dport 22 -j ACCEPT",
                "-A INPUT -j REJECT",
            ] {
                iptables(line).expect("it writes its own");
            }
            testkit::wait_until("our rules where it reads them", || match iptables("-S INPUT") {
                Ok(rules) if rules.matches("gantry: from").count() == 2 => Ok(()),
                rules => Err(rules),
            });
            assert!(ask(&pod.netns, API, 443).is_ok(), "the API, {:?}", iptables("-S INPUT"));
        }
        network.close().await;
    });
}

/// What `iptables` says, by the kernel's tables; why it fails, or that it is not there.
fn iptables(words: &str) -> Result<String, String> {
    let ran = std::process::Command::new("iptables-nft").args(words.split(' ')).output();
    let ran = ran.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    if ran.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn where_others_end_with_a_rule_that_refuses_everything_our_links_pass_before_it() {
    on_host(|host| async move {
        let network = host.open().await;
        let client = sandbox(&network, &network.network_default().id, "client", &[]).await;
        tcp_server(&host.outside, 80, "outside");
        nft("add table inet filter");
        nft("add chain inet filter forward { type filter hook forward priority 0; policy accept; }");
        nft("add rule inet filter forward tcp dport 81 drop");
        nft("add rule inet filter forward log prefix rest counter reject");
        let rules = || command("nft list chain inet filter forward");
        let passes = || match rules() {
            rules if rules.matches("gantry: ").count() == 4 => Ok(()),
            rules => Err(rules),
        };
        testkit::wait_until("our links to pass", passes);
        assert!(ask(&client.netns, OUTSIDE, 80).is_ok(), "the outside, {}", rules());
        unanswered_tcp(&client.netns, OUTSIDE, 81).expect_err("their rules come first");
        // A second one before ours makes them useless: they move, and are not doubled.
        nft("insert rule inet filter forward counter reject");
        testkit::wait_until("our links to pass again", || {
            passes()?;
            if ask(&client.netns, OUTSIDE, 80).is_ok() { Ok(()) } else { Err(rules()) }
        });
        network.teardown().await.expect("teardown");
        assert!(!rules().contains("gantry"), "{}", rules());
    });
}

#[test]
fn a_udp_client_that_keeps_its_port_is_led_to_the_next_container() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let client = inside(&host.outside, || std::net::UdpSocket::bind(("0.0.0.0", 0)).expect("bind"));
        client.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("set a limit");
        let ask = || {
            let mut buffer = [0; 64];
            client.send_to(b"hello", (HOST, 5000))?;
            client.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        for name in ["first", "second"] {
            let server = sandbox(&network, &bridge, name, &[publish(Protocol::Udp, 5000, 5000)]).await;
            udp_server(&server.netns, 5000, name);
            let answer = testkit::wait_until("an answer", ask);
            assert_eq!(answer, format!("{name} {OUTSIDE}"));
            network.endpoint_detach_all(&format!("{name}-id")).await.expect("detach");
            // Late answers to earlier questions may still come.
            testkit::wait_until("nobody to be there", || ask().map_or(Ok(()), Err));
        }
        network.close().await;
    });
}
