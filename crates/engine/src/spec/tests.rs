use super::*;
use crate::container::{NamespaceMode, Resources, Security};

fn resolved() -> ResolvedSpec {
    ResolvedSpec { args: vec!["true".to_owned()], hostname: "box".to_owned(), ..ResolvedSpec::default() }
}

#[track_caller]
fn generated(spec: &ContainerSpec, around: Surroundings) -> Spec {
    generate(spec, &resolved(), around).expect("a good specification").0
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[track_caller]
fn check_capabilities(add: &[&str], drop: &[&str], has: &[&str], lacks: &[&str]) {
    let security = Security { cap_add: strings(add), cap_drop: strings(drop), ..Security::default() };
    let names = capability_names(&security).expect("known names");
    for name in has {
        assert!(names.contains(&(*name).to_owned()), "{name} is missing in {names:?}");
    }
    for name in lacks {
        assert!(!names.contains(&(*name).to_owned()), "{name} is in {names:?}");
    }
}

#[test]
fn capabilities_are_the_default_ones_with_what_is_added_and_dropped() {
    check_capabilities(&[], &[], &["CAP_CHOWN"], &["CAP_SYS_ADMIN"]);
    check_capabilities(&["net_admin"], &["CAP_CHOWN"], &["CAP_NET_ADMIN"], &["CAP_CHOWN"]);
    check_capabilities(&["ALL"], &["SYS_ADMIN"], &["CAP_NET_ADMIN"], &["CAP_SYS_ADMIN"]);
    check_capabilities(&["SYS_TIME"], &["ALL"], &["CAP_SYS_TIME"], &["CAP_CHOWN"]);
}

#[test]
fn an_unknown_capability_is_refused() {
    let security = Security { cap_add: strings(&["MAGIC"]), ..Security::default() };
    assert!(capability_names(&security).is_err());
}

#[test]
fn a_user_who_is_not_root_has_no_capability_in_force() {
    let around =
        Surroundings { identity: Identity { uid: 1000, ..Identity::default() }, ..Surroundings::default() };
    let process = generated(&ContainerSpec::default(), around).process.expect("a process");
    let sets = process.capabilities.expect("sets");
    assert!(sets.effective.is_empty() && !sets.bounding.is_empty());
}

#[test]
fn a_privileged_container_has_no_filter_no_masks_and_all_devices() {
    let security = Security { privileged: true, ..Security::default() };
    let spec = generated(&ContainerSpec { security, ..ContainerSpec::default() }, Surroundings::default());
    let linux = spec.linux.expect("a linux part");
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert_eq!(linux.resources.expect("resources").devices.len(), 1);
}

#[track_caller]
fn check_resources(resources: Resources, expected: &str) {
    let oci = resources_to_oci(&resources, &[]);
    assert_eq!(serde_json::to_string(&oci).expect("prints"), expected);
}

#[test]
fn limits_are_told_in_the_runtime_s_terms() {
    check_resources(Resources::default(), "{}");
    check_resources(
        Resources { memory: Some(1 << 20), ..Resources::default() },
        r#"{"memory":{"limit":1048576,"swap":2097152}}"#,
    );
    check_resources(
        Resources { nano_cpus: Some(1_500_000_000), ..Resources::default() },
        r#"{"cpu":{"quota":150000,"period":100000}}"#,
    );
    check_resources(Resources { pids: Some(10), ..Resources::default() }, r#"{"pids":{"limit":10}}"#);
}

#[test]
fn mounts_below_others_come_after_them() {
    let bind = |target: &str| PreparedMount::Bind {
        open: None,
        source: "/src".into(),
        target: target.to_owned(),
        read_only: false,
        propagation: crate::container::Propagation::Rprivate,
        recursive: true,
        writable_below: false,
    };
    let around = Surroundings { mounts: vec![bind("/data/inner"), bind("/data")], ..Surroundings::default() };
    let targets: Vec<String> = generated(&ContainerSpec::default(), around)
        .mounts
        .iter()
        .map(|mount| mount.destination.display().to_string())
        .filter(|target| target.starts_with("/data"))
        .collect();
    assert_eq!(targets, ["/data", "/data/inner"]);
}

#[test]
fn the_host_s_namespaces_are_not_named() {
    let mut spec = ContainerSpec::default();
    spec.namespaces.pid = NamespaceMode::Host;
    spec.namespaces.uts = NamespaceMode::Host;
    let generated = generated(&spec, Surroundings::default());
    let kinds: Vec<&str> =
        generated.linux.iter().flat_map(|linux| &linux.namespaces).map(|ns| ns.kind.file()).collect();
    assert_eq!(kinds, ["mnt", "ipc", "cgroup"]);
    assert_eq!(generated.hostname, None);
}

#[track_caller]
fn check_env(base: &[&str], over: &[&str], expected: &[&str]) {
    let mut env = strings(base);
    env::overlay(&mut env, &strings(over));
    assert_eq!(env, strings(expected));
}

#[test]
fn an_environment_is_changed_in_place_and_a_bare_name_removes() {
    check_env(&["A=1", "B=2"], &["A=3", "C=4"], &["A=3", "B=2", "C=4"]);
    check_env(&["A=1", "AB=2"], &["A"], &["AB=2"]);
    check_env(&["A=1", "B=2"], &["A", "C=3", "A=4", "C=5"], &["B=2", "C=5", "A=4"]);
}

#[test]
fn an_environment_of_an_image_costs_what_it_is_long() {
    // Each against each, these would be compared thousands of millions of times.
    let count = 50_000;
    let lines = |value: &str| -> Vec<String> { (0..count).map(|n| format!("N{n}={value}")).collect() };
    let mut env = lines("1");
    env::overlay(&mut env, &lines("2"));
    assert_eq!((env.len(), env[count - 1].as_str()), (count, "N49999=2"));
    env::overlay(&mut env, &(1..count).map(|n| format!("N{n}")).collect::<Vec<_>>());
    assert_eq!(env, ["N0=2"]);
}

#[track_caller]
fn check_device_access(asked: &[(&str, &str)], device: &str, expected: &str) {
    let devices = asked.iter().map(|(path, permissions)| crate::container::Device {
        host_path: (*path).to_owned(),
        container_path: (*path).to_owned(),
        permissions: (*permissions).to_owned(),
    });
    let resources = Resources { devices: devices.collect(), ..Resources::default() };
    let found = runtime::spec::LinuxDevice {
        path: device.into(),
        kind: "c".to_owned(),
        major: 10,
        minor: 200,
        ..runtime::spec::LinuxDevice::default()
    };
    let around = Surroundings { devices: vec![found], ..Surroundings::default() };
    let spec = generated(&ContainerSpec { resources, ..ContainerSpec::default() }, around);
    let rules = spec.linux.and_then(|linux| linux.resources).expect("resources").devices;
    let rule = rules.iter().find(|rule| rule.minor == Some(200)).expect("a rule for the device");
    assert_eq!(rule.access.as_deref(), Some(expected), "{asked:?}");
}

#[test]
fn a_device_has_the_permissions_that_were_asked_for_it_and_not_those_of_one_that_is_named_alike() {
    check_device_access(&[("/dev/sd", "r"), ("/dev/sda", "rw")], "/dev/sda", "rw");
    check_device_access(&[("/dev/sda", "rwm"), ("/dev/sda1", "r")], "/dev/sda1", "r");
    check_device_access(&[("/dev/sda1", "r"), ("/dev/sda", "rwm")], "/dev/sda1", "r");
    check_device_access(&[("/dev/snd", "r")], "/dev/snd/timer", "r");
    check_device_access(&[("/dev/snd", "rwm"), ("/dev/snd/timer", "r")], "/dev/snd/timer", "r");
    check_device_access(&[("/dev/snd/", "rw")], "/dev/snd/timer", "rw");
}

#[track_caller]
fn check_profile(text: &str, privileged: bool, expected: &str) {
    let seccomp = crate::container::Seccomp::Profile(text.to_owned());
    let security = Security { privileged, seccomp, ..Security::default() };
    let spec = ContainerSpec { security, ..ContainerSpec::default() };
    let told = match generate(&spec, &resolved(), Surroundings::default()) {
        Ok((spec, _)) => {
            let filter = spec.linux.and_then(|linux| linux.seccomp).expect("a filter");
            filter.syscalls.iter().flat_map(|rule| rule.names.clone()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(told, expected);
}

#[test]
fn a_profile_in_docker_s_format_is_for_the_container_s_own_capabilities() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW"},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
    check_profile(text, false, "read");
    check_profile(text, true, "read mount");
    check_profile("{", false, "Decoding seccomp profile failed");
}

/// Type and options of the mount at `target`.
#[track_caller]
fn check_mount(spec: &ContainerSpec, around: Surroundings, target: &str, expected: &str) {
    let mounts = generated(spec, around).mounts;
    let mount = mounts.iter().find(|mount| mount.destination.to_str() == Some(target)).expect("a mount");
    let text = format!("{} {}", mount.kind.as_deref().unwrap_or_default(), mount.options.join(","));
    assert_eq!(text, expected);
}

#[test]
fn a_container_in_the_host_s_network_has_a_sysfs_without_what_the_host_has_mounted_below() {
    let around = Surroundings { host_network: true, ..Surroundings::default() };
    check_mount(&ContainerSpec::default(), around, "/sys", "sysfs nosuid,noexec,nodev,ro");
    let path = std::path::PathBuf::from("/proc/self/ns/user");
    let fd = std::fs::File::open(&path).expect("a user namespace").into();
    let joined = Joined { user: Some(runtime::held::HeldNamespace { path, fd }), ..Joined::default() };
    let around = Surroundings { host_network: true, joined, ..Surroundings::default() };
    check_mount(&ContainerSpec::default(), around, "/sys", "bind rbind,rprivate,nosuid,noexec,nodev,rro");
}

#[test]
fn a_read_only_bind_is_so_with_all_below_it_unless_that_is_not_wanted() {
    let bind = |read_only, writable_below| PreparedMount::Bind {
        open: None,
        source: "/src".into(),
        target: "/data".to_owned(),
        read_only,
        propagation: crate::container::Propagation::Rprivate,
        recursive: true,
        writable_below,
    };
    for (read_only, writable_below, option) in
        [(true, false, "rro"), (true, true, "ro"), (false, false, "rw"), (false, true, "rw")]
    {
        let around =
            Surroundings { mounts: vec![bind(read_only, writable_below)], ..Surroundings::default() };
        check_mount(&ContainerSpec::default(), around, "/data", &format!("bind rbind,rprivate,{option}"));
    }
}
