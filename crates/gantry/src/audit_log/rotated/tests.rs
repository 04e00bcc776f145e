//! Files that are full, old, cut off, or not what they seem.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn line(byte: u8, length: usize) -> Vec<u8> {
    let mut line = vec![byte; length - 1];
    line.push(b'\n');
    line
}

const HALF: usize = 600 << 10;

#[test]
fn a_full_file_gets_the_time_into_its_name() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("deep/audit.log");
    let rotation = Rotation { size: 1, ..Rotation::default() };
    let mut log = Rotated::open(&path, rotation, at("2026-01-02T03:04:05Z")).expect("open");
    log.write(&line(b'a', HALF), at("2026-01-02T03:04:05Z")).expect("write");
    log.write(&line(b'b', HALF), at("2026-01-02T03:04:06.0078Z")).expect("write");
    log.write(&line(b'c', 100), at("2026-01-02T03:04:07Z")).expect("write");
    let directory = root.path().join("deep");
    assert_eq!(names(&directory), ["audit-2026-01-02T03-04-06.007.log", "audit.log"]);
    assert_eq!(std::fs::metadata(&path).expect("there").len(), HALF as u64 + 100);
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    // One that is too long for any file is refused, and takes nothing with it.
    let error = log.write(&line(b'd', 2 << 20), at("2026-01-02T03:04:08Z")).expect_err("too long");
    assert_eq!(error.to_string(), "write length 2097152 exceeds maximum file size 1048576");
    drop(log);
    // The next start goes on where this one was.
    let mut log = Rotated::open(&path, rotation, at("2026-01-02T03:04:09Z")).expect("open");
    log.write(&line(b'e', HALF), at("2026-01-02T03:04:09.5Z")).expect("write");
    assert_eq!(names(&directory).len(), 3);
}

#[test]
fn old_files_go_by_number_and_by_age_and_others_stay() {
    let root = tempfile::tempdir().expect("temporary directory");
    let others = ["audit-old.log", "audit-2026-01-01T00-00-00.000.txt", "other-2026-01-01T00-00-00.000.log"];
    let old = [
        "audit-2026-01-01T00-00-00.000.log",
        "audit-2026-01-05T00-00-00.000.log.gz",
        "audit-2026-01-06T00-00-00.000.log",
    ];
    for name in others.iter().chain(&old) {
        std::fs::write(root.path().join(name), "x\n").expect("write");
    }
    let full = |rotation: Rotation| {
        let mut log = Rotated::open(&root.path().join("audit.log"), rotation, at("2026-01-07T00:00:00Z"))
            .expect("open");
        log.write(&line(b'a', HALF), at("2026-01-07T00:00:00Z")).expect("write");
        log.write(&line(b'a', HALF), at("2026-01-07T00:00:00Z")).expect("write");
        let shelf = log.untidy().expect("there is another old file");
        shelf.tidy(at("2026-01-07T00:00:00Z")).expect("tidied");
        let mut left = names(root.path());
        left.retain(|name| !others.contains(&name.as_str()) && name != "audit.log");
        left
    };
    let left = full(Rotation { size: 1, days: 3, ..Rotation::default() });
    assert_eq!(left, [old[1], old[2], "audit-2026-01-07T00-00-00.000.log"]);
    let left = full(Rotation { size: 1, backups: 2, compress: true, ..Rotation::default() });
    assert_eq!(left, ["audit-2026-01-06T00-00-00.000.log.gz", "audit-2026-01-07T00-00-00.000.log.gz"]);
    for name in others {
        assert!(root.path().join(name).exists(), "{name}");
    }
    let packed = std::fs::File::open(root.path().join(&left[1])).expect("open");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("unpacks");
    assert_eq!(text, line(b'a', HALF));
}

#[test]
fn a_line_that_was_cut_off_is_taken_away_when_the_file_is_opened() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("audit");
    let head = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1""#;
    let long = "x".repeat(200 << 10);
    let legacy = "2026-01-02T03:04:05.678Z AUDIT: id=\"a\" stage=\"Panic\"";
    for (there, expected) in [
        ("", ""),
        (&format!("{{}}\n{head},") as &str, "{}\n"),
        ("{\"a\":1}\n", "{\"a\":1}\n"),
        ("{\"kind\":\"Ev", ""),
        (&format!("{{}}\n{head},\"user\":\"{long}"), "{}\n"),
        ("{}\n2026-01-0", "{}\n"),
        ("{}\n2026-01-02T03:04:05.67", "{}\n"),
        (&format!("{{}}\n{legacy}"), "{}\n"),
        (&format!("{{}}\n{legacy} response=\""), "{}\n"),
        // What is whole, and what is nobody's event, stays; only its line is ended.
        (&format!("{head}}}"), &format!("{head}}}\n")),
        (&format!("{legacy} response=\"200\""), &format!("{legacy} response=\"200\"\n")),
        ("{}\nkeep me", "{}\nkeep me\n"),
        (&long, &format!("{long}\n")),
    ] {
        std::fs::write(&path, there).expect("write");
        let mut log = Rotated::open(&path, Rotation::default(), at("2026-01-02T03:04:05Z")).expect("open");
        log.write(b"{}\n", at("2026-01-02T03:04:05Z")).expect("write");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{expected}{{}}\n"));
    }
}

#[test]
fn a_link_or_a_pipe_is_no_log_and_a_directory_that_is_exchanged_is_not_followed() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (target, logs) = (root.path().join("target"), root.path().join("logs"));
    std::fs::write(&target, "precious").expect("write");
    std::fs::create_dir(&logs).expect("make");
    symlink(&target, logs.join("link")).expect("link");
    let now = at("2026-01-02T03:04:05Z");
    assert!(Rotated::open(&logs.join("link"), Rotation::default(), now).is_err());
    rustix::fs::mknodat(rustix::fs::CWD, logs.join("pipe"), FileType::Fifo, Mode::from(0o600), 0)
        .expect("a pipe");
    let error = Rotated::open(&logs.join("pipe"), Rotation::default(), now).err().expect("no file");
    assert!(error.to_string().contains("no regular file"), "{error}");

    let rotation = Rotation { size: 1, ..Rotation::default() };
    let mut log = Rotated::open(&logs.join("audit.log"), rotation, now).expect("open");
    log.write(&line(b'a', HALF), now).expect("write");
    let (moved, elsewhere) = (root.path().join("moved"), root.path().join("elsewhere"));
    std::fs::rename(&logs, &moved).expect("move");
    std::fs::create_dir(&elsewhere).expect("make");
    symlink(&elsewhere, &logs).expect("link");
    log.write(&line(b'b', HALF), now).expect("write");
    assert!(names(&elsewhere).is_empty());
    assert!(moved.join("audit-2026-01-02T03-04-05.000.log").exists());
    assert_eq!(std::fs::read_to_string(&target).expect("read"), "precious");
}

#[test]
fn a_file_that_somebody_else_has_moved_is_written_to_until_it_is_full() {
    let root = tempfile::tempdir().expect("temporary directory");
    let now = at("2026-01-02T03:04:05Z");
    let path = root.path().join("audit.log");
    let rotation = Rotation { size: 1, ..Rotation::default() };
    let mut log = Rotated::open(&path, rotation, now).expect("open");
    log.write(b"a\n", now).expect("write");
    std::fs::rename(&path, root.path().join("audit.log.1")).expect("move");
    log.write(b"b\n", now).expect("write");
    assert_eq!(std::fs::read_to_string(root.path().join("audit.log.1")).expect("read"), "a\nb\n");
    std::fs::write(&path, "").expect("another");
    for _ in 0..2 {
        log.write(&line(b'c', HALF), now).expect("write");
    }
    assert_eq!(std::fs::metadata(&path).expect("there").len(), HALF as u64);
}
