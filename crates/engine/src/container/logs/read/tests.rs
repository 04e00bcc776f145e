use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;

const QUERY: LogQuery =
    LogQuery { stdout: true, stderr: true, since: None, until: None, tail: None, follow: false };
const FOLLOW: LogQuery = LogQuery { follow: true, ..QUERY };

fn written(number: u32) -> String {
    let stream = if number.is_multiple_of(2) { "stdout" } else { "stderr" };
    let (minute, second) = (number / 60 % 60, number % 60);
    format!("2026-01-01T00:{minute:02}:{second:02}Z {stream} F line {number}\n")
}

/// A log that is written and rotated as the shim does it.
struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    fn path(&self, number: u32) -> PathBuf {
        let name = if number == 0 { "log".to_owned() } else { format!("log.{number}") };
        self.directory.path().join(name)
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(0)).expect("open");
        file.write_all(text.as_ref()).expect("write");
    }

    fn rotate(&self, kept: u32) {
        for number in (1..kept).rev() {
            let _ = std::fs::rename(self.path(number - 1), self.path(number));
        }
        self.append("");
    }

    fn open(&self, query: &LogQuery) -> Reader {
        Reader::open(Files::new(self.path(0)), query).expect("a reader")
    }
}

/// All that is there now, and what comes then.
fn read(reader: &mut Reader, query: &LogQuery) -> (Vec<String>, Then) {
    let mut texts = Vec::new();
    loop {
        let batch = reader.batch(query).expect("readable");
        assert!(
            batch.lines.iter().map(|line| line.text.len()).sum::<usize>() <= ENOUGH + BLOCK + LONGEST_LINE
        );
        texts
            .extend(batch.lines.iter().map(|line| String::from_utf8_lossy(&line.text).trim_end().to_owned()));
        if batch.then != Then::More {
            return (texts, batch.then);
        }
    }
}

fn lines(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("line {number}")).collect()
}

#[track_caller]
fn check(query: LogQuery, expected: &[u32]) {
    let log = Log::new();
    std::fs::write(log.path(2), written(1)).expect("oldest");
    std::fs::write(log.path(1), written(2) + &written(3)).expect("older");
    log.append(written(4) + "torn");
    assert_eq!(read(&mut log.open(&query), &query).0, lines(expected.iter().copied()));
}

#[test]
fn rotated_files_come_first_and_a_torn_line_not_at_all() {
    check(QUERY, &[1, 2, 3, 4]);
}

#[test]
fn the_last_lines_of_the_wanted_streams_and_times_are_given() {
    check(LogQuery { tail: Some(2), ..QUERY }, &[3, 4]);
    check(LogQuery { tail: Some(3), ..QUERY }, &[2, 3, 4]);
    check(LogQuery { tail: Some(9), ..QUERY }, &[1, 2, 3, 4]);
    check(LogQuery { tail: Some(0), ..QUERY }, &[]);
    check(LogQuery { stdout: false, tail: Some(1), ..QUERY }, &[3]);
    check(LogQuery { stdout: false, tail: Some(2), ..QUERY }, &[1, 3]);
    let at = |second: &str| Some(format!("2026-01-01T00:00:{second}Z").parse().expect("a time"));
    check(LogQuery { since: at("02"), until: at("03"), ..QUERY }, &[2, 3]);
    check(LogQuery { since: at("02"), tail: Some(9), ..QUERY }, &[2, 3, 4]);
    check(LogQuery { until: at("03"), tail: Some(1), ..QUERY }, &[3]);
}

#[test]
fn the_last_lines_are_found_across_blocks_and_what_is_no_line_is_passed() {
    let log = Log::new();
    log.append((0..3000).map(written).collect::<String>());
    log.append("x".repeat(3 * BLOCK + 17) + "\n");
    log.append((3000..3010).map(written).collect::<String>());
    let _ = log.path(0).metadata().expect("written");
    for count in [1, 10, 11, 1000, 2999, 3010, 4000] {
        let query = LogQuery { tail: Some(count), ..QUERY };
        let expected = lines((3010_u32.saturating_sub(count as u32))..3010);
        assert_eq!(read(&mut log.open(&query), &query).0, expected, "the last {count}");
    }
}

#[test]
fn a_reader_that_does_not_follow_ends_where_the_log_ended_when_it_began() {
    let log = Log::new();
    log.append(written(1));
    let mut reader = log.open(&QUERY);
    log.append(written(2));
    log.rotate(3);
    log.append(written(3));
    assert_eq!(read(&mut reader, &QUERY), (lines([1]), Then::End));
    assert_eq!(read(&mut Log::new().open(&QUERY), &QUERY).0, lines([]));
}

#[test]
fn a_reader_goes_on_from_no_file_and_across_many_rotations() {
    let log = Log::new();
    let mut reader = log.open(&FOLLOW);
    assert_eq!(read(&mut reader, &FOLLOW), (Vec::new(), Then::Wait));
    log.append(written(1));
    assert_eq!(read(&mut reader, &FOLLOW), (lines([1]), Then::Wait));
    log.append(written(2));
    for number in 3..8 {
        log.rotate(9);
        log.append(written(number));
    }
    assert_eq!(read(&mut reader, &FOLLOW), (lines(2..8), Then::Wait));
    // Files that are gone are gone; what the reader holds and what is still there is read.
    log.append(written(8));
    (3..9).for_each(|number| drop(std::fs::remove_file(log.path(number))));
    for number in 9..20 {
        log.rotate(3);
        log.append(written(number));
    }
    assert_eq!(read(&mut reader, &FOLLOW), (lines([8, 17, 18, 19]), Then::Wait));
}

#[test]
fn a_file_that_was_emptied_is_read_from_its_beginning() {
    let log = Log::new();
    log.append(written(1) + &written(2));
    let mut reader = log.open(&FOLLOW);
    assert_eq!(read(&mut reader, &FOLLOW), (lines([1, 2]), Then::Wait));
    OpenOptions::new().write(true).open(log.path(0)).and_then(|file| file.set_len(0)).expect("empty it");
    log.append(written(3));
    assert_eq!(read(&mut reader, &FOLLOW), (lines([3]), Then::Wait));
}

#[test]
fn a_line_is_given_when_it_is_whole() {
    let log = Log::new();
    log.append(&written(1)[..30]);
    let mut reader = log.open(&FOLLOW);
    assert_eq!(read(&mut reader, &FOLLOW), (Vec::new(), Then::Wait));
    log.append(&written(1)[30..]);
    assert_eq!(read(&mut reader, &FOLLOW), (lines([1]), Then::Wait));
}

/// A writer that rotates as fast as it can beside a reader that keeps up.
#[test]
fn nothing_is_lost_or_repeated_beside_a_busy_writer() {
    const LAST: u32 = 600;
    let log = Log::new();
    let mut reader = log.open(&FOLLOW);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..LAST {
                if number % 3 == 2 {
                    log.rotate(400);
                }
                log.append(written(number));
            }
        });
        while seen.last().is_none_or(|last| *last != format!("line {}", LAST - 1)) {
            seen.extend(read(&mut reader, &FOLLOW).0);
        }
    });
    assert_eq!(seen, lines(0..LAST));
    assert_eq!(read(&mut log.open(&QUERY), &QUERY).0, lines(0..LAST));
}

#[test]
fn a_long_log_is_read_in_small_pieces() {
    let log = Log::new();
    log.append((0..40_000).map(written).collect::<String>());
    let mut reader = log.open(&QUERY);
    let first = reader.batch(&QUERY).expect("readable");
    assert_eq!(first.then, Then::More);
    assert!(first.lines.len() < 4000, "{} lines at once", first.lines.len());
    assert!(Path::new(&log.path(0)).exists());
}
