use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use super::*;
use crate::transfer::{Sender, packet};

const DIRECTORY_MODE: u32 = 1 << 31 | 0o755;
const LINK_MODE: u32 = 1 << 27 | 0o777;

fn top(path: &Path) -> OwnedFd {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("a directory")
}

fn named(path: &str, mode: u32) -> Packet {
    let stat = Stat { path: path.to_owned().into(), mode, ..Stat::default() };
    Packet { stat: Some(stat), ..packet(PacketType::PacketStat) }
}

fn linked(path: &str, mode: u32, target: &str) -> Packet {
    let mut packet = named(path, mode);
    packet.stat.as_mut().expect("an entry").linkname = target.to_owned().into();
    packet
}

fn content(id: u32, data: &'static [u8]) -> Packet {
    Packet { id, data: Bytes::from_static(data), ..packet(PacketType::PacketData) }
}

/// Makes `into` what `from` is, and says which files' content was sent.
fn sync(from: &Path, into: &Path) -> Vec<String> {
    let mut sender = Sender::new(top(from)).expect("a sender");
    let mut receiver = Receiver::new(top(into)).expect("a receiver");
    let mut entries = Vec::new();
    let mut sent = Vec::new();
    loop {
        let next = sender.next().expect("a packet");
        let quiet = next.is_none();
        if let Some(packet) = next {
            if let Some(stat) = &packet.stat {
                entries.push(String::from_utf8_lossy(&stat.path).into_owned());
            }
            receiver.take(packet).expect("a packet that is taken");
        }
        for id in receiver.requests() {
            sent.push(entries[id as usize].clone());
            sender.take(Packet { id, ..packet(PacketType::PacketReq) }).expect("a request that is taken");
        }
        if receiver.is_complete() {
            sender.take(packet(PacketType::PacketFin)).expect("the end");
            receiver.take(packet(PacketType::PacketFin)).expect("the end");
            assert!(sender.is_done() && receiver.is_finished());
            return sent;
        }
        assert!(!quiet, "nobody has anything to say");
    }
}

/// Everything below `path`, as text.
fn tree(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let found = entry.path().symlink_metadata().expect("attributes");
            let name = entry.path().strip_prefix(path).expect("below").display().to_string();
            let what = if found.is_symlink() {
                format!("-> {}", fs::read_link(entry.path()).expect("a link").display())
            } else if found.is_dir() {
                waiting.push(entry.path());
                String::new()
            } else if found.is_file() {
                fs::read_to_string(entry.path()).expect("content")
            } else {
                format!("{:?} {}", found.file_type(), found.rdev())
            };
            let time = found.mtime() * 1_000_000_000 + found.mtime_nsec();
            lines.push(format!("{name} {:o} {time} {} {what}", found.mode(), found.nlink()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_directory_becomes_the_sender_s_and_what_is_the_same_is_not_sent_again() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    let (from, into) = (from.path(), into.path());
    fs::create_dir_all(from.join("a/deep/er")).expect("directories");
    fs::create_dir(from.join("empty")).expect("a directory");
    fs::write(from.join("a/one"), "1").expect("a file");
    fs::write(from.join("a.b"), "dot").expect("a file");
    fs::write(from.join("a/deep/er/two"), "2".repeat(200_000)).expect("a file");
    fs::write(from.join("nothing"), "").expect("a file");
    fs::set_permissions(from.join("a/one"), fs::Permissions::from_mode(0o4750)).expect("a mode");
    fs::hard_link(from.join("a/one"), from.join("z")).expect("a hard link");
    symlink("../nowhere", from.join("a/link")).expect("a link");
    rustix::fs::mknodat(top(from), "pipe", FileType::Fifo, Mode::from_raw_mode(0o640), 0).expect("a pipe");
    // What is there is in the way of all kinds.
    fs::create_dir_all(into.join("a.b/c")).expect("directories");
    fs::create_dir_all(into.join("gone/c")).expect("directories");
    fs::write(into.join("empty"), "no").expect("a file");
    fs::write(into.join("zz"), "no").expect("a file");
    fs::create_dir(into.join("pipe")).expect("a directory");
    symlink("/etc", into.join("a")).expect("a link");

    let mut sent = sync(from, into);
    sent.sort();
    assert_eq!(sent, ["a.b", "a/deep/er/two", "a/one", "nothing"]);
    assert_eq!(tree(into), tree(from));
    assert_eq!(sync(from, into), Vec::<String>::new());
    assert_eq!(tree(into), tree(from));

    fs::write(from.join("a.b"), "dot!").expect("a file");
    fs::remove_file(from.join("a/link")).expect("removed");
    fs::remove_dir(from.join("empty")).expect("removed");
    fs::set_permissions(from.join("nothing"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let mut sent = sync(from, into);
    sent.sort();
    assert_eq!(sent, ["a.b", "nothing"]);
    assert_eq!(tree(into), tree(from));
}

#[test]
fn a_file_that_was_not_sent_whole_is_sent_again() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    fs::write(from.path().join("a"), "four").expect("a file");
    let mut receiver = Receiver::new(top(into.path())).expect("a receiver");
    let found = from.path().join("a").metadata().expect("attributes");
    let mut packet = named("a", 0o644);
    let stat = packet.stat.as_mut().expect("an entry");
    stat.size = 4;
    stat.mod_time = found.mtime() * 1_000_000_000 + found.mtime_nsec();
    receiver.take(packet).expect("an entry");
    receiver.take(content(0, b"FOUR")).expect("content");
    drop(receiver);
    assert_eq!(sync(from.path(), into.path()), ["a"]);
    assert_eq!(fs::read_to_string(into.path().join("a")).expect("content"), "four");
}

#[test]
fn what_a_hostile_client_sends_is_refused_and_touches_nothing_outside() {
    let outside = tempfile::tempdir().expect("outside");
    fs::write(outside.path().join("victim"), "untouched").expect("a file");
    let far = outside.path().to_str().expect("a path").to_owned();
    let file = 0o644;
    let check = |packets: Vec<Packet>, expected: &str| {
        let into = tempfile::tempdir_in(outside.path()).expect("into");
        let mut receiver = Receiver::new(top(into.path())).expect("a receiver");
        let outcome = packets.into_iter().try_for_each(|packet| receiver.take(packet));
        let error = outcome.expect_err(expected).to_string();
        assert!(error.contains(expected), "`{error}` is not about `{expected}`");
        let victim = fs::read_to_string(outside.path().join("victim")).expect("a file");
        assert_eq!(victim, "untouched", "{expected}");
        assert_eq!(outside.path().join("victim").metadata().expect("attributes").nlink(), 1, "{expected}");
    };
    let outward = || linked("a", LINK_MODE, &far);
    check(vec![named("..", file)], "a name that is none");
    check(vec![named("../victim", file)], "a name that is none");
    check(vec![named("/etc/passwd", file)], "a name that is none");
    check(vec![named("a/../../victim", file)], "a name that is none");
    check(vec![named("a", DIRECTORY_MODE), named("a/..", DIRECTORY_MODE)], "a name that is none");
    // Through a link that is no directory, whether it was sent as a link or as both.
    check(vec![outward(), named("a/victim", file)], "directory was not named");
    check(vec![named("a", DIRECTORY_MODE), outward()], "out of order");
    check(vec![outward(), named("a", DIRECTORY_MODE)], "out of order");
    check(vec![named("b", file), named("a", file)], "out of order");
    check(vec![named("a", file), named("a", file)], "out of order");
    check(vec![named("a/b", file)], "directory was not named");
    check(vec![named("a", DIRECTORY_MODE), named("b", file), named("a/c", file)], "directory was not named");
    // Hard links to what is not the sender's.
    check(vec![linked("b", file, "../victim")], "a link to a name that is none");
    check(vec![linked("b", file, &format!("{far}/victim"))], "a link to a name that is none");
    check(vec![outward(), linked("b", file, "a/victim")], "not named before");
    check(vec![outward(), linked("b", file, "a")], "a link to what is no file");
    check(vec![linked("b", file, "c")], "not named before");
    check(vec![linked("b", file, "a")], "not named before");
    check(vec![named("a", DIRECTORY_MODE), linked("b", file, "a")], "a link to what is no file");
    // Content.
    check(vec![content(0, b"x")], "not asked for");
    check(vec![named("a", DIRECTORY_MODE), content(0, b"x")], "not asked for");
    check(vec![named("a", file), content(0, b""), content(0, b"x")], "not asked for");
    check(vec![named("a", 1 << 31 | 1 << 27)], "a file of no kind");
    check(vec![packet(PacketType::PacketStat), named("a", file)], "after the last");
    check(
        vec![named("a", file), packet(PacketType::PacketStat), packet(PacketType::PacketFin)],
        "the end before",
    );
    check(vec![packet(PacketType::PacketReq)], "a request");
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_written_through() {
    let outside = tempfile::tempdir().expect("outside");
    fs::write(outside.path().join("victim"), "untouched").expect("a file");
    let into = outside.path().join("into");
    fs::create_dir(&into).expect("a directory");
    symlink("../victim", into.join("a")).expect("a link");
    let mut receiver = Receiver::new(top(&into)).expect("a receiver");
    for packet in [named("a", 0o644), content(0, b"mine"), content(0, b""), packet(PacketType::PacketStat)] {
        receiver.take(packet).expect("a packet");
    }
    assert!(receiver.is_complete());
    assert_eq!(fs::read_to_string(into.join("a")).expect("content"), "mine");
    assert_eq!(fs::read_to_string(outside.path().join("victim")).expect("content"), "untouched");
}

#[test]
fn a_file_of_another_name_keeps_its_content() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    fs::write(from.path().join("a"), "old").expect("a file");
    fs::hard_link(from.path().join("a"), from.path().join("b")).expect("a hard link");
    sync(from.path(), into.path());
    fs::remove_file(from.path().join("a")).expect("removed");
    fs::write(from.path().join("a"), "new!").expect("a file");
    assert_eq!(sync(from.path(), into.path()), ["a"]);
    assert_eq!(fs::read_to_string(into.path().join("b")).expect("content"), "old");
    assert_eq!(tree(into.path()), tree(from.path()));
}

#[test]
fn more_files_at_once_than_may_be_open_are_received() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    for at in 0..KEPT_OPEN * 2 {
        fs::write(from.path().join(format!("{at:04}")), at.to_string()).expect("a file");
    }
    // All are named before the first content comes.
    let mut sender = Sender::new(top(from.path())).expect("a sender");
    let mut receiver = Receiver::new(top(into.path())).expect("a receiver");
    while let Some(packet) = sender.next().expect("a packet") {
        receiver.take(packet).expect("an entry");
    }
    assert_eq!(receiver.open, KEPT_OPEN);
    for id in receiver.requests() {
        sender.take(Packet { id, ..packet(PacketType::PacketReq) }).expect("a request");
    }
    while let Some(packet) = sender.next().expect("a packet") {
        receiver.take(packet).expect("content");
    }
    assert!(receiver.is_complete());
    assert_eq!((receiver.open, receiver.remembered), (0, 0));
    assert_eq!(tree(into.path()), tree(from.path()));
}
