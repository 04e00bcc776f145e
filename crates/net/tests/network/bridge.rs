//! Containers on bridges: traffic between them, to the outside and back.

use net::{EndpointSpec, Network, NetworkSpec, Subnet};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use crate::host::*;

#[test]
fn containers_of_a_network_reach_each_other_and_the_outside_behind_the_hosts_address() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default();
        let one = sandbox(&network, &bridge.id, "one", &[]).await;
        let two = sandbox(&network, &bridge.id, "two", &[]).await;
        assert_eq!(one.address().to_string(), "172.17.0.2");
        assert_eq!(one.endpoint.mac_text(), "02:42:ac:11:00:02");
        assert_eq!(two.endpoint.interface, "eth0");
        tcp_server(&two.netns, 80, "two");
        assert_eq!(ask(&one.netns, two.address(), 80).expect("same network"), "two 172.17.0.2");
        tcp_server(&host.outside, 80, "outside");
        assert_eq!(ask(&one.netns, OUTSIDE, 80).expect("outside"), format!("outside {HOST}"));
        assert_eq!(ask_here(two.address(), 80).expect("from the host"), "two 172.17.0.1");
        network.close().await;
    });
}

#[test]
fn every_link_is_made_with_an_address_that_udev_leaves_alone() {
    on_host(|host| async move {
        let network = host.open().await;
        let user = NetworkSpec { name: "user".into(), ..NetworkSpec::default() };
        let user = network.network_create(user).await.expect("create");
        let one = sandbox(&network, &user.id, "one", &[]).await;
        // 3 is NET_ADDR_SET: somebody chose it. The files are those of whoever mounts them.
        const SET: &str = "3";
        let list = || {
            let script = "mount -t sysfs sysfs /sys && cd /sys/class/net && grep . */addr_assign_type";
            let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", script]).output();
            let output = output.expect("run unshare");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let check = |text: &str, least: usize| {
            let ours =
                text.lines().filter(|line| !["lo/", "eth0/", "cable/"].iter().any(|of| line.starts_with(of)));
            assert!(ours.clone().count() >= least, "{text}");
            for line in ours {
                assert!(line.ends_with(&format!(":{SET}")), "{line}");
            }
        };
        // Three bridges, the two ends of the gate, the container's link.
        check(&list(), 6);
        let inside = inside(&one.netns, list);
        assert!(inside.lines().any(|line| line == format!("eth0/addr_assign_type:{SET}")), "{inside}");
        network.close().await;
    });
}

#[test]
fn a_freed_address_is_the_next_containers_but_not_the_next_pods() {
    on_host(|host| async move {
        let network = host.open().await;
        let user = NetworkSpec { name: "user".into(), ..NetworkSpec::default() };
        let user = network.network_create(user).await.expect("create");
        for (at, goes_to_the_next) in
            [(network.network_default(), true), (user, true), (network.network_pods(), false)]
        {
            let first = sandbox(&network, &at.id, "first", &[]).await;
            let second = sandbox(&network, &at.id, "second", &[]).await;
            network.endpoint_detach(&at.id, "first-id").await.expect("detach");
            let third = sandbox(&network, &at.id, "third", &[]).await;
            assert_eq!(third.address() == first.address(), goes_to_the_next, "{}", at.name);
            assert_ne!(third.address(), second.address(), "{}", at.name);
        }
        network.close().await;
    });
}

#[test]
fn networks_are_isolated_from_each_other_and_internal_ones_from_everything() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default();
        let user =
            network.network_create(NetworkSpec { name: "user".into(), ..NetworkSpec::default() }).await;
        let user = user.expect("create");
        assert_eq!(user.pools[0].subnet.to_string(), "172.18.0.0/16");
        let cut = NetworkSpec { name: "cut".into(), internal: true, ..NetworkSpec::default() };
        let cut = network.network_create(cut).await.expect("create");
        let one = sandbox(&network, &bridge.id, "one", &[]).await;
        let two = sandbox(&network, &user.id, "two", &[]).await;
        let (three, four) =
            (sandbox(&network, &cut.id, "three", &[]).await, sandbox(&network, &cut.id, "four", &[]).await);
        tcp_server(&two.netns, 80, "two");
        tcp_server(&four.netns, 80, "four");
        tcp_server(&host.outside, 80, "outside");
        unanswered_tcp(&one.netns, two.address(), 80).expect_err("another network");
        unanswered_tcp(&three.netns, two.address(), 80).expect_err("from an internal network");
        unanswered_tcp(&three.netns, OUTSIDE, 80).expect_err("outside from an internal network");
        assert_eq!(ask(&three.netns, four.address(), 80).expect("within"), "four 172.19.0.2");
        assert!(ask(&two.netns, OUTSIDE, 80).is_ok());
        // Nor from outside, even if somebody there knows the way.
        inside(&host.outside, || command("ip route add 172.16.0.0/12 via 192.0.2.1"));
        unanswered_tcp(&host.outside, two.address(), 80).expect_err("not published");
        network.close().await;
    });
}

#[test]
fn a_container_in_two_networks_reaches_both_and_loses_one_when_detached() {
    on_host(|host| async move {
        let network = host.open().await;
        let spec = |name: &str| NetworkSpec { name: name.into(), ..NetworkSpec::default() };
        let a = network.network_create(spec("a")).await.expect("create");
        let b = network.network_create(spec("b")).await.expect("create");
        let both = sandbox(&network, &a.id, "both", &[]).await;
        let second = EndpointSpec { owner: "both-id".into(), name: "both".into(), ..EndpointSpec::default() };
        let second = network.endpoint_attach(both.netns.as_fd(), &b.id, second).await.expect("attach");
        assert_eq!(second.interface, "eth1");
        let in_b = sandbox(&network, &b.id, "in-b", &[]).await;
        tcp_server(&in_b.netns, 80, "in-b");
        assert!(ask(&both.netns, in_b.address(), 80).is_ok());
        let again = EndpointSpec { owner: "both-id".into(), name: "both".into(), ..EndpointSpec::default() };
        let error = network.endpoint_attach(both.netns.as_fd(), &b.id, again).await.expect_err("twice");
        assert_eq!(error.to_string(), "endpoint with name both already exists in network b");
        network.endpoint_detach(&b.id, "both-id").await.expect("detach");
        network.endpoint_detach(&b.id, "both-id").await.expect("detach again");
        unanswered_tcp(&both.netns, in_b.address(), 80).expect_err("detached");
        let error = network.network_remove(&b.id).await.expect_err("in use").to_string();
        assert!(error.ends_with("has active endpoints (in-b)"), "{error}");
        network.endpoint_detach_all("in-b-id").await.expect("detach");
        network.network_remove(&b.id).await.expect("remove");
        assert!(!command("ip -br link").contains(&b.bridge));
        network.close().await;
    });
}

/// Where a namespace's default route leads to.
fn way_out(netns: &std::os::fd::OwnedFd) -> String {
    inside(netns, || command("ip -o route show default"))
}

#[test]
fn the_way_out_and_published_ports_are_in_the_network_of_the_highest_priority() {
    on_host(|host| async move {
        let network = host.open().await;
        let mut made = Vec::new();
        for name in ["m", "a", "z"] {
            let spec = NetworkSpec { name: name.into(), ..NetworkSpec::default() };
            made.push(network.network_create(spec).await.expect("create"));
        }
        let [m, a, z] = <[net::NetworkView; 3]>::try_from(made).expect("three");
        let cut = NetworkSpec { name: "0".into(), internal: true, ..NetworkSpec::default() };
        let cut = network.network_create(cut).await.expect("create");
        let one = sandbox(&network, &m.id, "one", &[publish(net::Protocol::Tcp, 8080, 80)]).await;
        network.netns_pin("one-id", one.netns.as_fd()).await.expect("pin");
        tcp_server(&one.netns, 80, "one");
        let check = |by: &net::NetworkView| {
            let route = way_out(&one.netns);
            assert_eq!(route.lines().count(), 1, "{route}");
            assert!(route.contains(&format!("via {} ", gateway_of(by))), "{} in {route}", by.name);
            let with: Vec<_> =
                network.endpoint_list().into_iter().filter(|at| !at.ports.is_empty()).collect();
            assert_eq!(with.iter().map(|at| &at.network).collect::<Vec<_>>(), [&by.id]);
            assert_eq!(ask(&host.outside, HOST, 8080).expect("published"), format!("one {OUTSIDE}"));
        };
        let join = async |to: &net::NetworkView, priority| {
            let spec = EndpointSpec { owner: "one-id".into(), priority, ..EndpointSpec::default() };
            network.endpoint_attach(one.netns.as_fd(), &to.id, spec).await.expect("attach")
        };
        check(&m);
        join(&cut, 100).await;
        check(&m);
        assert_eq!(join(&a, 0).await.ports.len(), 1, "they are told with the one that has them now");
        check(&a);
        join(&z, 1).await;
        check(&z);
        network.endpoint_detach(&z.id, "one-id").await.expect("detach");
        check(&a);
        network.endpoint_detach(&m.id, "one-id").await.expect("detach");
        check(&a);
        // Also for the next daemon.
        network.close().await;
        let network = host.open().await;
        network.endpoint_detach(&a.id, "one-id").await.expect("detach");
        assert_eq!(way_out(&one.netns), "", "the network that is left leads nowhere");
        assert!(network.endpoint_list().iter().all(|at| at.ports.is_empty()));
        network.close().await;
    });
}

#[test]
fn addresses_that_hold_on_a_link_are_had_there_and_by_one_alone() {
    on_host(|host| async move {
        // The host's own rules do not see what its bridges pass on.
        filter_bridged_packets(false);
        let network = host.open().await;
        let bridge = network.network_default().id;
        let link_local = |owner: &str, last| EndpointSpec {
            owner: owner.into(),
            link_local: vec![Ipv4Addr::new(169, 254, 8, last)],
            ..EndpointSpec::default()
        };
        let netns = [network.netns_take().await.expect("take"), network.netns_take().await.expect("take")];
        let attach = async |at: usize, spec| network.endpoint_attach(netns[at].as_fd(), &bridge, spec).await;
        attach(0, link_local("one", 8)).await.expect("attach");
        let error = attach(1, link_local("two", 8)).await.expect_err("it is another's");
        assert_eq!(error.to_string(), "Address already in use");
        let outside = EndpointSpec { link_local: vec![[10, 0, 0, 8].into()], ..link_local("two", 9) };
        let error = attach(1, outside).await.expect_err("it is none");
        assert_eq!(error.to_string(), "invalid link local IP address: 10.0.0.8");
        attach(1, link_local("two", 9)).await.expect("attach");
        assert!(inside(&netns[1], || command("ip -o addr show eth0")).contains(" 169.254.8.9/16 "));
        tcp_server(&netns[0], 80, "one");
        let answer = ask(&netns[1], Ipv4Addr::new(169, 254, 8, 8), 80).expect("a neighbour");
        assert_eq!(answer, "one 169.254.8.9");
        network.close().await;
    });
}

/// Who asks for a subnet knows what the host reaches by which way; what is chosen keeps clear of all that.
#[test]
fn a_subnet_that_is_asked_for_may_lie_inside_of_a_route_of_the_hosts() {
    on_host(|host| async move {
        let network = host.open().await;
        command("ip route add 10.0.0.0/8 via 192.0.2.2");
        command("ip route add 172.18.0.0/16 via 192.0.2.2");
        let create = async |name: &str, subnet: &str| {
            let pools = vec![net::PoolSpec::new(subnet.parse::<ipnet::IpNet>().expect("a subnet"))];
            network.network_create(NetworkSpec { name: name.into(), pools, ..NetworkSpec::default() }).await
        };
        let inner = create("inner", "10.99.1.0/24").await.expect("inside of a route");
        assert!(inner.pools[0].configured);
        let one = sandbox(&network, &inner.id, "one", &[]).await;
        tcp_server(&one.netns, 80, "one");
        assert_eq!(ask_here(one.address(), 80).expect("the host reaches it"), "one 10.99.1.1");
        create("same", "172.18.0.0/16").await.expect("what a route leads to");
        for (name, subnet) in [
            ("lan", "192.0.2.0/24"),
            ("around", "192.0.0.0/16"),
            ("mine", "10.99.0.0/16"),
            ("services", "10.43.8.0/24"),
        ] {
            let error = create(name, subnet).await.expect_err(name);
            assert!(matches!(error, net::NetworkError::Overlap { .. }), "{name}: {error}");
        }
        let chosen = NetworkSpec { name: "chosen".into(), ..NetworkSpec::default() };
        let chosen = network.network_create(chosen).await.expect("create");
        assert_eq!(chosen.pools[0].subnet.to_string(), "172.19.0.0/16");
        assert!(!chosen.pools[0].configured);
        network.close().await;
    });
}

/// Whoever translates addresses in a table of both families has the kernel track what the host itself sends
/// of IPv6, which costs it time and memory for nothing.
#[test]
fn connections_of_ipv6_are_not_tracked_for_networks_that_have_none() {
    on_host(|host| async move {
        let tracked =
            || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").expect("what is tracked");
        let say = |to: &str| {
            let socket = std::net::UdpSocket::bind((if to == "::1" { "::" } else { "0.0.0.0" }, 0));
            socket.expect("bind").send_to(b"hello", (to, 7777)).expect("send");
        };
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let one = sandbox(&network, &shop.id, "one", &[publish(net::Protocol::Tcp, 8080, 80)]).await;
        let check = || {
            ["::1", "127.0.0.1"].iter().for_each(|to| say(to));
            let tracked = tracked();
            assert!(tracked.lines().any(|line| line.starts_with("ipv4") && line.contains("dport=7777")));
            assert!(!tracked.lines().any(|line| line.starts_with("ipv6")), "{tracked}");
        };
        check();
        inside(&one.netns, check);
        network.close().await;
    });
}

#[test]
fn teardown_leaves_nothing_behind() {
    on_host(|host| async move {
        let network = host.open().await;
        let _one = sandbox(&network, &network.network_default().id, "one", &[]).await;
        assert!(command("nft list tables").contains("table ip gantry"));
        network.teardown().await.expect("teardown");
        assert_eq!(command("nft list tables"), "");
        assert!(!command("ip -br link").contains("gantry"));
    });
}

#[test]
fn the_address_of_an_ended_sandbox_can_be_had_at_once_and_its_link_goes_even_if_the_namespace_stays() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let one = sandbox(&network, &bridge, "one", &[]).await;
        network.endpoint_detach_all("one-id").await.expect("detach");
        let again = EndpointSpec {
            owner: "two-id".into(),
            addresses: vec![one.endpoint.ip()],
            ..EndpointSpec::default()
        };
        let netns = network.netns_take().await.expect("take");
        let two = network.endpoint_attach(netns.as_fd(), &bridge, again).await.expect("the same address");
        assert_eq!(two.ip(), one.endpoint.ip());
        network.endpoint_detach_all("two-id").await.expect("detach");
        testkit::wait_until("the link to go", || {
            let links = command("ip -br link");
            if links.contains(&two.host_interface) { Err(links) } else { Ok(()) }
        });
        network.close().await;
    });
}

#[test]
fn many_sandboxes_at_once_get_different_addresses_and_ports() {
    on_host(|host| async move {
        let network = host.open().await;
        let bridge = network.network_default().id;
        let any = net::PortSpec { host_ports: (0, 0), ..publish(net::Protocol::Tcp, 0, 80) };
        let tasks: Vec<_> = (0..48)
            .map(|number| {
                let (network, bridge) = (network.clone(), bridge.clone());
                tokio::spawn(async move {
                    let ports = if number % 3 == 0 { vec![any] } else { Vec::new() };
                    sandbox(&network, &bridge, &format!("many-{number}"), &ports).await
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await.expect("attached"));
        }
        let addresses: std::collections::BTreeSet<_> = all.iter().map(|one| one.address()).collect();
        let ports: std::collections::BTreeSet<_> =
            all.iter().flat_map(|one| &one.endpoint.ports).map(|port| port.host_port).collect();
        assert_eq!((addresses.len(), ports.len()), (48, 16));
        tcp_server(&all[45].netns, 80, "many-45");
        let port = all[45].endpoint.ports[0].host_port;
        assert_eq!(ask(&host.outside, HOST, port).expect("published"), format!("many-45 {OUTSIDE}"));
        let tasks: Vec<_> = all
            .iter()
            .map(|one| {
                let (network, owner) = (network.clone(), one.endpoint.owner.clone());
                tokio::spawn(async move { network.endpoint_detach_all(&owner).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic").expect("detach");
        }
        assert_eq!(network.endpoint_list(), []);
        network.close().await;
    });
}

/// Whoever takes an instance away need not know what it was started with, nor is what others have in the
/// way.
#[test]
fn an_instance_is_taken_away_whatever_its_subnets_were() {
    on_host(|host| async move {
        command("ip route add 10.42.0.0/16 via 192.0.2.2");
        let mut config = host.config("test");
        config.pod_cidr = Subnet::Exactly("10.62.0.0/16".parse().expect("a subnet"));
        config.bip = Subnet::Exactly("172.29.0.1/16".parse().expect("a subnet"));
        let network = Network::open(config).await.expect("open");
        network.close().await;
        assert!(command("ip -o addr").contains("10.62.0.1/16"));

        let network = Network::open(host.config("test")).await.expect("open with the defaults");
        network.teardown().await.expect("take it down");
        let left = command("ip -o addr");
        assert!(!left.contains("10.62.") && !left.contains("172.29."), "{left}");
    });
}

/// What a port does is the port's: with its bridge it goes, whoever took that away.
#[test]
fn members_stay_isolated_when_their_bridge_is_made_anew() {
    on_host(|host| async move {
        let network = host.open().await;
        let apart = NetworkSpec { name: "apart".into(), isolate_endpoints: true, ..NetworkSpec::default() };
        let apart = network.network_create(apart).await.expect("create");
        let one = sandbox(&network, &apart.id, "one", &[]).await;
        let two = sandbox(&network, &apart.id, "two", &[]).await;
        tcp_server(&two.netns, 80, "two");
        unanswered_tcp(&one.netns, two.address(), 80).expect_err("they do not reach each other");
        network.close().await;
        command(&format!("ip link del {}", apart.bridge));
        let network = host.open().await;
        let port = command(&format!("ip -d link show {}", one.endpoint.host_interface));
        assert!(port.contains("hairpin on") && port.contains("isolated on"), "{port}");
        unanswered_tcp(&one.netns, two.address(), 80).expect_err("nor now");
        assert!(ask(&one.netns, OUTSIDE, 81).is_err() && ask_here(two.address(), 80).is_ok());
        network.close().await;
    });
}
