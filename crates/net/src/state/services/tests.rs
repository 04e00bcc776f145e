//! Changes in, the same ports out after a restart.

use super::*;
use crate::ServiceTable;
use crate::plan::Services;

fn endpoint(last: u8) -> ServiceEndpoint {
    ServiceEndpoint { address: [10, 42, 0, last].into(), port: 8080, local: last.is_multiple_of(2) }
}

fn port(endpoints: impl IntoIterator<Item = u8>) -> ServicePort {
    ServicePort {
        addresses: vec![[10, 43, 0, 7].into()],
        external_addresses: vec![[192, 0, 2, 9].into()],
        protocol: crate::Protocol::Sctp,
        port: 80,
        node_port: Some(30080),
        client_affinity: Some(10_800),
        external_local: true,
        internal_local: true,
        endpoints: endpoints.into_iter().map(endpoint).collect(),
    }
}

fn table(name: &str, ports: Option<ServicePort>) -> ServiceTable {
    let ports = ports.into_iter().map(|port| ("http".to_owned(), port));
    [(ServiceName::new("default", name), ports.collect())].into()
}

/// Makes a change and writes it down; gives by how much the log grew.
fn change(root: &Path, services: &mut Services, log: &mut ServicesLog, table: ServiceTable) -> u64 {
    let length = || fs::metadata(path(root)).map_or(0, |metadata| metadata.len());
    let before = length();
    let step = services.change(table, false);
    log.append(&step.ports, services.ports()).expect("append");
    length().saturating_sub(before)
}

#[test]
fn what_changed_is_there_after_a_restart_and_costs_what_it_changes() {
    let root = tempfile::tempdir().expect("temporary directory");
    let root = root.path();
    let (none, mut log, _) = ServicesLog::read(root);
    assert!(none.is_empty());
    let mut services = Services::default();
    change(root, &mut services, &mut log, table("web", Some(port(1..=200))));
    change(root, &mut services, &mut log, table("db", Some(port(1..=3))));
    let less =
        change(root, &mut services, &mut log, table("web", Some(port((1..=200).filter(|last| *last != 50)))));
    assert!((1..200).contains(&less), "one endpoint less is {less} bytes");
    let more = change(root, &mut services, &mut log, table("web", Some(port(1..=201))));
    assert!((1..200).contains(&more), "two endpoints more are {more} bytes");
    change(root, &mut services, &mut log, table("db", None));
    change(root, &mut services, &mut log, table("last", Some(port([]))));
    let (ports, mut log, _) = ServicesLog::read(root);
    assert_eq!(ports, *services.ports());
    // And goes on from there.
    let mut services = Services::restore(ports, Default::default());
    change(root, &mut services, &mut log, table("web", Some(port([7]))));
    assert_eq!(ServicesLog::read(root).0, *services.ports());
}

/// Wherever the machine or the program stopped writing, what comes of the log was once so.
#[test]
fn a_log_that_was_cut_off_leads_to_what_was_before() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let (_, mut log, _) = ServicesLog::read(root);
    let mut services = Services::default();
    let mut once = vec![services.ports().clone()];
    for (name, ports) in [
        ("web", Some(port(1..=9))),
        ("db", Some(port(1..=2))),
        ("web", Some(port(2..=9))),
        ("db", None),
        ("web", Some(port(2..=10))),
    ] {
        change(root, &mut services, &mut log, table(name, ports));
        once.push(services.ports().clone());
    }
    let whole = fs::read(path(root)).expect("the log");
    let mut seen = 0;
    let is_end = |length: &usize| *length == 0 || whole[length - 1] == b'\n';
    // At the end of each line, around it, and here and there within.
    let cuts = (0..=whole.len()).filter(|at| {
        at.is_multiple_of(16) || (at.saturating_sub(1)..=at + 1).any(|at| at <= whole.len() && is_end(&at))
    });
    for length in cuts {
        fs::write(path(root), &whole[..length]).expect("write");
        let (ports, mut log, _) = ServicesLog::read(root);
        let at = once.iter().position(|then| *then == ports);
        let at = at.unwrap_or_else(|| panic!("{length} bytes lead to what never was: {ports:?}"));
        assert!(at >= seen, "{length} bytes lead to what was before what fewer do");
        seen = at;
        // What is written down next is read, whatever stands before it.
        let mut services = Services::restore(ports, Default::default());
        let step = services.change(table("next", Some(port([1]))), false);
        log.append(&step.ports, services.ports()).expect("append");
        assert_eq!(ServicesLog::read(root).0, *services.ports(), "after {length} bytes");
    }
    assert_eq!(seen, once.len() - 1);
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let (_, mut log, _) = ServicesLog::read(root);
    let mut services = Services::default();
    let mut longest = 0;
    for number in 0..6_000u32 {
        let last = u8::try_from(number % 200).expect("below 200");
        change(root, &mut services, &mut log, table("web", Some(port(last..=last + 20))));
        longest = longest.max(fs::metadata(path(root)).expect("the log").len());
    }
    assert!(longest < 2 * SLACK, "{longest} bytes");
    assert_eq!(ServicesLog::read(root).0, *services.ports());
}

#[test]
fn a_write_that_fails_hides_nothing_that_comes_after_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let (_, mut log, _) = ServicesLog::read(root);
    let mut services = Services::default();
    change(root, &mut services, &mut log, table("web", Some(port(1..=9))));
    // A disk without room.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let Place::Open(open) = &mut log.file else { panic!("{log:?}") };
    open.file = full;
    let step = services.change(table("web", Some(port(1..=8))), false);
    log.append(&step.ports, services.ports()).expect_err("no room");
    change(root, &mut services, &mut log, table("db", Some(port([1]))));
    assert_eq!(ServicesLog::read(root).0, *services.ports());
}

#[test]
fn a_table_of_an_earlier_program_is_taken_up_and_replaced() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let earlier = serde_json::json!({"version": 1, "services": {"ports": [{
        "name": "default/web:http", "addresses": ["10.43.0.7", "192.0.2.9"], "protocol": "sctp", "port": 80,
        "node_port": 30080, "client_affinity": true, "external_local": true, "internal_local": true,
        "endpoints": [{"address": "10.42.0.2", "port": 8080, "local": true}],
    }]}});
    fs::write(root.join("services.json"), earlier.to_string()).expect("write");
    let (ports, mut log, _) = ServicesLog::read(root);
    let key = ServiceKey { service: ServiceName::new("default", "web"), port: "http".to_owned() };
    let addresses = vec![[10, 43, 0, 7].into(), [192, 0, 2, 9].into()];
    let then = ServicePort { addresses, external_addresses: Vec::new(), ..port([2]) };
    assert_eq!(ports, [(key, then)].into());
    let mut services = Services::restore(ports, Default::default());
    change(root, &mut services, &mut log, table("db", Some(port([1]))));
    assert!(!root.join("services.json").exists());
    assert_eq!(ServicesLog::read(root).0, *services.ports());
    assert_eq!(services.ports().len(), 2);
    clear(root).expect("clear");
    assert!(!path(root).exists());
}

/// Each start goes on at the log's end. That it was long is no reason to let it get twice as long.
#[test]
fn the_log_does_not_grow_with_each_start() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let mut services = Services::default();
    let mut longest = 0;
    for _ in 0..120 {
        let (ports, mut log, _) = ServicesLog::read(root);
        assert_eq!(ports, *services.ports());
        for all in [0..=120, 121..=240] {
            change(root, &mut services, &mut log, table("web", Some(port(all))));
        }
        longest = longest.max(fs::metadata(path(root)).expect("the log").len());
    }
    assert!(longest < 2 * SLACK, "{longest} bytes");
}

#[test]
fn a_log_of_a_later_version_or_that_cannot_be_read_is_left_alone_and_told() {
    let place = |write: fn(&Path)| {
        let directory = tempfile::tempdir().expect("temporary directory");
        write(&path(directory.path()));
        directory
    };
    for (write, told) in [
        (
            (|path| fs::write(path, "{\"version\":9}\n{\"set\":1}\n").expect("write")) as fn(&Path),
            "version 9",
        ),
        (|path| fs::write(path, "garbage\n").expect("write"), "no version"),
        (|path| fs::create_dir(path).expect("make"), "not a plain file"),
        (|path| std::os::unix::fs::symlink("/dev/zero", path).expect("link"), "not a plain file"),
    ] {
        let directory = place(write);
        let root = directory.path();
        let before = fs::symlink_metadata(path(root)).expect("it is there");
        let (ports, mut log, trouble) = ServicesLog::read(root);
        assert!(ports.is_empty());
        let trouble = trouble.expect("it is told");
        assert!(trouble.problem.contains(told), "{trouble}");
        assert_eq!(examine(root), Some(trouble));
        // What changes meanwhile is in the kernel, and nowhere else.
        change(root, &mut Services::default(), &mut log, table("web", Some(port([1]))));
        let after = fs::symlink_metadata(path(root)).expect("it is there");
        assert_eq!((before.len(), before.modified().ok()), (after.len(), after.modified().ok()));
    }
}

/// However long the whole is: of a hole nothing is read but that it makes no sense.
#[test]
fn a_log_may_be_longer_than_any_record() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let (_, mut log, _) = ServicesLog::read(root);
    let mut services = Services::default();
    change(root, &mut services, &mut log, table("web", Some(port(1..=9))));
    let file = OpenOptions::new().write(true).open(path(root)).expect("open");
    file.set_len(1 << 40).expect("a long hole");
    let (ports, mut log, trouble) = ServicesLog::read(root);
    assert_eq!((ports, trouble), (services.ports().clone(), None));
    change(root, &mut services, &mut log, table("db", Some(port([1]))));
    assert!(fs::metadata(path(root)).expect("the log").len() < SLACK, "it is written anew");
    assert_eq!(ServicesLog::read(root).0, *services.ports());
}
