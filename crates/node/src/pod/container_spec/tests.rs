//! Containers as manifests write them, in; what the engine is told, out.

use super::*;
use serde_json::json;

fn spec(pod_security: serde_json::Value, container: serde_json::Value) -> Result<ContainerSpec, SpecError> {
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
        sandbox: SandboxId::parse(&"b".repeat(64)).expect("an id"),
        attempt: 2,
        env: vec![("NAME".to_owned(), "value".to_owned())],
        volumes: &BTreeMap::from([("data".to_owned(), PathBuf::from("/pods/u/data"))]),
        termination_message: PathBuf::from("/pods/u/message"),
        log: PathBuf::from("/pods/u/2.log"),
        image_user: "daemon",
        node_memory: 1 << 30,
        seccomp_directory: Path::new("/profiles"),
    };
    container_spec(&context, &pod.spec.as_ref().expect("a spec").containers[0])
}

#[test]
fn the_command_replaces_the_entry_point_and_the_arguments_the_command() {
    let found = spec(json!({}), json!({"command": ["run", "$(NAME)"], "args": ["$(NONE)"]})).expect("valid");
    assert_eq!(found.entrypoint, Some(vec!["run".to_owned(), "value".to_owned()]));
    assert_eq!(found.command, Some(vec!["$(NONE)".to_owned()]));
    let found = spec(json!({}), json!({"args": ["only"]})).expect("valid");
    assert_eq!((found.entrypoint, found.command), (None, Some(vec!["only".to_owned()])));
}

#[test]
fn an_instance_is_named_and_labelled_as_the_kubelet_does() {
    let found = spec(json!({}), json!({})).expect("valid");
    assert_eq!(found.name.as_deref(), Some("k8s_c_p_n_u_2"));
    assert_eq!(found.labels[labels::POD_NAME], "p");
    assert_eq!(found.labels[labels::CONTAINER_NAME], "c");
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
    assert_eq!((mounts[0].target.as_str(), mounts[0].read_only), ("/d", true));
    assert!(matches!(&mounts[0].source, MountSource::Bind { path, .. } if path == Path::new("/pods/u/data")));
    assert_eq!(mounts[1].target, "/dev/termination-log");

    let missing = spec(json!({}), json!({"volumeMounts": [{"name": "none", "mountPath": "/d"}]}));
    assert_eq!(
        missing.expect_err("no such volume").to_string(),
        "volumeMounts names the volume \"none\", which is not prepared"
    );
}
