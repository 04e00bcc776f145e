//! The real kubectl against the server, over TLS.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cluster::{Cluster, deployment, named, pod};
use crate::definitions::{NAME, crontabs, tab};

/// Runs kubectl with `input`; gives exit code, what it printed, and what it complained of.
async fn run(cluster: &Cluster, arguments: &str, input: &str) -> (i32, String, String) {
    let mut child = Command::new("kubectl")
        .env("KUBECONFIG", &cluster.kubeconfig)
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl is installed (package kubernetes-client)");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("write to kubectl");
    drop(stdin);
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output());
    let done = done.await.expect("kubectl ends").expect("kubectl ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

/// What kubectl prints must begin so, and it must succeed.
pub async fn check(cluster: &Cluster, arguments: &str, input: &str, expected: &str) -> String {
    let (code, out, err) = run(cluster, arguments, input).await;
    assert_eq!(code, 0, "kubectl {arguments}: {err}");
    assert!(out.starts_with(expected), "kubectl {arguments} printed {out:?}, not {expected:?}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_changes_and_shows_objects() {
    let cluster = Cluster::start().await;
    let manifest = deployment("web", 2).to_string();
    check(&cluster, "apply -f -", &manifest, "deployment.apps/web created").await;
    check(&cluster, "apply -f -", &manifest, "deployment.apps/web unchanged").await;
    check(&cluster, "diff -f -", &manifest, "").await;
    check(&cluster, "scale deployment/web --replicas=3", "", "deployment.apps/web scaled").await;
    check(&cluster, "label deployment web tier=front", "", "deployment.apps/web labeled").await;
    check(&cluster, "annotate deployment web note=x", "", "deployment.apps/web annotated").await;
    check(&cluster, "set image deployment/web main=app:2", "", "deployment.apps/web image updated").await;
    check(
        &cluster,
        "patch deployment web -p {\"spec\":{\"paused\":true}}",
        "",
        "deployment.apps/web patched",
    )
    .await;
    check(&cluster, "rollout resume deployment/web", "", "deployment.apps/web resumed").await;
    check(&cluster, "get deployment web -o jsonpath={.spec.replicas}/{.metadata.labels.tier}", "", "3/front")
        .await;
    let table = check(&cluster, "get deployments", "", "NAME   READY").await;
    assert!(table.contains("web    0/3"), "{table}");
    check(&cluster, "delete deployment web", "", "deployment.apps \"web\" deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_servers_side() {
    let cluster = Cluster::start().await;
    let apply = "apply --server-side -f -";
    check(&cluster, apply, &deployment("web", 2).to_string(), "deployment.apps/web serverside-applied").await;
    check(&cluster, "scale deployment/web --replicas=3", "", "deployment.apps/web scaled").await;
    let (code, _, err) = run(&cluster, apply, &deployment("web", 4).to_string()).await;
    assert_eq!(code, 1);
    assert!(err.contains("conflict with \"kubectl\"") && err.contains(".spec.replicas"), "{err}");
    let forced = "apply --server-side --force-conflicts -f -";
    check(&cluster, forced, &deployment("web", 4).to_string(), "deployment.apps/web serverside-applied")
        .await;
}

/// What the server puts in is nobody's: whoever applies something else is in conflict with nobody.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_in_no_conflict_over_what_the_server_has_chosen() {
    let cluster = Cluster::start().await;
    let service = |name: &str, node_port: Option<u16>| {
        let mut port = json!({"port": 80});
        if let Some(node_port) = node_port {
            port["nodePort"] = json!(node_port);
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [port]}})
        .to_string()
    };
    for (name, made_by, wanted) in [("web", "create -f -", 31998), ("api", "apply -f -", 31999)] {
        check(&cluster, made_by, &service(name, None), "service/").await;
        let managed = format!("get service {name} --show-managed-fields -o json");
        let managed = check(&cluster, &managed, "", "").await;
        for (field, is_theirs) in
            [("f:selector", true), ("f:sessionAffinity", true), ("f:clusterIP", false), ("f:nodePort", false)]
        {
            assert_eq!(managed.contains(field), is_theirs, "{made_by} {field}: {managed}");
        }
        let address = format!("get service {name} -o jsonpath={{.spec.clusterIP}}");
        let before = check(&cluster, &address, "", "10.").await;
        check(&cluster, "apply --server-side -f -", &service(name, Some(wanted)), "service/").await;
        assert_eq!(check(&cluster, &address, "", "").await, before);
        let port = format!("get service {name} -o jsonpath={{.spec.ports[0].nodePort}}");
        check(&cluster, &port, "", &wanted.to_string()).await;
    }
    // What they have said themselves is theirs, after a change too.
    check(&cluster, "create -f -", &service("said", Some(31997)), "service/said created").await;
    check(&cluster, "label service said tier=front", "", "service/said labeled").await;
    let (code, _, err) = run(&cluster, "apply --server-side -f -", &service("said", Some(31996))).await;
    assert!(
        code == 1 && err.contains("conflict with \"kubectl-create\"") && err.contains("nodePort"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_moves_from_applying_on_its_own_side_to_the_servers_and_back() {
    let cluster = Cluster::start().await;
    check(&cluster, "apply -f -", &deployment("web", 2).to_string(), "deployment.apps/web created").await;
    let server = "apply --server-side -f -";
    let mut changed = deployment("web", 3);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    let text = changed.to_string();
    check(&cluster, server, &text, "deployment.apps/web serverside-applied").await;
    check(&cluster, "get deployment web -o jsonpath={.spec.replicas}", "", "3").await;
    // kubectl gives what it had applied on its own side to what it applies now.
    let managers =
        "get deployment web --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}";
    let managers = check(&cluster, managers, "", "").await;
    assert!(managers.ends_with("kubectl") && !managers.contains("client-side"), "{managers}");
    check(&cluster, "apply -f -", &text, "deployment.apps/web").await;
    // What somebody else has set meanwhile is in conflict, and nothing else is.
    check(&cluster, "scale deployment/web --replicas=7", "", "deployment.apps/web scaled").await;
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:4");
    let (code, _, err) = run(&cluster, server, &changed.to_string()).await;
    assert!(code == 1 && err.contains(".spec.replicas") && !err.contains("image"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectls_typed_commands_send_protobuf_and_are_understood() {
    let cluster = Cluster::start().await;
    check(&cluster, "create namespace new", "", "namespace/new created").await;
    check(&cluster, "create serviceaccount robot", "", "serviceaccount/robot created").await;
    check(&cluster, "create configmap c --from-literal=a=b", "", "configmap/c created").await;
    check(&cluster, "create secret generic s --from-literal=a=b", "", "secret/s created").await;
    check(
        &cluster,
        "create deployment d --image=app --replicas=0 --port=80",
        "",
        "deployment.apps/d created",
    )
    .await;
    check(&cluster, "create service clusterip d --tcp=80:8080", "", "service/d created").await;
    check(&cluster, "create token robot", "", "eyJ").await;
    check(&cluster, "get service d -o jsonpath={.spec.ports[0].targetPort}", "", "8080").await;
    check(&cluster, "get secret s -o jsonpath={.data.a}", "", "Yg==").await;
    let who = check(&cluster, "auth whoami", "", "ATTRIBUTE").await;
    assert!(who.contains("system:masters"), "{who}");
    check(&cluster, "auth can-i delete pods", "", "yes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_learns_what_there_is() {
    let cluster = Cluster::start().await;
    let list = check(&cluster, "api-resources --no-headers", "", "").await;
    for name in ["deployments", "endpointslices", "leases", "replicasets"] {
        assert!(list.contains(name), "{name} in {list}");
    }
    let text = check(&cluster, "explain deployment.spec.replicas", "", "GROUP:      apps").await;
    assert!(text.contains("Number of desired pods"), "{text}");
    let mut odd = deployment("web", 1);
    odd["spec"]["replicaz"] = json!(1);
    let (code, _, err) = run(&cluster, "apply -f -", &odd.to_string()).await;
    assert_eq!(code, 1);
    assert!(err.contains("unknown field \"spec.replicaz\""), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_waits_for_conditions_and_deletions() {
    let cluster = Cluster::start().await;
    let mut held = named("ConfigMap", "held");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    check(&cluster, "create -f -", &held.to_string(), "configmap/held created").await;
    check(&cluster, "delete configmap held --wait=false", "", "configmap \"held\" deleted").await;
    let release = async {
        let path = "/api/v1/namespaces/default/configmaps/held";
        cluster.ok("PATCH", path, &json!({"metadata": {"finalizers": null}})).await
    };
    tokio::join!(check(&cluster, "wait --for=delete configmap/held --timeout=30s", "", ""), release);
    check(&cluster, "create -f -", &pod("p").to_string(), "pod/p created").await;
    let ready = async {
        let path = "/api/v1/namespaces/default/pods/p/status";
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        cluster.ok("PATCH", path, &status).await
    };
    tokio::join!(
        check(&cluster, "wait --for=condition=Ready pod/p --timeout=30s", "", "pod/p condition met"),
        ready
    );
}

/// A pod on a node, running.
async fn running_pod(cluster: &Cluster) {
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n1");
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &object).await;
    let status = json!({"status": {"phase": "Running"}});
    cluster.ok("PATCH", "/api/v1/namespaces/default/pods/p/status", &status).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_over_websockets_and_over_spdy() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    let long = "line of text\n".repeat(50_000);
    for websockets in ["true", "false"] {
        let exec = async |command: &str, input: &str| {
            let child = Command::new("kubectl")
                .env("KUBECONFIG", &cluster.kubeconfig)
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
                .args(command.split_whitespace())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn();
            let mut child = child.expect("kubectl is installed (package kubernetes-client)");
            let mut stdin = child.stdin.take().expect("it is piped");
            let input = input.to_owned();
            let writing = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
            let done = child.wait_with_output().await.expect("kubectl ran");
            writing.await.expect("no panic").expect("kubectl reads its input");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
            (done.status.code(), text(done.stdout), text(done.stderr))
        };
        let (code, out, _) = exec("exec -i p -- cat", &long).await;
        assert!((code, out.len()) == (Some(0), long.len()) && out == long, "websockets={websockets}");
        let (code, _, err) = exec("exec p -- fail 7", "").await;
        assert_eq!(code, Some(7), "websockets={websockets}: {err}");
        assert!(err.contains("failing\n"), "{err}");
    }
    check(&cluster, "logs p", "", "default/p main follow=false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_forwards_ports_over_websockets_and_over_spdy() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    for websockets in ["true", "false"] {
        let mut child = Command::new("kubectl")
            .env("KUBECONFIG", &cluster.kubeconfig)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
            .args(["port-forward", "--address=127.0.0.1", "pod/p", ":80"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed (package kubernetes-client)");
        let out = child.stdout.take().expect("it is piped");
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
        let line = lines.next_line().await.expect("read").expect("kubectl says where it listens");
        let address = line.split(' ').nth(2).expect("Forwarding from ADDRESS").to_owned();
        for round in 0..3u8 {
            let sent: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8 ^ round).collect();
            let stream = tokio::net::TcpStream::connect(&address).await.expect("connect");
            let (mut reader, mut writer) = stream.into_split();
            let content = sent.clone();
            let writing = tokio::spawn(async move {
                writer.write_all(&content).await.expect("write");
                writer
            });
            let mut found = vec![0; sent.len()];
            tokio::io::AsyncReadExt::read_exact(&mut reader, &mut found).await.expect("read back");
            assert!(found == sent, "websockets={websockets}");
            drop(writing.await.expect("no panic"));
        }
        child.kill().await.expect("kubectl was running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_forwards_a_port_learns_that_the_pod_has_closed_it() {
    let cluster = Cluster::start().await;
    running_pod(&cluster).await;
    for websockets in ["true", "false"] {
        let mut child = Command::new("kubectl")
            .env("KUBECONFIG", &cluster.kubeconfig)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
            .args(["port-forward", "--address=127.0.0.1", "pod/p", ":2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed (package kubernetes-client)");
        let out = child.stdout.take().expect("it is piped");
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
        let line = lines.next_line().await.expect("read").expect("kubectl says where it listens");
        let address = line.split(' ').nth(2).expect("Forwarding from ADDRESS").to_owned();
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connect");
            // Our own side stays open meanwhile.
            let (mut found, limit) = (String::new(), std::time::Duration::from_secs(30));
            let reading = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut found);
            let read = tokio::time::timeout(limit, reading).await.expect("it is told that this is the end");
            assert!(read.is_ok() && found == "that is all\n", "websockets={websockets}: {found:?}");
        }
        child.kill().await.expect("kubectl was running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_itself_that_a_kind_is_unknown() {
    let cluster = Cluster::start().await;
    let manifest =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}).to_string();
    for command in ["apply -f -", "create -f -", "apply --server-side -f -", "apply --validate=warn -f -"] {
        let (code, _, err) = run(&cluster, command, &manifest).await;
        assert_eq!(code, 1, "{command}");
        assert!(
            err.contains("no matches for kind \"Thing\" in version \"example.com/v1\""),
            "{command}: {err}"
        );
        assert!(err.contains("ensure CRDs are installed first"), "{command}: {err}");
    }
    // A kind of a group that is there, and a version of a kind that is not.
    for (version, kind) in [("v1", "Thing"), ("apps/v1beta1", "Deployment")] {
        let manifest = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}).to_string();
        let (_, _, err) = run(&cluster, "apply -f -", &manifest).await;
        let expected = format!("no matches for kind \"{kind}\" in version \"{version}\"");
        assert!(err.contains(&expected), "{version} {kind}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_for_rights_and_reconciles_roles() {
    let cluster = Cluster::start().await;
    check(&cluster, "auth can-i delete pods", "", "yes").await;
    check(
        &cluster,
        "create role reader --verb=get,list --resource=pods",
        "",
        "role.rbac.authorization.k8s.io/reader created",
    )
    .await;
    check(
        &cluster,
        "create rolebinding reader --role=reader --user=jane",
        "",
        "rolebinding.rbac.authorization.k8s.io/reader created",
    )
    .await;
    let (code, out, _) = run(&cluster, "auth can-i delete pods --as=jane", "").await;
    assert_eq!((code, out.as_str()), (1, "no\n"));
    check(&cluster, "auth can-i list pods --as=jane", "", "yes").await;
    let list = check(&cluster, "auth can-i --list --as=jane", "", "Resources").await;
    assert!(list.lines().any(|line| line.starts_with("pods ") && line.ends_with("[get list]")), "{list}");
    assert!(list.contains("[/healthz]"), "{list}");
    check(&cluster, "auth whoami -o jsonpath={.status.userInfo.username}", "", "admin").await;
    let (_, _, err) = run(&cluster, "get secrets --as=jane", "").await;
    assert_eq!(
        err.lines().last(),
        Some(
            "Error from server (Forbidden): secrets is forbidden: User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
        )
    );
    let role = |verb: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "reader", "namespace": "default"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}],
        })
        .to_string()
    };
    check(
        &cluster,
        "auth reconcile -f -",
        &role("watch"),
        "role.rbac.authorization.k8s.io/reader reconciled",
    )
    .await;
    check(&cluster, "auth can-i watch pods --as=jane", "", "yes").await;
    check(&cluster, "auth can-i list pods --as=jane", "", "yes").await;
    let remove = "auth reconcile --remove-extra-permissions -f -";
    check(&cluster, remove, &role("watch"), "role.rbac.authorization.k8s.io/reader reconciled").await;
    let (code, _, _) = run(&cluster, "auth can-i list pods --as=jane", "").await;
    assert_eq!(code, 1);
    let table = check(&cluster, "get rolebindings -o wide", "", "NAME     ROLE          AGE").await;
    assert!(table.contains("reader   Role/reader") && table.contains("jane"), "{table}");
    check(&cluster, "get clusterroles cluster-admin", "", "NAME            CREATED AT").await;
    check(&cluster, "describe clusterrole system:basic-user", "", "Name:         system:basic-user").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_with_a_kind_that_was_defined_just_now() {
    let cluster = Cluster::start().await;
    let kubectl = async |arguments: &str, input: &str, expected: &str| {
        check(&cluster, arguments, input, expected).await
    };
    let definition = format!("customresourcedefinition.apiextensions.k8s.io/{NAME}");
    kubectl("apply -f -", &crontabs().to_string(), &format!("{definition} created")).await;
    kubectl(&format!("wait --for=condition=Established crd/{NAME}"), "", &definition).await;
    let explained = kubectl("explain crontab.spec", "", "GROUP:      stable.example.com").await;
    assert!(explained.contains("What is wanted.") && explained.contains("cronSpec"), "{explained}");
    kubectl("apply -f -", &tab("a").to_string(), "crontab.stable.example.com/a created").await;
    kubectl(
        "apply --server-side --force-conflicts -f -",
        &tab("a").to_string(),
        "crontab.stable.example.com/a",
    )
    .await;
    kubectl("scale crontab/a --replicas=2", "", "crontab.stable.example.com/a scaled").await;
    let table = kubectl("get ct", "", "NAME   SPEC          AGE").await;
    assert!(table.contains("a      * * * * */5"), "{table}");
    let shown = kubectl("get crd", "", "NAME ").await;
    assert!(shown.contains(NAME), "{shown}");
    kubectl(&format!("delete crd {NAME}"), "", "customresourcedefinition.apiextensions.k8s.io").await;
}
