use serde_json::json;

use super::super::policy::Level;
use super::*;

/// What is found in a pod at a level, in a version.
fn check(level: Level, minor: i64, annotations: Value, spec: Value, expected: &str) {
    let pod = Pod { annotations: annotations.as_object(), spec: &spec };
    let found = findings(Standard { level, version: Version::Minor(minor) }, &pod);
    assert_eq!(details(&found), expected, "{level} v1.{minor}: {annotations} {spec}");
}

fn baseline(minor: i64, spec: Value, expected: &str) {
    check(Level::Baseline, minor, json!({}), spec, expected);
}

/// A pod that holds to the strictest level, with these fields besides.
fn hardened(more: Value, context: Value) -> Value {
    let mut spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    for (key, value) in context.as_object().into_iter().flatten() {
        spec["containers"][0]["securityContext"][key] = value.clone();
    }
    spec
}

fn restricted(minor: i64, spec: Value, expected: &str) {
    check(Level::Restricted, minor, json!({}), spec, expected);
}

#[test]
fn a_plain_pod_is_baseline_and_lacks_what_is_restricted() {
    let plain = json!({"containers": [{"name": "c"}]});
    baseline(36, plain.clone(), "");
    check(Level::Privileged, 36, json!({}), json!({"hostPID": true}), "");
    restricted(
        36,
        plain.clone(),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
    restricted(
        7,
        plain.clone(),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
    );
    restricted(36, hardened(json!({}), json!({})), "");
    // Windows knows none of these, from the release on in which pods say that they are for it.
    let mut windows = plain;
    windows["os"] = json!({"name": "windows"});
    restricted(
        25,
        windows.clone(),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
    );
    restricted(
        8,
        windows,
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
    );
}

#[test]
fn baseline_pods_leave_the_host_alone() {
    baseline(
        0,
        json!({"hostIPC": true, "hostNetwork": true, "hostPID": true}),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
    );
    baseline(
        0,
        json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "emptyDir": {}}, {"name": "c", "hostPath": {}}]}),
        "hostPath volumes (volumes \"a\", \"c\")",
    );
    let ports = |ports: &[i64]| json!({"ports": ports.iter().map(|port| json!({"hostPort": port})).collect::<Vec<_>>()});
    let named = |name: &str, mut container: Value| {
        container["name"] = name.into();
        container
    };
    baseline(
        0,
        json!({"containers": [named("a", ports(&[9090, 80, 0])), named("b", ports(&[0]))]}),
        "hostPort (container \"a\" uses hostPorts 80, 9090)",
    );
    baseline(
        0,
        json!({
            "initContainers": [named("a", ports(&[1]))], "ephemeralContainers": [named("b", ports(&[1]))],
        }),
        "hostPort (containers \"a\", \"b\" use hostPort 1)",
    );
    let probed = json!({"containers": [{
        "name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}, "readinessProbe": {"tcpSocket": {"host": "b"}},
        "startupProbe": {"httpGet": {"host": ""}}, "lifecycle": {"preStop": {"httpGet": {"host": "a"}}},
    }]});
    baseline(
        34,
        probed.clone(),
        "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"10.0.0.1\", \"a\", \"b\")",
    );
    baseline(33, probed, "");
    let process = json!({
        "securityContext": {"windowsOptions": {"hostProcess": true}},
        "containers": [{"name": "a", "securityContext": {"windowsOptions": {"hostProcess": true}}}],
    });
    baseline(
        0,
        process,
        "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn proc_may_be_seen_whole_by_those_with_users_of_their_own() {
    let said = "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")";
    let whole = |own: bool| hardened(json!({"hostUsers": !own}), json!({"procMount": "Unmasked"}));
    baseline(34, whole(true), said);
    baseline(35, whole(true), "");
    baseline(35, whole(false), said);
    restricted(35, whole(true), said);
    restricted(34, whole(true), said);
    baseline(0, hardened(json!({}), json!({"procMount": "Default"})), "");
}

#[test]
fn sysctls_come_with_the_releases_in_which_they_became_safe() {
    let all = [
        (0, "kernel.shm_rmid_forced"),
        (0, "net.ipv4.ip_unprivileged_port_start"),
        (27, "net.ipv4.ip_local_reserved_ports"),
        (29, "net.ipv4.tcp_fin_timeout"),
        (32, "net.ipv4.tcp_wmem"),
    ];
    for (from, name) in all {
        let spec = json!({"securityContext": {"sysctls": [{"name": name}]}});
        baseline(from, spec.clone(), "");
        if from > 0 {
            baseline(from - 1, spec, &format!("forbidden sysctls ({name})"));
        }
    }
    let spec = json!({"securityContext": {"sysctls": [{"name": "net.core.somaxconn"}, {"name": "net.ipv4.tcp_notsent_lowat"}]}});
    baseline(36, spec, "forbidden sysctls (net.core.somaxconn, net.ipv4.tcp_notsent_lowat)");
}

#[test]
fn profiles_confine_no_less_than_others() {
    let spec = json!({
        "securityContext": {"appArmorProfile": {"type": "Unconfined"}},
        "containers": [{"name": "a", "securityContext": {"appArmorProfile": {"type": "Localhost"}}}],
    });
    baseline(
        0,
        spec.clone(),
        "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
    );
    check(
        Level::Baseline,
        0,
        json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined", "container.apparmor.security.beta.kubernetes.io/b": "localhost/x"}),
        spec,
        "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \
         \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
    );
    let selinux = |options: Value| json!({"containers": [{"name": "a", "securityContext": {"seLinuxOptions": options}}]});
    baseline(
        30,
        selinux(json!({"type": "container_engine_t"})),
        "seLinuxOptions (container \"a\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")",
    );
    baseline(31, selinux(json!({"type": "container_engine_t"})), "");
    baseline(
        31,
        selinux(json!({"type": "spc_t", "user": "u", "role": "r"})),
        "seLinuxOptions (container \"a\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)",
    );
    let annotated = json!({
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/a": "docker/default",
        "container.seccomp.security.alpha.kubernetes.io/b": "",
    });
    let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    check(
        Level::Baseline,
        18,
        annotated.clone(),
        two.clone(),
        "seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/b=\"\", seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")",
    );
    check(Level::Baseline, 19, annotated, two, "");
    let unconfined =
        json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}, "containers": [{"name": "a"}]});
    baseline(
        19,
        unconfined,
        "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    restricted(
        36,
        hardened(json!({}), json!({"seccompProfile": {"type": "Unconfined"}})),
        "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
}

#[test]
fn capabilities_are_the_usual_ones_or_next_to_none() {
    let added =
        |names: &[&str]| hardened(json!({}), json!({"capabilities": {"drop": ["ALL"], "add": names}}));
    baseline(
        0,
        added(&["NET_RAW", "CHOWN", "SYS_ADMIN"]),
        "non-default capabilities (container \"a\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add)",
    );
    restricted(36, added(&["NET_BIND_SERVICE"]), "");
    restricted(21, added(&["CHOWN"]), "");
    restricted(
        22,
        hardened(json!({}), json!({"capabilities": {"drop": ["KILL"], "add": ["CHOWN"]}})),
        "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must not include \"CHOWN\" in securityContext.capabilities.add)",
    );
}

#[test]
fn restricted_pods_are_nobody_special() {
    baseline(
        0,
        hardened(json!({}), json!({"privileged": true})),
        "privileged (container \"a\" must not set securityContext.privileged=true)",
    );
    let root = |own: bool| {
        hardened(
            json!({"hostUsers": !own, "securityContext": {"runAsUser": 0, "runAsNonRoot": false, "seccompProfile": {"type": "Localhost"}}}),
            json!({"runAsUser": 0}),
        )
    };
    let said = "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod and container \"a\" must not set runAsUser=0)";
    restricted(36, root(false), said);
    restricted(34, root(true), said);
    restricted(35, root(true), "");
    restricted(22, root(true), "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)");
    restricted(
        36,
        hardened(json!({}), json!({"runAsNonRoot": false})),
        "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
    );
    let volumes = json!([
        {"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "c", "image": {}}, {"name": "d"}, {"name": "e", "nfs": {}},
    ]);
    restricted(
        36,
        hardened(json!({"volumes": volumes}), json!({})),
        "restricted volume types (volumes \"a\", \"b\", \"d\", \"e\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")",
    );
    restricted(
        36,
        hardened(json!({"volumes": [{"name": "a", "iscsi": {}}]}), json!({})),
        "restricted volume types (volume \"a\" uses restricted volume type \"iscsi\")",
    );
}
