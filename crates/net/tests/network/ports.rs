//! Published ports: from outside, from the host, from 127.0.0.1, from containers, across restarts.

use std::net::{Ipv4Addr, TcpListener};

use net::{EndpointSpec, Network, NetworkSpec, PortSpec, Protocol};
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
            ask(&web.netns, web.endpoint.gateway.expect("has one"), 8080).expect("by the gateway"),
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
        let local = PortSpec { host_address: Ipv4Addr::LOCALHOST, ..publish(Protocol::Tcp, 8080, 80) };
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
        assert_ne!(next.endpoint.address, web.endpoint.address);
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

#[test]
fn a_second_instance_lives_beside_the_first() {
    on_host(|host| async move {
        // At the same time, so that both look for subnets at once.
        let (first, second) = tokio::join!(host.open(), Network::open(host.config("gantry-two")));
        let second = second.expect("open a second one");
        assert_ne!(first.network_default().subnet, second.network_default().subnet);
        assert_ne!(first.network_pods().subnet, second.network_pods().subnet);
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
fn where_packets_cannot_take_the_detour_ports_are_published_all_the_same_and_the_doctor_says_so() {
    on_host(|host| async move {
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1")
            .expect("set the switch of this namespace");
        let network = host.open().await;
        let web =
            sandbox(&network, &network.network_default().id, "web", &[publish(Protocol::Tcp, 8080, 80)])
                .await;
        tcp_server(&web.netns, 80, "web");
        assert!(ask(&host.outside, HOST, 8080).is_ok());
        let findings = network.doctor().await;
        assert!(findings.iter().any(|finding| finding.message.contains("rp_filter")), "{findings:?}");
        network.close().await;
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
        assert!(says("chain `INPUT` of table `ip filter`"), "{findings:?}");
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
        assert!(ask(&client.netns, web.endpoint.address, 80).is_ok(), "each other");
        assert!(ask(&client.netns, OUTSIDE, 80).is_ok(), "the outside");
        assert!(ask(&host.outside, HOST, 8080).is_ok(), "from outside");
        assert_eq!(network.doctor().await, []);
        tcp_server(&web.netns, 81, "web");
        unanswered_tcp(&client.netns, web.endpoint.address, 81).expect_err("their rules come first");
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
