//! Archives of layers and of files.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "archive",
    shape: Shape::Archive,
    examples,
    words: &[
        "../",
        "/",
        ".wh.",
        ".wh..wh..opq",
        "ustar\0",
        "path=",
        "size=",
        "linkpath=",
        "GNU.sparse.map=",
        "\n12 ",
    ],
    read,
    turns: 750,
};

/// What lies beside the directory that is unpacked into.
const NEIGHBOUR: &str = "untouched";

fn read(archive: &[u8]) -> bool {
    let place = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let (outer, inside) = (place.path(), place.path().join("inside"));
    fs::create_dir(&inside).expect("a directory");
    fs::create_dir(outer.join("spill")).expect("a directory");
    fs::write(outer.join("x"), NEIGHBOUR).expect("a file");
    let is_layer = image::fuzzing::layer(archive, &inside, &outer.join("spill")).is_ok();
    check(outer);
    let again = outer.join("again");
    fs::create_dir(&again).expect("a directory");
    let directory = fs::File::open(&again).expect("it is there");
    let is_files = image::unpack_files(archive, directory.as_fd()).is_ok();
    check(outer);
    is_layer || is_files
}

/// Nothing but what is there for it was touched.
fn check(outer: &Path) {
    let names: Vec<_> = fs::read_dir(outer)
        .expect("it is there")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| !["inside", "again", "spill", "x"].iter().any(|known| name == known))
        .collect();
    assert!(names.is_empty(), "something got out: {names:?}");
    assert_eq!(
        fs::read_to_string(outer.join("x")).ok().as_deref(),
        Some(NEIGHBOUR),
        "a neighbour was changed"
    );
}

/// Where files cost no disk, if there is such a place.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

fn examples() -> Vec<Vec<u8>> {
    let mut plain = Builder::new(Vec::new());
    entry(&mut plain, EntryType::Directory, "a/", "", b"");
    entry(&mut plain, EntryType::Regular, "a/b", "", b"content");
    entry(&mut plain, EntryType::Regular, "a/b", "", b"other content");
    entry(&mut plain, EntryType::Link, "a/c", "a/b", b"");
    entry(&mut plain, EntryType::Symlink, "link", "a", b"");
    entry(&mut plain, EntryType::Regular, "link/d", "", b"through a link");
    entry(&mut plain, EntryType::Fifo, "a/pipe", "", b"");
    let plain = plain.into_inner().expect("into memory");

    let mut marks = Builder::new(Vec::new());
    entry(&mut marks, EntryType::Directory, "a/", "", b"");
    entry(&mut marks, EntryType::Regular, "a/.wh.gone", "", b"");
    entry(&mut marks, EntryType::Regular, "a/.wh..wh..opq", "", b"");
    entry(&mut marks, EntryType::Link, "below", "of/another/layer", b"");
    entry(&mut marks, EntryType::Symlink, "up", "../../x", b"");
    let marks = marks.into_inner().expect("into memory");

    let mut extended = Builder::new(Vec::new());
    let records = ["path=a/long", "mtime=1.5", "size=4", "SCHILY.xattr.user.a=b"];
    let records: String = records.iter().map(|record| pax(record)).collect();
    entry(&mut extended, EntryType::XHeader, "x", "", records.as_bytes());
    entry(&mut extended, EntryType::Regular, "short", "", b"four");
    let map =
        ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=holes", "GNU.sparse.realsize=5000"];
    let map: String = map.iter().map(|record| pax(record)).collect();
    entry(&mut extended, EntryType::XHeader, "x", "", map.as_bytes());
    let mut sparse = b"2\n0\n4\n4996\n4\n".to_vec();
    sparse.resize(512, 0);
    sparse.extend(b"headtail");
    entry(&mut extended, EntryType::Regular, "GNUSparseFile.0/holes", "", &sparse);
    entry(&mut extended, EntryType::GNULongName, "././@LongLink", "", b"a/name/that/is/long\0");
    entry(&mut extended, EntryType::Regular, "cut", "", b"x");
    let extended = extended.into_inner().expect("into memory");

    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plain).expect("into memory");
    let packed = packed.finish().expect("into memory");
    vec![plain, marks, extended, packed]
}

/// A record of an extended header: it begins with its own length.
fn pax(record: &str) -> String {
    let rest = record.len() + 2;
    let digits = |length: usize| length.to_string().len();
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    format!("{length} {record}\n")
}

fn entry(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    // As bytes: names that nobody should write are written too.
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    archive.append(&header, content).expect("into memory");
}
