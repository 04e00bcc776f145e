//! Services: names, addresses, ports, and who stands behind them.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[test]
fn a_service_is_reached_by_name_address_and_node_port() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("reach");
    web(&space, 2);
    space.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#,
    );
    let clients = client(&space);
    let address = space.field("service/web", "{.spec.clusterIP}");
    for name in ["web.reach.svc.cluster.local", "kubernetes.default.svc.cluster.local"] {
        let (service, space_of) = name.split_once('.').expect("a name has parts");
        let space_of = space_of.split('.').next().expect("a name has parts");
        let path = "jsonpath={.spec.clusterIP}";
        let wanted = cluster.ok(&["get", "service", service, "-n", space_of, "-o", path]);
        testkit::wait_until(name, || {
            let ran = space.kubectl(&["exec", &clients, "--", "nslookup", name]);
            if ran.code == 0 && ran.stdout.contains(&wanted) { Ok(()) } else { Err((wanted.clone(), ran)) }
        });
    }
    fetch_until(&space, &clients, &address, 2);
    let port = space.field("service/web", "{.spec.ports[0].nodePort}");
    testkit::wait_until("the node port to answer", || {
        let url = format!("http://127.0.0.1:{port}/");
        let answer = cluster.daemon.on_host("busybox", &["wget", "-q", "-O", "-", &url]).output();
        let answer = answer.expect("run wget");
        if answer.stdout.starts_with(b"web-") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn only_ready_pods_stand_behind_a_service() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("behind");
    web(&space, 2);
    space.ok(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    endpoints_are(&space, &pods(&space, "{.items[*].status.podIP}"));
    let names = pods(&space, "{.items[*].metadata.name}");
    let leaves = pods_address(&space, &names[0]);
    let stays = pods_address(&space, &names[1]);
    space.exec(&names[0], &["rm", "/www/index.html"]);
    endpoints_are(&space, std::slice::from_ref(&stays));
    let clients = client(&space);
    fetch_until(&space, &clients, &space.field("service/web", "{.spec.clusterIP}"), 1);
    space.exec(&names[0], &["sh", "-c", "hostname > /www/index.html"]);
    let mut both = vec![leaves, stays];
    both.sort();
    endpoints_are(&space, &both);
}

#[test]
fn a_headless_service_is_a_name_for_all_its_pods() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("headless");
    web(&space, 2);
    space.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
"#,
    );
    let client = client(&space);
    let wanted = pods(&space, "{.items[*].status.podIP}");
    testkit::wait_until("the name to give each pod", || {
        let ran = space.kubectl(&["exec", &client, "--", "nslookup", "web.headless.svc.cluster.local"]);
        if wanted.iter().all(|ip| ran.stdout.contains(ip.as_str())) { Ok(()) } else { Err(ran) }
    });
}

#[test]
fn endpoints_that_somebody_writes_lead_somewhere_and_go_with_their_service() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("written");
    web(&space, 2);
    let behind = pods(&space, "{.items[*].status.podIP}");
    let subsets = |ip: &str| format!("[{{addresses: [{{ip: {ip}}}], ports: [{{port: 8080}}]}}]");
    let endpoints = |ip: &str| {
        format!("apiVersion: v1\nkind: Endpoints\nmetadata: {{name: mine}}\nsubsets: {}\n", subsets(ip))
    };
    space.apply("apiVersion: v1\nkind: Service\nmetadata: {name: mine}\nspec: {ports: [{port: 80}]}\n");
    space.apply(&endpoints(&behind[0]));
    let mirrored = "kubernetes.io/service-name=mine";
    let slices = || {
        let path = "jsonpath={.items[*].endpoints[*].addresses[*]}";
        space.ok(&["get", "endpointslices", "-l", mirrored, "-o", path])
    };
    let shows = |wanted: &str| {
        testkit::wait_until("the slice", || {
            let now = slices();
            if now == wanted { Ok(()) } else { Err(now) }
        });
    };
    shows(&behind[0]);
    let client = client(&space);
    fetch_until(&space, &client, &space.field("service/mine", "{.spec.clusterIP}"), 1);
    space.apply(&endpoints(&behind[1]));
    shows(&behind[1]);
    // A service that is labelled so is another proxy's.
    space.ok(&["label", "service", "mine", "service.kubernetes.io/service-proxy-name=other"]);
    let address = space.field("service/mine", "{.spec.clusterIP}");
    testkit::wait_until("nobody to answer", || {
        let ask = format!(r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {address} 80");
        let ran = space.kubectl(&["exec", &client, "--", "sh", "-c", &ask]);
        if ran.stdout.is_empty() { Ok(()) } else { Err(ran) }
    });
    space.ok(&["delete", "service", "mine"]);
    shows("");
    testkit::wait_until("the endpoints to go with their service", || {
        let ran = space.kubectl(&["get", "endpoints", "mine"]);
        if ran.code == 0 { Err(ran) } else { Ok(()) }
    });
}

/// A deployment `web` whose pods answer with their name.
#[track_caller]
fn web(space: &Namespace<'_>, replicas: u32) {
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: "{IMAGE}"
          command: [sh, -c, "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /index.html, port: 8080}}, periodSeconds: 1, failureThreshold: 1}}
"#
    ));
    space.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
}

/// A pod to ask from.
#[track_caller]
fn client(space: &Namespace<'_>) -> String {
    space.ok(&["run", "client", "--image", IMAGE, "--command", "--", "sleep", "1000"]);
    space.wait("condition=Ready", &["pod/client"]);
    "client".to_owned()
}

/// Asks until as many different pods as `count` have answered.
#[track_caller]
fn fetch_until(space: &Namespace<'_>, client: &str, host: &str, count: usize) {
    // Not `wget -T`, with which the static busybox was seen to crash.
    let ask = format!(r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {host} 80 | tail -n 1");
    let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {ask}; done");
    testkit::wait_until(&format!("{count} pods behind {host}"), || {
        let ran = space.kubectl(&["exec", client, "--", "sh", "-c", &script]);
        let names: std::collections::BTreeSet<&str> = ran.stdout.lines().collect();
        let right = names.iter().all(|name| name.starts_with("web-"));
        if names.len() == count && right { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

/// Waits until Endpoints and EndpointSlices name these addresses as ready.
#[track_caller]
fn endpoints_are(space: &Namespace<'_>, wanted: &[String]) {
    testkit::wait_until("the endpoints", || {
        let old = sorted(&space.field("endpoints/web", "{.subsets[*].addresses[*].ip}"));
        let slices = space.ok(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=web",
            "-o",
            "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}",
        ]);
        let seen = (old, sorted(&slices));
        if seen.0 == wanted && seen.1 == wanted { Ok(()) } else { Err(seen) }
    });
}

#[track_caller]
fn pods(space: &Namespace<'_>, path: &str) -> Vec<String> {
    sorted(&space.ok(&["get", "pods", "-l", "app=web", "-o", &format!("jsonpath={path}")]))
}

#[track_caller]
fn pods_address(space: &Namespace<'_>, pod: &str) -> String {
    space.field(&format!("pod/{pod}"), "{.status.podIP}")
}

fn sorted(words: &str) -> Vec<String> {
    let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}
