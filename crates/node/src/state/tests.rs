//! Documents with every field set, as programs wrote them: each is taken up whole, and what is written of it
//! then says the same.

use std::collections::BTreeMap;

use base::RecordError;
use serde_json::Value;

use super::*;
use crate::pod::volumes::Recorded;

fn read(document: &str) -> Result<BTreeMap<String, Recorded>, RecordError> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("volumes.json");
    std::fs::write(&path, document).expect("write a document");
    base::record::read::<VolumesFile>(&path).map(Into::into)
}

#[test]
fn a_record_is_read_and_written_as_it_was() {
    let document = include_str!("tests/volumes-1.json");
    let volumes = read(document).expect("a record");
    let written = base::record::encode(&VolumesFile::from(&volumes)).expect("it is text");
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(written, serde_json::from_str::<Value>(document).expect("JSON"));
}

#[test]
fn a_record_of_a_later_program_is_told_from_a_damaged_one() {
    let later = r#"{"version": 2, "volumes": {"disk": {"kind": "device", "phase": "attached"}}}"#;
    assert!(matches!(read(later), Err(RecordError::Newer { version: 2, known: 1 })));
    for damaged in
        ["", "{\"version\": 1, \"vol", "{\"version\": 1, \"volumes\": {\"a\": {\"kind\": \"none\"}}}"]
    {
        assert!(matches!(read(damaged), Err(RecordError::Damaged(_))), "{damaged}");
    }
}
