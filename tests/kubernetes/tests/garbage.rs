//! What becomes of objects whose owners go.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[test]
fn orphans_stay_however_young_they_are() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("orphans");
    for round in 0..5 {
        let name = format!("web{round}");
        space.ok(&["create", "deployment", &name, "--image", IMAGE, "--replicas=0"]);
        let selector = format!("app={name}");
        let set = testkit::wait_until("the replica set", || {
            let set = space.ok(&["get", "replicasets", "-l", &selector, "-o", "name"]);
            if set.is_empty() { Err("none yet") } else { Ok(set) }
        });
        space.ok(&["delete", "deployment", &name, "--cascade=orphan"]);
        space.wait_for(&set, "{.metadata.ownerReferences}", "");
    }
}

#[test]
fn objects_that_own_each_other_in_a_circle_are_deleted_in_the_foreground() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("circle");
    for name in ["a", "b", "c"] {
        space.ok(&["create", "configmap", name]);
    }
    for (name, owners) in [("a", ["c"]), ("b", ["a"]), ("c", ["b"])] {
        own(&space, name, &owners);
    }
    space.ok(&["delete", "configmap", "a", "--cascade=foreground", "--timeout=30s"]);
    for name in ["b", "c"] {
        testkit::wait_until("the whole circle to go", || {
            let ran = space.kubectl(&["get", "configmap", name]);
            if ran.stderr.contains("not found") { Ok(()) } else { Err(ran) }
        });
    }
}

#[test]
fn an_object_with_another_owner_outlives_one_that_is_deleted_in_the_foreground() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("owners");
    for name in ["going", "staying", "both", "one"] {
        space.ok(&["create", "configmap", name]);
    }
    own(&space, "both", &["going", "staying"]);
    own(&space, "one", &["going"]);
    space.ok(&["delete", "configmap", "going", "--cascade=foreground", "--timeout=30s"]);
    assert_eq!(space.field("configmap/both", "{.metadata.ownerReferences[*].name}"), "staying");
    assert!(space.kubectl(&["get", "configmap", "one"]).stderr.contains("not found"));
}

/// Makes config maps the owners of another, which blocks their deletion.
#[track_caller]
fn own(space: &Namespace<'_>, name: &str, owners: &[&str]) {
    let owners: Vec<String> = owners
        .iter()
        .map(|owner| {
            let uid = space.field(&format!("configmap/{owner}"), "{.metadata.uid}");
            format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"{owner}","uid":"{uid}","blockOwnerDeletion":true}}"#
            )
        })
        .collect();
    let patch = format!(r#"{{"metadata":{{"ownerReferences":[{}]}}}}"#, owners.join(","));
    space.ok(&["patch", "configmap", name, "--type=merge", "-p", &patch]);
}
