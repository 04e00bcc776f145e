//! A full disk: what cannot be done says why, leaves nothing behind, and works once there is room.

use docker_tests::{Daemon, IMAGE, run};

const MIB: u64 = 1 << 20;
const FULL: &str = "the engine's disk is full";

/// Checks that `attempt` fails on the full disk and gives back what it took.
#[track_caller]
fn check(daemon: &Daemon, attempt: &[&str], message: &str) {
    let before = daemon.disk_used();
    daemon.fails(attempt, message);
    testkit::wait_until("the space to come back", || {
        // The records of what was there before may be written anew.
        let after = daemon.disk_used();
        if after <= before + MIB / 4 { Ok(()) } else { Err((before, after)) }
    });
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet", "--filter", "name=attempt"]), "");
}

#[track_caller]
fn free(daemon: &Daemon, ballast: &std::path::Path) {
    let ran = run(daemon.in_namespaces(&["rm", &ballast.display().to_string()]), "");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start_on_small_disk(64 * MIB);
    let files = daemon.scratch("files");
    let noise = std::process::Command::new("head")
        .args(["-c", "12M", "/dev/urandom"])
        .output()
        .expect("make a large file");
    let path = |name: &str| files.join(name).display().to_string();
    std::fs::create_dir_all(files.join("context")).expect("create a directory");
    std::fs::write(files.join("context/big"), noise.stdout).expect("write a file");
    let dockerfile = |text: &str| {
        std::fs::write(files.join("context/Dockerfile"), format!("FROM {IMAGE}\n{text}\n"))
            .expect("write a file");
    };
    dockerfile("COPY big /big");
    daemon.ok(&["build", "--tag", "big:1", &path("context")]);
    daemon.ok(&["save", "--output", &path("big.tar"), "big:1"]);
    daemon.ok(&["rmi", "big:1"]);
    daemon.ok(&["create", "--name", "box1", IMAGE, "sleep", "1000"]);
    daemon.ok(&["volume", "create", "data"]);

    let ballast = daemon.fill_disk(6 * MIB);
    check(&daemon, &["load", "--input", &path("big.tar")], FULL);
    check(&daemon, &["import", &path("big.tar"), "flat:1"], FULL);
    check(&daemon, &["build", &path("context")], FULL);
    check(&daemon, &["cp", &path("context/big"), "box1:/big"], FULL);
    daemon.fails(&["cp", "box1:/big", "-"], "Could not find the file");
    std::fs::remove_file(files.join("context/big")).expect("remove a file");
    dockerfile("RUN dd if=/dev/zero of=/big bs=1M count=20");
    // A program may fill the disk before its own start is written down: then that fails.
    let full = |ran: docker_tests::Ran| {
        assert_ne!(ran.code, 0, "{ran:?}");
        let said = (ran.stdout.clone() + &ran.stderr).to_lowercase();
        assert!(said.contains("no space left on device"), "{ran:?}");
        assert_eq!(daemon.ok(&["ps", "--all", "--quiet", "--filter", "name=attempt"]), "");
    };
    full(daemon.docker(&["build", "--force-rm", &path("context")]));
    let fill = "dd if=/dev/zero of=/data/big bs=1M count=20; code=$?; rm /data/big; exit $code";
    full(daemon.docker(&["run", "--rm", "--name", "attempt", "-v", "data:/data", IMAGE, "sh", "-c", fill]));
    daemon.ok(&["run", "--rm", "-v", "data:/data", IMAGE, "rm", "-f", "/data/big"]);

    free(&daemon, &ballast);
    assert_eq!(daemon.ok(&["load", "--quiet", "--input", &path("big.tar")]), "Loaded image: big:1");
    assert_eq!(daemon.ok(&["run", "--rm", "big:1", "wc", "-c", "/big"]), "12582912 /big");
}

#[test]
fn at_the_brim_nothing_begins_and_everything_goes_on() {
    let mut daemon = Daemon::start_on_small_disk(48 * MIB);
    let count = "i=0; while :; do i=$((i + 1)); echo line $i; sleep 0.05; done";
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sh", "-c", count]);
    daemon.ok(&["run", "-d", "--rm", "--name", "box2", IMAGE, "sleep", "1000"]);
    daemon.ok(&["create", "--name", "box3", IMAGE, "true"]);
    daemon.ok(&["tag", IMAGE, "spare:1"]);
    let ballast = daemon.fill_disk(0);
    check(&daemon, &["create", "--name", "attempt", IMAGE, "true"], FULL);
    check(&daemon, &["run", "--rm", "--name", "attempt", IMAGE, "true"], FULL);
    check(&daemon, &["volume", "create", "data"], FULL);
    check(&daemon, &["network", "create", "front"], FULL);
    // A name takes of what the list of images has of its last block; when that is used up it is refused, and
    // those before it are there.
    let mut named = 0;
    let refused = loop {
        let ran = daemon.docker(&["tag", IMAGE, &format!("other:{named}")]);
        if ran.code != 0 {
            break ran;
        }
        named += 1;
        assert!(named < 200, "the disk is full");
    };
    assert!(refused.stderr.contains(FULL), "{refused:?}");
    let names = |daemon: &Daemon| {
        let all = daemon.ok(&["images", "--format", "{{.Repository}}"]);
        all.lines().filter(|name| *name == "other").count()
    };
    assert_eq!(names(&daemon), named);
    assert_eq!(daemon.ok(&["volume", "ls", "--quiet"]), "");
    assert_eq!(daemon.ok(&["network", "ls", "--quiet", "--filter", "type=custom"]), "");
    // What gives space back is possible.
    daemon.ok(&["rm", "box3"]);
    daemon.ok(&["rmi", "spare:1"]);
    // What ends is seen to end, though it cannot be written down.
    daemon.ok(&["kill", "box2"]);
    testkit::wait_until("the container to go", || {
        let left = daemon.ok(&["ps", "--all", "--quiet", "--filter", "name=box2"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    daemon.stop();
    daemon.launch();
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Names}}"]), "box1", "it goes on over a restart");
    assert_eq!(names(&daemon), named, "what was acknowledged is there");

    free(&daemon, &ballast);
    let last = || daemon.ok(&["logs", "--tail", "1", "box1"]);
    let stopped_at = last();
    testkit::wait_until("the log to go on", || {
        let now = last();
        if now != stopped_at { Ok(()) } else { Err(now) }
    });
    assert_eq!(daemon.ok(&["run", "--rm", IMAGE, "echo", "works"]), "works");
    daemon.ok(&["tag", IMAGE, "other:1"]);
    daemon.ok(&["rm", "--force", "box1"]);
}

#[test]
fn a_daemon_that_begins_on_a_full_disk_serves() {
    let mut daemon = Daemon::start_on_file_system(96 * MIB);
    daemon.ok(&["run", "-d", "--name", "box1", IMAGE, "sleep", "1000"]);
    let ballast = daemon.fill_disk(0);
    daemon.kill();
    daemon.launch();
    let access = daemon.kubeconfig();
    assert!(std::fs::read_to_string(access).expect("it is there").contains("clusters:"), "as it was");
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Names}}"]), "box1");
    daemon.ok(&["rm", "--force", "box1"]);
    free(&daemon, &ballast);
    assert_eq!(daemon.ok(&["run", "--rm", IMAGE, "echo", "works"]), "works");
}
