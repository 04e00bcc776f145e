//! Pods with `hostUsers: false`: users of their own, whatever they are given of the node.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use docker_tests::run;
use kubernetes_tests::{Cluster, IMAGE, Namespace};

/// What the user namespace of a pod's first container looks like from inside.
#[track_caller]
fn first_id(space: &Namespace<'_>, pod: &str) -> u64 {
    let map = space.exec(pod, &["cat", "/proc/self/uid_map"]);
    let words: Vec<u64> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    assert_eq!((words[0], words[2]), (0, 65_536), "{map}");
    assert!(words[1] >= 65_536 && words[1].is_multiple_of(65_536), "{map}");
    words[1]
}

/// A volume of a pod on the node.
fn volume(cluster: &Cluster, space: &Namespace<'_>, pod: &str, name: &str) -> PathBuf {
    let uid = space.field(&format!("pod/{pod}"), "{.metadata.uid}");
    let root = cluster.daemon.kubeconfig().parent().expect("it is in the root").to_owned();
    root.join("pods").join(uid).join("volumes").join(name)
}

#[test]
fn volumes_of_every_kind_belong_to_whom_they_do_inside() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("volumes");
    space.ok(&["create", "configmap", "settings", "--from-literal=colour=green"]);
    space.ok(&["create", "secret", "generic", "keys", "--from-literal=token=s3cret"]);
    let host = cluster.daemon.scratch("host-path");
    std::fs::create_dir_all(&host).expect("make a directory");
    std::fs::write(host.join("given"), "by the node\n").expect("write");
    space.apply(&manifest(
        "box",
        r#"command: [sh, -c, "echo begun; echo done > /dev/termination-log; exec sleep 1000"],
           readinessProbe: {exec: {command: [test, -e, /scratch/hook]}, periodSeconds: 1},
           lifecycle: {postStart: {exec: {command: [touch, /scratch/hook]}}},
           volumeMounts: [
            {name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}, {name: both, mountPath: /both},
            {name: own, mountPath: /own}, {name: scratch, mountPath: /scratch}, {name: memory, mountPath: /memory},
            {name: scratch, mountPath: /part, subPath: a/b}, {name: host, mountPath: /host}]"#,
        &format!(
            r#"securityContext: {{fsGroup: 3000}}
  volumes: [
    {{name: settings, configMap: {{name: settings}}}}, {{name: keys, secret: {{secretName: keys, defaultMode: 256}}}},
    {{name: both, projected: {{sources: [{{secret: {{name: keys}}}}, {{configMap: {{name: settings}}}}]}}}},
    {{name: own, downwardAPI: {{items: [{{path: name, fieldRef: {{fieldPath: metadata.name}}}}]}}}},
    {{name: scratch, emptyDir: {{}}}}, {{name: memory, emptyDir: {{medium: Memory}}}},
    {{name: host, hostPath: {{path: "{}"}}}}]"#,
            host.display()
        ),
    ));
    space.wait("condition=Ready", &["pod/box"]);
    first_id(&space, "box");
    let script = "cat /settings/colour /keys/token /both/colour /both/token /own/name; echo; cat /host/given; \
                  for f in /settings/colour /keys/token /scratch /memory /host/given /etc/hosts /bin/sh; do stat -L -c '%n %u %g' $f; done; \
                  touch /scratch/made /memory/made /part/made /host/made && chown 7:8 /scratch/made && id -G && \
                  test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo 1.2.3.4 me >> /etc/hosts && \
                  chmod 6755 /scratch/made && test -s /etc/resolv.conf";
    let said = space.exec("box", &["sh", "-c", script]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["greens3cretgreens3cretbox", "by the node"]);
    let owned = "/settings/colour 0 3000\n/keys/token 0 3000\n/scratch 0 3000\n/memory 0 3000\n/host/given 0 0\n/etc/hosts 0 0\n/bin/sh 0 0";
    assert_eq!(lines[2..9].join("\n"), owned);
    assert!(lines[9].split(' ').any(|group| group == "3000"), "{said}");
    let on_disk = |path: PathBuf| {
        let stat = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (stat.uid(), stat.gid())
    };
    let scratch = volume(&cluster, &space, "box", "scratch");
    assert_eq!(on_disk(scratch.join("made")), (7, 8));
    assert_eq!(on_disk(scratch.join("a/b/made")), (0, 3000));
    assert_eq!(on_disk(host.join("made")), (0, 0));
    // Nobody else on the node comes near a program that a container made for everybody to run.
    let path = scratch.join("made").display().to_string();
    let mut other =
        cluster.daemon.on_host("setpriv", &["--reuid=1234", "--regid=1234", "--clear-groups", "stat", &path]);
    assert!(!other.output().expect("run stat").status.success(), "{path} can be reached");
    assert_eq!(space.ok(&["logs", "box"]), "begun");
    let copy = cluster.daemon.scratch("copied");
    std::fs::create_dir_all(&copy).expect("make a directory");
    std::fs::write(copy.join("file"), "copied in").expect("write");
    space.ok(&["cp", &copy.join("file").display().to_string(), "box:/tmp/copied"]);
    assert_eq!(space.exec("box", &["sh", "-c", "cat /tmp/copied"]), "copied in");
}

#[test]
fn pods_live_with_their_ids_through_restarts_of_containers_and_of_the_daemon() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "namespace", "lives"]);
    let space = Namespace::of(&cluster, "lives");
    for pod in ["one", "two"] {
        space.apply(&manifest(
            pod,
            r#"command: [sh, -c, "while [ ! -e /end ]; do sleep 0.1; done; exit 3"]"#,
            "shareProcessNamespace: true\n  restartPolicy: Always",
        ));
    }
    space.wait("condition=Ready", &["pod/one", "pod/two"]);
    let (one, two) = (first_id(&space, "one"), first_id(&space, "two"));
    assert_ne!(one, two);
    let before = space.containers();
    cluster.daemon.kill();
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "lives");
    assert_eq!(space.containers(), before, "the containers never stopped");
    assert_eq!((first_id(&space, "one"), first_id(&space, "two")), (one, two));
    // A container that ends comes back in the same pod.
    space.exec("one", &["touch", "/end"]);
    space.wait_for("pod/one", "{.status.containerStatuses[0].restartCount}", "1");
    space.wait("condition=Ready", &["pod/one"]);
    assert_eq!(first_id(&space, "one"), one);
    // A new pod does not get what another has.
    space.apply(&manifest("three", "command: [sleep, \"1000\"]", ""));
    space.wait("condition=Ready", &["pod/three"]);
    let three = first_id(&space, "three");
    assert!(three != one && three != two);
    space.ok(&["delete", "pod", "one", "two", "three", "--wait"]);
    let ids = cluster.daemon.kubeconfig().parent().expect("the root").join("ids");
    testkit::wait_until("their ids to be free", || {
        let left: Vec<_> =
            std::fs::read_dir(&ids).expect("list").flatten().map(|entry| entry.file_name()).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn what_a_pod_with_users_of_its_own_cannot_have_is_said() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("refused");
    for (spec, message) in [
        ("hostNetwork: true", "spec.hostNetwork: Forbidden: when `hostUsers` is false"),
        ("hostPID: true", "spec.HostPID: Forbidden: when `hostUsers` is false"),
        ("hostIPC: true", "spec.HostIPC: Forbidden: when `hostUsers` is false"),
    ] {
        let bad = manifest("bad", "command: [sleep, \"1000\"]", spec);
        space.fails_with(&bad, &["apply", "-f", "-"], message);
    }
    let devices = r#"command: [sleep, "1000"], volumeDevices: [{name: d, devicePath: /dev/d}]"#;
    let bad = manifest("bad", devices, "volumes: [{name: d, emptyDir: {}}]");
    let message = "spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false";
    space.fails_with(&bad, &["apply", "-f", "-"], message);
    space.apply(&manifest(
        "unmapped",
        "command: [sleep, \"1000\"]",
        "securityContext: {runAsUser: 70000, fsGroup: 5}",
    ));
    space.apply(&manifest(
        "procfs",
        r#"command: [sleep, "1000"], volumeMounts: [{name: host, mountPath: /host}]"#,
        "volumes: [{name: host, hostPath: {path: /proc/sys}}]",
    ));
    // One that could not be started has ended, and waits for its next start.
    let message = "{.status.containerStatuses[0].lastState.terminated.message}";
    for (pod, expected) in [
        ("unmapped", "cannot setuid to unmapped uid 70000 in user namespace"),
        (
            "procfs",
            "failed to set MOUNT_ATTR_IDMAP on /proc/sys (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
        ),
    ] {
        testkit::wait_until(&format!("{pod} to say what is wrong"), || {
            let told = space.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={message}")]).stdout;
            let events =
                space.kubectl(&["get", "events", "--field-selector", &format!("involvedObject.name={pod}")]);
            let said = told.contains(expected) && events.stdout.contains(expected);
            if said { Ok(()) } else { Err((told, events)) }
        });
    }
}

#[test]
fn a_privileged_pod_is_so_in_its_own_namespaces_only() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("privileged");
    space.apply(&manifest(
        "box",
        r#"command: [sleep, "1000"], securityContext: {privileged: true}"#,
        "securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: \"0\"}]}",
    ));
    space.apply(&manifest("plain", r#"command: [sleep, "1000"]"#, ""));
    space.wait("condition=Ready", &["pod/box", "pod/plain"]);
    let works = "set -e; mkdir /m; mount -t tmpfs none /m; ip addr add 10.99.0.1/32 dev lo; \
                 echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/tcp_syncookies; hostname";
    assert_eq!(space.exec("box", &["sh", "-c", works]), "0\nbox");
    let attacks = "echo 0 0 1 > /proc/self/uid_map; echo x > /proc/sys/kernel/core_pattern; \
                   echo b > /proc/sysrq-trigger; mount -t ext4 /dev/vda /m; mknod /m/d b 8 0; \
                   for d in /dev/vda /dev/sda /dev/mem /dev/kmsg; do test -b $d -o -c $d && head -c 1 $d; done; \
                   cat /proc/kcore; nsenter -t 1 -m -U true; ls /proc/1/root/var/lib/gantry";
    let said = space.exec("box", &["sh", "-c", &format!("({attacks}) 2>/dev/null; echo end")]);
    assert_eq!(said, "end");
    // Without a filter of its own a pod keeps the usual one.
    let confined = "grep -c 'Seccomp:.2' /proc/self/status; unshare -U true 2>&1 | grep -c 'not permitted'";
    assert_eq!(space.exec("plain", &["sh", "-c", confined]), "1\n1");
    let handler = space.field("nodes", "{.items[0].status.runtimeHandlers[0].features.userNamespaces}");
    assert_eq!(handler, "true");
}

#[test]
fn such_a_pod_is_reached_and_limited_as_any_other() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("reached");
    let serve = r#"command: [sh, -c, "mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"],
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}, resources: {limits: {memory: 32Mi, cpu: 500m}}"#;
    space.apply(&manifest("box", serve, ""));
    space.wait("condition=Ready", &["pod/box"]);
    let forward = space.running(&["port-forward", "pod/box", "18081:8080"]);
    forward.wait_for("Forwarding from 127.0.0.1:18081");
    let page =
        run(cluster.daemon.on_host("busybox", &["wget", "-q", "-O", "-", "http://127.0.0.1:18081/"]), "");
    assert_eq!(page.stdout, "page\n", "{page:?}");
    // The way out and names are those of the cluster.
    assert!(space.exec("box", &["nslookup", "kubernetes.default.svc.cluster.local"]).contains("10.43.0.1"));
    // What takes more memory than it may is killed, and nothing else: one process that fills what it has.
    let greedy = "dd if=/dev/zero of=/dev/null bs=60M count=1; echo $?";
    assert_eq!(space.exec("box", &["sh", "-c", greedy]), "137");
}

fn manifest(name: &str, main: &str, spec: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", {main}}}
  {spec}
"#
    )
}
