//! Records that cannot be written: what was asked for has not happened, neither in what runs nor in what
//! is told, and works once they can be.

mod support;

use std::path::{Path, PathBuf};

use engine::container::{
    ContainerUpdate, NetworkMode, Port, PortBinding, Protocol, RemoveOptions, Resources, RestartPolicy,
    Status,
};
use engine::exec::ExecSpec;
use engine::network::NetworkSpec;
use engine::{ContainerId, ContainerSpec, Engine, Kind, NetworkId};
use support::{Host, Immutable, create, fill_disk, on_host, on_small_host, remove_all, shell, start, until};

const NAMES: [&str; 2] = ["before", "after"];
const MEMORY: [i64; 2] = [64 << 20, 96 << 20];

/// A container in the default network that knows what becomes of it.
fn spec() -> ContainerSpec {
    let resources = Resources { memory: Some(MEMORY[0]), memory_swap: Some(-1), ..Resources::default() };
    let mut spec = ContainerSpec { name: Some(NAMES[0].to_owned()), resources, ..shell("sleep 1000") };
    spec.namespaces.network = NetworkMode::Bridge;
    spec.ports = vec![PortBinding {
        container: Port { number: 80, protocol: Protocol::Tcp },
        host_address: None,
        host_port: None,
        host_port_end: None,
    }];
    spec
}

async fn network(engine: &Engine) -> NetworkId {
    let spec = NetworkSpec { name: "more".to_owned(), ..NetworkSpec::default() };
    engine.network_create(spec).await.expect("make a network").id.clone()
}

fn directory(host: &Host, id: &ContainerId) -> PathBuf {
    host.path("root/containers").join(id.as_str())
}

async fn run(engine: &Engine, id: &ContainerId, line: &str) -> String {
    let spec = ExecSpec { command: ["sh", "-c", line].map(str::to_owned).into(), ..ExecSpec::default() };
    let limit = Some(std::time::Duration::from_secs(20));
    let output = engine.exec_run(id, spec, limit, 4096).await.expect("a further process");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The memory limit that is in force, in bytes.
fn memory_in_force(host: &Host, id: &ContainerId) -> String {
    let group = format!("{}/{id}", host.instance());
    let places = [
        format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup/{group}/memory.max"),
    ];
    let found = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
    found.expect("its memory cgroup").trim().to_owned()
}

/// Whatever can be changed of a container.
async fn attempt_all(engine: &Engine, id: &ContainerId, more: &NetworkId) -> Vec<engine::Result<()>> {
    let bridge = engine.network_find("bridge").expect("the default network");
    let resources = Resources { memory: Some(MEMORY[1]), ..Resources::default() };
    let update = ContainerUpdate { resources, restart: Some(RestartPolicy::Always) };
    vec![
        engine.container_rename(id, NAMES[1]).await,
        engine.container_update(id, update).await.map(drop),
        engine.network_connect(more, id, Default::default()).await,
        engine.network_disconnect(&bridge, id).await,
    ]
}

/// Checks that all of a running container is as it was before (0) or after (1) those attempts.
#[track_caller]
fn check<'a>(
    host: &'a Host,
    engine: &'a Engine,
    id: &'a ContainerId,
    after: usize,
) -> impl Future<Output = ()> + use<'a> {
    let container = engine.container_inspect(id).expect("inspect");
    assert_eq!(container.name, NAMES[after]);
    assert_eq!(engine.container_find(NAMES[after]).expect("by its name"), *id);
    assert!(engine.container_find(NAMES[1 - after]).is_err(), "the other name is free");
    assert_eq!(container.spec.resources.memory, Some(MEMORY[after]));
    assert_eq!(container.spec.restart == RestartPolicy::Always, after == 1);
    let network = ["bridge", "more"][after];
    assert_eq!(container.networks.keys().collect::<Vec<_>>(), [network]);
    let address = container.networks[network].ipv4.expect("an address").addr().to_string();
    let endpoints = engine.network().endpoint_list();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert_eq!(endpoints[0].name, NAMES[after]);
    let published: Vec<_> = container.ports.iter().filter_map(|port| port.host).collect();
    let there: Vec<_> =
        endpoints[0].ports.iter().map(|port| (port.host_address, port.host_port).into()).collect();
    assert_eq!((published.len(), &published), (1, &there), "it is told where it is published");
    assert_eq!(memory_in_force(host, id), MEMORY[after].to_string());
    async move {
        let seen = run(engine, id, "ip -4 -o addr | grep -v 127.0.0.1; cat /etc/hosts").await;
        assert_eq!(seen.matches(&address).count(), 2, "{seen}");
        assert_eq!(seen.matches(": eth").count(), 1, "{seen}");
    }
}

/// Plays a fault: nothing changes under it, nor at the next start, and all changes without it.
async fn play<F>(host: &Host, engine: Engine, fault: impl FnOnce(&Path) -> F, kind: Option<Kind>) {
    let more = network(&engine).await;
    let id = start(&engine, spec()).await;
    check(host, &engine, &id, 0).await;
    let record = std::fs::read(directory(host, &id).join("state.json")).expect("its record");
    let broken = fault(&directory(host, &id));
    for (number, attempt) in attempt_all(&engine, &id, &more).await.into_iter().enumerate() {
        let error = attempt.expect_err("its record cannot be written");
        assert!(kind.is_none_or(|kind| error.kind() == kind), "{number}: {error:?}");
    }
    check(host, &engine, &id, 0).await;
    drop(broken);
    assert_eq!(std::fs::read(directory(host, &id).join("state.json")).expect("its record"), record);
    let left = std::fs::read_dir(directory(host, &id)).expect("list").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.as_encoded_bytes().starts_with(b".")), "{left:?}");
    let engine = host.reopen(engine, async || {}).await;
    check(host, &engine, &id, 0).await;
    for attempt in attempt_all(&engine, &id, &more).await {
        attempt.expect("its record can be written");
    }
    check(host, &engine, &id, 1).await;
    let engine = host.reopen(engine, async || {}).await;
    check(host, &engine, &id, 1).await;
    remove_all(&engine).await;
}

#[test]
fn nothing_changes_whose_record_cannot_be_written() {
    on_host(|host, engine| async move {
        play(&host, engine, |directory| Immutable::new(directory.to_owned()), None).await;
    });
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("make room");
    }
}

#[test]
fn nothing_changes_on_a_full_disk() {
    on_small_host("48m", |host, engine| async move {
        let full = |_: &Path| {
            let filler = host.path("root/filler");
            fill_disk(&filler);
            Removed(filler)
        };
        play(&host, engine, full, Some(Kind::NoSpace)).await;
    });
}

/// A file in whose place a directory is while this is held: nothing can take its place.
struct Blocked(PathBuf);

impl Blocked {
    fn new(path: PathBuf) -> Self {
        std::fs::rename(&path, path.with_extension("kept")).expect("set the file aside");
        std::fs::create_dir_all(path.join("full")).expect("a directory in its place");
        Self(path)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // What it was of may have gone, and all of this with it.
        if !self.0.exists() {
            return;
        }
        std::fs::remove_dir_all(&self.0).expect("remove the directory");
        std::fs::rename(self.0.with_extension("kept"), &self.0).expect("put the file back");
    }
}

#[test]
fn what_was_done_is_taken_back_if_the_record_cannot_take_its_place_in_the_end() {
    on_host(|host, engine| async move {
        play(&host, engine, |directory| Blocked::new(directory.join("state.json")), None).await;
    });
}

#[test]
fn a_change_that_what_runs_refuses_is_not_written_down() {
    on_host(|host, engine| async move {
        let more = network(&engine).await;
        let id = start(&engine, spec()).await;
        let record = || std::fs::read(directory(&host, &id).join("state.json")).expect("its record");
        let before = record();
        let wish = engine::network::EndpointSpec {
            ipv4: Some("203.0.113.9".parse().expect("an address")),
            ..Default::default()
        };
        let error = engine.network_connect(&more, &id, wish).await.expect_err("an address of elsewhere");
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        let resources = Resources {
            memory: Some(MEMORY[1]),
            cpuset_cpus: Some("4000".to_owned()),
            ..Resources::default()
        };
        let update = ContainerUpdate { resources, restart: None };
        engine.container_update(&id, update).await.expect_err("there is no such processor");
        assert_eq!(record(), before);
        check(&host, &engine, &id, 0).await;
        remove_all(&engine).await;
    });
}

#[test]
fn what_becomes_of_a_container_need_not_be_written_for_it_to_stop_and_go() {
    on_host(|host, engine| async move {
        let id = start(&engine, shell("sleep 1000")).await;
        let life = Blocked::new(directory(&host, &id).join("life.json"));
        engine.container_stop(&id, None, Some(std::time::Duration::ZERO)).await.expect("stop");
        until(&engine, &id, Status::Exited).await;
        engine.container_start(&id).await.expect_err("what is not written down must not run");
        engine.container_remove(&id, RemoveOptions::default()).await.expect("remove");
        drop(life);
        // One whose directory cannot go stays, and says why.
        let stuck = start(&engine, shell("sleep 1000")).await;
        let immutable = Immutable::new(directory(&host, &stuck));
        let force = RemoveOptions { force: true, volumes: true };
        engine.container_remove(&stuck, force).await.expect_err("it cannot be moved");
        let container = engine.container_inspect(&stuck).expect("it is there");
        let state = &container.state;
        assert_eq!((state.status, state.pid), (Status::Dead, None));
        assert!(state.error.contains("operation not permitted"), "{}", state.error);
        drop(immutable);
        engine.container_remove(&stuck, force).await.expect("remove");
        let kept = create(&engine, shell("true")).await;
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(engine.troubles(), []);
        engine.container_inspect(&kept).expect("it is there");
        remove_all(&engine).await;
    });
}
