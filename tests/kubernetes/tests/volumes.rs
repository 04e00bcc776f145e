//! Volumes of pods, and what a pod may ask of its node.

use docker_tests::Daemon;
use kubernetes_tests::{Cluster, IMAGE, Namespace};

/// What `stat -f` calls a file system in memory.
const MEMORY: &str = "tmpfs";

#[test]
fn what_may_be_secret_is_in_memory_alone_and_cannot_be_written() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("in-memory");
    space.ok(&["create", "configmap", "settings", "--from-literal=colour=green"]);
    space.ok(&["create", "secret", "generic", "keys", "--from-literal=token=s3cret"]);
    pod(
        &space,
        r#"volumeMounts: [
            {name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}, {name: scratch, mountPath: /scratch},
            {name: own, mountPath: /own}, {name: settings, mountPath: /etc/colour.conf, subPath: colour}]"#,
        r#"volumes: [
            {name: settings, configMap: {name: settings}}, {name: keys, secret: {secretName: keys}},
            {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Mi}},
            {name: own, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]"#,
    );
    space.wait("condition=Ready", &["pod/box"]);
    let kind = |path: &str| space.exec("box", &["stat", "-f", "-c", "%T", path]);
    for path in ["/keys", "/own", "/scratch", "/dev/shm", "/var/run/secrets/kubernetes.io/serviceaccount"] {
        assert_eq!(kind(path), MEMORY, "{path}");
    }
    assert_ne!(kind("/settings"), MEMORY, "names and settings need no memory");
    assert_eq!(space.exec("box", &["cat", "/etc/colour.conf"]), "green", "one key by its path");
    let script = "for d in /keys /own /settings /var/run/secrets/kubernetes.io/serviceaccount; do \
                  touch $d/x 2>/dev/null && echo $d; ln -sfn /etc $d/..data 2>/dev/null && echo $d; done; \
                  dd if=/dev/zero of=/scratch/fill bs=64k count=100 2>/dev/null; du -k /scratch/fill | cut -f1; \
                  dd if=/dev/zero of=/dev/shm/fill bs=64k count=2000 2>/dev/null; du -k /dev/shm/fill | cut -f1";
    assert_eq!(space.exec("box", &["sh", "-c", script]), "1024\n65536");
}

#[test]
fn only_safe_kernel_parameters_are_set() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("sysctls");
    let with = |name: &str| format!("securityContext: {{sysctls: [{{name: {name}, value: \"1\"}}]}}");
    pod(&space, "", &with("kernel.msgmax"));
    space.wait_for("pod/box", "{.status.phase}/{.status.reason}", "Failed/SysctlForbidden");
    let message = space.field("pod/box", "{.status.message}");
    assert_eq!(message, "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted");
    assert!(space.containers().is_empty(), "nothing of it was started");
    space.ok(&["delete", "pod", "box"]);
    pod(&space, "", &with("net/ipv4/tcp_syncookies"));
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/proc/sys/net/ipv4/tcp_syncookies"]), "1");
    let bad = manifest("bad", "", &with("\"net..ipv4\""));
    space.fails_with(&bad, &["apply", "-f", "-"], "must have at most 253 characters and match regex");
    let of_host = manifest("bad", "", &format!("{}\n  hostNetwork: true", with("net.ipv4.tcp_syncookies")));
    space.fails_with(&of_host, &["apply", "-f", "-"], "may not be specified when 'hostNetwork' is true");
}

#[test]
fn a_part_of_what_shows_objects_of_the_api_can_be_mounted() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("parts");
    space.ok(&["create", "configmap", "map", "--from-literal=key=from the map", "--from-literal=other=x"]);
    space.ok(&["create", "secret", "generic", "keys", "--from-literal=token=s3cret"]);
    let volumes = r#"volumes:
    - {name: map, configMap: {name: map}}
    - {name: deep, configMap: {name: map, items: [{key: key, path: d/e/key}]}}
    - {name: keys, secret: {secretName: keys}}
    - {name: own, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
    - {name: all, projected: {sources: [{secret: {name: keys}}, {configMap: {name: map, items: [{key: key, path: x/key}]}}]}}"#;
    let mounts = "volumeMounts: [
        {name: map, mountPath: /map, subPath: key},
        {name: deep, mountPath: /deep, subPath: d/e/key}, {name: deep, mountPath: /directory, subPath: d},
        {name: keys, mountPath: /etc/token, subPath: token},
        {name: own, mountPath: /own, subPath: name},
        {name: all, mountPath: /all, subPath: x/key}, {name: all, mountPath: /missing, subPath: none}]";
    pod(&space, mounts, volumes);
    space.wait("condition=Ready", &["pod/box"]);
    let script = "cat /map; echo; cat /deep; echo; cat /directory/e/key; echo; cat /etc/token; echo; cat /own; echo; cat /all; ls /missing";
    let map = "from the map";
    assert_eq!(space.exec("box", &["sh", "-c", script]), format!("{map}\n{map}\n{map}\ns3cret\nbox\n{map}"));
    // A container that begins anew has what there is by then, and one that runs what there was.
    space.ok(&["patch", "configmap", "map", "-p", r#"{"data": {"key": "changed"}}"#]);
    assert_eq!(space.exec("box", &["cat", "/map"]), map);
    space.ok(&["delete", "pod", "box"]);
    pod(&space, mounts, volumes);
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/map"]), "changed");
}

#[test]
fn a_part_of_a_volume_is_found_through_links_that_stay_in_it_and_through_no_others() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("linked");
    let script = "mkdir -p /v/real/part && echo inside > /v/real/part/file && ln -s real /v/link && ln -s ../../../../etc /v/out && ln -s /etc /v/absolute";
    let spec = format!(
        "initContainers: [{{name: links, image: \"{IMAGE}\", command: [sh, -c, \"{script}\"], volumeMounts: [{{name: v, mountPath: /v}}]}}]
  volumes: [{{name: v, emptyDir: {{}}}}]"
    );
    pod(&space, "volumeMounts: [{name: v, mountPath: /part, subPath: link/part}]", &spec);
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/part/file"]), "inside");
    for out in ["out", "absolute"] {
        let mount = format!("volumeMounts: [{{name: v, mountPath: /part, subPath: {out}}}]");
        space.apply(&manifest(out, &mount, &spec));
        let reason = "{.status.containerStatuses[0].state.waiting.reason}";
        space.wait_for(&format!("pod/{out}"), reason, "CreateContainerConfigError");
        let message =
            space.field(&format!("pod/{out}"), "{.status.containerStatuses[0].state.waiting.message}");
        assert!(message.contains("leads out of its directory"), "{message}");
    }
}

#[test]
fn profiles_and_users_that_make_no_sense_are_refused_without_a_word_of_any_file() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("refused");
    let profile = |name: &str| {
        format!("securityContext: {{seccompProfile: {{type: Localhost, localhostProfile: \"{name}\"}}}}")
    };
    for (name, message) in
        [("/etc/shadow", "must be a relative path"), ("../shadow", "must not contain '..'")]
    {
        space.fails_with(&manifest("bad", "", &profile(name)), &["apply", "-f", "-"], message);
    }
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        for id in ["-1", "4294967295", "2147483648"] {
            let bad = manifest("bad", "", &format!("securityContext: {{{field}: {id}}}"));
            space.fails_with(&bad, &["apply", "-f", "-"], "between 0 and 2147483647");
        }
    }
    pod(&space, "", &profile("none.json"));
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("pod/box", reason, "CreateContainerConfigError");
}

#[test]
fn pods_are_weighed_by_what_they_ask_for() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("weights");
    pod(&space, "resources: {requests: {cpu: 250m}, limits: {cpu: 500m, memory: 64Mi}}", "");
    space.wait("condition=Ready", &["pod/box"]);
    let id = space.containers().first().cloned().expect("its container");
    let groups = groups(&space, &id);
    let of = |controller: &str| group_of(&groups, controller);
    let read =
        |path: String| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // With cgroup v2 there is one hierarchy, and its weights are 1 to 10,000.
    match (of("cpu"), of("memory")) {
        (Some(cpu), Some(memory)) => {
            let group = |path: &str| path.rsplit_once('/').expect("a pod's group").0.to_owned();
            assert!(group(&cpu).contains("/pods/burstable/"), "{cpu}");
            assert_eq!(read(format!("/sys/fs/cgroup/cpu/{}/cpu.shares", group(&cpu))), "256\n");
            assert_eq!(read(format!("/sys/fs/cgroup/cpu/{}/cpu.cfs_quota_us", group(&cpu))), "50000\n");
            let limit = format!("/sys/fs/cgroup/memory/{}/memory.limit_in_bytes", group(&memory));
            assert_eq!(read(limit), "67108864\n");
        }
        _ => {
            let path =
                groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("the unified hierarchy");
            let group = path.rsplit_once('/').expect("a pod's group").0;
            assert_eq!(read(format!("/sys/fs/cgroup/{group}/cpu.max")), "50000 100000\n");
            assert_eq!(read(format!("/sys/fs/cgroup/{group}/memory.max")), "67108864\n");
            assert_eq!(read(format!("/sys/fs/cgroup/{path}/memory.oom.group")), "1\n");
        }
    }
    let node =
        space.field("nodes", "{.items[0].status.capacity.memory} {.items[0].status.allocatable.memory}");
    let sizes: Vec<u64> =
        node.split(' ').map(|size| size.trim_end_matches("Ki").parse().expect("a size")).collect();
    assert_eq!(sizes[0] - sizes[1], 100 << 10, "{node}");
}

/// The control groups of a container, as the kernel lists them.
fn groups(space: &Namespace<'_>, container: &str) -> String {
    let pid = space.inspect(container, "{{.State.Pid}}");
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs")
}

/// The group in the hierarchy of a controller of cgroup v1.
fn group_of(groups: &str, controller: &str) -> Option<String> {
    let line = groups
        .lines()
        .find(|line| line.split(':').nth(1).is_some_and(|all| all.split(',').any(|one| one == controller)));
    line.and_then(|line| line.splitn(3, ':').nth(2)).map(|path| path.trim_start_matches('/').to_owned())
}

#[test]
fn what_is_reserved_is_neither_offered_nor_taken_and_what_is_allowed_can_be_set() {
    let mut cluster = Cluster::start();
    cluster.daemon.stop();
    cluster.daemon.launch_with(&[
        "--system-reserved",
        "cpu=100m,memory=1Gi,ephemeral-storage=1Gi,pid=1000",
        "--kube-reserved",
        "cpu=150m,memory=256Mi",
        "--allowed-unsafe-sysctls",
        "net.core.*",
        "--eviction-hard",
        "memory.available<100Mi,nodefs.available<1%",
    ]);
    cluster.wait_ready();
    let number = |name: &str| -> u64 {
        let node = cluster.ok(&["get", "nodes", "-o", &format!("jsonpath={{.items[0].status.{name}}}")]);
        let scale = if node.ends_with("Ki") { 1024 } else { 1 };
        node.trim_end_matches("Ki").parse::<u64>().unwrap_or_else(|_| panic!("{name}: {node}")) * scale
    };
    let memory = number("capacity.memory");
    testkit::wait_until("the node to offer less", || {
        let kept = memory - number("allocatable.memory");
        // The two, and what must be free.
        if kept == (1280 + 100) << 20 { Ok(()) } else { Err(kept) }
    });
    let cpu = cluster.ok(&["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"]);
    assert_eq!(cpu, format!("{}m", number("capacity.cpu") * 1000 - 250));
    let disk = number("capacity.ephemeral-storage");
    let kept = disk - number("allocatable.ephemeral-storage");
    assert!((disk / 100 + (1 << 30)).abs_diff(kept) <= 4096, "{kept} of {disk}");

    let space = cluster.namespace("reserves");
    pod(
        &space,
        "resources: {requests: {ephemeral-storage: 1Gi}}",
        "securityContext: {sysctls: [{name: net.core.somaxconn, value: \"77\"}]}",
    );
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/proc/sys/net/core/somaxconn"]), "77");
    let id = space.containers().first().cloned().expect("its container");
    let groups = groups(&space, &id);
    let all_pods =
        |path: &str| path.split_once("/pods/").expect("below the group of all pods").0.to_owned() + "/pods";
    let (limit, most) = match group_of(&groups, "memory") {
        Some(memory) => (
            format!("memory/{}/memory.limit_in_bytes", all_pods(&memory)),
            format!("pids/{}/pids.max", all_pods(&group_of(&groups, "pids").expect("the controller"))),
        ),
        None => {
            let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("the unified one");
            (format!("{}/memory.max", all_pods(path)), format!("{}/pids.max", all_pods(path)))
        }
    };
    let read = |path: &str| -> u64 {
        let path = format!("/sys/fs/cgroup/{path}");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim().parse().unwrap_or_else(|_| panic!("{path}: {text}"))
    };
    assert!((memory - (1280 << 20)).abs_diff(read(&limit)) <= 4096, "{}", read(&limit));
    let kernel = |name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("procfs is mounted");
        text.trim().parse().expect("a number")
    };
    assert_eq!(read(&most), kernel("pid_max").min(kernel("threads-max")) - 1000);

    let asks = r#"resources: {requests: {memory: 512Mi}}"#;
    space.apply(&manifest("asks", asks, ""));
    space.wait("condition=Ready", &["pod/asks"]);
    cluster.daemon.stop();
    cluster.daemon.launch_with(&["--eviction-hard", "memory.available<99%,pid.available<1%"]);
    wait_pressure(&cluster, "MemoryPressure", "node.kubernetes.io/memory-pressure");
    // One pod after another ends for it, those first that take more than they asked for.
    let space = Namespace::of(&cluster, "reserves");
    let box_ended = testkit::wait_until("a pod to be ended", || {
        let status = space.get(&["pod", "box"])["status"].clone();
        if status["phase"] == "Failed" { Ok(status) } else { Err(status) }
    });
    assert_eq!(space.field("pod/asks", "{.status.phase}"), "Running");
    assert_eq!(box_ended["reason"], "Evicted", "{box_ended}");
    let message = box_ended["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("The node was low on resource: memory. Threshold quantity: "), "{message}");
    assert!(message.contains(" Container main was using ") && message.ends_with(" consumption of memory. "));
    let disrupted = r#"{.status.conditions[?(@.type=="DisruptionTarget")].reason}"#;
    assert_eq!(space.field("pod/box", disrupted), "TerminationByKubelet");
    // None is let in meanwhile, whoever binds it.
    let node = format!("nodeName: {}", cluster.node());
    space.apply(&manifest("late", "", &node));
    space.wait_for("pod/late", "{.status.reason}", "Evicted");
    let message = space.field("pod/late", "{.status.message}");
    assert!(message.contains("The node had condition: [MemoryPressure]."), "{message}");

    cluster.daemon.stop();
    let refused =
        cluster.daemon.gantry("", &["up", "--kube-reserved", "memory=900Ti"]).output().expect("run it");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("Resource \"memory\" has a reservation of 9"), "{said}");
}

#[test]
fn what_takes_the_disk_goes_with_the_pod_that_is_ended_for_it() {
    const MIB: u64 = 1 << 20;
    let mut cluster = Cluster { daemon: Daemon::start_on_small_disk(512 * MIB) };
    cluster.daemon.stop();
    cluster.daemon.launch_with(&["--eviction-hard", "nodefs.available<40%"]);
    cluster.wait_ready();
    let space = cluster.namespace("disk");
    pod(&space, "", "");
    space.wait("condition=Ready", &["pod/box"]);
    space.exec("box", &["dd", "if=/dev/zero", "of=/file", "bs=1M", "count=8"]);
    // It never gets ready, and would take its time to go.
    let fills = r#"
apiVersion: v1
kind: Pod
metadata: {name: fills}
spec:
  terminationGracePeriodSeconds: 1000
  containers:
    - name: main
      image: "@IMAGE"
      command: [sleep, "1000"]
      volumeMounts: [{name: scratch, mountPath: /scratch}]
      lifecycle:
        postStart: {exec: {command: [sh, -c, "for at in /scratch/file /file; do dd if=/dev/zero of=$at bs=1M count=160; done; sleep 1000"]}}
        preStop: {exec: {command: [sleep, "1000"]}}
  volumes: [{name: scratch, emptyDir: {}}]
"#;
    space.apply(&fills.replace("@IMAGE", IMAGE));
    let directory = cluster.daemon.root().join("pods").join(space.field("pod/fills", "{.metadata.uid}"));
    space.wait_for("pod/fills", "{.status.reason}", "Evicted");
    let message = space.field("pod/fills", "{.status.message}");
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. "), "{message}");
    let written = " was using 160Mi, request is 0, has larger consumption of ephemeral-storage.";
    assert!(message.ends_with(written), "{message}");
    testkit::wait_until("the room to be free", || {
        let used = cluster.daemon.disk_used();
        if used < 200 * MIB { Ok(()) } else { Err(used) }
    });
    let is_there = |path: &str| {
        let words = ["test", "-e", path];
        cluster.daemon.in_namespaces(&words).status().expect("run it").success()
    };
    let directory = directory.display().to_string();
    assert!(is_there(&cluster.daemon.root().display().to_string()) && !is_there(&directory));
    wait_pressure(&cluster, "DiskPressure", "node.kubernetes.io/disk-pressure");
    // Longer than it takes to choose another.
    std::thread::sleep(std::time::Duration::from_secs(22));
    let fares = "{.status.phase} {.status.containerStatuses[0].restartCount}";
    assert_eq!(space.field("pod/box", fares), "Running 0", "nothing is short any more");
    // How it ended is known still, also to a daemon that finds nothing of it.
    let told = "{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}";
    assert_eq!(space.field("pod/fills", told), "Failed 137");
    cluster.daemon.stop();
    cluster.daemon.launch();
    let space = Namespace::of(&cluster, "disk");
    space.apply(&manifest("after", "", ""));
    space.wait("condition=Ready", &["pod/after"]);
    assert_eq!(space.field("pod/fills", told), "Failed 137");
    assert_eq!(space.field("pod/box", fares), "Running 0");
    assert!(!cluster.daemon.in_namespaces(&["test", "-e", &directory]).status().expect("run it").success());
    space.ok(&["delete", "pod", "fills"]);
}

/// Waits until the node says so, and takes no more pods.
fn wait_pressure(cluster: &Cluster, condition: &str, taint: &str) {
    let under = r#"jsonpath={.items[0].status.conditions[?(@.status=="True")].type}"#;
    testkit::wait_until("the node to be under pressure", || {
        let conditions = cluster.ok(&["get", "nodes", "-o", under]);
        if conditions == format!("{condition} Ready") { Ok(()) } else { Err(conditions) }
    });
    testkit::wait_until("pods to be held off", || {
        let taints = cluster.ok(&["get", "nodes", "-o", "jsonpath={.items[0].spec.taints[*].key}"]);
        if taints.contains(taint) { Ok(()) } else { Err(taints) }
    });
}

#[track_caller]
fn pod(space: &Namespace<'_>, main: &str, spec: &str) {
    space.apply(&manifest("box", main, spec));
}

fn manifest(name: &str, main: &str, spec: &str) -> String {
    let comma = if main.is_empty() { "" } else { "," };
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "1000"]{comma} {main}}}
  {spec}
"#
    )
}

#[test]
fn a_pod_is_gone_when_nothing_is_left_of_it_and_not_before() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("cleared");
    pod(
        &space,
        "volumeMounts: [{name: scratch, mountPath: /scratch}]",
        "volumes: [{name: scratch, emptyDir: {}}]",
    );
    space.wait("condition=Ready", &["pod/box"]);
    let directory = cluster.daemon.root().join("pods").join(space.field("pod/box", "{.metadata.uid}"));
    // What is mounted on cannot be removed.
    let busy = directory.join("busy");
    let script = format!("mkdir {0} && mount -t tmpfs busy {0}", busy.display());
    assert!(cluster.daemon.in_namespaces(&["sh", "-c", &script]).status().expect("run it").success());
    space.ok(&["delete", "pod", "box", "--wait=false", "--grace-period=1"]);
    testkit::wait_until("it to be told that the pod cannot be cleared away", || {
        let told = space.ok(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        if told.contains("FailedKillPod") { Ok(()) } else { Err(told) }
    });
    assert_eq!(space.ok(&["get", "pod", "box", "-o", "jsonpath={.metadata.name}"]), "box");
    let busy = busy.display().to_string();
    assert!(cluster.daemon.in_namespaces(&["umount", &busy]).status().expect("run it").success());
    space.ok(&["wait", "--for=delete", "pod/box", "--timeout=60s"]);
    assert!(!directory.exists(), "nothing is left");
}

/// Four pods whose files cannot be removed, since they lie on what never answers.
#[test]
fn pods_whose_removal_does_not_end_stop_neither_api_nor_another_pod_s_removal() {
    let cluster = Cluster::shared();
    let (space, daemon) = (cluster.namespace("unending"), &cluster.daemon);
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| drop(space.apply(&manifest(name, "", ""))));
    space.wait("condition=Ready", &names.map(|name| ["pod/", name].concat()).each_ref().map(String::as_str));
    let dead = names.map(|name| {
        let uid = space.field(&format!("pod/{name}"), "{.metadata.uid}");
        daemon.root().join("pods").join(uid).join("dead").display().to_string()
    });
    let mount = |(number, place): (usize, &String)| {
        let fd = number + 5;
        format!(
            "mkdir {place} && exec {fd}<>/dev/fuse && \
             mount -i -t fuse -o fd={fd},rootmode=40000,user_id=0,group_id=0 none {place} && "
        )
    };
    let script: String = dead.iter().enumerate().map(mount).collect();
    let mut holder =
        daemon.in_namespaces(&["bash", "-c", &format!("{script} echo mounted && exec sleep 1000")]);
    let mut holder = holder.stdout(std::process::Stdio::piped()).spawn().expect("mount them");
    let mut word = [0; 8];
    let output = holder.stdout.as_mut().expect("its output");
    std::io::Read::read_exact(output, &mut word).expect("they are mounted");
    space.ok(&["delete", "pod", "a", "b", "c", "d", "--wait=false", "--grace-period=1"]);
    testkit::wait_until("their containers to have ended", || {
        let left = space.containers();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    // While they hang: both APIs, and a pod with files of its own, from its beginning to its end.
    assert_eq!(daemon.raw("GET", "/_ping", "").expect("an answer").status, 200);
    assert_eq!(cluster.ok(&["get", "--raw", "/readyz"]), "ok");
    space.apply(&manifest("well", "", ""));
    space.wait("condition=Ready", &["pod/well"]);
    space.ok(&["delete", "pod", "well", "--grace-period=1", "--timeout=120s"]);
    assert_eq!(space.ok(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]), "a b c d");
    assert_eq!(daemon.raw("GET", "/containers/json", "").expect("an answer").status, 200);
    holder.kill().expect("end it, and with it the file systems");
    holder.wait().expect("bury it");
    for place in &dead {
        assert!(daemon.in_namespaces(&["umount", "-l", place]).status().expect("run it").success());
    }
    space.ok(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
}
