//! Documents with every field set, as programs wrote them: each is taken up whole, and what is written of it
//! then says the same.

use std::collections::BTreeMap;

use base::RecordError;
use serde_json::Value;

use super::*;
use crate::local_volumes::Recorded;
use crate::pod::allocation::Allocation;
use crate::pod::volumes;

fn read(document: &str) -> Result<BTreeMap<String, volumes::Recorded>, RecordError> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("volumes.json");
    std::fs::write(&path, document).expect("write a document");
    base::record::read::<VolumesFile>(&path).map(Into::into)
}

#[test]
fn a_record_is_read_and_written_as_it_was() {
    for document in [include_str!("tests/volumes-1.json"), include_str!("tests/volumes-2.json")] {
        let volumes = read(document).expect("a record");
        let written = base::record::encode(&VolumesFile::from(&volumes)).expect("it is text");
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(written, serde_json::from_str::<Value>(document).expect("JSON"));
    }
}

#[test]
fn what_a_volume_of_the_node_is_is_read_and_written_as_it_was() {
    let document = include_str!("tests/local-volume-1.json");
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("record.json");
    std::fs::write(&path, document).expect("write a document");
    let known: Recorded = base::record::read::<LocalVolumeFile>(&path).expect("a record").into();
    let written = base::record::encode(&LocalVolumeFile::from(&known)).expect("it is text");
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
    assert_eq!(json(&written), json(document.as_bytes()));
}

#[test]
fn what_a_pod_was_granted_is_read_and_written_as_it_was() {
    let document = include_str!("tests/resources-1.json");
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("resources.json");
    std::fs::write(&path, document).expect("write a document");
    let granted: Allocation = base::record::read::<ResourcesFile>(&path).expect("a record").into();
    save_durably(&path, &ResourcesFile::from(&granted)).expect("write a record");
    let written = std::fs::read_to_string(&path).expect("read");
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(json(&written), json(document));
}

#[test]
fn a_record_of_a_later_program_is_told_from_a_damaged_one() {
    let later = r#"{"version": 3, "volumes": {"disk": {"kind": "device", "phase": "attached"}}}"#;
    assert!(matches!(read(later), Err(RecordError::Newer { version: 3, known: 2 })));
    for damaged in
        ["", "{\"version\": 1, \"vol", "{\"version\": 1, \"volumes\": {\"a\": {\"kind\": \"none\"}}}"]
    {
        assert!(matches!(read(damaged), Err(RecordError::Damaged(_))), "{damaged}");
    }
}
