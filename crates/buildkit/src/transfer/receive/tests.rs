use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bytes::Bytes;
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

fn sized(path: &str, mode: u32, size: i64) -> Packet {
    let mut packet = named(path, mode);
    packet.stat.as_mut().expect("an entry").size = size;
    packet
}

/// Takes a packet, and asks for what is to be asked for.
fn fed(receiver: &mut Receiver, packet: Packet) -> Result<(), ReceiveError> {
    receiver.take(packet)?;
    receiver.requests();
    Ok(())
}

/// Makes `into` what `from` is, and says which files' content was sent.
fn sync(from: &Path, into: &Path) -> Vec<String> {
    let mut sender = Sender::new(top(from)).expect("a sender");
    let mut receiver = Receiver::new(top(into), &Memory::new()).expect("a receiver");
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
    let mut receiver = Receiver::new(top(into.path()), &Memory::new()).expect("a receiver");
    let found = from.path().join("a").metadata().expect("attributes");
    let mut packet = named("a", 0o644);
    let stat = packet.stat.as_mut().expect("an entry");
    stat.size = 4;
    stat.mod_time = found.mtime() * 1_000_000_000 + found.mtime_nsec();
    fed(&mut receiver, packet).expect("an entry");
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
        let mut receiver = Receiver::new(top(into.path()), &Memory::new()).expect("a receiver");
        let outcome = packets.into_iter().try_for_each(|packet| fed(&mut receiver, packet));
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
    check(vec![sized("a", file, 1), content(0, b"x"), content(0, b"x")], "more content than it said");
    check(vec![sized("a", file, -1)], "a file of no size");
    check(vec![sized("a", file, i64::MAX)], "receive `a`");
    check(vec![named(&"a/".repeat(3_000), file)], "a path that is too long");
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
    let mut receiver = Receiver::new(top(&into), &Memory::new()).expect("a receiver");
    for packet in [sized("a", 0o644, 4), content(0, b"mine"), content(0, b""), packet(PacketType::PacketStat)]
    {
        fed(&mut receiver, packet).expect("a packet");
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
    let mut receiver = Receiver::new(top(into.path()), &Memory::new()).expect("a receiver");
    while let Some(packet) = sender.next().expect("a packet") {
        receiver.take(packet).expect("an entry");
    }
    assert_eq!(receiver.open, KEPT_OPEN);
    // Not all are asked for at once, and what was not asked for is not taken.
    let mut asked = receiver.requests();
    assert_eq!(asked.len(), WINDOW);
    assert!(receiver.requests().is_empty());
    let early = receiver.take(content(WINDOW as u32, b"x")).expect_err("it was not asked for");
    assert!(early.to_string().contains("not asked for"), "{early}");
    while !asked.is_empty() {
        for id in asked {
            sender.take(Packet { id, ..packet(PacketType::PacketReq) }).expect("a request");
        }
        while let Some(packet) = sender.next().expect("a packet") {
            receiver.take(packet).expect("content");
        }
        asked = receiver.requests();
    }
    assert!(receiver.is_complete());
    assert_eq!((receiver.open, receiver.asked, receiver.held.bytes()), (0, 0, 0));
    assert_eq!(tree(into.path()), tree(from.path()));
}

/// A file system of `size` bytes that is mounted nowhere.
fn small(size: &str) -> OwnedFd {
    use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags};
    testkit::require_root();
    let made = mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).expect("a file system");
    mount::fsconfig_set_string(made.as_fd(), "size", size).expect("a size");
    mount::fsconfig_create(made.as_fd()).expect("a file system");
    mount::fsmount(made.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).expect("a mount")
}

#[test]
fn a_client_s_files_leave_room_for_others() {
    let disk = small("8m");
    let mut receiver = Receiver::new(&disk, &Memory::new()).expect("a receiver");
    let too_large = receiver.take(sized("a", 0o644, 9 << 20)).expect_err("more than there is");
    assert!(base::error::chain(&too_large).to_string().contains("kept free"), "{too_large:?}");
    let mut receiver = Receiver::new(&disk, &Memory::new()).expect("a receiver");
    for at in 0..10 {
        fed(&mut receiver, sized(&format!("{at}"), 0o644, 1 << 20)).expect("each of them has room");
    }
    let piece = &[7; 64 << 10];
    let filling = (0..10 * 16).try_for_each(|at| receiver.take(content(at / 16, piece)));
    let full = filling.expect_err("all of them have not");
    assert!(base::error::chain(&full).to_string().contains("kept free"), "{full:?}");
    let left = rustix::fs::fstatvfs(&disk).expect("a size");
    assert!(left.f_bavail * 50 >= left.f_blocks, "{} of {} are left", left.f_bavail, left.f_blocks);
    // Others fill what is kept free.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let others = openat(&disk, "others", flags, Mode::from_raw_mode(0o600)).expect("a file");
    while rustix::io::write(&others, piece).is_ok() {}
    let more = (0..4096).try_for_each(|at| receiver.take(named(&format!("d{at:04}"), DIRECTORY_MODE)));
    let full = more.expect_err("entries take room too");
    assert!(base::error::chain(&full).to_string().contains("kept free"), "{full:?}");
}

#[test]
fn all_receivers_together_remember_no_more_than_there_is() {
    let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let memory = Memory::of(64 << 10);
    let fill = |receiver: &mut Receiver, packet: &dyn Fn(u32) -> Packet| {
        (0..1_000).take_while(|at| fed(receiver, packet(*at)).is_ok()).count()
    };
    // Files that are waited for, in one and then in the other.
    let file = |at: u32| named(&format!("{at:04}"), 0o644);
    let mut first = Receiver::new(top(one.path()), &memory).expect("a receiver");
    let taken = fill(&mut first, &file);
    assert!((100..500).contains(&taken), "{taken}");
    let mut second = Receiver::new(top(two.path()), &memory).expect("a receiver");
    assert_eq!(fill(&mut second, &file), 0);
    drop((first, second));
    // What is there already.
    let there = Receiver::new(top(one.path()), &Memory::of(taken * NAME)).err().expect("too much");
    assert!(matches!(there, ReceiveError::TooMany), "{there}");
    // Directories on the way down, and their attributes; those that are not kept take nothing.
    let attributed = |attribute: &'static str| {
        move |at: u32| {
            let mut packet = named(&vec!["d"; at as usize + 1].join("/"), DIRECTORY_MODE);
            let stat = packet.stat.as_mut().expect("an entry");
            stat.xattrs.insert(attribute.to_owned(), vec![0; 4 << 10].into());
            packet
        }
    };
    let mut third = Receiver::new(top(two.path()), &memory).expect("a receiver");
    let kept = fill(&mut third, &attributed("user.a"));
    assert!((10..16).contains(&kept), "{kept}");
    drop(third);
    std::fs::remove_dir_all(two.path().join("d")).expect("removed");
    let mut third = Receiver::new(top(two.path()), &memory).expect("a receiver");
    assert!(fill(&mut third, &attributed("trusted.a")) > 100);
}
