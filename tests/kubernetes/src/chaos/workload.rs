//! What runs in the storm, and what it is changed to.

use serde_json::{Value, json};

use super::{Api, IMAGE, NAMESPACE};

/// Each Job has so many pods that succeed.
pub(super) const COMPLETIONS: u64 = 4;

/// What the objects are to say in the end.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Replicas of the StatefulSet.
    pub(super) members: u64,
    /// Replicas of the Deployment.
    pub(super) webs: u64,
    /// What the templates are marked with.
    pub(super) versions: [u64; 3],
    /// The number of the Job.
    pub(super) job: u64,
}

impl Wanted {
    pub(super) fn new() -> Self {
        Self { members: 2, webs: 2, versions: [0; 3], job: 0 }
    }

    /// Each object that has a specification, by the name of its collection, with what it is changed to.
    pub(super) fn changes(&self) -> [(&'static str, &'static str, Value); 3] {
        let [members, webs, logs] = self.versions;
        [
            ("statefulsets", "db", marked(json!({"spec": {"replicas": self.members}}), members)),
            ("deployments", "web", marked(json!({"spec": {"replicas": self.webs}}), webs)),
            ("daemonsets", "log", marked(json!({"spec": {}}), logs)),
        ]
    }

    /// The Job of this number.
    pub(super) fn job(&self) -> Value {
        json!({
            "metadata": {"name": self.job_name()},
            "spec": {
                "completions": COMPLETIONS,
                "parallelism": 2,
                "completionMode": "Indexed",
                "backoffLimitPerIndex": 100,
                "template": {"metadata": {"labels": {"app": "farm"}}, "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 0,
                    "containers": [container(json!(["sh", "-c", "sleep 1"]))],
                }},
            },
        })
    }

    pub(super) fn job_name(&self) -> String {
        format!("farm-{}", self.job)
    }
}

pub(super) fn namespace() -> Value {
    json!({"metadata": {"name": NAMESPACE}})
}

/// The path of an object of the workload, or of its collection where the name is empty.
pub(super) fn path(plural: &str, name: &str) -> String {
    let group = match plural {
        "statefulsets" | "deployments" | "daemonsets" | "replicasets" => "apis/apps/v1",
        "jobs" | "cronjobs" => "apis/batch/v1",
        "endpointslices" => "apis/discovery.k8s.io/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/{NAMESPACE}/{plural}/{name}").trim_end_matches('/').to_owned()
}

pub(super) fn foreground() -> Value {
    json!({"propagationPolicy": "Foreground"})
}

/// All objects as they are made first, each with its collection.
pub(super) fn objects(wanted: &Wanted) -> Vec<(&'static str, Value)> {
    vec![
        ("services", service("peers", "db", json!({"clusterIP": "None"}))),
        ("services", service("web", "web", json!({}))),
        ("statefulsets", members(wanted.members)),
        ("deployments", webs(wanted.webs)),
        ("daemonsets", logs()),
        ("jobs", wanted.job()),
        ("cronjobs", tick()),
    ]
}

/// Deletes the workload, with its claims, and the namespace.
pub(super) fn remove_all(api: &Api) {
    for plural in ["cronjobs", "jobs", "statefulsets", "deployments", "daemonsets"] {
        for object in api.list(&path(plural, "")) {
            api.insist("DELETE", &path(plural, super::text(&object, "/metadata/name")), &foreground());
        }
    }
    for claim in api.list(&path("persistentvolumeclaims", "")) {
        let name = super::text(&claim, "/metadata/name");
        api.insist("DELETE", &path("persistentvolumeclaims", name), &Value::Null);
    }
    api.insist("DELETE", &format!("/api/v1/namespaces/{NAMESPACE}"), &Value::Null);
}

fn marked(mut change: Value, version: u64) -> Value {
    change["spec"]["template"] = json!({"metadata": {"annotations": {"version": version.to_string()}}});
    change
}

fn container(command: Value) -> Value {
    json!({"name": "main", "image": IMAGE, "command": command})
}

fn template(app: &str, container: Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

fn service(name: &str, app: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": spec});
    service["spec"]["selector"] = json!({"app": app});
    service["spec"]["ports"] = json!([{"port": 8080}]);
    service
}

/// Each writes into its claim, and holds a lock there as long as it lives.
fn members(replicas: u64) -> Value {
    let mut main = container(json!(["witness", "/claim"]));
    main["env"] = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]);
    main["volumeMounts"] = json!([{"name": "claim", "mountPath": "/claim"}]);
    json!({"metadata": {"name": "db"}, "spec": {
        "serviceName": "peers",
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", main),
        "volumeClaimTemplates": [{"metadata": {"name": "claim"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}},
        }}],
    }})
}

/// Each answers with its name.
fn webs(replicas: u64) -> Value {
    let script = "mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    let mut main = container(json!(["sh", "-c", script]));
    main["readinessProbe"] = json!({"periodSeconds": 1, "httpGet": {"path": "/", "port": 8080}});
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template("web", main),
    }})
}

fn logs() -> Value {
    json!({"metadata": {"name": "log"}, "spec": {
        "selector": {"matchLabels": {"app": "log"}},
        "template": template("log", container(json!(["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"]))),
    }})
}

fn tick() -> Value {
    json!({"metadata": {"name": "tick"}, "spec": {
        "schedule": "* * * * *",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": {"metadata": {"labels": {"app": "tick"}}, "spec": {
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 0,
            "containers": [container(json!(["true"]))],
        }}}},
    }})
}
