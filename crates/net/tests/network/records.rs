//! Records that cannot be read: what they were about stays guarded, and keeps what it has.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use net::{AttachError, Endpoint, EndpointSpec, Network, NetworkId, NetworkSpec, Protocol};

use crate::host::*;

/// Routes what is for 127.0.0.1 from inside `netns` to the host, as its own root can.
fn send_loopback_to(netns: &OwnedFd, gateway: Ipv4Addr) {
    inside(netns, || {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("set the switch");
        command(&format!("ip route add 127.0.0.1/32 via {gateway} table 9"));
        command("ip rule add pref 100 lookup local");
        command("ip rule del pref 0");
        command("ip rule add pref 1 to 127.0.0.1 ipproto tcp lookup 9");
        command(&format!("ip route add default via {gateway}"));
    });
}

#[test]
fn a_bridge_whose_network_cannot_be_read_stays_guarded_and_cut_off() {
    on_host(|host| async move {
        let network = host.open().await;
        let spec = |name: &str| NetworkSpec { name: name.into(), internal: true, ..NetworkSpec::default() };
        let cut = network.network_create(spec("cut")).await.expect("create");
        let port = publish(Protocol::Tcp, 8080, 80);
        let one = sandbox(&network, &cut.id, "one", &[port]).await;
        let two = sandbox(&network, &cut.id, "two", &[]).await;
        tcp_server(&here(), 9000, "host");
        tcp_server(&host.outside, 80, "outside");
        tcp_server(&two.netns, 80, "two");
        inside(&host.outside, || command(&format!("ip route add {} via {HOST}", cut.pools[0].subnet)));
        send_loopback_to(&one.netns, gateway_of(&cut));
        network.close().await;
        drop(network);
        let list = host.state.path().join("gantry/networks.json");
        for text in ["garbage", r#"{"version":2,"networks":[{"name":"cut","kind":"Moebius"}]}"#] {
            std::fs::write(&list, text).expect("write");
            let network = host.open().await;
            assert!(
                network
                    .troubles()
                    .iter()
                    .any(|trouble| trouble.path.starts_with(list.parent().expect("a directory")))
            );
            unanswered_tcp(&one.netns, Ipv4Addr::LOCALHOST, 9000).expect_err("the host's loopback");
            unanswered_tcp(&one.netns, OUTSIDE, 80).expect_err("the way out");
            assert!(ask(&one.netns, two.address(), 80).is_ok(), "its neighbours are there");
            // Its port is nobody else's, and its bridge is taken.
            let netns = network.netns_take().await.expect("take");
            let spec = EndpointSpec { owner: "other".into(), ports: vec![port], ..EndpointSpec::default() };
            let taken = network.endpoint_attach(netns.as_fd(), &network.network_default().id, spec).await;
            let taken = taken.expect_err("it is published").to_string();
            assert!(taken.contains("8080 failed: port is already allocated"), "{taken}");
            let spec = NetworkSpec { bridge: Some(cut.bridge.clone()), ..spec_named("again") };
            let taken = network.network_create(spec).await.expect_err("there is such a bridge").to_string();
            assert!(taken.contains("is already used by a network that cannot be read"), "{taken}");
            network.close().await;
        }
        // When its sandbox ends, what it had can be had.
        let network = host.open().await;
        network.endpoint_detach_all("one-id").await.expect("detach");
        sandbox(&network, &network.network_default().id, "other", &[port]).await;
        // It is the guard that stops it, not this test's mistake.
        network.close().await;
        command("nft flush chain ip gantry guard");
        let answer = ask(&two.netns, gateway_of(&cut), 9000).expect("the host answers");
        assert!(answer.starts_with("host"));
        command("nft flush chain ip gantry forward");
        assert!(ask(&one.netns, OUTSIDE, 80).is_ok());
    });
}

fn spec_named(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.into(), ..NetworkSpec::default() }
}

#[test]
fn what_is_left_over_goes_though_something_else_cannot_be_read() {
    on_host(|host| async move {
        let network = host.open().await;
        network.close().await;
        drop(network);
        for name in ["services.log", "forwarding.json"] {
            std::fs::write(host.state.path().join("gantry").join(name), "garbage\n").expect("write");
        }
        let left = || {
            command("ip link add left type bridge");
            command("ip link set left alias gantry:gantry");
        };
        let links = || command("ip -o link show type bridge");
        left();
        let network = host.open().await;
        assert_eq!(network.troubles().len(), 2, "{:?}", network.troubles());
        assert!(!links().contains("left"), "it belongs to no network");
        network.close().await;
        drop(network);
        // It may be one's that cannot be read.
        std::fs::write(host.state.path().join("gantry/endpoints/1.json"), "garbage").expect("write");
        left();
        let network = host.open().await;
        assert_eq!(network.troubles().len(), 3, "{:?}", network.troubles());
        assert!(links().contains("left"));
        network.close().await;
    });
}

/// A list that was lost leads to other networks in the place of those that there always are. What was in
/// them is there still.
#[test]
fn addresses_of_endpoints_whose_network_is_lost_are_not_given_out_again() {
    on_host(|host| async move {
        let network = host.open().await;
        let old = network.network_default();
        let one = sandbox(&network, &old.id, "one", &[]).await;
        network.close().await;
        drop(network);
        std::fs::write(host.state.path().join("gantry/networks.json"), "garbage").expect("write");
        let network = host.open().await;
        let new = network.network_default();
        assert_ne!(new.id, old.id);
        assert_eq!((new.bridge, new.pools), (old.bridge, old.pools), "in its place");
        let two = sandbox(&network, &new.id, "two", &[]).await;
        assert_ne!(two.address(), one.address());
        network.close().await;
    });
}

async fn attach(
    network: &Network,
    to: &NetworkId,
    owner: &str,
    addresses: &[Ipv4Addr],
) -> (OwnedFd, Result<Endpoint, AttachError>) {
    let netns = network.netns_take_pinned(owner).await.expect("take");
    let addresses = addresses.iter().copied().map(Into::into).collect();
    let spec = EndpointSpec { owner: owner.into(), addresses, ..EndpointSpec::default() };
    let attached = network.endpoint_attach(netns.as_fd(), to, spec).await;
    (netns, attached)
}

#[test]
fn the_address_of_an_endpoint_that_cannot_be_read_is_not_given_out_again() {
    on_host(|host| async move {
        let network = host.open().await;
        let id = network.network_default().id;
        let (netns, one) = attach(&network, &id, "stray-one", &[]).await;
        let one = one.expect("attach");
        network.close().await;
        drop(network);
        let record = host.state.path().join(format!("gantry/endpoints/{}.json", one.id));
        let whole = std::fs::read_to_string(&record).expect("the record");
        // Cut off: the namespace tells what its address is.
        std::fs::write(&record, &whole[..20]).expect("write");
        let network = host.open().await;
        let (_held, two) = attach(&network, &id, "stray-two", &[]).await;
        assert_ne!(two.expect("another address").ip(), one.ip());
        let asked = attach(&network, &id, "stray-three", &[v4(one.ip())]).await.1.expect_err("it is taken");
        assert!(matches!(asked, AttachError::AddressTaken { .. }), "{asked}");
        // Of another version, and without a pin: the record still tells.
        network.netns_give_up("stray-one").await.expect("give up");
        network.close().await;
        drop(network);
        std::fs::write(&record, whole.replace("\"version\":2", "\"version\":99")).expect("write");
        let network = host.open().await;
        let (_held, three) = attach(&network, &id, "stray-three", &[]).await;
        assert_ne!(three.expect("another address").ip(), one.ip());
        // Neither: nobody gets an address that might be it, unless it is asked for.
        network.close().await;
        drop(network);
        std::fs::write(&record, &whole[..20]).expect("write");
        let network = host.open().await;
        let refused =
            attach(&network, &id, "stray-four", &[]).await.1.expect_err("any might be it").to_string();
        assert!(
            refused.contains(&format!("with the link {} cannot be read", one.host_interface)),
            "{refused}"
        );
        let (_held, four) = attach(&network, &id, "stray-four", &[Ipv4Addr::new(172, 17, 9, 9)]).await;
        four.expect("it was asked for");
        let elsewhere = attach(&network, &network.network_pods().id, "stray-five", &[]).await;
        elsewhere.1.expect("another network");
        // As long as its link is there.
        drop(netns);
        testkit::wait_until("the link to go with its namespace", || {
            let links = command("ip -o link");
            if links.contains(&one.host_interface) { Err(links) } else { Ok(()) }
        });
        let (_held, six) = attach(&network, &id, "stray-six", &[]).await;
        six.expect("it is gone");
        network.teardown().await.expect("teardown");
    });
}
