//! Containers in networks, and sandboxes that several containers share.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use engine::container::{
    HostEntry, NamespaceMode, NetworkMode, Port, PortBinding, Protocol, RemoveOptions, Status,
};
use engine::exec::ExecSpec;
use engine::network::{EndpointSpec, NetworkFilter, NetworkSpec};
use engine::sandbox::{SandboxNetwork, SandboxSpec};
use engine::{ContainerId, ContainerSpec, Engine, Kind};
use support::{create, on_host, output, remove_all, shell, start, wait};

fn bridged(line: &str) -> ContainerSpec {
    let mut spec = shell(line);
    spec.namespaces.network = NetworkMode::Bridge;
    spec
}

fn in_network(name: &str, line: &str) -> ContainerSpec {
    let mut spec = shell(line);
    spec.namespaces.network = NetworkMode::Network(name.to_owned());
    spec
}

/// Runs a line of shell in a running container; what it wrote.
async fn run(engine: &Engine, id: &ContainerId, line: &str) -> String {
    let command = ["sh", "-c", line].map(str::to_owned).into();
    let limit = Some(std::time::Duration::from_secs(10));
    let done =
        engine.exec_run(id, ExecSpec { command, ..ExecSpec::default() }, limit, 4096).await.expect("run");
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

fn address(engine: &Engine, id: &ContainerId, network: &str) -> String {
    let container = engine.container_inspect(id).expect("inspect");
    container.networks[network].ipv4.expect("an address").addr().to_string()
}

#[test]
fn a_container_on_the_default_bridge_has_an_address_and_reaches_others() {
    on_host(|_, engine| async move {
        let server = start(&engine, bridged("while :; do echo hello | nc -l -p 80; done")).await;
        let at = address(&engine, &server, "bridge");
        let line =
            format!("for i in 1 2 3 4 5 6 7 8 9; do nc -w 1 {at} 80 </dev/null && break; sleep 0.2; done");
        assert_eq!(output(&engine, bridged(&line)).await, "hello\n");
        let own = run(&engine, &server, "ip -4 -o addr show eth0; cat /etc/hosts").await;
        assert!(own.contains(&at) && own.contains(server.short()), "{own}");
        let bridge = engine.network_find("bridge").expect("the default network");
        let network = engine.network_inspect(&bridge).expect("inspect");
        assert!(network.containers.contains_key(&server));
        engine.container_kill(&server, None).await.expect("kill");
        assert!(engine.network_inspect(&bridge).expect("inspect").containers.is_empty());
        assert_eq!(engine.container_inspect(&server).expect("inspect").networks["bridge"].ipv4, None);
        remove_all(&engine).await;
    });
}

#[test]
fn a_published_port_leads_to_its_container_and_is_free_after_its_end() {
    on_host(|_, engine| async move {
        let port = |host_port| PortBinding {
            container: Port { number: 80, protocol: Protocol::Tcp },
            host_address: None,
            host_port,
            host_port_end: None,
        };
        let published = |host_port| ContainerSpec {
            ports: vec![port(host_port)],
            ..bridged("while :; do echo hello | nc -l -p 80; done")
        };
        let id = start(&engine, published(None)).await;
        let container = engine.container_inspect(&id).expect("inspect");
        let at = container.ports[0].host.expect("a host port");
        testkit::wait_until("an answer through the port", || {
            let mut text = String::new();
            let mut stream =
                TcpStream::connect(("127.0.0.1", at.port())).map_err(|error| error.to_string())?;
            stream
                .set_read_timeout(Some(std::time::Duration::from_secs(1)))
                .map_err(|error| error.to_string())?;
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            if text == "hello\n" { Ok(()) } else { Err(text) }
        });
        let other = create(&engine, published(Some(at.port()))).await;
        let error = engine.container_start(&other).await.expect_err("the port is taken");
        assert!(error.full_message().contains("port is already allocated"), "{error:?}");
        assert_eq!(engine.container_inspect(&other).expect("inspect").state.status, Status::Created);
        engine.container_remove(&id, RemoveOptions { force: true, volumes: false }).await.expect("remove");
        engine.container_start(&other).await.expect("the port is free now");
        remove_all(&engine).await;
    });
}

#[test]
fn containers_of_a_user_s_network_know_each_other_by_name() {
    on_host(|_, engine| async move {
        let network =
            engine.network_create(NetworkSpec { name: "app".to_owned(), ..NetworkSpec::default() }).await;
        let network = network.expect("make a network");
        let taken =
            engine.network_create(NetworkSpec { name: "app".to_owned(), ..NetworkSpec::default() }).await;
        assert_eq!(taken.expect_err("the name is taken").kind(), Kind::Conflict);
        let server = ContainerSpec { name: Some("server".to_owned()), ..in_network("app", "sleep 1000") };
        let server = start(&engine, server).await;
        let client = start(&engine, in_network("app", "sleep 1000")).await;
        let answer = run(&engine, &client, "nslookup server").await;
        assert!(answer.contains(&address(&engine, &server, "app")), "{answer}");
        let error = engine.network_remove(&network.id).await.expect_err("it is in use");
        assert_eq!(error.kind(), Kind::Conflict);
        remove_all(&engine).await;
        engine.network_remove(&network.id).await.expect("remove");
        assert!(
            engine
                .network_list(&NetworkFilter { builtin: Some(false), ..NetworkFilter::default() })
                .is_empty()
        );
    });
}

#[test]
fn a_running_container_joins_and_leaves_networks() {
    on_host(|_, engine| async move {
        let network =
            engine.network_create(NetworkSpec { name: "more".to_owned(), ..NetworkSpec::default() }).await;
        let network = network.expect("make a network");
        let id = start(&engine, bridged("sleep 1000")).await;
        engine.network_connect(&network.id, &id, Default::default()).await.expect("connect");
        let at = address(&engine, &id, "more");
        assert!(run(&engine, &id, "ip -4 -o addr").await.contains(&at));
        engine.network_disconnect(&network.id, &id).await.expect("disconnect");
        assert!(!run(&engine, &id, "ip -4 -o addr").await.contains(&at));
        remove_all(&engine).await;
    });
}

#[test]
fn a_link_has_the_name_that_was_asked_for_or_the_next_that_is_free() {
    on_host(|_, engine| async move {
        for name in ["one", "two", "three"] {
            let spec = NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() };
            engine.network_create(spec).await.expect("make a network");
        }
        let named = |interface: &str| EndpointSpec {
            options: [("com.docker.network.endpoint.ifname".to_owned(), interface.to_owned())].into(),
            ..EndpointSpec::default()
        };
        let mut spec = in_network("one", "sleep 1000");
        spec.networks =
            [("one".to_owned(), named("eth1")), ("two".to_owned(), EndpointSpec::default())].into();
        let id = start(&engine, spec).await;
        for (network, interface) in [("one", "eth1"), ("two", "eth0")] {
            let at = address(&engine, &id, network);
            let told = run(&engine, &id, &format!("ip -4 -o addr show dev {interface}")).await;
            assert!(told.contains(&format!("{at}/")), "{network}: {told}");
        }
        let three = engine.network_find("three").expect("the network");
        let error = engine.network_connect(&three, &id, named("eth0")).await.expect_err("it is taken");
        assert_eq!(error.to_string(), "error renaming interface to \"eth0\": file exists");
        engine.network_connect(&three, &id, named("mine")).await.expect("connect");
        let at = address(&engine, &id, "three");
        assert!(run(&engine, &id, "ip -4 -o addr show dev mine").await.contains(&at));
        // It has its name again after a restart.
        engine.container_stop(&id, None, Some(Duration::ZERO)).await.expect("stop");
        engine.container_start(&id).await.expect("start");
        assert!(run(&engine, &id, "ip -4 -o addr show dev mine").await.contains("inet "));
        remove_all(&engine).await;
    });
}

#[test]
fn published_ports_and_the_way_out_go_on_by_another_network_and_come_back() {
    on_host(|_, engine| async move {
        let make = async |name: &str, internal| {
            let spec = NetworkSpec { name: name.to_owned(), internal, ..NetworkSpec::default() };
            engine.network_create(spec).await.expect("make a network").id.clone()
        };
        let (inside, more) = (make("inside", true).await, make("more", false).await);
        let bridge = engine.network_find("bridge").expect("the default network");
        let mut spec = bridged("while :; do echo hello | nc -l -p 80; done");
        spec.ports = vec![PortBinding {
            container: Port { number: 80, protocol: Protocol::Tcp },
            host_address: None,
            host_port: None,
            host_port_end: None,
        }];
        let id = start(&engine, spec).await;
        let published = || -> Vec<_> {
            let container = engine.container_inspect(&id).expect("inspect");
            container.ports.iter().filter_map(|port| port.host).collect()
        };
        let answers = |port: u16| {
            testkit::wait_until("an answer through the port", || {
                let mut text = String::new();
                let stream = TcpStream::connect(("127.0.0.1", port));
                let mut stream = stream.map_err(|error| error.to_string())?;
                let limit = Some(std::time::Duration::from_secs(1));
                stream.set_read_timeout(limit).map_err(|error| error.to_string())?;
                stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
                if text == "hello\n" { Ok(()) } else { Err(text) }
            });
        };
        let way_out = async || run(&engine, &id, "ip route | grep ^default").await;
        let [first] = published()[..] else { panic!("{:?}", published()) };
        answers(first.port());
        for network in [&inside, &more] {
            engine.network_connect(network, &id, Default::default()).await.expect("connect");
        }
        assert_eq!(published(), [first], "it is published once");
        // By the one that is not internal.
        engine.network_disconnect(&bridge, &id).await.expect("disconnect");
        assert_eq!(published(), [first]);
        answers(first.port());
        assert!(way_out().await.contains("dev eth2"), "{}", way_out().await);
        // Nowhere: it is told so, and nobody listens any more.
        engine.network_disconnect(&more, &id).await.expect("disconnect");
        assert!(published().is_empty());
        TcpStream::connect(("127.0.0.1", first.port())).expect_err("it is published nowhere");
        assert_eq!(way_out().await, "");
        // And again, where it can be.
        engine.network_connect(&bridge, &id, Default::default()).await.expect("connect");
        let [second] = published()[..] else { panic!("{:?}", published()) };
        answers(second.port());
        assert!(way_out().await.starts_with("default via "), "{}", way_out().await);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_can_share_another_s_network_and_processes() {
    on_host(|_, engine| async move {
        let first = start(&engine, bridged("sleep 1000")).await;
        let at = address(&engine, &first, "bridge");
        let mut spec = shell("ip -4 -o addr show eth0; ps; hostname");
        spec.namespaces.network = NetworkMode::Container(first.clone());
        spec.namespaces.pid = NamespaceMode::Container(first.clone());
        let seen = output(&engine, spec).await;
        assert!(seen.contains(&at) && seen.contains("sleep 1000") && seen.contains(first.short()), "{seen}");
        engine.container_kill(&first, None).await.expect("kill");
        let mut spec = shell("true");
        spec.namespaces.network = NetworkMode::Container(first);
        let late = create(&engine, spec).await;
        assert_eq!(engine.container_start(&late).await.expect_err("it does not run").kind(), Kind::Conflict);
        remove_all(&engine).await;
    });
}

#[test]
fn a_container_in_the_host_s_network_has_its_name_and_interfaces() {
    on_host(|_, engine| async move {
        let mut spec = shell("hostname; ip -o link");
        spec.namespaces.network = NetworkMode::Host;
        let seen = output(&engine, spec).await;
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
        assert!(seen.starts_with(&own), "{seen}");
        assert!(seen.contains(&engine.config().network.bridge), "{seen}");
    });
}

#[test]
fn hosts_and_name_servers_are_those_that_were_asked_for() {
    on_host(|_, engine| async move {
        let mut spec = bridged("grep -w db /etc/hosts; cat /etc/resolv.conf");
        let address = Some("192.0.2.7".parse().expect("an address"));
        spec.extra_hosts = vec![HostEntry { names: vec!["db".to_owned()], address }];
        spec.dns.servers = vec!["192.0.2.8".parse().expect("an address")];
        spec.dns.search = vec!["example.org".to_owned()];
        assert_eq!(output(&engine, spec).await, "192.0.2.7\tdb\nnameserver 192.0.2.8\nsearch example.org\n");
    });
}

#[test]
fn the_containers_of_a_sandbox_share_its_address_name_and_memory() {
    on_host(|host, engine| async move {
        let spec = SandboxSpec {
            name: "pod".to_owned(),
            hostname: "pod".to_owned(),
            network: SandboxNetwork::Networks(vec![("pods".to_owned(), Default::default())]),
            ..SandboxSpec::default()
        };
        let sandbox = engine.sandbox_create(spec).await.expect("make a sandbox");
        let inside = |line: &str| ContainerSpec { sandbox: Some(sandbox.clone()), ..shell(line) };
        let view = engine.sandbox_inspect(&sandbox).expect("inspect");
        assert!(view.ready && view.addresses.len() == 1);
        let server =
            start(&engine, inside("echo shared > /dev/shm/file; while :; do echo hello | nc -l -p 80; done"))
                .await;
        let line = "hostname; ip -4 -o addr show eth0; for i in 1 2 3 4 5 6 7 8 9; do nc -w 1 127.0.0.1 80 </dev/null && break; sleep 0.2; done; cat /dev/shm/file";
        let seen = output(&engine, inside(line)).await;
        assert!(seen.starts_with("pod\n") && seen.ends_with("hello\nshared\n"), "{seen}");
        assert!(seen.contains(&view.addresses[0].to_string()), "{seen}");
        let engine = host.reopen(engine, async || {}).await;
        let view = engine.sandbox_inspect(&sandbox).expect("it is still there");
        assert!(view.ready && view.addresses.len() == 1);
        assert_eq!(engine.container_inspect(&server).expect("inspect").state.status, Status::Running);
        engine.sandbox_stop(&sandbox).await.expect("stop");
        assert_eq!(wait(&engine, &server).await.code, 137);
        assert!(!engine.sandbox_inspect(&sandbox).expect("inspect").ready);
        engine.sandbox_remove(&sandbox).await.expect("remove");
        assert_eq!(engine.container_inspect(&server).expect_err("it is gone").kind(), Kind::NotFound);
        assert!(engine.network().endpoint_list().is_empty());
    });
}

#[test]
fn a_network_namespace_is_pinned_as_long_as_its_sandbox_lives() {
    on_host(|host, engine| async move {
        let inode = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.ino()).ok();
        let id = start(&engine, bridged("sleep 1000")).await;
        let pin = host.path("run/netns").join(id.as_str());
        let pid = engine.container_inspect(&id).expect("inspect").state.pid.expect("it runs");
        let of_process = format!("/proc/{pid}/ns/net");
        assert!(inode(&pin).is_some());
        assert_eq!(inode(&pin), inode(Path::new(&of_process)));
        // Whoever may open it enters it, without looking for a process.
        let mut entered = Command::new("nsenter");
        entered.arg(format!("--net={}", pin.display())).args(["ip", "-4", "addr"]);
        let entered = entered.output().expect("nsenter");
        let entered = String::from_utf8_lossy(&entered.stdout);
        assert!(entered.contains(&address(&engine, &id, "bridge")), "{entered}");
        // One that an engine left which pinned none is pinned; one of a sandbox that is gone is given up.
        let gone = host.path("run/netns").join("0".repeat(64));
        let engine = host
            .reopen(engine, async || {
                rustix::mount::unmount(&pin, rustix::mount::UnmountFlags::empty()).expect("unmount");
                std::fs::remove_file(&pin).expect("remove");
                std::fs::write(&gone, "").expect("write");
                rustix::mount::mount_bind(&of_process, &gone).expect("pin it once more");
            })
            .await;
        assert_eq!(inode(&pin), inode(Path::new(&of_process)));
        assert!(!gone.exists(), "nobody is called so");
        engine.container_kill(&id, None).await.expect("kill");
        wait(&engine, &id).await;
        testkit::wait_until("the namespace to be given up", || {
            if pin.exists() { Err("pinned") } else { Ok(()) }
        });
        // A container in another's network has none of its own.
        let first = start(&engine, shell("sleep 1000")).await;
        let mut joined = shell("sleep 1000");
        joined.namespaces.network = NetworkMode::Container(first.clone());
        let second = start(&engine, joined).await;
        assert!(host.path("run/netns").join(first.as_str()).exists());
        assert!(!host.path("run/netns").join(second.as_str()).exists());
        remove_all(&engine).await;
    });
}
