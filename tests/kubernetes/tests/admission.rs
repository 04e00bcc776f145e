//! Pods that ask for what this node would have to leave out are not run, and say why.

use kubernetes_tests::{Cluster, IMAGE};

/// A pod of one container; `container` and `pod` are further fields.
fn manifest(name: &str, container: &str, pod: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{
            "terminationGracePeriodSeconds": 0, {pod}
            "containers": [{{"name": "main", "image": "{IMAGE}", {container} "command": ["sleep", "1000"]}}]}}}}"#
    )
}

#[test]
fn what_would_be_left_out_is_refused_by_the_node_with_its_reason() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("admission");
    let security = |text: &str| format!(r#""securityContext": {{{text}}},"#);
    let refused = [
        ("windows", security(r#""windowsOptions": {"runAsUserName": "x"}"#), "", "WindowsOptions"),
        ("runtime", String::new(), r#""runtimeClassName": "gvisor","#, "RuntimeClass"),
        ("foreign", String::new(), r#""os": {"name": "windows"},"#, "PodOSNotSupported"),
    ];
    // It is known, but there is one runtime only.
    let class = r#"{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}"#;
    space.apply(class);
    for (name, container, pod, reason) in &refused {
        space.apply(&manifest(name, container, pod));
        space.wait_for(
            &format!("pod/{name}"),
            "{.status.phase}/{.status.reason}",
            &format!("Failed/{reason}"),
        );
        let message = space.field(&format!("pod/{name}"), "{.status.message}");
        assert!(message.starts_with("Pod was rejected: "), "{message}");
    }
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    if !enabled {
        for kind in ["RuntimeDefault", "Localhost"] {
            let name = kind.to_lowercase();
            let localhost = if kind == "Localhost" { r#", "localhostProfile": "mine""# } else { "" };
            let profile = security(&format!(r#""appArmorProfile": {{"type": "{kind}"{localhost}}}"#));
            space.apply(&manifest(&name, &profile, ""));
            let pod = format!("pod/{name}");
            space.wait_for(&pod, "{.status.phase}/{.status.reason}", "Failed/AppArmor");
            let message = space.field(&pod, "{.status.message}");
            assert!(
                message.ends_with("Cannot enforce AppArmor: AppArmor is not enabled on the host"),
                "{message}"
            );
        }
    }
    assert!(space.containers().is_empty(), "nothing of them was started");
    let unmasked = manifest("bad", &security(r#""procMount": "Unmasked""#), "");
    space.fails_with(&unmasked, &["apply", "-f", "-"], "`hostUsers` must be false to use `Unmasked`");
    let profile = manifest("bad", &security(r#""appArmorProfile": {"type": "Localhost"}"#), "");
    space.fails_with(&profile, &["apply", "-f", "-"], "must be set when AppArmor type is Localhost");
}

#[test]
fn labels_of_a_kernel_that_has_none_are_not_missed_and_it_is_told() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("labels");
    let labels = r#""securityContext": {"seLinuxOptions": {"level": "s0:c1"}},"#;
    space.apply(&manifest("box", labels, ""));
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        space.wait_for("pod/box", "{.status.phase}/{.status.reason}", "Failed/SELinux");
        return;
    }
    space.wait("condition=Ready", &["pod/box"]);
    let output = "jsonpath={range .items[*]}{.type} {.reason} {.message}{\"\\n\"}{end}";
    let told = "Warning SELinuxNotEnforced seLinuxOptions are not enforced here: ";
    testkit::wait_until(told, || {
        let events = space.ok(&["get", "events", "-o", output]);
        if events.lines().any(|line| line.starts_with(told)) { Ok(()) } else { Err(events) }
    });
}

#[test]
fn what_is_done_is_seen_inside() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("confined");
    let unconfined = r#""securityContext": {"appArmorProfile": {"type": "Unconfined"}},"#;
    let pod = r#""hostname": "box", "subdomain": "web", "setHostnameAsFQDN": true,
        "securityContext": {"supplementalGroups": [7], "supplementalGroupsPolicy": "Strict"},"#;
    space.apply(&manifest("box", unconfined, pod));
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["hostname"]), "box.web.confined.svc.cluster.local");
    let groups = space.exec("box", &["id", "-G"]);
    let mut groups: Vec<&str> = groups.split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, ["0", "7"]);
}
