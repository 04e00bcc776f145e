use model::Object;
use serde_json::{Value, json};

use crate::resource;

fn defaulted(object: Value) -> Value {
    let mut object = Object::from_value(object).expect("an object");
    let resource = resource(object.api_version(), object.kind());
    resource.apply_defaults(&mut object).expect("there is room");
    let once = object.value().clone();
    resource.apply_defaults(&mut object).expect("there is room");
    assert_eq!(object.value(), &once, "applying twice changes something");
    once
}

#[test]
fn a_deployment_is_filled_in() {
    let deployment = defaulted(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{
            "name": "a", "image": "nginx",
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
        }]}}},
    }));
    let spec = &deployment["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!((&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]), (&json!(10), &json!(600)));
    assert_eq!(
        spec["template"]["spec"],
        json!({
            "containers": [{
                "name": "a", "image": "nginx", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        })
    );
}

#[test]
fn explicit_zeros_stay_where_they_count() {
    let deployment = defaulted(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "template": {"spec": {"terminationGracePeriodSeconds": 0}}},
    }));
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 0);
}

#[test]
fn a_pod_gets_what_templates_do_not() {
    let pod = defaulted(json!({
        "apiVersion": "v1", "kind": "Pod",
        "spec": {
            "hostNetwork": true, "serviceAccountName": "robot",
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}],
            "containers": [{
                "name": "a", "image": "a:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            }],
        },
    }));
    let spec = &pod["spec"];
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(spec["serviceAccount"], "robot");
    assert_eq!(
        spec["volumes"],
        json!([{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "defaultMode": 420}}])
    );
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"][0]["hostPort"], 80);
    assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
}

#[test]
fn a_service_is_filled_in() {
    let service =
        |spec: Value| defaulted(json!({"apiVersion": "v1", "kind": "Service", "spec": spec}))["spec"].clone();
    assert_eq!(
        service(json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]})),
        json!({
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"},
            ],
            "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
        })
    );
    assert_eq!(service(json!({"type": "NodePort"}))["externalTrafficPolicy"], "Cluster");
    assert_eq!(
        service(json!({"sessionAffinity": "ClientIP"}))["sessionAffinityConfig"],
        json!({"clientIP": {"timeoutSeconds": 10800}})
    );
    assert_eq!(service(json!({"type": "ExternalName"})).get("internalTrafficPolicy"), None);
}

#[test]
fn amounts_finer_than_a_thousandth_are_rounded_up_in_lists_of_resources() {
    let fine = json!({"cpu": "100u", "memory": "1181116006400m", "example.com/x": "1n"});
    let rounded = json!({"cpu": "1m", "memory": "1181116006400m", "example.com/x": "1m"});
    let pod = defaulted(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
        "spec": {
            "overhead": {"cpu": "1500u"},
            "initContainers": [{"name": "a", "image": "i", "resources": {"limits": fine.clone()}}],
            "containers": [{"name": "b", "image": "i", "resources": {"requests": fine.clone()}}],
        },
    }));
    let spec = &pod["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "2m"}));
    assert_eq!(spec["initContainers"][0]["resources"]["limits"], rounded);
    assert_eq!(spec["containers"][0]["resources"]["requests"], rounded);
    let node = defaulted(json!({"apiVersion": "v1", "kind": "Node", "status": {"capacity": fine}}));
    assert_eq!((&node["status"]["capacity"], &node["status"]["allocatable"]), (&rounded, &rounded));
}

#[test]
fn a_secret_takes_plain_text() {
    let secret = defaulted(json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"a": "AA==", "b": "BB=="}, "stringData": {"a": "x"},
    }));
    assert_eq!(secret["data"], json!({"a": "eA==", "b": "BB=="}));
    assert_eq!((secret.get("stringData"), &secret["type"]), (None, &json!("Opaque")));
}

#[test]
fn a_namespace_carries_its_name_as_a_label() {
    let namespace = defaulted(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "shop"}));
    assert_eq!(namespace["status"]["phase"], "Active");
}

#[test]
fn kinds_without_defaults_are_left_alone() {
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing"});
    assert_eq!(defaulted(thing.clone()), thing);
}

#[test]
fn what_is_not_said_of_the_whole_is_what_its_pods_say() {
    let template = || json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    let made = |version: &str, kind: &str, spec: Value| {
        defaulted(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}))
    };
    let controller = made("v1", "ReplicationController", json!({"template": template()}));
    assert_eq!(controller["spec"]["selector"], json!({"a": "b"}));
    assert_eq!(
        (&controller["metadata"]["labels"], &controller["spec"]["replicas"]),
        (&json!({"a": "b"}), &json!(1))
    );
    let without = made("v1", "ReplicationController", json!({}));
    assert_eq!(without["spec"], json!({"replicas": 1}), "no template is made");
    let job = made("batch/v1", "Job", json!({"template": template()}));
    assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    let mut spec = job["spec"].clone();
    spec.as_object_mut().expect("fields").remove("template");
    assert_eq!(
        spec,
        json!({
            "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
        })
    );
    let parallel =
        made("batch/v1", "Job", json!({"parallelism": 3, "backoffLimitPerIndex": 1, "podFailurePolicy": {}}));
    assert_eq!(parallel["spec"].get("completions"), None);
    assert_eq!(parallel["spec"]["backoffLimit"], 2_147_483_647);
    assert_eq!(parallel["spec"]["podReplacementPolicy"], "Failed");
}

#[test]
fn sets_of_pods_are_filled_in() {
    let made =
        |kind: &str, spec: Value| defaulted(json!({"apiVersion": "apps/v1", "kind": kind, "spec": spec}));
    let daemons = made("DaemonSet", json!({}));
    assert_eq!(
        daemons["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(daemons["status"]["numberReady"], 0);
    let claim =
        json!({"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": "100.0001m"}}}});
    let rolling = json!({"rollingUpdate": {"maxUnavailable": 2}});
    let set = made("StatefulSet", json!({"volumeClaimTemplates": [claim], "updateStrategy": rolling}));
    let spec = &set["spec"];
    assert_eq!(spec["updateStrategy"], json!({"rollingUpdate": {"partition": 0}, "type": "RollingUpdate"}));
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!((&spec["podManagementPolicy"], &spec["replicas"]), (&json!("OrderedReady"), &json!(1)));
    assert_eq!(
        spec["volumeClaimTemplates"][0],
        json!({
            "metadata": {"name": "d"}, "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "spec": {"resources": {"requests": {"storage": "101m"}}, "volumeMode": "Filesystem"},
            "status": {"phase": "Pending"},
        })
    );
}

#[test]
fn limits_that_are_left_open_follow_from_others() {
    let limits = |limit: Value| {
        let object = json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [limit]}});
        defaulted(object)["spec"]["limits"][0].clone()
    };
    let filled = limits(json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}));
    assert_eq!(filled["default"], json!({"cpu": "2"}));
    assert_eq!(filled["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    let pod = json!({"type": "Pod", "max": {"cpu": "2"}});
    assert_eq!(limits(pod.clone()), pod);
}

#[test]
fn autoscalers_measure_processors_and_scale_by_what_is_usual() {
    let autoscaler = defaulted(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "spec": {"maxReplicas": 2, "behavior": {"scaleDown": {"policies": []}}},
    }));
    let spec = &autoscaler["spec"];
    assert_eq!(spec["minReplicas"], 1);
    assert_eq!(
        spec["metrics"][0]["resource"]["target"],
        json!({"type": "Utilization", "averageUtilization": 80})
    );
    assert_eq!(spec["behavior"]["scaleDown"], json!({"policies": [], "selectPolicy": "Max"}));
    assert_eq!(spec["behavior"]["scaleUp"]["policies"].as_array().map(Vec::len), Some(2));
}
