//! The unified hierarchy (cgroup v2), which hosts with v1 have beside it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use runtime::cgroup::{Cgroup, Hierarchies};
use runtime::spec::{DeviceRule, Resources};

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
