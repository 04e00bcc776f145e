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
    let socket = inside(netns, || UdpSocket::bind(("0.0.0.0", 53)).expect("listen"));
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

#[test]
fn names_work_in_internal_networks_but_lead_nowhere_else_and_come_back_with_the_daemon() {
    on_host(|host| async move {
        resolver(&host.outside);
        let network = host.open().await;
        let cut = NetworkSpec { name: "cut".into(), internal: true, ..NetworkSpec::default() };
        let cut = network.network_create(cut).await.expect("create");
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
        drop(other);
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
        let cut = NetworkSpec { name: "cut".into(), internal: true, ..NetworkSpec::default() };
        let cut = network.network_create(cut).await.expect("create");
        let one = sandbox(&network, &cut.id, "one", &[]).await;
        let made_up = Ipv4Addr::new(172, 18, 0, 200);
        assert!(cut.pools[0].subnet.contains(&IpAddr::V4(made_up)));
        inside(&one.netns, || command(&format!("ip addr add {made_up}/16 dev eth0")));
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
