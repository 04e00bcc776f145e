//! The flow schemas that every cluster has.

use apiserver::resource::Permanent;
use serde_json::{Value, json};

use crate::flow_control::made;

const BY_USER: &str = "ByUser";
const BY_NAMESPACE: &str = "ByNamespace";
const EVERYBODY: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// All of them: those that must be as they are, and those that are there to begin with.
pub(super) fn all() -> Vec<Permanent> {
    must().into_iter().chain(suggested()).map(|(name, spec)| made(name, spec)).collect()
}

/// What the spec of one must be that nobody may change.
pub(super) fn mandatory(name: &str) -> Option<Value> {
    must().into_iter().find(|(own, _)| *own == name).map(|(_, spec)| spec)
}

/// Those that must be as they are: the first and the last.
pub(crate) fn must() -> [(&'static str, Value); 2] {
    [
        ("exempt", schema("exempt", 1, None, everything(groups(&["system:masters"])))),
        ("catch-all", schema("catch-all", 10_000, Some(BY_USER), everything(groups(&EVERYBODY)))),
    ]
}

fn suggested() -> Vec<(&'static str, Value)> {
    let writes = ["get", "create", "update"];
    let leases = |verbs: &[&str]| resources(verbs, "coordination.k8s.io", &["leases"], false);
    let leaders = || json!([leases(&writes)]);
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let own_accounts = || json!([account("*")]);
    let controllers =
        json!([user(MANAGER), account("endpoint-controller"), account("endpointslicemirroring-controller"),]);
    let of_nodes = json!([resources(&["*"], "", &["nodes", "nodes/status"], true), leases(&["*"])]);
    let some = |subjects: Value, rules: Value| json!([{"subjects": subjects, "resourceRules": rules}]);
    vec![
        (
            "probes",
            schema("exempt", 2, None, json!([{"subjects": groups(&EVERYBODY), "nonResourceRules": probes}])),
        ),
        (
            "system-leader-election",
            schema(
                "leader-election",
                100,
                Some(BY_USER),
                some(json!([user(MANAGER), user(SCHEDULER), account("*")]), leaders()),
            ),
        ),
        (
            "endpoint-controller",
            schema(
                "workload-high",
                150,
                Some(BY_USER),
                some(controllers, json!([resources(&writes, "", &["endpoints"], false)])),
            ),
        ),
        (
            "workload-leader-election",
            schema("leader-election", 200, Some(BY_USER), some(own_accounts(), leaders())),
        ),
        (
            "system-node-high",
            schema("node-high", 400, Some(BY_USER), some(groups(&["system:nodes"]), of_nodes)),
        ),
        ("system-nodes", schema("system", 500, Some(BY_USER), everything(groups(&["system:nodes"])))),
        (
            "kube-controller-manager",
            schema("workload-high", 800, Some(BY_NAMESPACE), everything(json!([user(MANAGER)]))),
        ),
        (
            "kube-scheduler",
            schema("workload-high", 800, Some(BY_NAMESPACE), everything(json!([user(SCHEDULER)]))),
        ),
        (
            "kube-system-service-accounts",
            schema("workload-high", 900, Some(BY_NAMESPACE), everything(own_accounts())),
        ),
        // What the cluster is made of, and no service account.
        ("gantry", schema("workload-high", 950, Some(BY_USER), everything(groups(&["system:gantry"])))),
        (
            "service-accounts",
            schema("workload-low", 9000, Some(BY_USER), everything(groups(&["system:serviceaccounts"]))),
        ),
        ("global-default", schema("global-default", 9900, Some(BY_USER), everything(groups(&EVERYBODY)))),
    ]
}

fn schema(level: &str, precedence: i64, method: Option<&str>, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if let Some(method) = method {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    spec
}

/// Whatever these subjects ask.
fn everything(subjects: Value) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], wide: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if wide {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

/// A service account of the system's namespace.
fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}
