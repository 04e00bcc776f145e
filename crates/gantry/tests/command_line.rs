//! The built program as a user's shell sees it: what goes where, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

fn gantry(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.args(words).env_remove("RUST_LOG");
    command
}

#[track_caller]
fn check(words: &[&str], code: i32, stdout: &str, stderr: &str) {
    let Output { status, stdout: out, stderr: err } = gantry(words).output().expect("run gantry");
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert_eq!(status.code(), Some(code), "{out}\n{err}");
    assert!(out.contains(stdout) && (!stdout.is_empty() || out.is_empty()), "{out}");
    assert!(err.contains(stderr) && (!stderr.is_empty() || err.is_empty()), "{err}");
}

#[test]
fn data_is_on_stdout_and_all_else_on_stderr() {
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"), "");
    check(&["config", "show", "--root", "/tmp/elsewhere"], 0, "/tmp/elsewhere", "");
    check(&["config", "show", "--nope"], 2, "", "unexpected argument '--nope'");
    check(&["frobnicate"], 2, "", "unrecognized subcommand 'frobnicate'");
    check(&["config", "show", "--pod-cidr", "10.0.0.0"], 2, "", "pod-cidr");
    check(&["reset", "--yes", "--root", "/nowhere/at/all"], 0, "", "there is no instance at /nowhere/at/all");
}

#[test]
fn every_key_is_shown_with_where_it_came_from() {
    let root = tempfile::tempdir().expect("temporary directory");
    let file = root.path().join("gantry.toml");
    std::fs::write(&file, "bridge = \"br7\"\n").expect("write");
    let mut command = gantry(&["config", "show", "-o", "json", "--run", "/tmp/run", "--config"]);
    let output = command.arg(&file).env("GANTRY_NODE_NAME", "one").output().expect("run gantry");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    for (key, value, origin) in [
        ("run", "/tmp/run", "flag"),
        ("node-name", "one", "environment"),
        ("bridge", "br7", "gantry.toml"),
        ("cluster-domain", "cluster.local", "default"),
    ] {
        let row = rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(row["value"], value, "{row}");
        assert!(row["origin"].as_str().is_some_and(|text| text.contains(origin)), "{row}");
    }
}

#[test]
fn whoever_reads_no_more_ends_nothing() {
    let mut child = gantry(&["config", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run gantry");
    drop(child.stdout.take());
    let errors: Vec<String> =
        BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok).collect();
    assert!(child.wait().expect("wait").success() && errors.is_empty(), "{errors:?}");
}
