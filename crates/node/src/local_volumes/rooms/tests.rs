//! Rooms on a real disk, left at any step, and with what a hostile pod leaves in them.

use super::*;

fn recorded(phase: Phase) -> Recorded {
    let claim = Claim { namespace: "n".to_owned(), name: "c".to_owned(), uid: "u".to_owned() };
    Recorded { claim, bytes: 1 << 20, form: Form::Directory, limit: None, phase }
}

fn rooms() -> (tempfile::TempDir, Rooms) {
    let root = tempfile::tempdir().expect("temporary directory");
    let rooms = Rooms::new(root.path().join("volumes"));
    (root, rooms)
}

#[test]
fn a_room_is_written_down_before_it_is_made() {
    let (_root, rooms) = rooms();
    assert_eq!(rooms.all().expect("listed").len(), 0, "no root is no room");
    let room = rooms.room("pvc-u").expect("a name");
    assert_eq!(room.begin(&recorded(Phase::Making)).expect("begun"), recorded(Phase::Making));
    assert!(!room.path(Form::Directory).exists());
    assert_eq!(rooms.all().expect("listed")[0].1, recorded(Phase::Making));
    // What an attempt that was cut off has left was shown to nobody.
    let path = room.make(Form::Directory, 0).expect("made");
    fs::write(path.join("half"), "x").expect("write");
    room.make(Form::Directory, 0).expect("made again");
    assert!(room.was_never_written(Form::Directory).expect("looked at"));
    room.write(&Recorded { limit: Some(7), ..recorded(Phase::Made) }).expect("written");
    let known = room.begin(&recorded(Phase::Making)).expect("begun");
    assert_eq!((known.phase, known.limit), (Phase::Made, Some(7)), "what is made stays so");
    let mut other = recorded(Phase::Making);
    other.claim.uid = "u2".to_owned();
    assert!(matches!(room.begin(&other), Err(RoomError::Other { .. })));
}

#[test]
fn what_is_removed_leads_nowhere_else() {
    let (root, rooms) = rooms();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).expect("create");
    fs::write(outside.join("kept"), "x").expect("write");
    let room = rooms.room("pvc-u").expect("a name");
    room.begin(&recorded(Phase::Making)).expect("begun");
    let path = room.make(Form::Directory, 0).expect("made");
    fs::create_dir_all(path.join("a/b")).expect("create");
    for link in ["link", "a/link", "a/b/link"] {
        std::os::unix::fs::symlink(&outside, path.join(link)).expect("link");
    }
    std::os::unix::fs::symlink(outside.join("kept"), path.join("record.json")).expect("link");
    assert!(!room.was_never_written(Form::Directory).expect("looked at"));
    room.remove_content().expect("removed");
    assert_eq!(room.read().expect("read").expect("it is there").phase, Phase::Making);
    room.remove().expect("removed");
    room.remove().expect("there is nothing left to remove");
    assert!(outside.join("kept").exists());
    assert_eq!(rooms.all().expect("listed").len(), 0);
}

#[test]
fn a_device_is_a_file_of_its_length_that_only_grows() {
    let (_root, rooms) = rooms();
    let room = rooms.room("pvc-u").expect("a name");
    let wanted = Recorded { form: Form::File, ..recorded(Phase::Making) };
    room.begin(&wanted).expect("begun");
    let path = room.make(Form::File, 1 << 20).expect("made");
    assert!(room.was_never_written(Form::File).expect("looked at"));
    room.lengthen(3 << 20).expect("lengthened");
    room.lengthen(1 << 20).expect("left");
    assert_eq!(fs::metadata(&path).expect("stat").len(), 3 << 20);
    fs::write(&path, "x").expect("write");
    assert!(!room.was_never_written(Form::File).expect("looked at"));
}

#[test]
fn what_is_no_name_or_no_record_is_left_alone() {
    let (root, rooms) = rooms();
    for name in ["", ".", "..", "../x", "a/b", ".hidden"] {
        assert!(matches!(rooms.room(name), Err(RoomError::Name(_))), "{name}");
    }
    let strange = root.path().join("volumes/pvc-strange");
    fs::create_dir_all(&strange).expect("create");
    fs::write(strange.join("record.json"), "{").expect("write");
    let room = rooms.room("pvc-strange").expect("a name");
    assert!(matches!(room.begin(&recorded(Phase::Making)), Err(RoomError::Record { .. })));
    assert_eq!(rooms.all().expect("listed").len(), 0);
    assert!(strange.join("record.json").exists());
}
