//! Names: of containers, of services, of everybody else; asked as containers and pods ask.

use std::io;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use net::{
    DnsAddress, DnsEndpoint, DnsPort, DnsService, EndpointSpec, NameLink, NetworkSpec, Protocol, ServiceName,
};

use crate::host::*;

const DOCKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);
/// What the resolver outside says to everything.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("encode")
}

fn text(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).expect("decode");
    match message.metadata.response_code {
        ResponseCode::NoError => {
            let mut data: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
            data.sort();
            data.join(", ")
        }
        code => code.to_string(),
    }
}

/// Asks `server` from inside `netns`, as `dig` does.
pub(crate) fn dig(netns: &OwnedFd, server: Ipv4Addr, name: &str, kind: RecordType) -> io::Result<String> {
    dig_from(netns, Ipv4Addr::UNSPECIFIED, server, name, kind)
}

/// The same from an address of one's choice.
fn dig_from(
    netns: &OwnedFd,
    source: Ipv4Addr,
    server: Ipv4Addr,
    name: &str,
    kind: RecordType,
) -> io::Result<String> {
    inside(netns, || {
        let socket = UdpSocket::bind((source, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(4)))?;
        socket.connect((server, 53))?;
        socket.send(&question(name, kind))?;
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer)?;
        Ok(text(&buffer[..length]))
    })
}

/// The same over TCP.
pub(crate) fn dig_tcp(netns: &OwnedFd, server: Ipv4Addr, name: &str, kind: RecordType) -> io::Result<String> {
    inside(netns, || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((server, 53)), Duration::from_secs(4))?;
        stream.set_read_timeout(Some(Duration::from_secs(4)))?;
        let question = question(name, kind);
        stream.write_all(&(question.len() as u16).to_be_bytes())?;
        stream.write_all(&question)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(text(&answer))
    })
}

/// A resolver outside that knows every name.
fn resolver(netns: &OwnedFd) {
    resolver_that_says(netns, SOMEWHERE);
}

fn resolver_that_says(netns: &OwnedFd, address: Ipv4Addr) {
    resolver_that_says_at(netns, Ipv4Addr::UNSPECIFIED, address);
}

fn resolver_that_says_at(netns: &OwnedFd, at: Ipv4Addr, address: Ipv4Addr) {
    let socket = inside(netns, || UdpSocket::bind((at, 53)).expect("listen"));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).expect("a question");
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            let query = asked.queries[0].clone();
            if query.name().to_ascii().starts_with("silent") {
                continue;
            }
            answer.add_query(query.clone());
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(address))));
            let _ = socket.send_to(&answer.to_vec().expect("encode"), client);
        }
    });
}

#[test]
fn containers_of_a_user_defined_network_find_each_other_by_name() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let spec = |name: &str| NetworkSpec { name: name.into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec("shop")).await.expect("create");
        let other = network.network_create(spec("other")).await.expect("create");
        let web = sandbox(&network, &shop.id, "web", &[]).await;
        let db = network.netns_take().await.expect("take");
        let db_spec = EndpointSpec {
            owner: "0123456789abcdef".into(),
            name: "shop-db-1".into(),
            aliases: vec!["db".into()],
            ..EndpointSpec::default()
        };
        let db = network.endpoint_attach(db.as_fd(), &shop.id, db_spec).await.expect("attach");
        let stranger = sandbox(&network, &other.id, "stranger", &[]).await;
        let conf = network.resolv_conf(&shop.id);
        assert_eq!(conf.to_string(), "nameserver 127.0.0.11\nsearch example.org\noptions ndots:0\n");
        let address = db.ip().to_string();
        for name in ["shop-db-1", "DB", "0123456789ab", "db.shop"] {
            assert_eq!(dig(&web.netns, DOCKER, name, RecordType::A).expect(name), address, "{name}");
        }
        assert_eq!(dig_tcp(&web.netns, DOCKER, "db", RecordType::A).expect("tcp"), address);
        assert_eq!(dig(&web.netns, DOCKER, "db", RecordType::AAAA).expect("no IPv6"), "");
        let reverse = format!("{}.in-addr.arpa", address.split('.').rev().collect::<Vec<_>>().join("."));
        assert_eq!(dig(&web.netns, DOCKER, &reverse, RecordType::PTR).expect("reverse"), "shop-db-1.shop.");
        // In another network it is not a container's name: it is asked of the host's resolver.
        let outside = SOMEWHERE.to_string();
        assert_eq!(dig(&stranger.netns, DOCKER, "db", RecordType::A).expect("stranger"), outside);
        assert_eq!(dig(&web.netns, DOCKER, "www.example.org", RecordType::A).expect("outside"), outside);
        network.endpoint_rename("web-id", "front").await.expect("rename");
        let front = dig(&web.netns, DOCKER, "front", RecordType::A).expect("renamed");
        assert_eq!(front, web.address().to_string());
        network.close().await;
    });
}

#[test]
fn whoever_asks_without_end_takes_names_from_nobody_else() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let hog = sandbox(&network, &shop.id, "hog", &[]).await;
        let other = sandbox(&network, &shop.id, "other", &[]).await;
        // More than are passed on at a time, each of which nobody ever answers.
        let socket = inside(&hog.netns, || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("bind");
            socket.connect((DOCKER, 53)).expect("connect");
            socket
        });
        for batch in 0..15 {
            for index in 0..100 {
                let question = question(&format!("silent{index}.x{batch}.example.org"), RecordType::A);
                socket.send(&question).expect("ask");
            }
            // Answered after all that came before it.
            dig(&hog.netns, DOCKER, "other", RecordType::A).expect("an answer at once");
        }
        let outside = SOMEWHERE.to_string();
        assert_eq!(dig(&other.netns, DOCKER, "www.example.org", RecordType::A).expect("udp"), outside);
        // More connections than are served at a time, on which nothing is asked.
        let idle: Vec<TcpStream> = inside(&hog.netns, || {
            let connect =
                || TcpStream::connect_timeout(&SocketAddr::from((DOCKER, 53)), Duration::from_secs(4));
            (0..300).filter_map(|_| connect().ok()).collect()
        });
        assert!(idle.len() > 8);
        let found = dig_tcp(&other.netns, DOCKER, "hog", RecordType::A).expect("tcp");
        assert_eq!(found, hog.address().to_string());
        network.close().await;
    });
}

#[test]
fn whoever_asks_in_its_neighbours_names_leaves_room_for_others() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let spec = |name: &str| NetworkSpec { name: name.into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec("shop")).await.expect("create");
        let far = network.network_create(spec("far")).await.expect("create");
        let hog = sandbox(&network, &shop.id, "hog", &[]).await;
        let mut neighbours = Vec::new();
        for number in 0..16 {
            neighbours.push(sandbox(&network, &shop.id, &format!("neighbour-{number}"), &[]).await);
        }
        let other = sandbox(&network, &shop.id, "other", &[]).await;
        let elsewhere = sandbox(&network, &far.id, "elsewhere", &[]).await;
        // Sixty-four questions that nobody ever answers in each of sixteen names: all that are passed on.
        for neighbour in &neighbours {
            let address = neighbour.address();
            inside(&hog.netns, || {
                command(&format!("ip addr add {address}/16 dev eth0"));
                let socket = UdpSocket::bind((address, 0)).expect("bind");
                socket.connect((CLUSTER, 53)).expect("connect");
                for index in 0..64 {
                    socket
                        .send(&question(&format!("silent{index}.example.org"), RecordType::A))
                        .expect("ask");
                }
            });
            // Answered after all that came before it.
            dig(&hog.netns, CLUSTER, "other", RecordType::A).expect("an answer at once");
        }
        let outside = SOMEWHERE.to_string();
        for asker in [&other, &elsewhere] {
            let found = dig(&asker.netns, DOCKER, "www.example.org", RecordType::A);
            assert_eq!(found.expect("room is left"), outside);
        }
        network.close().await;
    });
}

#[test]
fn what_nobody_here_knows_is_asked_of_the_servers_that_a_container_wants() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let server = sandbox(&network, &shop.id, "server", &[]).await;
        let other = Ipv4Addr::new(198, 51, 100, 99);
        resolver_that_says(&server.netns, other);
        let netns = network.netns_take().await.expect("take");
        let web = EndpointSpec {
            owner: "web-id".into(),
            name: "web".into(),
            name_servers: vec![server.address().into()],
            ..EndpointSpec::default()
        };
        network.endpoint_attach(netns.as_fd(), &shop.id, web).await.expect("attach");
        let ask = |netns: &OwnedFd, name: &str| dig(netns, DOCKER, name, RecordType::A).expect("an answer");
        assert_eq!(ask(&netns, "www.example.org"), other.to_string());
        assert_eq!(ask(&netns, "server"), server.address().to_string(), "names of the network go first");
        assert_eq!(ask(&server.netns, "www.example.org"), SOMEWHERE.to_string(), "others ask the host's");
        network.close().await;
        // It is known to the next daemon too.
        let network = host.open().await;
        assert_eq!(ask(&netns, "www.example.org"), other.to_string());
        network.close().await;
    });
}

/// Routes questions for 127.0.0.1 from `evil` to the hardware of `victim`, past its own loopback.
fn send_loopback_to(evil: &Sandbox, victim: &Sandbox) {
    inside(&evil.netns, || {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("set the switch");
        command(&format!("ip route add 127.0.0.1/32 via {} table 9", victim.address()));
        command("ip rule add pref 100 lookup local");
        command("ip rule del pref 0");
        command("ip rule add pref 1 to 127.0.0.1 ipproto tcp lookup 9");
    });
}

#[test]
fn a_container_cannot_reach_its_neighbours_own_loopback_cve_2020_8558() {
    on_host(|host| async move {
        // The host's own rules do not see what its bridges pass on.
        filter_bridged_packets(false);
        resolver(&host.outside);
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let evil = sandbox(&network, &shop.id, "evil", &[]).await;
        let victim = sandbox(&network, &shop.id, "victim", &[]).await;
        tcp_server(&victim.netns, 9000, "victim");
        send_loopback_to(&evil, &victim);
        unanswered_tcp(&evil.netns, Ipv4Addr::LOCALHOST, 9000).expect_err("guarded");
        // Names are found all the same, from outside too.
        for _ in 0..2 {
            let found = dig(&victim.netns, DOCKER, "evil", RecordType::A).expect("udp");
            assert_eq!(found, evil.address().to_string());
            let found = dig_tcp(&victim.netns, DOCKER, "www.example.org", RecordType::A).expect("tcp");
            assert_eq!(found, SOMEWHERE.to_string());
        }
        // It is the guard that stops it, not this test's mistake.
        inside(&victim.netns, || command("nft flush chain ip gantry-names guard"));
        let answer = ask(&evil.netns, Ipv4Addr::LOCALHOST, 9000).expect("not guarded");
        assert!(answer.starts_with("victim "), "{answer}");
        network.close().await;
    });
}

#[test]
fn the_loopback_of_a_sandbox_of_an_earlier_program_is_guarded_when_it_is_found() {
    on_host(|host| async move {
        filter_bridged_packets(false);
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let evil = sandbox(&network, &shop.id, "evil", &[]).await;
        let victim = sandbox(&network, &shop.id, "victim", &[]).await;
        let later = sandbox(&network, &shop.id, "later", &[]).await;
        network.netns_pin("victim-id", victim.netns.as_fd()).await.expect("pin");
        for earlier in [&victim, &later] {
            tcp_server(&earlier.netns, 9000, "earlier");
            // As it was made: in a table of both families, in which nothing guards.
            inside(&earlier.netns, || {
                command("nft delete table ip gantry-names");
                let to = "ip daddr 127.0.0.11";
                nft(&format!(
                    "table inet gantry-names {{
                        chain output {{
                            type nat hook output priority -100;
                            {to} udp dport 53 dnat ip to {CLUSTER}:53
                            {to} tcp dport 53 dnat ip to {CLUSTER}:53
                        }}
                        chain postrouting {{
                            type nat hook postrouting priority 100;
                            ip saddr 127.0.0.0/8 ip daddr {CLUSTER} masquerade
                        }}
                    }}"
                ));
            });
        }
        send_loopback_to(&evil, &victim);
        let reach = || unanswered_tcp(&evil.netns, Ipv4Addr::LOCALHOST, 9000);
        assert!(ask(&evil.netns, Ipv4Addr::LOCALHOST, 9000).is_ok(), "nothing guards it");
        network.close().await;
        let network = host.open().await;
        reach().expect_err("guarded when it is found");
        // One that was not pinned is when it is.
        inside(&evil.netns, || {
            command("ip route del 127.0.0.1/32 table 9");
            command("ip rule del pref 1");
            command("ip rule del pref 100");
            command("ip rule add pref 0 lookup local");
        });
        send_loopback_to(&evil, &later);
        assert!(ask(&evil.netns, Ipv4Addr::LOCALHOST, 9000).is_ok(), "nothing guards it");
        network.netns_pin("later-id", later.netns.as_fd()).await.expect("pin");
        reach().expect_err("guarded when it is pinned");
        let found = dig(&later.netns, DOCKER, "evil", RecordType::A).expect("names are found as before");
        assert_eq!(found, evil.address().to_string());
        network.teardown().await.expect("teardown");
    });
}

#[test]
fn a_link_is_a_name_for_its_owner_alone() {
    on_host(|host| async move {
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), internal: true, ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let netns = network.netns_take().await.expect("take");
        let web = EndpointSpec {
            owner: "web-id".into(),
            name: "web".into(),
            links: vec![NameLink { alias: "Bar".into(), target: "db".into() }],
            ..EndpointSpec::default()
        };
        network.endpoint_attach(netns.as_fd(), &shop.id, web).await.expect("attach");
        let nobody = dig(&netns, DOCKER, "bar", RecordType::A).expect("an answer");
        assert_eq!(nobody, "Non-Existent Domain", "the other is not there yet");
        let db = sandbox(&network, &shop.id, "db", &[]).await;
        let address = db.address().to_string();
        assert_eq!(dig(&netns, DOCKER, "bar", RecordType::A).expect("linked"), address);
        assert_eq!(dig(&netns, DOCKER, "bar.shop", RecordType::A).expect("linked"), address);
        let other = dig(&db.netns, DOCKER, "bar", RecordType::A).expect("an answer");
        assert_eq!(other, "Non-Existent Domain");
        network.close().await;
    });
}

/// A network that leads nowhere.
async fn internal(network: &net::Network) -> net::NetworkView {
    let cut = NetworkSpec { name: "cut".into(), internal: true, ..NetworkSpec::default() };
    network.network_create(cut).await.expect("create")
}

#[test]
fn names_work_in_internal_networks_but_lead_nowhere_else_and_come_back_with_the_daemon() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let cut = internal(&network).await;
        let one = sandbox(&network, &cut.id, "one", &[]).await;
        let two = sandbox(&network, &cut.id, "two", &[]).await;
        let address = two.address().to_string();
        assert_eq!(dig(&one.netns, DOCKER, "two", RecordType::A).expect("within"), address);
        let secret = dig(&one.netns, DOCKER, "secret.example.org", RecordType::A).expect("an answer");
        assert_eq!(secret, "Non-Existent Domain");
        network.close().await;
        drop(network);
        let network = host.open().await;
        assert_eq!(dig(&one.netns, DOCKER, "two", RecordType::A).expect("after a restart"), address);
        network.close().await;
    });
}

#[test]
fn a_container_in_two_networks_keeps_names_when_it_leaves_the_first() {
    on_host(|host| async move {
        let network = host.open().await;
        let spec = |name: &str| NetworkSpec { name: name.into(), ..NetworkSpec::default() };
        let a = network.network_create(spec("a")).await.expect("create");
        let b = network.network_create(spec("b")).await.expect("create");
        let one = sandbox(&network, &a.id, "one", &[]).await;
        network.netns_pin("one-id", one.netns.as_fd()).await.expect("pin");
        let second = EndpointSpec { owner: "one-id".into(), name: "one".into(), ..EndpointSpec::default() };
        network.endpoint_attach(one.netns.as_fd(), &b.id, second).await.expect("attach");
        let two = sandbox(&network, &b.id, "two", &[]).await;
        let address = two.address().to_string();
        assert_eq!(dig(&one.netns, DOCKER, "two", RecordType::A).expect("in both"), address);
        network.endpoint_detach(&a.id, "one-id").await.expect("detach");
        assert_eq!(dig(&one.netns, DOCKER, "two", RecordType::A).expect("in the second"), address);
        network.close().await;
    });
}

/// A name of the cluster, and what it stands for.
const OF_CLUSTER: (&str, &str) = ("web.default.svc.cluster.local", "10.43.0.7");

#[test]
fn containers_of_networks_of_their_own_have_no_way_to_the_cluster_s_names_unless_they_mean_it() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let spec = NetworkSpec { name: "shop".into(), ..NetworkSpec::default() };
        let shop = network.network_create(spec).await.expect("create");
        let cut = internal(&network).await;
        let address = DnsAddress::Cluster(vec![OF_CLUSTER.1.parse().expect("an address")]);
        let service = DnsService { address, ports: Vec::new() };
        network.dns_replace([(ServiceName::new("default", "web"), service)].into());
        let web = sandbox(&network, &shop.id, "web", &[]).await;
        let alone = sandbox(&network, &cut.id, "alone", &[]).await;
        let routes = |of: &Sandbox| inside(&of.netns, || command("ip -o route"));
        let routes_of_web = routes(&web);
        assert_eq!(routes_of_web.lines().count(), 2, "its subnet and the way out: {routes_of_web}");
        let routes_of_alone = routes(&alone);
        assert_eq!(routes_of_alone.lines().count(), 1, "its subnet: {routes_of_alone}");
        let ask = |of: &OwnedFd, server| dig(of, server, OF_CLUSTER.0, RecordType::A).expect("an answer");
        assert_eq!(ask(&web.netns, DOCKER), SOMEWHERE.to_string(), "it is somebody else's, if anybody's");
        assert_eq!(ask(&alone.netns, DOCKER), ResponseCode::NXDomain.to_string());
        // Who asks the cluster, or names it as its server, means it.
        assert_eq!(ask(&web.netns, CLUSTER), OF_CLUSTER.1);
        let netns = network.netns_take().await.expect("take");
        let means_it = EndpointSpec {
            owner: "means-it".into(),
            name_servers: vec![CLUSTER.into()],
            ..EndpointSpec::default()
        };
        network.endpoint_attach(netns.as_fd(), &shop.id, means_it).await.expect("attach");
        assert_eq!(ask(&netns, DOCKER), OF_CLUSTER.1);
        // A name server of the host's that listens at the gateway is heard by whoever asks it.
        let gateway = gateway_of(&shop);
        let own = Ipv4Addr::new(198, 51, 100, 53);
        resolver_that_says_at(&here(), gateway, own);
        assert_eq!(ask(&web.netns, gateway), own.to_string());
        network.close().await;
    });
}

#[test]
fn pods_find_services_and_everybody_else() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let pods = network.network_pods();
        let pod = sandbox(&network, &pods.id, "", &[]).await;
        let conf = network.resolv_conf_pod("default");
        assert_eq!(
            conf.to_string(),
            "nameserver 10.43.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local example.org\n\
             options ndots:5\n"
        );
        let name = "web.default.svc.cluster.local";
        assert_eq!(dig(&pod.netns, CLUSTER, name, RecordType::A).expect("too early"), "Server Failure");
        let service = |name: &str, address| {
            let ports = vec![DnsPort { name: Some("http".into()), protocol: Protocol::Tcp, port: 80 }];
            (ServiceName::new("default", name), DnsService { address, ports })
        };
        let headless = (1..=60).map(|last| DnsEndpoint {
            address: [10, 42, 9, last].into(),
            hostname: Some(format!("db-{last}")),
        });
        let table = [
            service("web", DnsAddress::Cluster(vec![[10, 43, 0, 7].into()])),
            service("db", DnsAddress::Headless(headless.collect())),
            service("far", DnsAddress::External("www.example.org".into())),
        ];
        network.dns_replace(table.into());
        assert_eq!(dig(&pod.netns, CLUSTER, name, RecordType::A).expect("service"), "10.43.0.7");
        assert_eq!(dig(&pod.netns, CLUSTER, name, RecordType::AAAA).expect("no IPv6"), "");
        let missing = dig(&pod.netns, CLUSTER, "no.default.svc.cluster.local", RecordType::A);
        assert_eq!(missing.expect("an answer"), "Non-Existent Domain");
        let srv = dig(&pod.netns, CLUSTER, "_http._tcp.web.default.svc.cluster.local", RecordType::SRV);
        assert_eq!(srv.expect("srv"), "0 100 80 web.default.svc.cluster.local.");
        let far = dig(&pod.netns, CLUSTER, "far.default.svc.cluster.local", RecordType::A).expect("alias");
        assert_eq!(far, format!("{SOMEWHERE}, www.example.org."));
        let outside = dig(&pod.netns, CLUSTER, "www.example.org", RecordType::A).expect("outside");
        assert_eq!(outside, SOMEWHERE.to_string());
        // Too many for a packet: cut short over UDP, whole over TCP.
        let many = "db.default.svc.cluster.local";
        assert_eq!(dig(&pod.netns, CLUSTER, many, RecordType::A).expect("cut"), "");
        let whole = dig_tcp(&pod.netns, CLUSTER, many, RecordType::A).expect("whole");
        assert_eq!(whole.split(", ").count(), 60);
        // The host itself asks the same.
        assert_eq!(dig(&here(), CLUSTER, name, RecordType::A).expect("the host"), "10.43.0.7");
        // One service changes, the others stay.
        let (changed, moved) = service("web", DnsAddress::Cluster(vec![[10, 43, 0, 8].into()]));
        network.dns_change([(changed, Some(moved)), (ServiceName::new("default", "db"), None)].into());
        assert_eq!(dig(&pod.netns, CLUSTER, name, RecordType::A).expect("service"), "10.43.0.8");
        assert_eq!(dig(&pod.netns, CLUSTER, many, RecordType::A).expect("gone"), "Non-Existent Domain");
        let far = dig(&pod.netns, CLUSTER, "far.default.svc.cluster.local", RecordType::CNAME);
        assert_eq!(far.expect("alias"), "www.example.org.");
        // Strangers are not served.
        let gateway = gateway_of(&pods);
        inside(&host.outside, || command("ip route add 10.42.0.0/16 via 192.0.2.1"));
        let error = dig(&host.outside, gateway, "www.example.org", RecordType::A).expect_err("a stranger");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        network.close().await;
    });
}

#[test]
fn names_work_beside_a_name_server_of_the_host() {
    on_host(|host| async move {
        resolver(&host.outside);
        let other = UdpSocket::bind(("0.0.0.0", 53)).expect("the host has a name server");
        let network = host.open().await;
        let pod = sandbox(&network, &network.network_pods().id, "", &[]).await;
        let found = dig(&pod.netns, CLUSTER, "www.example.org", RecordType::A).expect("an answer");
        assert_eq!(found, SOMEWHERE.to_string());
        let says = |findings: &[net::Finding]| -> Vec<bool> {
            let at = |port: &str| {
                findings.iter().any(|one| one.message.contains(&format!("at port {port} of every")))
            };
            [at("53"), at("11153")].into()
        };
        assert_eq!(says(&network.doctor().await), [true, false]);
        drop(other);
        assert_eq!(says(&network.doctor().await), [false, false], "its own sockets are nobody else's");
        network.close().await;
    });
}

/// What a firewall of the host's is told to let in is what is asked at.
#[test]
fn names_are_asked_for_at_two_ports_alone() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let user =
            network.network_create(NetworkSpec { name: "user".into(), ..NetworkSpec::default() }).await;
        let user = user.expect("create").id;
        let pod = sandbox(&network, &network.network_pods().id, "pod", &[]).await;
        let container = sandbox(&network, &user, "container", &[]).await;
        command("nft add table ip firewall");
        nft("add chain ip firewall input { type filter hook input priority 0; policy drop; }");
        nft("add rule ip firewall input ct state established,related accept");
        nft("add rule ip firewall input iifname gantry-pods udp dport 53 accept");
        nft("add rule ip firewall input iifname br-* udp dport 11153 accept");
        for (netns, server) in [(&pod.netns, CLUSTER), (&container.netns, DOCKER)] {
            let found = dig(netns, server, "www.example.org", RecordType::A).expect("an answer");
            assert_eq!(found, SOMEWHERE.to_string());
        }
        network.close().await;
    });
}

#[test]
fn the_default_network_and_whoever_asks_further_ask_what_the_host_really_asks() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let pod = sandbox(&network, &network.network_pods().id, "", &[]).await;
        let bridge = network.network_default().id;
        let write =
            |file: &str, text: &str| std::fs::write(host.state.path().join(file), text).expect("write");
        let asks = || network.resolv_conf(&bridge).nameservers;
        assert_eq!(asks(), [IpAddr::V4(OUTSIDE)]);
        // A resolver of the host's own, which only the host reaches: we pass the question on.
        write("resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(asks(), [IpAddr::V4(CLUSTER)]);
        // The stub of systemd's, with nobody behind it yet.
        write("resolv.conf", "nameserver 127.0.0.53\nsearch example.org\n");
        assert_eq!(asks(), [IpAddr::V4(CLUSTER)]);
        // What it asks is asked, by containers and by us; the stub itself does not answer here.
        write("resolved.conf", &format!("nameserver {OUTSIDE}\n"));
        assert_eq!(asks(), [IpAddr::V4(OUTSIDE)]);
        assert_eq!(network.resolv_conf_outside().search, ["example.org"]);
        assert_eq!(network.resolv_conf_host().nameservers, [IpAddr::from([127, 0, 0, 53])]);
        let found = dig(&pod.netns, CLUSTER, "www.example.org", RecordType::A).expect("an answer");
        assert_eq!(found, SOMEWHERE.to_string());
        network.close().await;
    });
}

#[test]
fn a_made_up_address_does_not_get_word_out_of_an_internal_network() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let cut = internal(&network).await;
        let one = sandbox(&network, &cut.id, "one", &[]).await;
        let made_up = Ipv4Addr::new(172, 18, 0, 200);
        assert!(cut.pools[0].subnet.contains(&IpAddr::V4(made_up)));
        let gateway = gateway_of(&cut);
        inside(&one.netns, || {
            command(&format!("ip addr add {made_up}/16 dev eth0"));
            command(&format!("ip route add {CLUSTER}/32 via {gateway}"));
        });
        for source in [one.address(), made_up] {
            let answer = dig_from(&one.netns, source, CLUSTER, "secret.example.", RecordType::A);
            assert_eq!(answer.expect("an answer"), ResponseCode::NXDomain.to_string(), "{source}");
        }
        let bridge = network.network_default();
        let free = sandbox(&network, &bridge.id, "free", &[]).await;
        let answer = dig(&free.netns, CLUSTER, "secret.example.", RecordType::A).expect("an answer");
        assert_eq!(answer, SOMEWHERE.to_string());
        network.close().await;
    });
}

/// Questions that the resolver outside hears.
fn listening(netns: &OwnedFd) -> UdpSocket {
    let socket = inside(netns, || UdpSocket::bind(("0.0.0.0", 53)).expect("listen"));
    socket.set_nonblocking(true).expect("set");
    socket
}

/// The next name that it is asked for; none if it is not asked.
fn heard(resolver: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 4096];
    let length = resolver.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..length]).expect("a question").queries[0].name().to_ascii())
}

#[test]
fn an_address_of_another_network_does_not_get_word_out_of_an_internal_one() {
    on_host(|host| async move {
        let resolver = listening(&host.outside);
        let network = host.open().await;
        let cut = internal(&network).await;
        let one = sandbox(&network, &cut.id, "one", &[]).await;
        let free = sandbox(&network, &network.network_default().id, "free", &[]).await;
        let gateway = gateway_of(&cut);
        // Of another network: one that somebody has, one that nobody has. And the host's own.
        let claimed = [free.address(), Ipv4Addr::new(172, 17, 0, 200), Ipv4Addr::new(10, 42, 0, 200)];
        inside(&one.netns, || {
            command(&format!("ip route add default via {gateway}"));
            claimed.iter().for_each(|claimed| drop(command(&format!("ip addr add {claimed}/32 dev eth0"))));
        });
        let ask = || {
            for claimed in claimed {
                inside(&one.netns, || {
                    let socket = UdpSocket::bind((claimed, 0)).expect("bind");
                    let question = question("secret.example.org", RecordType::A);
                    socket.send_to(&question, (CLUSTER, 53)).expect("send");
                });
            }
            // Answered after all that came before it.
            dig(&one.netns, CLUSTER, "one", RecordType::A).expect("an answer at once");
        };
        ask();
        assert_eq!(heard(&resolver), None, "the rules stop it");
        // Nor while somebody has taken the rules away.
        let flushed = "nft flush chain ip gantry guard";
        command(flushed);
        ask();
        assert_eq!(heard(&resolver), None, "by this link nobody asks from there");
        // The resolver is there, and hears who may ask.
        let socket = inside(&free.netns, || UdpSocket::bind(("0.0.0.0", 0)).expect("bind"));
        inside(&free.netns, || {
            socket.send_to(&question("open.example.org", RecordType::A), (CLUSTER, 53)).expect("send");
        });
        testkit::wait_until("the question of another", || heard(&resolver).ok_or("nothing"));
        network.close().await;
    });
}

#[test]
fn a_services_name_for_somebody_outside_does_not_get_word_out_of_an_internal_network() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let cut = internal(&network).await;
        let one = sandbox(&network, &cut.id, "one", &[]).await;
        let pod = sandbox(&network, &network.network_pods().id, "", &[]).await;
        let service = |name: &str, target: &str| {
            let address = DnsAddress::External(target.into());
            (ServiceName::new("default", name), DnsService { address, ports: Vec::new() })
        };
        let table = [service("far", "www.example.org"), service("further", "far.default.svc.cluster.local")];
        network.dns_replace(table.into());
        let gateway = gateway_of(&cut);
        inside(&one.netns, || command(&format!("ip route add {CLUSTER}/32 via {gateway}")));
        for name in ["far.default.svc.cluster.local", "further.default.svc.cluster.local"] {
            for server in [DOCKER, CLUSTER] {
                let answer = dig(&one.netns, server, name, RecordType::A).expect("an answer");
                assert!(!answer.contains(&SOMEWHERE.to_string()), "{name}: {answer}");
            }
            let answer = dig(&pod.netns, CLUSTER, name, RecordType::A).expect("an answer");
            assert!(answer.contains(&SOMEWHERE.to_string()), "{name}: {answer}");
        }
        network.close().await;
    });
}
