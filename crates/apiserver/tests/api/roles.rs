//! Who may do what, by roles and bindings; and what those try who want more than they have.

use apiserver::Identity;
use serde_json::{Value, json};

use crate::cluster::{Cluster, named, pod};

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const WIDE_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const WIDE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn jane() -> Identity {
    Identity::new("jane", ["developers"])
}

fn role(kind: &str, name: &str, rules: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "rules": rules})
}

fn binding(kind: &str, name: &str, role_kind: &str, role: &str, user: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    })
}

fn on_pods(verbs: &[&str]) -> Value {
    json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}])
}

/// Lets a user do something everywhere.
pub async fn grant(cluster: &Cluster, user: &str, rules: Value) {
    cluster.ok("POST", WIDE_ROLES, &role("ClusterRole", user, rules)).await;
    let bound = binding("ClusterRoleBinding", user, "ClusterRole", user, user);
    cluster.ok("POST", WIDE_BINDINGS, &bound).await;
}

async fn send(cluster: &Cluster, who: &Identity, method: &str, path: &str, body: &Value) -> (u16, String) {
    let (code, answer) = cluster.send_by(who, method, path, &body.to_string()).await;
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_right_holds_from_the_answer_to_its_binding_to_that_to_its_end() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", ROLES, &role("Role", "reader", on_pods(&["list"]))).await;
    let refused = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    for _ in 0..20 {
        assert_eq!(send(&cluster, &jane(), "GET", PODS, &Value::Null).await, (403, refused.to_owned()));
        cluster.ok("POST", BINDINGS, &binding("RoleBinding", "b", "Role", "reader", "jane")).await;
        assert_eq!(cluster.send_by(&jane(), "GET", PODS, "").await.0, 200);
        assert_eq!(cluster.send_by(&jane(), "GET", "/api/v1/namespaces/kube-system/pods", "").await.0, 403);
        cluster.ok("DELETE", &format!("{BINDINGS}/b"), &json!({})).await;
    }
    // The same for its role.
    cluster.ok("POST", BINDINGS, &binding("RoleBinding", "b", "Role", "reader", "jane")).await;
    cluster.ok("PUT", &format!("{ROLES}/reader"), &role("Role", "reader", on_pods(&["get"]))).await;
    assert_eq!(cluster.send_by(&jane(), "GET", PODS, "").await.0, 403);
    cluster.ok("DELETE", &format!("{ROLES}/reader"), &json!({})).await;
    let gone = format!("{refused}: RBAC: role.rbac.authorization.k8s.io \"reader\" not found");
    assert_eq!(send(&cluster, &jane(), "GET", PODS, &Value::Null).await.1, gone);
}

#[tokio::test]
async fn nobody_grants_more_than_he_has() {
    let cluster = Cluster::start().await;
    let rules = json!([
        {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "create", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    ]);
    grant(&cluster, "jane", rules).await;
    cluster.ok("POST", ROLES, &role("Role", "strong", on_pods(&["delete"]))).await;
    let held = "is attempting to grant RBAC permissions not currently held:\n\
                {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}";
    let refused = |kind: &str, name: &str| {
        format!(
            "{kind}.{GROUP} \"{name}\" is forbidden: user \"jane\" (groups=[\"developers\" \"system:authenticated\"]) {held}"
        )
    };
    // By a role of her own, made or changed.
    let strong = role("Role", "mine", on_pods(&["get", "delete"]));
    assert_eq!(send(&cluster, &jane(), "POST", ROLES, &strong).await, (403, refused("roles", "mine")));
    let weak = role("Role", "mine", on_pods(&["get"]));
    assert_eq!(send(&cluster, &jane(), "POST", ROLES, &weak).await.0, 201);
    let path = format!("{ROLES}/mine");
    assert_eq!(send(&cluster, &jane(), "PUT", &path, &strong).await, (403, refused("roles", "mine")));
    let wide = role("ClusterRole", "wide", on_pods(&["delete"]));
    assert_eq!(
        send(&cluster, &jane(), "POST", WIDE_ROLES, &wide).await,
        (403, refused("clusterroles", "wide"))
    );
    // Nor by a PUT that makes it.
    let (path, new) = (format!("{ROLES}/new"), role("Role", "new", on_pods(&["delete"])));
    assert_eq!(send(&cluster, &jane(), "PUT", &path, &new).await, (403, refused("roles", "new")));
    // By binding what is there.
    let bound = binding("RoleBinding", "b", "Role", "strong", "jane");
    assert_eq!(send(&cluster, &jane(), "POST", BINDINGS, &bound).await, (403, refused("rolebindings", "b")));
    let admin = binding("ClusterRoleBinding", "b", "ClusterRole", "cluster-admin", "jane");
    let (code, message) = send(&cluster, &jane(), "POST", WIDE_BINDINGS, &admin).await;
    assert_eq!(code, 403);
    assert!(
        message.contains(
            "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
        ),
        "{message}"
    );
    let absent = binding("RoleBinding", "b", "Role", "absent", "jane");
    let (code, message) = send(&cluster, &jane(), "POST", BINDINGS, &absent).await;
    assert_eq!((code, message.as_str()), (404, "roles.rbac.authorization.k8s.io \"absent\" not found"));
    // By adding herself to a binding of others.
    cluster.ok("POST", BINDINGS, &binding("RoleBinding", "others", "Role", "strong", "bob")).await;
    let joined = binding("RoleBinding", "others", "Role", "strong", "jane");
    let path = format!("{BINDINGS}/others");
    assert_eq!(
        send(&cluster, &jane(), "PUT", &path, &joined).await,
        (403, refused("rolebindings", "others"))
    );
    // By making a binding another role's.
    assert_eq!(
        send(&cluster, &jane(), "POST", BINDINGS, &binding("RoleBinding", "m", "Role", "mine", "jane"))
            .await
            .0,
        201
    );
    let path = format!("{BINDINGS}/m");
    let other = binding("RoleBinding", "m", "Role", "strong", "jane");
    assert_eq!(send(&cluster, &jane(), "PUT", &path, &other).await.0, 403);
    let (code, message) = send(&cluster, &Identity::administrator(), "PUT", &path, &other).await;
    assert_eq!(code, 422);
    assert!(
        message.contains("roleRef: Invalid value: ") && message.ends_with("cannot change roleRef"),
        "{message}"
    );
    // By gathering rules of others, or by being gathered.
    let mut gathering = role("ClusterRole", "gathering", json!([]));
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let (code, message) = send(&cluster, &jane(), "POST", WIDE_ROLES, &gathering).await;
    assert_eq!(code, 403);
    assert!(message.ends_with("must have cluster-admin privileges to use the aggregationRule"), "{message}");
    let mut gathered = role("ClusterRole", "gathered", on_pods(&["delete"]));
    gathered["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    assert_eq!(send(&cluster, &jane(), "POST", WIDE_ROLES, &gathered).await.0, 403);
}

#[tokio::test]
async fn who_may_escalate_or_bind_may() {
    let cluster = Cluster::start().await;
    let rules = json!([
        {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["create", "escalate"]},
        {"apiGroups": [GROUP], "resources": ["rolebindings"], "verbs": ["create"]},
        {"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["edit"], "verbs": ["bind"]},
    ]);
    grant(&cluster, "jane", rules).await;
    let strong = role("Role", "strong", on_pods(&["delete"]));
    assert_eq!(send(&cluster, &jane(), "POST", ROLES, &strong).await.0, 201);
    // That is not to give it to herself.
    let bound = binding("RoleBinding", "b", "Role", "strong", "jane");
    assert_eq!(send(&cluster, &jane(), "POST", BINDINGS, &bound).await.0, 403);
    let edit = binding("RoleBinding", "e", "ClusterRole", "edit", "bob");
    assert_eq!(send(&cluster, &jane(), "POST", BINDINGS, &edit).await.0, 201);
    let admin = binding("RoleBinding", "a", "ClusterRole", "cluster-admin", "bob");
    assert_eq!(send(&cluster, &jane(), "POST", BINDINGS, &admin).await.0, 403);
}

#[tokio::test]
async fn roles_that_are_always_there_come_back_at_a_start() {
    let cluster = Cluster::start().await;
    let basic = format!("{WIDE_ROLES}/system:basic-user");
    let found = cluster.get(&basic).await.1;
    assert_eq!(found["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");
    let mut changed = found.clone();
    changed["rules"] = json!([{"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}]);
    cluster.ok("PUT", &basic, &changed).await;
    let left = format!("{WIDE_ROLES}/system:heapster");
    let off = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    cluster.ok("PATCH", &left, &off).await;
    cluster.ok("DELETE", &format!("{WIDE_BINDINGS}/system:discovery"), &json!({})).await;
    let cluster = cluster.restart().await;
    let rules = cluster.get(&basic).await.1["rules"].clone();
    assert_eq!(rules.as_array().map(Vec::len), Some(4), "{rules}");
    assert_eq!(cluster.get(&left).await.1["rules"], json!([]));
    assert_eq!(cluster.get(&format!("{WIDE_BINDINGS}/system:discovery")).await.0, 200);
    assert_eq!(cluster.send_by(&jane(), "GET", "/apis", "").await.0, 200);
    assert_eq!(cluster.send_by(&jane(), "GET", "/metrics", "").await.0, 403);
    let list = cluster.get("/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles").await.1;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn a_node_writes_itself_and_its_pods_and_nothing_else() {
    let cluster = Cluster::start().await;
    let node = Identity::node("n1");
    let on = |name: &str, node: &str| {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    for (name, of) in [("mine", "n1"), ("other", "n2")] {
        cluster.ok("POST", PODS, &on(name, of)).await;
    }
    let put = async |method: &str, path: &str, body: Value| send(&cluster, &node, method, path, &body).await;
    let nodes = "/api/v1/nodes";
    assert_eq!(put("POST", nodes, named("Node", "n1")).await.0, 201);
    let refused = "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"";
    assert_eq!(put("POST", nodes, named("Node", "n2")).await, (403, refused.to_owned()));
    let mut labelled = cluster.get("/api/v1/nodes/n1").await.1;
    labelled["metadata"]["labels"] = json!({"node-role.kubernetes.io/control-plane": "", "app": "x"});
    let refused =
        "nodes \"n1\" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/control-plane";
    assert_eq!(put("PUT", "/api/v1/nodes/n1", labelled.clone()).await, (403, refused.to_owned()));
    let mut tainted = cluster.get("/api/v1/nodes/n1").await.1;
    tainted["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]);
    let refused = "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints";
    assert_eq!(put("PUT", "/api/v1/nodes/n1", tainted).await, (403, refused.to_owned()));
    // Pods: deleted if they are its own, made only as pictures.
    let refused =
        "pods \"other\" is forbidden: node \"n1\" can only delete pods with spec.nodeName set to itself";
    assert_eq!(put("DELETE", &format!("{PODS}/other"), json!({})).await, (403, refused.to_owned()));
    let (code, message) = put("POST", PODS, on("new", "n1")).await;
    assert_eq!(code, 403);
    assert!(message.ends_with("annotation, node \"n1\" can only create mirror pods"), "{message}");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}});
    let (code, message) = put("POST", &format!("{PODS}/other/eviction"), eviction).await;
    assert_eq!(code, 403, "{message}");
    // Tokens: of accounts of its pods, and bound to one of them.
    let tokens = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = |reference: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": reference}});
    let uid = async |name: &str| cluster.get(&format!("{PODS}/{name}")).await.1["metadata"]["uid"].clone();
    let bound = |name: &str, uid: Value| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    let own = request(bound("mine", uid("mine").await));
    assert_eq!(put("POST", tokens, own.clone()).await.0, 201);
    // For nobody but those for whom its pods have one.
    let (mut elsewhere, mut several) = (own.clone(), own);
    elsewhere["spec"]["audiences"] = json!(["vault"]);
    several["spec"]["audiences"] = json!(["vault", "other"]);
    for (request, why) in [
        (elsewhere, "audience \"vault\" not found in pod spec volume"),
        (several, "node may only request 0 or 1 audiences"),
    ] {
        let (code, message) = put("POST", tokens, request).await;
        assert!(code == 403 && message.ends_with(why), "{code} {message}");
    }
    for (reference, why) in [
        (Value::Null, "node requested token not bound to a pod"),
        (bound("mine", Value::Null), "node requested token with a pod binding without a uid"),
        (
            bound("other", uid("other").await),
            "node requested token bound to a pod scheduled on a different node",
        ),
    ] {
        let (code, message) = put("POST", tokens, request(reference)).await;
        assert_eq!(code, 403);
        assert!(message.ends_with(why), "{message}");
    }
    let other = Identity::node("n3");
    assert_eq!(send(&cluster, &other, "POST", tokens, &request(Value::Null)).await.0, 403);
    // Leases, secrets.
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
    assert_eq!(put("POST", leases, lease("n1")).await.0, 201);
    assert_eq!(put("POST", leases, lease("n2")).await.0, 403);
    cluster.ok("POST", "/api/v1/namespaces/default/secrets", &named("Secret", "s")).await;
    assert_eq!(put("GET", "/api/v1/namespaces/default/secrets/s", Value::Null).await.0, 403);
    assert_eq!(put("GET", "/api/v1/secrets", Value::Null).await.0, 403);
}

/// Asks as somebody, by headers, as somebody else.
async fn ask(cluster: &Cluster, who: &Identity, headers: &[(&str, &str)], path: &str) -> (u16, Value) {
    let mut request = http::Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(bytes::Bytes::new()).expect("a well-formed request");
    let response = cluster.handle.call(request, who.clone()).await;
    let code = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn who_may_impersonate_acts_as_another_with_the_others_rights() {
    let cluster = Cluster::start().await;
    grant(&cluster, "bob", on_pods(&["list"])).await;
    let administrator = Identity::administrator();
    let message = |answer: &Value| answer["message"].as_str().unwrap_or_default().to_owned();
    // Somebody with all rights has those of the other alone.
    assert_eq!(ask(&cluster, &administrator, &[("Impersonate-User", "bob")], PODS).await.0, 200);
    let (code, answer) = ask(&cluster, &administrator, &[("Impersonate-User", "jane")], PODS).await;
    assert_eq!(code, 403);
    assert!(message(&answer).contains("User \"jane\" cannot list resource \"pods\""), "{answer}");
    // Without the right nobody is another, whoever that is; the old form is asked for last, the first tells.
    let (code, answer) = ask(&cluster, &jane(), &[("Impersonate-User", "bob")], PODS).await;
    assert_eq!(code, 403);
    assert!(
        message(&answer).contains("User \"jane\" cannot impersonate-on:user-info:list resource \"pods\""),
        "{answer}"
    );
    let rules = json!([
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["staff"], "verbs": ["impersonate"]},
    ]);
    grant(&cluster, "jane", rules).await;
    assert_eq!(ask(&cluster, &jane(), &[("Impersonate-User", "bob")], PODS).await.0, 200);
    let staff = [("Impersonate-User", "bob"), ("Impersonate-Group", "staff")];
    assert_eq!(ask(&cluster, &jane(), &staff, PODS).await.0, 200);
    for more in [
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-scopes", "all"),
    ] {
        assert_eq!(
            ask(&cluster, &jane(), &[("Impersonate-User", "bob"), more], PODS).await.0,
            403,
            "{more:?}"
        );
    }
    assert_eq!(ask(&cluster, &jane(), &[("Impersonate-User", "admin")], PODS).await.0, 403);
    assert_eq!(ask(&cluster, &jane(), &[("Impersonate-Group", "staff")], PODS).await.0, 400);
}

#[tokio::test]
async fn impersonation_can_be_for_some_requests_only() {
    let cluster = Cluster::start().await;
    grant(
        &cluster,
        "bob",
        json!([{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"]}]),
    )
    .await;
    let rules = json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate:user-info"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["impersonate-on:user-info:list"]},
    ]);
    grant(&cluster, "jane", rules).await;
    let bob = [("Impersonate-User", "bob")];
    assert_eq!(ask(&cluster, &jane(), &bob, PODS).await.0, 200);
    assert_eq!(ask(&cluster, &jane(), &bob, "/api/v1/namespaces/default/services").await.0, 403);
    let masters = [("Impersonate-User", "bob"), ("Impersonate-Group", "system:masters")];
    assert_eq!(ask(&cluster, &jane(), &masters, PODS).await.0, 403);
}

#[tokio::test]
async fn questions_about_rights_are_answered() {
    let cluster = Cluster::start().await;
    grant(&cluster, "jane", on_pods(&["list"])).await;
    let reviews = "/apis/authorization.k8s.io/v1";
    let ask = async |who: &Identity, path: &str, spec: Value| {
        let body = json!({"spec": spec});
        cluster.send_by(who, "POST", &format!("{reviews}/{path}"), &body.to_string()).await
    };
    let administrator = Identity::administrator();
    let pods =
        |verb: &str, namespace: &str| json!({"verb": verb, "resource": "pods", "namespace": namespace});
    let own =
        ask(&jane(), "selfsubjectaccessreviews", json!({"resourceAttributes": pods("list", "a")})).await;
    assert_eq!(own.0, 201);
    assert_eq!(
        own.1["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by ClusterRoleBinding \"jane\" of ClusterRole \"jane\" to User \"jane\"",
        })
    );
    // Others are asked about by who may.
    let of_jane = json!({"user": "jane", "resourceAttributes": pods("delete", "a")});
    assert_eq!(ask(&jane(), "subjectaccessreviews", of_jane.clone()).await.0, 403);
    let told = ask(&administrator, "subjectaccessreviews", of_jane).await.1;
    assert_eq!(told["status"], json!({"allowed": false}));
    let masters =
        json!({"groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/x"}});
    let told = ask(&administrator, "subjectaccessreviews", masters).await.1;
    assert_eq!(told["status"], json!({"allowed": true}));
    let local = "namespaces/a/localsubjectaccessreviews";
    let of_jane = |namespace: &str| json!({"user": "jane", "resourceAttributes": pods("list", namespace)});
    assert_eq!(ask(&administrator, local, of_jane("a")).await.1["status"]["allowed"], true);
    let (code, answer) = ask(&administrator, local, of_jane("b")).await;
    assert_eq!(code, 422);
    assert_eq!(
        answer["details"]["causes"][0]["message"],
        "Invalid value: \"b\": must match metadata.namespace"
    );
    for (spec, field) in [
        (json!({}), "spec.resourceAttributes"),
        (json!({"resourceAttributes": {}, "nonResourceAttributes": {}}), "spec.nonResourceAttributes"),
        (
            json!({"resourceAttributes": {"fieldSelector": {}}}),
            "spec.resourceAttributes.fieldSelector.requirements",
        ),
    ] {
        let (code, answer) = ask(&jane(), "selfsubjectaccessreviews", spec).await;
        assert_eq!((code, &answer["details"]["causes"][0]["field"]), (422, &json!(field)), "{answer}");
    }
    let rules = ask(&jane(), "selfsubjectrulesreviews", json!({"namespace": "a"})).await.1["status"].clone();
    assert_eq!(rules["incomplete"], false);
    let pods = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    assert!(rules["resourceRules"].as_array().is_some_and(|all| all.contains(&pods)), "{rules}");
    let of_node = ask(&Identity::node("n"), "selfsubjectrulesreviews", json!({"namespace": "a"})).await.1;
    assert_eq!(of_node["status"]["incomplete"], true);
    assert_eq!(ask(&jane(), "selfsubjectrulesreviews", json!({})).await.0, 400);
}

#[tokio::test]
async fn a_watch_of_the_old_form_shows_no_more_than_the_name_that_it_may() {
    let cluster = Cluster::start().await;
    grant(
        &cluster,
        "jane",
        json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["watch"], "resourceNames": ["own"]}]),
    )
    .await;
    let node = Identity::node("n1");
    for (who, path) in [
        (&jane(), "/api/v1/watch/secrets/own"),
        (&jane(), "/api/v1/watch/secrets/default%2Fown"),
        (&node, "/api/v1/watch/pods/default%2Fown"),
    ] {
        let (code, answer) = cluster.send_by(who, "GET", path, "").await;
        assert!(code == 403 || code == 404, "{path}: {code} {answer}");
    }
}

#[tokio::test]
async fn a_role_that_names_very_much_costs_no_more_than_another() {
    let cluster = Cluster::start().await;
    grant(
        &cluster,
        "jane",
        json!([{"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["create"]}, {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]),
    )
    .await;
    let many = |first: &str| (0..2000).map(|number| format!("{first}{number}")).collect::<Vec<_>>();
    let everything = json!([{"verbs": many("v"), "apiGroups": many("g"), "resources": many("r")}]);
    let (code, why) = send(&cluster, &jane(), "POST", ROLES, &role("Role", "vast", everything)).await;
    assert_eq!(code, 403, "{why}");
    // Who has all of it may.
    let held =
        json!([{"verbs": many("v"), "apiGroups": [""], "resources": ["pods"], "resourceNames": many("n")}]);
    let (code, why) = send(&cluster, &jane(), "POST", ROLES, &role("Role", "long", held)).await;
    assert_eq!(code, 201, "{why}");
}

#[tokio::test]
async fn who_opens_a_stream_needs_to_be_allowed_to_create_it_however_he_opens_it() {
    let cluster = Cluster::start().await;
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n1");
    cluster.ok("POST", PODS, &object).await;
    cluster.ok("POST", "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    let streams = ["pods/exec", "pods/attach", "pods/portforward", "nodes/proxy"];
    let of = |verbs: &[&str]| json!([{"apiGroups": [""], "resources": streams, "verbs": verbs}]);
    grant(&cluster, "jane", of(&["get"])).await;
    grant(&cluster, "joe", of(&["get", "create"])).await;
    let joe = Identity::new("joe", ["developers"]);
    let node = "/api/v1/nodes/n1/proxy";
    for (path, refused) in [
        (format!("{PODS}/p/exec?command=ls&stdout=1"), "pods/exec"),
        (format!("{PODS}/p/attach?stdout=1"), "pods/attach"),
        (format!("{PODS}/p/portforward"), "pods/portforward"),
        (format!("{PODS}/none/exec?command=ls&stdout=1"), "pods/exec"),
        (format!("{node}/exec/default/p/main?command=ls&output=1"), "nodes/proxy"),
        (format!("{node}/portForward/default/p"), "nodes/proxy"),
    ] {
        let (code, why) = send(&cluster, &jane(), "GET", &path, &Value::Null).await;
        let expected =
            format!(" is forbidden: User \"jane\" cannot create resource \"{refused}\" in API group \"\" ");
        assert!(code == 403 && why.contains(&expected), "{path}: {code} {why}");
        let (code, why) = send(&cluster, &joe, "GET", &path, &Value::Null).await;
        assert!(matches!(code, 400 | 404), "{path}: {code} {why}");
    }
    // To look at a node, no more is needed than before.
    assert_eq!(cluster.send_by(&jane(), "GET", &format!("{node}/healthz"), "").await.0, 418);
}
