use super::*;

fn spec(dir: &tempfile::TempDir, max_size: u64, max_files: u32) -> LogSpec {
    LogSpec { path: dir.path().join("log"), max_size, max_files, json: false }
}

/// Writes pieces and gives the log back without its times.
fn check(pieces: &[&str], expected: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(spec(&dir, 0, 0)).expect("open");
    for piece in pieces {
        log.write(Stream::Stdout, piece.as_bytes(), Timestamp::UNIX_EPOCH).expect("write");
    }
    log.finish(Timestamp::UNIX_EPOCH).expect("finish");
    let text = std::fs::read_to_string(dir.path().join("log")).expect("read");
    let plain: Vec<_> = text
        .lines()
        .map(|line| line.strip_prefix("1970-01-01T00:00:00.000000000Z stdout ").expect("time and stream"))
        .collect();
    assert_eq!(plain.join("|"), expected);
}

#[test]
fn lines_are_entries_however_they_come_in() {
    check(&["one\ntwo\n"], "F one|F two");
    check(&["o", "ne\nt", "wo\n"], "F one|F two");
    check(&["\n\n"], "F |F ");
}

#[test]
fn a_log_for_docker_is_a_line_of_json_for_each_entry() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(LogSpec { json: true, ..spec(&dir, 0, 0) }).expect("open");
    log.write(Stream::Stdout, b"a \"b\"\t\x01\xff\nlong", Timestamp::UNIX_EPOCH).expect("write");
    log.write(Stream::Stderr, b"oops\n", Timestamp::UNIX_EPOCH).expect("write");
    log.finish(Timestamp::UNIX_EPOCH).expect("finish");
    let text = std::fs::read_to_string(dir.path().join("log")).expect("read");
    let line = |log: &str, stream: &str| {
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"1970-01-01T00:00:00.000000000Z\"}}\n")
    };
    let first = line("a \\\"b\\\"\\t\\u0001\u{fffd}\\n", "stdout");
    assert_eq!(text, first + &line("oops\\n", "stderr") + &line("long", "stdout"));
}

#[test]
fn a_line_that_never_ends_is_written_as_a_part() {
    check(&["prompt> "], "P prompt> ");
}

#[test]
fn a_long_line_comes_in_parts_the_last_of_which_is_whole() {
    let long = "x".repeat(PART);
    check(&[&format!("{long}y\n")], &format!("P {long}|F y"));
    check(&[&format!("{long}\nz\n")], &format!("F {long}|F z"));
    check(&[&long, "\nz\n"], &format!("F {long}|F z"));
    check(&[&long, "y\n"], &format!("P {long}|F y"));
    check(&[&format!("{long}{long}y\n")], &format!("P {long}|P {long}|F y"));
}

#[test]
fn the_streams_do_not_mix_within_a_line() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(spec(&dir, 0, 0)).expect("open");
    log.write(Stream::Stdout, b"half ", Timestamp::UNIX_EPOCH).expect("write");
    log.write(Stream::Stderr, b"error\n", Timestamp::UNIX_EPOCH).expect("write");
    log.write(Stream::Stdout, b"line\n", Timestamp::UNIX_EPOCH).expect("write");
    let text = std::fs::read_to_string(dir.path().join("log")).expect("read");
    let ends: Vec<_> = text.lines().map(|line| line.split_once("Z ").expect("time").1).collect();
    assert_eq!(ends, ["stderr F error", "stdout F half line"]);
}

#[test]
fn a_log_is_rotated_and_only_so_many_files_are_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(spec(&dir, 100, 3)).expect("open");
    for number in 0..20 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes(), Timestamp::UNIX_EPOCH)
            .expect("write");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("list").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2"]);
    for name in names {
        assert!(std::fs::metadata(dir.path().join(name)).expect("stat").len() <= 100);
    }
    let last = std::fs::read_to_string(dir.path().join("log")).expect("read");
    assert!(last.ends_with("line 19\n"));
}

#[test]
fn a_log_of_one_file_begins_anew_and_who_holds_the_old_one_reads_it_to_its_end() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(spec(&dir, 100, 1)).expect("open");
    log.write(Stream::Stdout, b"first\n", Timestamp::UNIX_EPOCH).expect("write");
    let held = File::open(dir.path().join("log")).expect("hold it");
    for _ in 0..20 {
        log.write(Stream::Stdout, b"some line\n", Timestamp::UNIX_EPOCH).expect("write");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    assert!(std::fs::metadata(dir.path().join("log")).expect("stat").len() <= 100);
    assert!(io::read_to_string(held).expect("read").contains("first\n"));
}

#[test]
fn a_log_that_cannot_be_rotated_goes_on_where_it_is() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut log = Log::open(spec(&dir, 100, 3)).expect("open");
    std::fs::create_dir(dir.path().join("log.next")).expect("be in the way");
    for _ in 0..20 {
        let _ = log.write(Stream::Stdout, b"one\n", Timestamp::UNIX_EPOCH);
    }
    assert!(!dir.path().join("log.1").exists());
    let size = std::fs::metadata(dir.path().join("log")).expect("stat").len();
    assert!((101..=200).contains(&size), "{size}");
}

#[test]
fn an_entry_that_was_cut_off_takes_no_other_along() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("log"), "1970-01-01T00:00:00Z stdout F cut o").expect("cut off");
    let mut log = Log::open(spec(&dir, 0, 0)).expect("open");
    log.write(Stream::Stdout, b"whole\n", Timestamp::UNIX_EPOCH).expect("write");
    let text = std::fs::read_to_string(dir.path().join("log")).expect("read");
    assert_eq!(text.lines().last(), Some("1970-01-01T00:00:00.000000000Z stdout F whole"));
}
