use super::*;
use crate::container::{NamespaceMode, Resources, Security};

fn resolved() -> ResolvedSpec {
    ResolvedSpec { args: vec!["true".to_owned()], hostname: "box".to_owned(), ..ResolvedSpec::default() }
}

#[track_caller]
fn generated(spec: &ContainerSpec, around: &Surroundings) -> Spec {
    generate(spec, &resolved(), around).expect("a good specification")
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
    let process = generated(&ContainerSpec::default(), &around).process.expect("a process");
    let sets = process.capabilities.expect("sets");
    assert!(sets.effective.is_empty() && !sets.bounding.is_empty());
}

#[test]
fn a_privileged_container_has_no_filter_no_masks_and_all_devices() {
    let security = Security { privileged: true, ..Security::default() };
    let spec = generated(&ContainerSpec { security, ..ContainerSpec::default() }, &Surroundings::default());
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
        source: "/src".into(),
        target: target.to_owned(),
        read_only: false,
        propagation: crate::container::Propagation::Rprivate,
        recursive: true,
    };
    let around = Surroundings { mounts: vec![bind("/data/inner"), bind("/data")], ..Surroundings::default() };
    let targets: Vec<String> = generated(&ContainerSpec::default(), &around)
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
    let generated = generated(&spec, &Surroundings::default());
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
}
