//! The unified hierarchy (cgroup v2), which hosts with v1 have beside it, and what containers see of
//! the hierarchies that a host has.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use runtime::cgroup::{Cgroup, Hierarchies, Version};
use runtime::shim::protocol::Stdio as Streams;
use runtime::spec::{Capabilities, DeviceRule, Memory, Namespace, NamespaceKind, Pids, Resources, Spec};
use support::{PROGRAM, Sandbox, shell};

/// A group in the unified hierarchy alone.
struct Group {
    cgroup: Cgroup,
}

impl Group {
    fn new(name: &str) -> Self {
        testkit::require_root();
        let hierarchies = Hierarchies::detect().expect("find the hierarchies").unified_alone();
        let hierarchies = hierarchies.expect("this host has cgroup v2, alone or beside v1");
        let path = format!("/gantry-test-{name}-{}", std::process::id());
        let cgroup = Cgroup::within(hierarchies, Path::new(&path)).expect("good path");
        cgroup.create().expect("create");
        Self { cgroup }
    }

    fn allow(&self, rules: Vec<DeviceRule>) {
        self.cgroup.apply(&Resources { devices: rules, ..Resources::default() }).expect("apply");
    }

    /// Whether a process in the group can read from a device.
    fn reads(&self, device: &str) -> bool {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("read go && : < {device}"));
        let mut shell = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start a shell");
        self.cgroup.add(shell.id()).expect("move the shell");
        shell.stdin.take().expect("a pipe").write_all(b"go\n").expect("write");
        shell.wait().expect("wait").success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        let _ = self.cgroup.remove();
    }
}

#[test]
fn the_kernel_takes_the_device_filter_and_goes_by_it() {
    let group = Group::new("filter");
    assert!(group.reads("/dev/kmsg"));
    group.allow(runtime::defaults::device_rules());
    assert!(group.reads("/dev/zero"));
    assert!(!group.reads("/dev/kmsg"));
}

#[test]
fn a_device_filter_replaces_the_one_before() {
    let rule = |allow, minor| DeviceRule {
        allow,
        kind: Some("c".to_owned()),
        major: Some(1),
        minor: Some(minor),
        ..DeviceRule::default()
    };
    let group = Group::new("replaced");
    group.allow(vec![rule(true, 5)]);
    assert!(group.reads("/dev/zero"));
    group.allow(vec![rule(true, 3)]);
    assert!(!group.reads("/dev/zero"));
    assert!(group.reads("/dev/null"));
    group.allow(vec![DeviceRule { allow: true, ..DeviceRule::default() }]);
    assert!(group.reads("/dev/kmsg"));
}

/// A container that may do everything, with a view of its own of the cgroups.
fn privileged(mut spec: Spec) -> Spec {
    let process = spec.process.as_mut().expect("process");
    process.capabilities = Some(Capabilities::of(&runtime::defaults::all_capabilities()));
    for mount in &mut spec.mounts {
        mount.options.retain(|option| option != "ro");
    }
    let linux = spec.linux.as_mut().expect("linux");
    linux.namespaces.push(Namespace::new(NamespaceKind::Cgroup));
    linux.seccomp = None;
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    let everything = DeviceRule { allow: true, ..DeviceRule::default() };
    linux.resources = Some(Resources { devices: vec![everything], ..Resources::default() });
    spec
}

#[test]
fn a_runtime_in_a_container_runs_containers_with_limits() {
    let sandbox = Sandbox::new();
    let outer = "cd /inner && /gantry-runtime runtime --root /tmp/state run c1 && \
                 /gantry-runtime runtime --root /tmp/state run c2";
    let request = sandbox.create_request("outer", privileged(shell(outer)), Streams::default());
    let root = sandbox.dir.path().join("outer/rootfs");
    std::fs::copy(PROGRAM, root.join("gantry-runtime")).expect("bring the runtime in");
    let mut inner = shell("echo inner; cd /sys/fs/cgroup; cat pids/pids.max 2>/dev/null || cat pids.max");
    let linux = inner.linux.as_mut().expect("linux");
    linux.cgroups_path = Some("/nested/c".into());
    linux.namespaces.push(Namespace::new(NamespaceKind::Cgroup));
    let resources = linux.resources.as_mut().expect("resources");
    resources.pids = Some(Pids { limit: 77 });
    resources.memory = Some(Memory { limit: Some(64 << 20), ..Memory::default() });
    support::bundle(&root.join("inner"), &inner);
    sandbox.ask(&request);
    let connection = sandbox.attach("outer");
    sandbox.start("outer");
    let outcome = support::outcome(connection);
    assert_eq!((outcome.stdout.as_str(), outcome.status.code), ("inner\n77\ninner\n77\n", 0), "{outcome:?}");
}

#[test]
fn without_a_view_of_its_own_a_container_sees_the_groups_and_cannot_change_them() {
    let sandbox = Sandbox::new();
    let group = sandbox.cgroup.join("c1");
    // Of v1 it is its own part that is seen, as with runc.
    let look = match Hierarchies::detect().expect("find the hierarchies").version() {
        Version::V2 => format!("test -d /sys/fs/cgroup{}", group.display()),
        Version::V1 { .. } => "test -e /sys/fs/cgroup/pids/pids.max".to_owned(),
    };
    let command = format!(
        "{look} && echo seen; d=$(find /sys/fs/cgroup -name cgroup.procs | head -1); \
         mkdir ${{d%/*}}/new; echo 0 >$d"
    );
    let outcome = sandbox.run("c1", shell(&command));
    assert_eq!(outcome.stdout, "seen\n", "{outcome:?}");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
}
