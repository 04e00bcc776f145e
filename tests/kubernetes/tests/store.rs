//! `gantry store` as an administrator has it: what it prints, and what it ends with.

use std::path::{Path, PathBuf};

use docker_tests::{Ran, run};
use kubernetes_tests::Cluster;

#[test]
fn a_damaged_store_is_refused_told_and_replaced_by_its_backup() {
    let mut cluster = Cluster::start();
    cluster.ok(&["create", "configmap", "kept", "--from-literal=a=1"]);
    let backup = cluster.daemon.scratch("store").join("backup");
    let backup = backup.to_str().expect("a path that is text");
    said(&store(&cluster, &["backup", backup]), 0, "good");
    said(&store(&cluster, &["backup", backup]), 1, "is there already");
    let running = said(&store(&cluster, &["check", "-o", "json"]), 0, "");
    let row: serde_json::Value = serde_json::from_str(&running).expect("JSON");
    assert_eq!((&row[0]["state"], &row[0]["running"]), (&"good".into(), &true.into()), "{row}");
    said(&store(&cluster, &["restore", backup]), 1, "in use");
    assert_eq!(store(&cluster, &["restore"]).code, 2, "used wrongly");
    // What came after the backup, so that damage has something to take away.
    for number in 0..50 {
        cluster.ok(&["create", "configmap", &format!("later-{number}")]);
    }

    cluster.daemon.stop();
    let segment = segment(&cluster);
    let mut bytes = std::fs::read(&segment).expect("read the log");
    let length = bytes.iter().rposition(|byte| *byte != 0).expect("it holds something");
    // Among what came later, and not the last of it.
    bytes[length / 4 * 3] ^= 1;
    std::fs::write(&segment, &bytes).expect("damage the log");
    said(&run(cluster.daemon.gantry("", &["up"]), ""), 1, "gantry store check");
    said(&store(&cluster, &["check"]), 1, "restore FILE");
    let saved = cluster.daemon.scratch("store").join("saved");
    let saved = saved.to_str().expect("a path that is text");
    said(&store(&cluster, &["backup", saved]), 1, "--salvage");
    said(&store(&cluster, &["backup", "--salvage", saved]), 0, "lost");
    assert_eq!(std::fs::read(&segment).expect("read the log"), bytes, "nothing was changed");

    said(&store(&cluster, &["restore", backup]), 0, "kept");
    cluster.daemon.launch();
    cluster.wait_ready();
    cluster.ok(&["get", "configmap", "kept"]);
    assert_ne!(cluster.kubectl(&["get", "configmap", "later-0"]).code, 0, "it is as it was then");

    // What could be saved is more than what the backup had.
    cluster.daemon.stop();
    said(&store(&cluster, &["restore", saved]), 0, "kept");
    cluster.daemon.launch();
    cluster.wait_ready();
    cluster.ok(&["get", "configmap", "kept"]);
    cluster.ok(&["get", "configmap", "later-49"]);
}

/// Runs `gantry store …` beside the daemon.
fn store(cluster: &Cluster, words: &[&str]) -> Ran {
    run(cluster.daemon.gantry("", &[&["store"], words].concat()), "")
}

/// It ended with `code` and said `part`; gives what it printed.
#[track_caller]
fn said(ran: &Ran, code: i32, part: &str) -> String {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains(part), "`{part}` is not in {ran:?}");
    ran.stdout.clone()
}

/// The part of the log that is written to.
fn segment(cluster: &Cluster) -> PathBuf {
    let kubeconfig = cluster.daemon.kubeconfig();
    let root = kubeconfig.parent().expect("it lies in the root");
    let mut segments = Vec::new();
    find_segments(&root.join("store"), &mut segments);
    segments.sort();
    segments.pop().expect("a store has a log")
}

fn find_segments(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("read the store") {
        let path = entry.expect("read the store").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            find_segments(&path, found);
        } else if name.len() == "0000000000000000.log".len() && name.ends_with(".log") {
            found.push(path);
        }
    }
}
