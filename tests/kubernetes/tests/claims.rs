//! Volumes that stay: claims, what is on the node's disk for them, and what becomes of it.

use kubernetes_tests::{Cluster, IMAGE, Namespace};

/// What the node has of volumes, as a shell in the daemon's place prints it.
fn on_disk(cluster: &Cluster, script: &str) -> String {
    let script = format!("cd {}/local-path && {script}", cluster.daemon.root().display());
    let output = cluster.daemon.in_namespaces(&["sh", "-c", &script]).output().expect("run it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn claim(space: &Namespace<'_>, node: &str, name: &str, mode: &str) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, annotations: {{volume.kubernetes.io/selected-node: {node}}}}}
spec: {{accessModes: [ReadWriteOnce], volumeMode: {mode}, resources: {{requests: {{storage: 8Mi}}}}}}
"#
    ));
}

fn pod(space: &Namespace<'_>, name: &str, main: &str, volumes: &str) {
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: "{IMAGE}", command: [sleep, "1000"], {main}}}
  {volumes}
"#
    ));
}

const MOUNTED: &str = "volumeMounts: [{name: v, mountPath: /v}]";

fn of_claim(name: &str) -> String {
    format!("volumes: [{{name: v, persistentVolumeClaim: {{claimName: {name}}}}}]")
}

fn events(space: &Namespace<'_>) -> String {
    space.ok(&["get", "events", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}"])
}

fn until_told(space: &Namespace<'_>, wanted: &str) {
    testkit::wait_until(&format!("the event {wanted}"), || {
        let events = events(space);
        if events.contains(wanted) { Ok(()) } else { Err(events) }
    });
}

#[test]
fn data_outlives_pods_and_daemons_and_goes_by_its_policy() {
    let mut cluster = Cluster::start();
    let node = cluster.node();
    cluster.ok(&["create", "namespace", "stays"]);
    let space = Namespace::of(&cluster, "stays");
    testkit::wait_until("the class that is always there", || {
        let classes = space.kubectl(&["get", "storageclass"]);
        let row =
            classes.stdout.lines().find(|line| line.starts_with("local-path (default)")).map(str::to_owned);
        let words = ["gantry.dev/local-path", "Delete", "WaitForFirstConsumer", "true"];
        match row {
            Some(row) if words.iter().all(|word| row.contains(word)) => Ok(()),
            _ => Err(classes),
        }
    });
    // A pod waits for its claim, and is told so.
    pod(&space, "box", MOUNTED, &of_claim("data"));
    testkit::wait_until("the pod to wait, or not to be given a node", || {
        let events = events(&space);
        let waits = events.contains("persistentvolumeclaim") && events.contains("\"data\" not found");
        if waits { Ok(()) } else { Err(events) }
    });
    claim(&space, &node, "data", "Filesystem");
    space.wait("condition=Ready", &["pod/box"]);
    until_told(&space, "ProvisioningSucceeded: Successfully provisioned volume pvc-");
    let volume = space.field("pvc/data", "{.spec.volumeName}");
    assert_eq!(space.field("pvc/data", "{.status.phase} {.status.capacity.storage}"), "Bound 8Mi");
    let listed = space.ok(&["get", "pv", &volume, "--no-headers"]);
    assert!(
        ["8Mi", "RWO", "Delete", "Bound", "stays/data", "local-path"]
            .iter()
            .all(|word| listed.contains(word)),
        "{listed}"
    );
    space.exec("box", &["sh", "-c", "echo kept > /v/file && ln -s /etc /v/out && ln -s ../.. /v/up"]);
    assert_eq!(on_disk(&cluster, &format!("cat {volume}/data/file")), "kept");

    // The daemon is killed and the pod made anew.
    cluster.daemon.kill();
    cluster.daemon.launch();
    cluster.wait_ready();
    let space = Namespace::of(&cluster, "stays");
    space.ok(&["delete", "pod", "box"]);
    pod(&space, "box", MOUNTED, &of_claim("data"));
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/v/file"]), "kept");

    // Links that a pod left lead nobody out, and a group gets what is in the volume and nothing else.
    let part = "volumeMounts: [{name: v, mountPath: /part, subPath: out}]";
    pod(&space, "part", part, &of_claim("data"));
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("pod/part", waiting, "CreateContainerConfigError");
    space.ok(&["delete", "pod", "part"]);
    let group = format!("securityContext: {{fsGroup: 4711}}\n  {}", of_claim("data"));
    pod(&space, "group", "volumeMounts: [{name: v, mountPath: /v, readOnly: true}]", &group);
    space.wait("condition=Ready", &["pod/group"]);
    assert_eq!(space.exec("group", &["stat", "-c", "%g %a", "/v/file"]), "4711 664");
    assert_eq!(space.exec("group", &["sh", "-c", "touch /v/x 2>/dev/null || echo refused"]), "refused");
    assert_eq!(space.exec("group", &["stat", "-L", "-c", "%g", "/v/out/hosts"]), "0");

    // More is given while it is used.
    space.ok(&[
        "patch",
        "pvc",
        "data",
        "-p",
        r#"{"spec": {"resources": {"requests": {"storage": "16Mi"}}}}"#,
    ]);
    space.wait_for("pvc/data", "{.status.capacity.storage}{.status.conditions}", "16Mi");
    assert_eq!(space.field(&format!("pv/{volume}"), "{.spec.capacity.storage}"), "16Mi");
    until_told(&space, "VolumeResizeSuccessful: Resize volume succeeded");

    // It goes with its claim, once no pod has that; where the policy says so it stays.
    space.ok(&["delete", "pvc", "data", "--wait=false"]);
    assert_eq!(space.exec("box", &["cat", "/v/file"]), "kept", "a claim that pods have stays");
    claim(&space, &node, "retained", "Filesystem");
    pod(&space, "other", MOUNTED, &of_claim("retained"));
    space.wait("condition=Ready", &["pod/other"]);
    let retained = space.field("pvc/retained", "{.spec.volumeName}");
    space.exec("other", &["sh", "-c", "echo retained > /v/file"]);
    space.ok(&["patch", "pv", &retained, "-p", r#"{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}"#]);
    space.ok(&["delete", "pod", "box", "group", "other"]);
    space.ok(&["delete", "pvc", "retained"]);
    space.wait_for(&format!("pv/{retained}"), "{.status.phase}", "Released");
    testkit::wait_until("the volume to go, and its directory", || {
        let left = space.kubectl(&["get", "pv", &volume]);
        let listed = on_disk(&cluster, "ls");
        if left.stderr.contains("not found") && listed == retained { Ok(()) } else { Err((left, listed)) }
    });
    assert_eq!(on_disk(&cluster, &format!("cat {retained}/data/file")), "retained");
    let mounts = cluster.daemon.in_namespaces(&["cat", "/proc/self/mountinfo"]).output().expect("run it");
    let mounts = String::from_utf8_lossy(&mounts.stdout).into_owned();
    assert!(!mounts.contains("local-path"), "nothing of it is mounted any more: {mounts}");
    space.ok(&["delete", "pv", &retained]);
    assert_eq!(on_disk(&cluster, &format!("cat {retained}/data/file")), "retained");
}

#[test]
fn volumes_are_devices_too_and_those_of_a_pod_s_own_have_their_limits() {
    let cluster = Cluster::shared();
    let (space, node) = (cluster.namespace("claims"), cluster.node());
    claim(&space, &node, "disk", "Block");
    pod(&space, "raw", "volumeDevices: [{name: v, devicePath: /dev/disk}]", &of_claim("disk"));
    pod(
        &space,
        "full",
        "volumeMounts: [{name: v, mountPath: /v}]",
        "volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]",
    );
    space.wait("condition=Ready", &["pod/full"]);
    space.exec("full", &["dd", "if=/dev/zero", "of=/v/fill", "bs=64k", "count=48"]);
    space.wait("condition=Ready", &["pod/raw"]);
    let written = "echo written | dd of=/dev/disk conv=notrunc 2>/dev/null; sync; \
                   test -b /dev/disk && dd if=/dev/disk bs=7 count=1 2>/dev/null";
    assert_eq!(space.exec("raw", &["sh", "-c", written]), "written");
    let volume = space.field("pvc/disk", "{.spec.volumeName}");
    space.ok(&["delete", "pod", "raw"]);
    pod(&space, "raw", "volumeDevices: [{name: v, devicePath: /dev/disk}]", &of_claim("disk"));
    space.wait("condition=Ready", &["pod/raw"]);
    assert_eq!(space.exec("raw", &["dd", "if=/dev/disk", "bs=7", "count=1"]).lines().next(), Some("written"));
    // What nobody drives is said, and the pod waits.
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: driven}
spec:
  containers: [{name: main, image: x, volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, csi: {driver: csi.example.org}}]
"#,
    );
    until_told(&space, "driver name csi.example.org not found in the list of registered CSI drivers");
    space.ok(&["delete", "pod", "driven", "raw"]);
    space.ok(&["delete", "pvc", "disk"]);
    testkit::wait_until("the device and its file to go", || {
        let left = on_disk(
            &cluster,
            "ls; grep -l local-path /sys/block/loop*/loop/backing_file 2>/dev/null | xargs -r cat",
        );
        if left.contains(&volume) { Err(left) } else { Ok(()) }
    });
    space.wait_for("pod/full", "{.status.phase}/{.status.reason}", "Failed/Evicted");
    let message = space.field("pod/full", "{.status.message}");
    assert_eq!(message, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ".trim_end());
    let condition = "{.status.conditions[?(@.type==\"DisruptionTarget\")].reason}";
    assert_eq!(space.field("pod/full", condition), "TerminationByKubelet");
}

/// A file that stands for a disk of the node.
struct Disk(String);

impl Disk {
    fn new(path: &std::path::Path) -> Self {
        std::fs::File::create(path).and_then(|disk| disk.set_len(16 << 20)).expect("make a disk");
        let attach = std::process::Command::new("losetup").args(["--find", "--show"]).arg(path).output();
        let attach = attach.expect("run losetup");
        assert!(attach.status.success(), "{attach:?}");
        Self(String::from_utf8_lossy(&attach.stdout).trim().to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_file_system_on_a_device_of_the_node_is_made_once_and_outlives_pods() {
    let cluster = Cluster::shared();
    let (space, node) = (cluster.namespace("on-device"), cluster.node());
    let disk = Disk::new(&cluster.daemon.scratch("devices").join("disk"));
    for (name, kind) in [("wrong", "none-such"), ("right", "ext4")] {
        space.apply(&format!(
            r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: on-device-{name}}}
spec:
  capacity: {{storage: 16Mi}}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  mountOptions: [noatime]
  claimRef: {{namespace: on-device, name: {name}}}
  local: {{path: {}, fsType: {kind}}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [
    {{key: kubernetes.io/hostname, operator: In, values: ["{node}"]}}]}}]}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: "", resources: {{requests: {{storage: 16Mi}}}}}}
"#,
            disk.0
        ));
    }
    pod(&space, "waits", MOUNTED, &of_claim("wrong"));
    let device = &disk.0;
    until_told(
        &space,
        &format!(
            "MountVolume.MountDevice failed for volume \"on-device-wrong\" : local: failed to mount device {device}"
        ),
    );
    until_told(&space, "the device is empty, and this node has no program mkfs.none-such to format it");
    space.ok(&["delete", "pod", "waits"]);
    let group = format!("securityContext: {{fsGroup: 4711}}\n  {}", of_claim("right"));
    pod(&space, "box", MOUNTED, &group);
    space.wait("condition=Ready", &["pod/box"]);
    space.exec("box", &["sh", "-c", "echo kept > /v/file"]);
    assert_eq!(space.exec("box", &["stat", "-c", "%g", "/v", "/v/file"]), "4711\n4711");
    let line = space.exec("box", &["grep", " /v ", "/proc/mounts"]);
    assert!(line.starts_with(&format!("{device} /v ext4 rw,noatime")), "{line}");
    space.ok(&["delete", "pod", "box"]);
    testkit::wait_until("nothing of it to be mounted any more", || {
        let mounts = cluster.daemon.in_namespaces(&["cat", "/proc/self/mountinfo"]).output().expect("run it");
        let mounts = String::from_utf8_lossy(&mounts.stdout).into_owned();
        if mounts.contains(device.as_str()) { Err(mounts) } else { Ok(()) }
    });
    pod(&space, "box", "volumeMounts: [{name: v, mountPath: /v, readOnly: true}]", &of_claim("right"));
    space.wait("condition=Ready", &["pod/box"]);
    assert_eq!(space.exec("box", &["cat", "/v/file"]), "kept");
    assert_eq!(space.exec("box", &["sh", "-c", "touch /v/x 2>/dev/null || echo refused"]), "refused");
    space.ok(&["delete", "pod", "box"]);
    space.ok(&["delete", "pvc", "wrong", "right"]);
    space.ok(&["delete", "pv", "on-device-wrong", "on-device-right"]);
}
