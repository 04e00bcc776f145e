//! The API's verbs, as the client uses them.

use kubernetes_tests::{Cluster, IMAGE};

const SETTINGS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {tier: front}}
data: {colour: green, size: "4"}
"#;

#[test]
fn applying_again_changes_only_what_changed() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("applying");
    assert_eq!(space.apply(SETTINGS), "configmap/settings created");
    assert_eq!(space.apply(SETTINGS), "configmap/settings unchanged");
    space.ok(&["annotate", "configmap", "settings", "note=by-hand"]);
    let changed = SETTINGS.replace("green", "blue").replace(", size: \"4\"", "");
    assert_eq!(space.apply(&changed), "configmap/settings configured");
    assert_eq!(space.field("configmap/settings", "{.data}"), r#"{"colour":"blue"}"#);
    assert_eq!(space.field("configmap/settings", "{.metadata.annotations.note}"), "by-hand");
    let shown = space.kubectl_with(SETTINGS, &["diff", "-f", "-"]);
    assert!(shown.code == 1 && shown.stdout.contains("+  colour: green"), "{shown:?}");
}

#[test]
fn fields_of_another_manager_are_taken_only_by_force() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("managers");
    let apply = |manager: &str, colour: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let text = SETTINGS.replace("green", colour);
        space.kubectl_with(&text, &[&["apply", "--server-side", &manager, "-f", "-"], more].concat())
    };
    assert_eq!(apply("one", "green", &[]).code, 0);
    let refused = apply("two", "blue", &[]);
    assert!(refused.code != 0, "{refused:?}");
    assert!(refused.stderr.contains(r#"conflict with "one""#), "{refused:?}");
    assert!(refused.stderr.contains(".data.colour"), "{refused:?}");
    assert_eq!(space.field("configmap/settings", "{.data.colour}"), "green");
    assert_eq!(apply("two", "blue", &["--force-conflicts"]).code, 0);
    assert_eq!(space.field("configmap/settings", "{.data.colour}"), "blue");
}

#[test]
fn each_kind_of_patch_does_what_it_says() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("patches");
    space.ok(&["create", "deployment", "web", "--image=nothing:1", "--replicas=0"]);
    let patch =
        |kind: &str, text: &str| space.ok(&["patch", "deployment", "web", "--type", kind, "-p", text]);
    let images = "{.spec.template.spec.containers[*].image}";
    patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}"#);
    assert_eq!(space.field("deployment/web", images), "side:1 nothing:1", "a list is merged by its key");
    patch("json", r#"[{"op":"remove","path":"/spec/template/spec/containers/0"}]"#);
    assert_eq!(space.field("deployment/web", images), "nothing:1");
    patch("merge", r#"{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"only:1"}]}}}}"#);
    assert_eq!(space.field("deployment/web", images), "only:1", "a list is replaced");
    space.fails_with(
        "",
        &[
            "patch",
            "deployment",
            "web",
            "--type=json",
            "-p",
            r#"[{"op":"test","path":"/spec/replicas","value":9}]"#,
        ],
        "",
    );
}

#[test]
fn an_update_of_an_old_version_is_refused() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("stale");
    space.apply(SETTINGS);
    let old = space.ok(&["get", "configmap", "settings", "-o", "json"]);
    space.ok(&["label", "configmap", "settings", "tier=back", "--overwrite"]);
    space.fails_with(&old, &["replace", "-f", "-"], "the object has been modified");
    space.fails_with(SETTINGS, &["create", "-f", "-"], r#"configmaps "settings" already exists"#);
}

#[test]
fn wrong_objects_are_refused_with_the_field_at_fault() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("wrong");
    let apply = ["apply", "-f", "-"];
    space.fails_with(&SETTINGS.replace("\ndata:", "\ndada:"), &apply, r#"unknown field "dada""#);
    space.fails_with(&SETTINGS.replace("name: settings", "name: Not_A_Name"), &apply, "metadata.name");
    let pod =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c"}]}}"#;
    space.fails_with(pod, &apply, "spec.containers[0].image");
    space.fails_with("", &["get", "confusions"], r#"the server doesn't have a resource type "confusions""#);
    assert_eq!(space.ok(&["get", "pods", "-o", "name"]), "");
}

#[test]
fn a_dry_run_changes_nothing() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("dry");
    let said = space.ok_with(SETTINGS, &["apply", "--dry-run=server", "-f", "-"]);
    assert_eq!(said, "configmap/settings created (server dry run)");
    space.fails_with("", &["get", "configmap", "settings"], "not found");
}

#[test]
fn explain_describes_fields() {
    let cluster = Cluster::shared();
    let said = cluster.ok(&["explain", "deployment.spec.replicas"]);
    assert!(said.contains("FIELD: replicas <integer>") && said.contains("VERSION:    v1"), "{said}");
    let listed = cluster.ok(&["api-resources", "--no-headers"]);
    for name in ["deployments", "pods", "endpointslices", "leases"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{name} is missing in {listed}");
    }
}

#[test]
fn labels_and_fields_select() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("selecting");
    for (name, labels) in [("a", "tier=front,zone=x"), ("b", "tier=back,zone=x"), ("c", "tier=back,zone=y")] {
        space.ok(&["create", "configmap", name]);
        space.ok(&[&["label", "configmap", name][..], &labels.split(',').collect::<Vec<_>>()].concat());
    }
    for (selector, wanted) in [
        ("tier=back", "b c"),
        ("tier!=back,zone", "a"),
        ("zone in (x),tier notin (front)", "b"),
        ("!tier,!kubernetes.io/x", "kube-root-ca.crt"),
    ] {
        testkit::wait_until(selector, || {
            let names =
                space.ok(&["get", "configmaps", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"]);
            if names == wanted { Ok(()) } else { Err(names) }
        });
    }
    let by_field = space.ok(&["get", "configmaps", "--field-selector=metadata.name=b", "-o", "name"]);
    assert_eq!(by_field, "configmap/b");
    let in_pieces = space.ok(&["get", "configmaps", "--chunk-size=1", "-l", "tier", "-o", "name"]);
    assert_eq!(in_pieces, "configmap/a\nconfigmap/b\nconfigmap/c");
}

#[test]
fn a_watch_sees_every_change_in_order() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("watching");
    space.apply(SETTINGS);
    let watch = space.running(&[
        "get",
        "configmaps",
        "--watch",
        "--output-watch-events",
        "-l",
        "tier=front",
        "-o",
        "jsonpath={.type} {.object.metadata.name} {.object.data.colour}{\"\\n\"}",
    ]);
    watch.wait_for("ADDED settings green");
    space.ok(&["patch", "configmap", "settings", "-p", r#"{"data":{"colour":"blue"}}"#]);
    watch.wait_for("MODIFIED settings blue");
    space.ok(&["label", "configmap", "settings", "tier=back", "--overwrite"]);
    watch.wait_for("DELETED settings");
    space.ok(&["label", "configmap", "settings", "tier=front", "--overwrite"]);
    watch.wait_for("DELETED settings blue\nADDED settings blue");
    space.ok(&["delete", "configmap", "settings"]);
    watch.wait_for("ADDED settings blue\nDELETED settings blue");
}

#[test]
fn waiting_ends_with_what_is_waited_for() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("waiting");
    space.ok(&["create", "configmap", "flag", "--from-literal=state=off"]);
    let wait = space.running(&["wait", "--for=jsonpath={.data.state}=on", "configmap/flag", "--timeout=30s"]);
    space.ok(&["patch", "configmap", "flag", "-p", r#"{"data":{"state":"on"}}"#]);
    assert_eq!(wait.finish(), (0, "configmap/flag condition met\n".to_owned()));
    let wait = space.running(&["wait", "--for=delete", "configmap/flag", "--timeout=30s"]);
    space.ok(&["delete", "configmap", "flag"]);
    assert_eq!(wait.finish().0, 0);
}

#[test]
fn deleting_a_namespace_removes_everything_in_it() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("going");
    space.apply(SETTINGS);
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "1000"]}}]
"#
    ));
    space.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    assert!(!space.containers().is_empty());
    cluster.ok(&["delete", "namespace", "going", "--timeout=30s"]);
    for kinds in ["configmaps", "deployments,replicasets,pods"] {
        assert_eq!(space.ok(&["get", kinds, "-o", "name"]), "");
    }
    // Without a time of grace the API forgets a pod before its containers have gone.
    testkit::wait_until("the containers to be gone", || match space.containers() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    space.fails_with(SETTINGS, &["create", "-f", "-"], r#"namespaces "going" not found"#);
}

#[test]
fn what_is_owned_goes_with_its_owner_unless_it_is_orphaned() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("owners");
    for (owner, cascade, stays) in
        [("a", "background", false), ("b", "foreground", false), ("c", "orphan", true)]
    {
        space.ok(&["create", "configmap", owner]);
        let uid = space.field(&format!("configmap/{owner}"), "{.metadata.uid}");
        let owned = format!("{owner}-owned");
        space.apply(&format!(
            r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: {owned}
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: {owner}, uid: {uid}, blockOwnerDeletion: true}}]
"#
        ));
        space.ok(&["delete", "configmap", owner, &format!("--cascade={cascade}"), "--timeout=30s"]);
        if stays {
            assert_eq!(space.field(&format!("configmap/{owned}"), "{.metadata.ownerReferences}"), "");
        } else {
            space.ok(&["wait", "--for=delete", &format!("configmap/{owned}"), "--timeout=30s"]);
        }
    }
}

#[test]
fn an_object_with_a_finalizer_waits_for_it() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("finalizers");
    space.apply(&SETTINGS.replace("metadata: {", "metadata: {finalizers: [example.com/hold], "));
    space.ok(&["delete", "configmap", "settings", "--wait=false"]);
    assert_ne!(space.field("configmap/settings", "{.metadata.deletionTimestamp}"), "");
    space.ok(&[
        "patch",
        "configmap",
        "settings",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    space.fails_with("", &["get", "configmap", "settings"], r#"configmaps "settings" not found"#);
}
