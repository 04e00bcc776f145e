use super::*;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_path("x").expect("a short name");
    header.set_cksum();
    header
}

fn read(source: impl Read) -> io::Result<usize> {
    let mut count = 0;
    Entries::new(source).each(
        |error| error,
        |mut entry| {
            count += 1;
            // Half of the content is left to be passed over.
            let half = entry.size() / 2;
            io::copy(&mut entry.by_ref().take(half), &mut io::sink()).map(drop)
        },
    )?;
    Ok(count)
}

/// A file's header and content, without padding.
fn file(content: &[u8]) -> Vec<u8> {
    [header(EntryType::Regular, content.len() as u64).as_bytes(), content].concat()
}

/// An archive with these records before a file of this content.
fn with_records(records: &[(&str, &[u8])], content: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    for (name, value) in records {
        let rest = name.len() + value.len() + 3;
        let length =
            (rest + 1..).find(|length| rest + length.to_string().len() == *length).expect("a length");
        said.extend_from_slice(format!("{length} {name}=").as_bytes());
        said.extend_from_slice(value);
        said.push(b'\n');
    }
    let mut archive = header(EntryType::XHeader, said.len() as u64).as_bytes().to_vec();
    archive.extend_from_slice(&said);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive.extend_from_slice(&file(content));
    archive
}

/// What comes of the only entry of an archive: its name, its content with holes as zeros, and what a file
/// is after its content was copied into it.
fn only(archive: &[u8]) -> io::Result<(String, Vec<u8>, Vec<u8>)> {
    let mut found = None;
    for copied in [false, true] {
        Entries::new(archive).each(
            |error| error,
            |mut entry| {
                let name = entry.path().display().to_string();
                let mut content = Vec::new();
                if copied {
                    let mut file = tempfile::tempfile()?;
                    let length =
                        entry.copy_to(&mut file, &mut [0; 7], |_| Ok(())).map_err(io::Error::other)?;
                    io::Seek::rewind(&mut file)?;
                    file.read_to_end(&mut content)?;
                    assert_eq!(length, content.len() as u64);
                } else {
                    entry.read_to_end(&mut content)?;
                }
                assert_eq!(entry.size(), content.len() as u64);
                let first = found.take().map_or_else(Vec::new, |(_, first, _)| first);
                found = Some(if copied { (name, first, content) } else { (name, content, Vec::new()) });
                Ok(())
            },
        )?;
    }
    Ok(found.expect("an entry"))
}

#[track_caller]
fn check_sparse(archive: &[u8], name: &str, content: &[u8]) {
    let (found, read, copied) = only(archive).expect("a sparse file");
    assert_eq!((found.as_str(), &read[..], &copied[..]), (name, content, content));
}

#[test]
fn large_files_are_read_and_large_headers_are_not() {
    let file = |size: u64| {
        let data = io::repeat(7).take(size.next_multiple_of(BLOCK as u64));
        io::Cursor::new(header(EntryType::Regular, size).as_bytes().to_vec()).chain(data)
    };
    let end = || io::repeat(0).take(2 * BLOCK as u64);
    let whole = file(9 << 20).chain(file(100)).chain(file(5 << 20)).chain(end());
    assert_eq!(read(whole).expect("an archive"), 3);
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
        // A terabyte, if anybody read it.
        let bomb = header(kind, 1 << 40);
        let bomb = io::Cursor::new(bomb.as_bytes().to_vec()).chain(io::repeat(b'1'));
        let error = read(file(9 << 20).chain(bomb)).expect_err("it is too long");
        assert!(error.to_string().contains("longer than 2097152 bytes"), "{error}");
    }
}

#[test]
fn an_archive_may_end_with_its_last_byte_and_garbage_may_follow_its_end() {
    let mut archive = file(b"one");
    archive.resize(2 * BLOCK, 0);
    archive.extend_from_slice(&file(b"two!"));
    assert_eq!(read(&archive[..]).expect("no padding, no end"), 2);
    let cut = &archive[..archive.len() - 1];
    assert_eq!(read(cut).expect_err("cut off").kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(read(&archive[..3 * BLOCK - 1]).expect_err("cut off").kind(), io::ErrorKind::UnexpectedEof);
    let padded = [&archive[..], &[0; 100]].concat();
    assert_eq!(read(&padded[..]).expect("half of the padding"), 2);
    archive.resize(archive.len().next_multiple_of(BLOCK) + BLOCK, 0);
    archive.extend_from_slice(b"garbage");
    assert_eq!(read(&archive[..]).expect("garbage is no entry"), 2);
}

#[test]
fn values_are_bytes_and_have_any_in_them() {
    let value = b"a\nb\n13 c=d\n\0";
    let archive =
        with_records(&[("SCHILY.xattr.user.x", value), ("path", b"line\nfeed"), ("uid", b"7")], b"x");
    let mut seen = 0;
    let mut entries = Entries::new(&archive[..]);
    let each = entries.each(
        |error| error,
        |entry| {
            seen += 1;
            let attributes = entry.attributes()?;
            assert_eq!((entry.path(), attributes.uid), (Path::new("line\nfeed"), 7));
            assert_eq!(attributes.xattrs, [("user.x".to_owned(), value.to_vec())]);
            Ok(())
        },
    );
    each.expect("an archive");
    assert_eq!(seen, 1);
}

#[test]
fn sparse_files_come_in_three_forms_of_pax() {
    let zeros = |count: usize| vec![0; count];
    let content = [&zeros(3)[..], b"abc", &zeros(1000), b"de", &zeros(10)].concat();
    let size = content.len().to_string();
    let size = size.as_bytes();
    let first = with_records(
        &[
            ("GNU.sparse.size", size),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"3"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"1006"),
            ("GNU.sparse.numbytes", b"2"),
        ],
        b"abcde",
    );
    check_sparse(&first, "x", &content);
    let second = with_records(
        &[("GNU.sparse.size", size), ("GNU.sparse.name", b"real"), ("GNU.sparse.map", b"3,3,1006,2")],
        b"abcde",
    );
    check_sparse(&second, "real", &content);
    let mut map = b"3\n3\n3\n1006\n2\n1018\n0\n".to_vec();
    map.resize(BLOCK, 0);
    map.extend_from_slice(b"abcde");
    let version = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
    let records = [version[0], version[1], ("GNU.sparse.name", b"real"), ("GNU.sparse.realsize", size)];
    check_sparse(&with_records(&records, &map), "real", &content);
    // A map that is wrong is no map.
    for wrong in ["1\n0\n6\n", "2\n3\n3\n1\n2\n", "1\n1015\n5\n", "x\n", "1\n18446744073709551615\n5\n"] {
        let mut map = wrong.as_bytes().to_vec();
        map.resize(BLOCK, 0);
        map.extend_from_slice(b"abcde");
        let error = only(&with_records(&records, &map)).expect_err(wrong);
        assert!(error.to_string().contains("a sparse file"), "{wrong}: {error}");
    }
}

#[test]
fn a_map_that_has_no_end_is_not_read_to_it() {
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"9"),
        ("size", b"1099511627776"),
    ];
    let map = io::Cursor::new(with_records(&records, b"999999999\n")).chain(io::repeat(b'1').take(1 << 30));
    let error = read(map).expect_err("it is too long");
    assert!(error.to_string().contains("a sparse file with words for numbers"), "{error}");
    let lines = io::Cursor::new(b"1\n".repeat(4 << 20));
    let map = io::Cursor::new(with_records(&records, b"999999999\n")).chain(lines);
    let error = read(map).expect_err("it is too long");
    assert!(error.to_string().contains("longer than 2097152 bytes"), "{error}");
}
