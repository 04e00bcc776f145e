//! What a container's configuration names on the host is handed over open: what was looked at is
//! what is mounted and joined, whatever is at its path by then.

mod support;

use std::os::unix::fs::symlink;

use runtime::shim::ClientError;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{Response, Stdio};
use runtime::spec::{Mount, Namespace, NamespaceKind};
use support::{Sandbox, create_request, outcome, shell};

#[test]
fn what_was_opened_is_mounted_though_its_path_leads_elsewhere_by_then() {
    let sandbox = Sandbox::new();
    let (shown, secret) = (sandbox.dir.path().join("shown"), sandbox.dir.path().join("secret"));
    for (directory, text) in [(&shown, "shown"), (&secret, "secret")] {
        std::fs::create_dir(directory).expect("make a directory");
        std::fs::write(directory.join("file"), text).expect("write");
    }
    let mut spec = shell("cat /data/file; echo x > /data/new");
    spec.mounts.push(Mount::bind(shown.clone(), "/data", &[]));
    let (request, with) = sandbox.create_with("c1", spec, Stdio::default());
    let moved = sandbox.dir.path().join("moved");
    std::fs::rename(&shown, &moved).expect("move away");
    symlink(&secret, &shown).expect("link");
    let answer = sandbox.client().ask_with(&request, &with).expect("create");
    assert!(matches!(answer, Response::Pid(_)));
    let connection = sandbox.attach("c1");
    sandbox.start("c1");
    assert_eq!(outcome(connection).expect(0).stdout, "shown");
    assert!(moved.join("new").exists() && !secret.join("new").exists());
}

#[test]
fn a_shim_takes_no_path_of_the_host_at_its_word() {
    let sandbox = Sandbox::new();
    let mut mount = shell("true");
    mount.mounts.push(Mount::bind(sandbox.dir.path(), "/data", &[]));
    let mut namespace = shell("true");
    let linux = namespace.linux.as_mut().expect("linux");
    linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Ipc);
    let path = Some("/proc/self/ns/ipc".into());
    linux.namespaces.push(Namespace { kind: NamespaceKind::Ipc, path });
    for (id, spec, what) in [("c1", mount, "/data"), ("c2", namespace, "ipc namespace")] {
        let (bundle, rootfs) = sandbox.bundle(id, spec);
        let request = create_request(id, bundle, rootfs, Stdio::default(), &Descriptors::default());
        match sandbox.client().ask(&request) {
            Err(ClientError::Refused(failure)) => {
                assert!(failure.message.contains(what) && failure.message.contains("not handed over"));
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn descriptors_that_were_not_announced_are_refused_and_closed() {
    let sandbox = Sandbox::new();
    let open = || {
        let directory = format!("/proc/{}/fd", sandbox.handle.pid);
        std::fs::read_dir(directory).expect("the shim lives").count()
    };
    let mut client = sandbox.client();
    let (bundle, rootfs) = sandbox.bundle("c1", shell("true"));
    let request = create_request("c1", bundle, rootfs, Stdio::default(), &Descriptors::default());
    let mut with = Descriptors::default();
    for place in 0..300 {
        with.mount(place, std::fs::File::open("/").expect("open").into());
    }
    let refused = client.ask_with(&request, &with).expect_err("nobody announced them");
    assert!(refused.to_string().contains("300 descriptors came, 0 were announced"), "{refused}");
    let before = open();
    drop(client);
    testkit::wait_until("the connection to be closed", || match open() {
        now if now < before => Ok(()),
        now => Err(now),
    });
    assert!(before < 60, "the shim holds {before} descriptors");
}
