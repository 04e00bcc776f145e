//! Crashes, reboots, and daemons in each other's way.

use std::time::{Duration, Instant};

use docker_tests::run;
use kubernetes_tests::load::{self, Dice, Ledger, Load};
use kubernetes_tests::{Cluster, IMAGE, Namespace};

#[test]
fn a_crash_at_any_moment_loses_nothing_acknowledged_and_stops_no_container() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "namespace", "crash"]);
    deploy(&Namespace::of(&cluster, "crash"));
    let before = containers(&Namespace::of(&cluster, "crash"));
    assert_eq!(before.len(), 2, "{before:?}");
    let mut dice = Dice::roll();
    let mut ledger = Ledger::default();
    for round in 0..4 {
        let load = Load::start(&cluster.daemon, "crash", &format!("round{round}"), &mut dice);
        // The moment of the crash is counted in writes and then drawn within what one takes.
        let enough = 30 + dice.below(400) as usize;
        testkit::wait_until("writes to be acknowledged", || match load.acknowledged() {
            count if count >= enough => Ok(()),
            count => Err(count),
        });
        let instant = Instant::now() + Duration::from_micros(dice.below(3_000));
        while Instant::now() < instant {
            std::hint::spin_loop();
        }
        cluster.daemon.kill();
        ledger.extend(load.finish());
        cluster.daemon.launch();
        cluster.wait_ready();
        let space = Namespace::of(&cluster, "crash");
        ledger.check(&load::found(&cluster.daemon, &space.ok(&["get", "configmaps", "-o", "json"])));
        assert_eq!(containers(&space), before, "the containers never stopped");
    }
    assert!(ledger.len() > 100, "the writers wrote {} objects", ledger.len());
    let space = Namespace::of(&cluster, "crash");
    space.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    assert_eq!(containers(&space), before);
    space.ok(&["scale", "deployment/web", "--replicas=1"]);
    testkit::wait_until("the cluster to work on", || match containers(&space) {
        one if one.len() == 1 && before.contains(&one[0]) => Ok(()),
        others => Err(others),
    });
}

/// Settings change and tokens run out while a pod runs, whichever daemon made its volumes.
#[test]
fn a_daemon_that_began_anew_looks_after_the_volumes_of_running_pods() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "namespace", "volumes"]);
    let (script, running) = {
        let space = Namespace::of(&cluster, "volumes");
        space.ok(&["create", "configmap", "settings", "--from-literal=colour=green"]);
        space.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "1000"], volumeMounts: [{{name: settings, mountPath: /settings}}]}}
  volumes: [{{name: settings, configMap: {{name: settings}}}}]
"#
        ));
        space.wait("condition=Ready", &["pod/box"]);
        let uid = space.field("pod/box", "{.metadata.uid}");
        let file = cluster.daemon.root().join("pods").join(uid).join("volumes/settings/..data/colour");
        (format!("echo old > {}", file.display()), containers(&space))
    };
    cluster.daemon.kill();
    // What is shown is as old as the settings were before they changed.
    assert!(cluster.daemon.in_namespaces(&["sh", "-c", &script]).status().expect("run it").success());
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "volumes");
    testkit::wait_until("the settings to be as they are", || {
        match space.exec("box", &["cat", "/settings/colour"]) {
            now if now == "green" => Ok(()),
            now => Err(now),
        }
    });
    assert_eq!(containers(&space), running, "it never stopped");
}

#[test]
fn a_reboot_brings_pods_and_containers_back() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "namespace", "reboot"]);
    let daemon = &cluster.daemon;
    daemon.ok(&["run", "-d", "--name", "loyal", "--restart", "always", IMAGE, "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "plain", IMAGE, "sleep", "1000"]);
    deploy(&Namespace::of(&cluster, "reboot"));
    in_memory(&Namespace::of(&cluster, "reboot"));
    let before = containers(&Namespace::of(&cluster, "reboot"));
    let run_directory = daemon.run_directory();
    cluster.daemon.kill();
    assert_eq!(cluster.daemon.shims().len(), 5, "a shim for each container and each pod");
    for pid in cluster.daemon.shims() {
        // One may have ended with another.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    testkit::wait_until("the shims to be gone", || match cluster.daemon.shims() {
        none if none.is_empty() => Ok(()),
        left => Err(left),
    });
    // What a reboot erases. Mounts are in the namespace of the daemon's tests.
    let erase = cluster.daemon.in_namespaces(&[
        "sh",
        "-c",
        r#"for p in "$1[^ ]*" "$2/[^ ]*"; do
             grep -o " $p" /proc/self/mounts | sort -r | while read m; do umount -l "$m"; done
           done
           rm -rf "$1""#,
        "erase",
        &run_directory.display().to_string(),
        &cluster.daemon.kubeconfig().parent().expect("below the root").display().to_string(),
    ]);
    let erased = run(erase, "");
    assert_eq!(erased.code, 0, "{erased:?}");
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "reboot");
    testkit::wait_until("the pods to run again", || {
        let now = containers(&space);
        let running = space.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"]);
        let all_new = now.iter().all(|container| !before.contains(container));
        if now.len() == 3 && all_new && running.stdout == "2" { Ok(()) } else { Err((now, running)) }
    });
    let pod = space.field("pods", "{.items[0].metadata.name}");
    assert_eq!(space.exec(&pod, &["echo", "here"]), "here");
    testkit::wait_until("it to be told", || {
        let told = space.ok(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        if told.contains("Pod sandbox changed, it will be killed and re-created.") {
            Ok(())
        } else {
            Err(told)
        }
    });
    testkit::wait_until("what was in memory to be so again", || {
        let ran = space.kubectl(&[
            "exec",
            "memory",
            "--",
            "sh",
            "-c",
            "stat -f -c %T /scratch /keys; ls /scratch; cat /keys/token",
        ]);
        if ran.stdout == "tmpfs\ntmpfs\ns3cret" { Ok(()) } else { Err(ran) }
    });
    testkit::wait_until("the container that restarts", || {
        let ran = cluster.daemon.docker(&["exec", "loyal", "echo", "here"]);
        if ran.stdout == "here\n" { Ok(()) } else { Err(ran) }
    });
    assert_eq!(cluster.daemon.inspect("plain", "{{.State.Running}}"), "false");
}

#[test]
fn a_second_daemon_is_refused_with_the_reason() {
    let cluster = Cluster::start();
    let same_root = run(cluster.daemon.gantry("", &["up"]), "");
    assert_ne!(same_root.code, 0, "{same_root:?}");
    assert!(same_root.stderr.contains("another"), "{same_root:?}");
    let same_port = run(cluster.daemon.gantry("b", &["up"]), "");
    assert_ne!(same_port.code, 0, "{same_port:?}");
    assert!(same_port.stderr.contains("127.0.0.1:6443"), "{same_port:?}");
    let reset = run(cluster.daemon.gantry("b", &["reset", "--yes"]), "");
    assert_eq!(reset.code, 0, "{reset:?}");
    assert!(cluster.ok(&["get", "nodes"]).contains("Ready"), "the first goes on");
}

#[track_caller]
fn deploy(space: &Namespace<'_>) {
    space.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "1000"]}}]
"#
    ));
    space.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]);
}

/// A pod with volumes in memory, one of which has something in it.
#[track_caller]
fn in_memory(space: &Namespace<'_>) {
    space.ok(&["create", "secret", "generic", "keys", "--from-literal=token=s3cret"]);
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: memory}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{name: scratch, emptyDir: {{medium: Memory}}}}, {{name: keys, secret: {{secretName: keys}}}}]
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "1000"], volumeMounts: [{{name: scratch, mountPath: /scratch}}, {{name: keys, mountPath: /keys}}]}}
"#
    ));
    space.wait("condition=Ready", &["pod/memory"]);
    space.exec("memory", &["touch", "/scratch/forgotten"]);
}

/// Id, process and start of each running container of the namespace.
#[track_caller]
fn containers(space: &Namespace<'_>) -> Vec<String> {
    let mut all: Vec<String> = space
        .containers()
        .iter()
        .map(|id| space.inspect(id, "{{.Id}} {{.State.Running}} {{.State.Pid}} {{.State.StartedAt}}"))
        .filter(|line| line.contains(" true "))
        .collect();
    all.sort();
    all
}
