//! Containers as manifests write them, in; what the runtime is told, out.

use super::*;
use serde_json::json;

fn spec(pod_security: serde_json::Value, container: serde_json::Value) -> Result<ContainerConfig, SpecError> {
    spec_of("daemon", Path::new("/profiles"), pod_security, container)
}

fn spec_of(
    image_user: &str,
    seccomp_directory: &Path,
    pod_security: serde_json::Value,
    container: serde_json::Value,
) -> Result<ContainerConfig, SpecError> {
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("busybox");
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"securityContext": pod_security, "containers": [container]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let context = Context {
        pod: &pod,
        attempt: 2,
        target: None,
        env: Environment::from([
            ("NAME".to_owned(), "value".to_owned()),
            ("MEGABYTE".to_owned(), "x".repeat(1 << 20)),
        ]),
        volumes: &BTreeMap::from([(
            "data".to_owned(),
            Prepared { path: "/pods/u/data".into(), ..Prepared::default() },
        )]),
        hosts: PathBuf::from("/pods/u/etc-hosts"),
        termination_message: PathBuf::from("/pods/u/message"),
        log: PathBuf::from("/pods/u/2.log"),
        image_user,
        node_memory: 1 << 30,
        seccomp_directory,
        storage_limits: true,
    };
    container_spec(&context, &pod.spec.as_ref().expect("a spec").containers[0])
}

#[test]
fn the_command_replaces_the_entry_point_and_the_arguments_the_command() {
    let found = spec(json!({}), json!({"command": ["run", "$(NAME)"], "args": ["$(NONE)"]})).expect("valid");
    assert_eq!(found.command, Some(vec!["run".to_owned(), "value".to_owned()]));
    assert_eq!(found.args, Some(vec!["$(NONE)".to_owned()]));
    let found = spec(json!({}), json!({"args": ["only"]})).expect("valid");
    assert_eq!((found.command, found.args), (None, Some(vec!["only".to_owned()])));
}

#[test]
fn a_command_that_no_program_could_be_started_with_is_refused() {
    let often = "$(MEGABYTE)".repeat(100_000);
    let refused = |container| spec(json!({}), container).expect_err("it is too large").to_string();
    let expected = "command and args are larger than 2097152 bytes, what $(NAME) stands for included";
    assert_eq!(refused(json!({"args": [often]})), expected);
    assert_eq!(refused(json!({"command": vec!["$(MEGABYTE)"; 100_000]})), expected);
    // Together they count.
    assert_eq!(refused(json!({"command": ["$(MEGABYTE)"], "args": ["$(MEGABYTE)"]})), expected);
    let fits = spec(json!({}), json!({"args": ["$(MEGABYTE)"]})).expect("it fits");
    assert_eq!(fits.args.expect("arguments")[0].len(), 1 << 20);
    let mount = json!({"name": "data", "mountPath": "/d", "subPathExpr": "$(MEGABYTE)"});
    assert_eq!(
        refused(json!({"volumeMounts": [mount]})),
        "subPathExpr for volumeMount \"data\" of container \"c\" is longer than 4096 bytes, what $(NAME) stands for included"
    );
}

#[test]
fn an_instance_says_whose_it_is() {
    let found = spec(json!({}), json!({})).expect("valid");
    let pod = (found.pod.name.as_str(), found.pod.namespace.as_str(), found.pod.uid.as_str());
    assert_eq!((pod, found.name.as_str(), found.attempt), (("p", "n", "u"), "c", 2));
}

#[track_caller]
fn check_user(pod: serde_json::Value, container: serde_json::Value, expected: Result<Option<&str>, &str>) {
    match (spec(pod, json!({"securityContext": container})), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found.user.as_deref(), expected),
        (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected),
        (found, expected) => panic!("found {found:?}, expected {expected:?}"),
    }
}

#[test]
fn the_containers_user_goes_over_the_pods_over_the_images() {
    check_user(json!({}), json!({}), Ok(None));
    check_user(json!({"runAsUser": 10}), json!({}), Ok(Some("10")));
    check_user(json!({"runAsUser": 10, "runAsGroup": 20}), json!({"runAsUser": 11}), Ok(Some("11:20")));
    check_user(json!({}), json!({"runAsGroup": 20}), Ok(Some("daemon:20")));
}

#[test]
fn a_container_that_must_not_be_root_is_not_started_as_root() {
    check_user(json!({"runAsNonRoot": true, "runAsUser": 10}), json!({}), Ok(Some("10")));
    check_user(
        json!({"runAsNonRoot": true}),
        json!({"runAsUser": 0}),
        Err("container has runAsNonRoot and image will run as root"),
    );
    check_user(
        json!({"runAsNonRoot": true}),
        json!({}),
        Err(
            "container has runAsNonRoot and image has non-numeric user (daemon), cannot verify user is non-root",
        ),
    );
}

#[test]
fn volumes_are_mounted_from_where_they_were_prepared() {
    let found =
        spec(json!({}), json!({"volumeMounts": [{"name": "data", "mountPath": "/d", "readOnly": true}]}));
    let mounts = found.expect("valid").mounts;
    assert_eq!((mounts[0].container_path.as_str(), mounts[0].read_only), ("/d", true));
    assert_eq!(mounts[0].host_path, Path::new("/pods/u/data"));
    let own: Vec<&str> = mounts[1..].iter().map(|mount| mount.container_path.as_str()).collect();
    assert_eq!(own, ["/etc/hosts", "/dev/termination-log"]);

    let missing = spec(json!({}), json!({"volumeMounts": [{"name": "none", "mountPath": "/d"}]}));
    assert_eq!(
        missing.expect_err("no such volume").to_string(),
        "volumeMounts names the volume \"none\", which is not prepared"
    );
}

#[test]
fn numbers_that_are_no_users_or_groups_are_refused() {
    for id in [-1, 2_147_483_648_i64, 4_294_967_295, 4_294_967_296, i64::MAX] {
        for name in ["runAsUser", "runAsGroup", "fsGroup"] {
            let found = spec(json!({name: id}), json!({}));
            assert!(matches!(found, Err(SpecError::IdRange { .. })), "{name} {id}: {found:?}");
        }
        let found = spec(json!({"supplementalGroups": [1, id]}), json!({}));
        assert!(matches!(found, Err(SpecError::IdRange { .. })), "{id}: {found:?}");
        let found = spec(json!({}), json!({"securityContext": {"runAsUser": id}}));
        assert!(matches!(found, Err(SpecError::IdRange { .. })), "{id}: {found:?}");
    }
    spec(json!({"runAsUser": i32::MAX, "fsGroup": 0, "supplementalGroups": [i32::MAX]}), json!({}))
        .expect("the largest number is one");
}

#[test]
fn an_image_s_user_is_not_root_only_where_it_is_a_number_that_is_not() {
    let check = |user: &str| {
        let found = spec_of(user, Path::new("/profiles"), json!({"runAsNonRoot": true}), json!({}));
        found.map(drop).map_err(|error| error.to_string())
    };
    for user in ["1", "1000", "1000:0", "2147483647"] {
        check(user).unwrap_or_else(|error| panic!("{user}: {error}"));
    }
    for user in ["", "0", "00", "+0", "-0", "0:5", "root", "0x3e8", " 1", "4294967295", "4294967296", "-1"] {
        assert!(check(user).is_err(), "{user}");
    }
}

#[test]
fn a_profile_of_the_node_is_a_small_file_below_its_directory_and_its_content_is_never_told() {
    use std::os::unix::fs::symlink;
    let node = tempfile::tempdir().expect("temporary directory");
    let profiles = node.path().join("seccomp");
    std::fs::create_dir_all(profiles.join("team")).expect("make directories");
    std::fs::write(node.path().join("shadow"), "root:secret:1").expect("write");
    std::fs::write(profiles.join("team/good.json"), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).expect("write");
    std::fs::write(profiles.join("text"), "root:secret:1").expect("write");
    std::fs::write(profiles.join("long"), vec![b' '; (1 << 20) + 1]).expect("write");
    symlink(node.path().join("shadow"), profiles.join("link")).expect("link");
    symlink("/dev/zero", profiles.join("zero")).expect("link");
    let check = |name: &str| {
        let profile = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": name}});
        spec_of("daemon", &profiles, profile, json!({}))
    };
    let found = check("team/good.json").expect("a good profile");
    assert_eq!(found.security.seccomp, Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned()));
    let outside = node.path().join("shadow");
    for name in [
        "/etc/shadow",
        "../shadow",
        "/dev/zero",
        "link",
        "zero",
        "long",
        "text",
        "team",
        "missing",
        "",
        outside.to_str().expect("text"),
    ] {
        let error = check(name).expect_err(name);
        let message = base::error::chain(&error).to_string();
        assert!(!message.contains("secret") && !message.contains("root:"), "{name}: {message}");
    }
}

#[test]
fn a_container_is_under_the_profile_that_it_asks_for() {
    let of = |pod: serde_json::Value, own: serde_json::Value| {
        spec(pod, json!({"securityContext": own})).expect("valid").security.apparmor
    };
    let field = |kind: &str| json!({"appArmorProfile": {"type": kind, "localhostProfile": "mine"}});
    assert_eq!(of(json!({}), json!({})), AppArmor::Default);
    assert_eq!(of(field("RuntimeDefault"), json!({})), AppArmor::RuntimeDefault);
    assert_eq!(of(field("Localhost"), json!({})), AppArmor::Profile("mine".to_owned()));
    assert_eq!(of(field("Localhost"), field("Unconfined")), AppArmor::Unconfined);
    // Docker's rule and containerd's: a privileged container has the default profile on no account.
    assert_eq!(of(field("RuntimeDefault"), json!({"privileged": true})), AppArmor::Default);
}

#[test]
fn procfs_stays_masked_where_the_users_are_the_host_s_and_groups_are_those_that_are_named() {
    let unmasked = spec(json!({}), json!({"securityContext": {"procMount": "Unmasked"}})).expect("valid");
    assert!(!unmasked.security.unmasked);
    assert!(!spec(json!({}), json!({})).expect("valid").strict_groups);
    let strict = json!({"supplementalGroupsPolicy": "Strict", "supplementalGroups": [7]});
    let strict = spec(strict, json!({})).expect("valid");
    assert_eq!((strict.strict_groups, strict.groups), (true, vec!["7".to_owned()]));
}

#[test]
fn limits_of_storage_are_those_of_the_runtime_or_are_told() {
    let limits = json!({"resources": {"limits": {"ephemeral-storage": "10Mi"}}});
    let found = spec(json!({}), limits.clone()).expect("valid");
    assert_eq!(found.storage_limit, Some(10 << 20));
    assert_eq!(spec(json!({}), json!({})).expect("valid").storage_limit, None);
    let mut container = limits;
    container["name"] = json!("c");
    let pod: PodSpec = serde_json::from_value(json!({
        "containers": [container],
        "volumes": [
            {"name": "disk", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "memory", "emptyDir": {"sizeLimit": "1Mi", "medium": "Memory"}},
        ],
    }))
    .expect("a spec");
    assert_eq!(unlimited_storage(&pod, true), None);
    let told = unlimited_storage(&pod, false).expect("a sentence");
    assert!(told.ends_with("here: ephemeral-storage of container \"c\""), "{told}");
}
