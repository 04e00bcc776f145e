//! Sandboxes with users of their own: which ids of the host they have, for how long, and what of the
//! host and of each other they can reach.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use engine::container::{FileKind, Mount, MountSource, Propagation};
use engine::sandbox::{SandboxNetwork, SandboxSpec};
use engine::{ContainerId, ContainerSpec, Engine, IdRange, SandboxId};
use support::{Host, create, logs, on_host, remove_all, shell, start, wait};

const BLOCK: u64 = 65_536;

async fn sandbox(engine: &Engine) -> SandboxId {
    engine.sandbox_create(own_users()).await.expect("make a sandbox")
}

fn own_users() -> SandboxSpec {
    SandboxSpec { own_users: true, hostname: "mapped".to_owned(), ..SandboxSpec::default() }
}

fn member(sandbox: &SandboxId, line: &str) -> ContainerSpec {
    ContainerSpec { sandbox: Some(sandbox.clone()), ..shell(line) }
}

fn bind(path: &Path, target: &str) -> Mount {
    Mount {
        target: target.to_owned(),
        read_only: false,
        source: MountSource::Bind {
            path: path.to_owned(),
            subpath: None,
            must_be: None::<FileKind>,
            propagation: Propagation::Rprivate,
            create: false,
            non_recursive: false,
            writable_below: false,
        },
    }
}

/// Runs a member of a sandbox to its end; what it wrote.
async fn told(engine: &Engine, sandbox: &SandboxId, line: &str) -> String {
    let id = start(engine, member(sandbox, line)).await;
    let status = wait(engine, &id).await;
    let (out, err) = logs(engine, &id).await;
    assert_eq!(status.code, 0, "{out}{err}");
    out
}

/// The first id of the host that the users of a sandbox are.
async fn first(engine: &Engine, sandbox: &SandboxId) -> u64 {
    let map = told(engine, sandbox, "cat /proc/self/uid_map /proc/self/gid_map").await;
    let words: Vec<u64> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    assert_eq!(words, [0, words[1], BLOCK, 0, words[1], BLOCK], "{map}");
    assert!(words[1] >= BLOCK && words[1].is_multiple_of(BLOCK), "{map}");
    words[1]
}

/// Opens the engine with a range of so many blocks.
async fn with_blocks(host: &Host, engine: Engine, blocks: u64) -> Engine {
    engine.close().await;
    drop(engine);
    let range = IdRange::new(10 * BLOCK, blocks * BLOCK).expect("a range");
    let config = engine::Config { user_ids: Some(range), ..host.config() };
    let clock = std::sync::Arc::new(base::SystemClock::new());
    Engine::open(config, clock, std::sync::Arc::new(base::SystemRandom)).await.expect("open the engine")
}

#[test]
fn every_sandbox_has_ids_that_no_other_has_until_it_is_removed() {
    on_host(|host, engine| async move {
        let engine = with_blocks(&host, engine, 2).await;
        let (one, two) = (sandbox(&engine).await, sandbox(&engine).await);
        let (first_one, first_two) = (first(&engine, &one).await, first(&engine, &two).await);
        assert_eq!(first_one.min(first_two), 10 * BLOCK);
        assert_eq!(first_one.abs_diff(first_two), BLOCK);
        let told = engine.sandbox_create(own_users()).await.expect_err("no ids are left");
        let told = told.full_message();
        assert!(told.contains("could not find an empty slot to allocate a user namespace"), "{told}");
        // What failed left nothing, and keeps no others from being made.
        engine.sandbox_create(SandboxSpec::default()).await.expect("the host's users are enough");
        assert_eq!(std::fs::read_dir(host.path("root/sandboxes")).expect("list").count(), 3);
        // Another life of the engine knows whose they are, and what runs goes on.
        let held = start(&engine, member(&one, "exec sleep 1000")).await;
        let engine = with_blocks(&host, engine, 2).await;
        assert_eq!(
            engine.container_inspect(&held).expect("it is there").state.status,
            engine::container::Status::Running
        );
        assert_eq!(first(&engine, &one).await, first_one);
        engine.sandbox_create(own_users()).await.expect_err("they are still taken");
        engine.sandbox_remove(&two).await.expect("remove a sandbox");
        let three = sandbox(&engine).await;
        assert_eq!(first(&engine, &three).await, first_two);
        remove_all(&engine).await;
        assert_eq!(std::fs::read_dir(host.path("root/ids")).expect("list").count(), 0);
    });
}

#[test]
fn ids_of_a_sandbox_that_cannot_be_read_are_not_given_to_another() {
    on_host(|host, engine| async move {
        let engine = with_blocks(&host, engine, 2).await;
        let one = sandbox(&engine).await;
        let lost = first(&engine, &one).await;
        let record = host.path("root/sandboxes").join(one.as_str()).join("state.json");
        let text = std::fs::read_to_string(&record).expect("read its record");
        std::fs::write(&record, "{").expect("damage its record");
        let engine = with_blocks(&host, engine, 2).await;
        let two = sandbox(&engine).await;
        assert_ne!(first(&engine, &two).await, lost);
        engine.sandbox_create(own_users()).await.expect_err("the other block is not free");
        // Repaired, it is what it was; a reservation that was lost is made again.
        std::fs::write(&record, text).expect("repair its record");
        std::fs::remove_file(host.path("root/ids").join(lost.to_string())).expect("lose a reservation");
        let engine = with_blocks(&host, engine, 2).await;
        engine.sandbox_create(own_users()).await.expect_err("it is reserved again");
        assert!(host.path("root/ids").join(lost.to_string()).is_symlink());
        remove_all(&engine).await;
    });
}

#[test]
fn an_engine_that_knows_nothing_of_users_leaves_such_a_sandbox_alone() {
    on_host(|host, engine| async move {
        let one = sandbox(&engine).await;
        let plain = engine.sandbox_create(SandboxSpec::default()).await.expect("make a sandbox");
        let version = |id: &SandboxId| {
            let path = host.path("root/sandboxes").join(id.as_str()).join("state.json");
            let text = std::fs::read_to_string(path).expect("read its record");
            let record: serde_json::Value = serde_json::from_str(&text).expect("a record");
            (record["version"].as_u64(), record["first_id"].is_u64())
        };
        assert_eq!((version(&one), version(&plain)), ((Some(2), true), (Some(1), false)));
        remove_all(&engine).await;
    });
}

#[test]
fn users_of_its_own_and_the_hosts_namespaces_exclude_each_other() {
    on_host(|_, engine| async move {
        for change in [
            (|spec: &mut SandboxSpec| spec.network = SandboxNetwork::Host) as fn(&mut SandboxSpec),
            |spec| spec.host_pid = true,
            |spec| spec.host_ipc = true,
        ] {
            let mut spec = own_users();
            change(&mut spec);
            let error = engine.sandbox_create(spec).await.expect_err("refused");
            assert_eq!(error.kind(), engine::Kind::Invalid, "{error}");
        }
    });
}

#[test]
fn a_sandbox_in_a_network_rules_it_and_shares_its_files() {
    on_host(|host, engine| async move {
        let pods = engine.network().network_pods().name;
        let spec = SandboxSpec {
            network: SandboxNetwork::Networks(vec![(pods, Default::default())]),
            share_pid: true,
            sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
            ..own_users()
        };
        let sandbox = engine.sandbox_create(spec).await.expect("make a sandbox");
        let shared = host.path("shared");
        std::fs::create_dir(&shared).expect("make a directory");
        std::fs::write(shared.join("secret"), "of root\n").expect("write");
        std::fs::set_permissions(shared.join("secret"), PermissionsExt::from_mode(0o600)).expect("close it");
        let line = "set -e; hostname; cat /proc/sys/net/ipv4/ip_forward; ip -4 addr show eth0 | grep -c inet; \
                    echo 10.9.8.7 other >> /etc/hosts; cat /shared/secret; touch /shared/made /made; \
                    chown 7:8 /shared/made; touch /dev/shm/left; echo 1 > /dev/stdout; exec sleep 1000";
        let mut one = member(&sandbox, line);
        one.mounts = vec![bind(&shared, "/shared")];
        let one = start(&engine, one).await;
        testkit::wait_until_async("the first container to have done its work", || async {
            let (out, err) = logs(&engine, &one).await;
            if out == "mapped\n1\n1\nof root\n1\n" { Ok(()) } else { Err(format!("{out}{err}")) }
        })
        .await;
        let stat = std::fs::metadata(shared.join("made")).expect("it was made");
        assert_eq!((stat.uid(), stat.gid()), (7, 8), "on disk as inside");
        let second = "grep -c other /etc/hosts; stat -c '%u' /dev/shm/left; ps | grep -c 'slee[p] 1000'";
        assert_eq!(told(&engine, &sandbox, second).await, "1\n0\n1\n");
        copies(&engine, &one).await;
        remove_all(&engine).await;
    });
}

/// What is copied out of a running container belongs to whom it does inside; in there only its own
/// programs write.
async fn copies(engine: &Engine, id: &ContainerId) {
    use futures::StreamExt;
    let (_, stream) = engine.container_archive_get(id, "/made").await.expect("copy out");
    let chunks: Vec<_> = stream.map(|chunk| chunk.expect("a chunk").to_vec()).collect().await;
    let archive = chunks.concat();
    let mut archive = tar::Archive::new(archive.as_slice());
    let entry = archive.entries().expect("an archive").next().expect("a file").expect("a file");
    let header = entry.header();
    assert_eq!((header.uid().expect("a user"), header.gid().expect("a group")), (0, 0));
    let empty = futures::stream::iter([Ok(bytes::Bytes::from(vec![0; 1024]))]).boxed();
    let refused = engine.container_archive_put(id, "/", Default::default(), empty).await;
    let told = refused.expect_err("refused").full_message();
    assert!(told.contains("has users of its own"), "{told}");
}

#[test]
fn what_cannot_be_mapped_keeps_a_container_from_starting() {
    on_host(|host, engine| async move {
        let sandbox = sandbox(&engine).await;
        let mut on_proc = member(&sandbox, "true");
        on_proc.mounts = vec![bind(Path::new("/proc/sys"), "/host")];
        let mut nobody = member(&sandbox, "true");
        nobody.user = Some("65536".to_owned());
        let mut of_nobodys_group = member(&sandbox, "true");
        of_nobodys_group.groups = vec!["70000".to_owned()];
        for (spec, expected) in [
            (
                on_proc,
                "failed to set MOUNT_ATTR_IDMAP on /proc/sys (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
            ),
            (nobody, "cannot setuid to unmapped uid 65536 in user namespace"),
            (of_nobodys_group, "cannot setgid to unmapped gid 70000 in user namespace"),
        ] {
            let id = create(&engine, spec).await;
            let told = engine.container_start(&id).await.expect_err("refused").full_message();
            assert!(told.contains(expected), "{told}");
        }
        // Others cannot pass to what containers wrote, whoever that belongs to on disk.
        let root = std::fs::metadata(host.path("root")).expect("it is there");
        assert_eq!(root.permissions().mode() & 0o007, 0);
        remove_all(&engine).await;
    });
}
