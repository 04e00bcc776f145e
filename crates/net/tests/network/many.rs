//! Many services, of which one changes.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use net::{
    DnsAddress, DnsEndpoint, DnsService, Protocol, ServiceEndpoint, ServiceName, ServicePort, ServiceTable,
};

use crate::host::*;
use crate::names::{dig, dig_tcp};

const SERVICES: u16 = 1000;
const ENDPOINTS: u16 = 100;
const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);

fn name(number: u16) -> ServiceName {
    ServiceName::new("default", format!("service-{number}"))
}

fn offset(base: Ipv4Addr, by: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(base) + by)
}

/// The endpoints of a service but the one with the number `without`.
fn endpoints(number: u16, without: Option<u16>) -> impl Iterator<Item = Ipv4Addr> {
    let all = (0..ENDPOINTS).filter(move |endpoint| Some(*endpoint) != without);
    let first = u32::from(number) * u32::from(ENDPOINTS);
    all.map(move |endpoint| offset(Ipv4Addr::new(10, 60, 0, 0), first + u32::from(endpoint)))
}

fn service(number: u16, without: Option<u16>) -> ServiceTable {
    let port = ServicePort {
        addresses: vec![offset(Ipv4Addr::new(10, 43, 1, 0), u32::from(number)).into()],
        external_addresses: Vec::new(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        client_affinity: None,
        external_local: false,
        internal_local: false,
        endpoints: endpoints(number, without)
            .map(|address| ServiceEndpoint { address: address.into(), port: 8080, local: false })
            .collect(),
    };
    [(name(number), [("http".to_owned(), port)].into())].into()
}

/// Of two services one is known to DNS by its endpoints.
fn dns(number: u16, without: Option<u16>) -> DnsService {
    let address = if number.is_multiple_of(2) {
        DnsAddress::Cluster(vec![offset(Ipv4Addr::new(10, 43, 1, 0), u32::from(number)).into()])
    } else {
        let endpoint = |address: Ipv4Addr| DnsEndpoint { address: address.into(), hostname: None };
        DnsAddress::Headless(endpoints(number, without).map(endpoint).collect())
    };
    DnsService { address, ports: Vec::new() }
}

#[test]
fn one_endpoint_of_a_hundred_thousand_costs_what_it_changes() {
    on_host(|host| async move {
        let network = host.open().await;
        let pod = sandbox(&network, &network.network_pods().id, "", &[]).await;
        let began = Instant::now();
        network.dns_replace((0..SERVICES).map(|number| (name(number), dns(number, None))).collect());
        network
            .services_replace((0..SERVICES).flat_map(|number| service(number, None)).collect())
            .await
            .expect("apply");
        eprintln!("all: {:?}", began.elapsed());
        let written = || {
            let text = std::fs::read_to_string("/proc/self/io").expect("what this process wrote");
            let line = text.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("a number");
            line.parse::<u64>().expect("a number")
        };
        let log = host.state.path().join("gantry/services.log");
        let length = || std::fs::metadata(&log).expect("the log").len();
        let called = |number: u16| format!("service-{number}.default.svc.cluster.local");
        let asked = |number: u16| {
            let began = Instant::now();
            let address = dig(&pod.netns, CLUSTER, &called(number * 2), RecordType::A).expect("an answer");
            assert_eq!(address, offset(Ipv4Addr::new(10, 43, 1, 0), u32::from(number) * 2).to_string());
            began.elapsed()
        };
        let idle: Vec<Duration> = (0..50).map(asked).collect();
        let (mut took, mut during) = (Vec::new(), Vec::new());
        let before = (length(), written());
        for number in 0..50 {
            let began = Instant::now();
            let changed = tokio::spawn({
                let network = network.clone();
                async move {
                    network.dns_change([(name(number), Some(dns(number, Some(7))))].into());
                    network.services_change(service(number, Some(7))).await
                }
            });
            during.push(asked(number));
            changed.await.expect("no panic").expect("changed");
            took.push(began.elapsed());
        }
        let after = (length(), written());
        let each = |durations: &mut Vec<Duration>| {
            durations.sort_unstable();
            (durations[durations.len() / 2], durations[durations.len() - 1])
        };
        eprintln!("a change: {:?} (median, longest)", each(&mut took));
        eprintln!(
            "a name: {:?} while nothing changes, {:?} meanwhile",
            each(&mut idle.clone()),
            each(&mut during)
        );
        eprintln!("written by 50 changes: {} to the log, {} at all", after.0 - before.0, after.1 - before.1);
        assert!(after.0 - before.0 < 50 * 300, "what is written is as much as changes");
        let listed = || command("nft list map ip gantry endpoints");
        let lines = |listed: &str, of: u16| {
            let front = offset(Ipv4Addr::new(10, 43, 1, 0), u32::from(of));
            listed.matches(&format!("{front} . tcp . 80 .")).count()
        };
        let before = listed();
        assert_eq!((lines(&before, 3), lines(&before, 900)), (99, 100));
        let headless = dig_tcp(&pod.netns, CLUSTER, &called(3), RecordType::A).expect("an answer");
        assert_eq!(headless.split(", ").count(), 99);
        // What a daemon that was killed comes back with is the same, without anybody telling it.
        network.close().await;
        drop(network);
        let network = host.open().await;
        assert!(listed() == before, "the rules after a restart are those of before");
        network.services_replace(service(3, None)).await.expect("apply");
        let after = listed();
        assert_eq!((lines(&after, 3), lines(&after, 900)), (100, 0));
        network.close().await;
    });
}
