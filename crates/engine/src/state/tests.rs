//! Documents with every field set, as programs wrote them: each is taken up whole, and what is written of it
//! then says the same.

use serde_json::{Value, json};
use testkit::documents::check_kept;

use super::container::{ContainerFile, LifeFile};
use super::*;
use crate::container::ContainerRecord;
use crate::sandbox::SandboxRecord;
use crate::volume::VolumeRecord;

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Reads a document as a `T`, from a file as at a start.
fn read<T: Record>(document: &Value) -> Result<T, RecordError> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("record.json");
    std::fs::write(&path, document.to_string()).expect("write a document");
    load(&path)
}

fn written<T: Record>(record: &T) -> Value {
    serde_json::from_slice(&base::record::encode(record).expect("it is text")).expect("JSON")
}

/// What is written of a document once it has been taken up.
fn again_container(document: &Value) -> (Value, Value) {
    let record = ContainerRecord::from(read::<ContainerFile>(document).expect("a container"));
    (written(&ContainerFile::from(&record)), written(&LifeFile::of(&record)))
}

fn again_sandbox(document: &Value) -> Value {
    let record = SandboxRecord::from(read::<SandboxFile>(document).expect("a sandbox"));
    written(&SandboxFile::from(record))
}

/// Whether nothing in a document is as it would be had nobody said anything.
#[track_caller]
fn check_every_field_is_set(document: &Value, at: &str) {
    match document {
        Value::Object(fields) => {
            assert!(!fields.is_empty(), "{at}");
            fields.iter().for_each(|(name, value)| check_every_field_is_set(value, &format!("{at}/{name}")));
        }
        Value::Array(items) => {
            assert!(!items.is_empty(), "{at}");
            items.iter().for_each(|item| check_every_field_is_set(item, at));
        }
        // The host as a container sees it has no address.
        Value::Null => assert!(at.ends_with("hosts/address"), "{at}"),
        Value::Bool(is_set) => assert!(is_set, "{at}"),
        Value::String(text) => assert!(!text.is_empty(), "{at}"),
        Value::Number(number) => assert_ne!(number.as_i64(), Some(0), "{at}"),
    }
}

#[test]
fn a_container_is_taken_up_with_all_of_its_fields() {
    let container = document(include_str!("tests/container-2.json"));
    check_every_field_is_set(&container, "");
    assert_eq!(again_container(&container).0, container);
}

#[test]
fn what_became_of_a_container_is_taken_up_with_all_of_its_fields() {
    let life = document(include_str!("tests/life-1.json"));
    check_every_field_is_set(&life, "");
    let container = read::<ContainerFile>(&document(include_str!("tests/container-2.json")));
    let mut record = ContainerRecord::from(container.expect("a container"));
    read::<LifeFile>(&life).expect("a life").apply(&mut record);
    assert_eq!(written(&LifeFile::of(&record)), life);
}

#[test]
fn a_container_that_is_kept_is_written_as_any_other() {
    let container = document(include_str!("tests/container-2.json"));
    let mut record = ContainerRecord::from(read::<ContainerFile>(&container).expect("a container"));
    assert!(record.is_transient() && written(&ContainerFile::from(&record))["spec"]["transient"] == true);
    // As it was written once.
    let mut life = document(include_str!("tests/life-1.json"));
    life["life"]["kept"] = true.into();
    read::<LifeFile>(&life).expect("a life").apply(&mut record);
    assert!(record.kept && !record.is_transient());
    let again = written(&ContainerFile::from(&record));
    assert!(!ContainerRecord::from(read::<ContainerFile>(&again).expect("a container")).is_transient());
}

#[test]
fn a_container_of_version_1_is_taken_up_with_all_of_its_fields() {
    let mut first = document(include_str!("tests/container-1.json"));
    check_every_field_is_set(&first, "");
    let (container, life) = again_container(&first);
    let fields = first.as_object_mut().expect("an object");
    fields.remove("version");
    for name in ["life", "health", "boot"] {
        assert_eq!(life[name], fields.remove(name).expect("it was there"), "{name}");
    }
    check_kept(&first, &container, "");
    assert_eq!(container["version"], 2);
}

#[test]
fn a_container_of_version_1_whose_life_was_written_apart_has_none_in_its_record() {
    let mut first = document(include_str!("tests/container-1.json"));
    first
        .as_object_mut()
        .expect("an object")
        .retain(|name, _| !["life", "health", "boot"].contains(&&**name));
    let record = ContainerRecord::from(read::<ContainerFile>(&first).expect("a container"));
    assert_eq!(record.life, Default::default());
}

#[test]
fn a_sandbox_is_taken_up_with_all_of_its_fields() {
    let sandbox = document(include_str!("tests/sandbox-2.json"));
    check_every_field_is_set(&sandbox, "");
    assert_eq!(again_sandbox(&sandbox), sandbox);
    let mut first = document(include_str!("tests/sandbox-1.json"));
    check_every_field_is_set(&first, "");
    // Nobody asks it any more: a sandbox whose shim is gone is not ready.
    first.as_object_mut().expect("an object").remove("stopped");
    check_kept(&first, &again_sandbox(&first), "");
}

#[test]
fn a_volume_is_taken_up_with_all_of_its_fields() {
    let volume = document(include_str!("tests/volume-1.json"));
    check_every_field_is_set(&volume, "");
    let record = VolumeRecord::from(read::<VolumeFile>(&volume).expect("a volume"));
    assert_eq!(written(&VolumeFile::from(record)), volume);
}

#[test]
fn a_volume_of_before_volumes_were_filled_limited_and_mounted_is_taken_up() {
    let first = json!({
        "version": 1, "name": "data", "created": "2026-09-28T09:59:57Z", "anonymous": false,
        "spec": {"name": "data", "driver": "", "labels": {}, "options": {"type": "none", "device": "/srv", "o": "bind"}},
    });
    let record = VolumeRecord::from(read::<VolumeFile>(&first).expect("a volume"));
    assert_eq!((record.filled, record.filling, record.project), (false, false, None));
    check_kept(&first, &written(&VolumeFile::from(record)), "");
    let bare = json!({"version": 1, "name": "data", "created": "2026-09-28T09:59:57Z", "anonymous": true, "spec": {}});
    let record = VolumeRecord::from(read::<VolumeFile>(&bare).expect("a volume"));
    assert!(record.anonymous && record.spec == Default::default());
}

/// Checks that each of these says something else than the document does, and is kept.
#[track_caller]
fn check_variants(container: bool, pointer: &str, values: &[Value]) {
    let text = match container {
        true => include_str!("tests/container-2.json"),
        false => include_str!("tests/sandbox-2.json"),
    };
    for value in values {
        let mut document = document(text);
        *document.pointer_mut(pointer).expect(pointer) = value.clone();
        let again = if container { again_container(&document).0 } else { again_sandbox(&document) };
        assert_eq!(again, document, "{pointer}");
    }
}

#[test]
fn every_choice_is_kept() {
    let other = "d".repeat(64);
    let namespaces = ["default", "private", "shareable", "host"]
        .map(Value::from)
        .into_iter()
        .chain([json!({"container": other})]);
    let namespaces: Vec<Value> = namespaces.collect();
    for of in ["pid", "ipc", "uts", "user", "cgroup"] {
        check_variants(true, &format!("/spec/namespaces/{of}"), &namespaces);
    }
    let networks = [
        json!("bridge"),
        json!("none"),
        json!("host"),
        json!({"network": "front"}),
        json!({"container": other}),
    ];
    check_variants(true, "/spec/namespaces/network", &networks);
    check_variants(true, "/spec/security/seccomp", &[json!("default"), json!("unconfined")]);
    let profiles = [json!("default"), json!("runtime-default"), json!("unconfined")];
    check_variants(true, "/spec/security/apparmor", &profiles);
    let policies =
        [json!("no"), json!("always"), json!("unless-stopped"), json!({"on-failure": {"retries": null}})];
    check_variants(true, "/spec/restart", &policies);
    let tests = [json!("inherit"), json!("disabled"), json!({"shell": "true"})];
    check_variants(true, "/spec/healthcheck/test", &tests);
    check_variants(false, "/spec/network", &[json!("none"), json!("host")]);
    let mut life = document(include_str!("tests/life-1.json"));
    let facts = [
        json!({"no-container": {"reference": "web"}}),
        json!({"not-joinable": {"namespace": "net", "container": other}}),
        json!({"memory-not-shared": {"container": other}}),
        json!({"no-bind-source": {"path": "/srv/none"}}),
        json!({"no-volume": {"name": "data"}}),
    ];
    let container = read::<ContainerFile>(&document(include_str!("tests/container-2.json")));
    let mut record = ContainerRecord::from(container.expect("a container"));
    for fact in facts {
        life["life"]["fact"] = fact;
        read::<LifeFile>(&life).expect("a life").apply(&mut record);
        assert_eq!(written(&LifeFile::of(&record)), life);
    }
    for status in ["created", "running", "paused", "restarting", "exited", "dead", "removing"] {
        for health in ["starting", "healthy", "unhealthy"] {
            life["life"]["status"] = status.into();
            life["health"]["status"] = health.into();
            read::<LifeFile>(&life).expect("a life").apply(&mut record);
            assert_eq!(written(&LifeFile::of(&record)), life);
        }
    }
}

#[test]
fn a_sandbox_without_users_of_its_own_can_be_read_by_programs_that_know_of_none() {
    let mut sandbox = document(include_str!("tests/sandbox-2.json"));
    sandbox["spec"]["own_users"] = false.into();
    assert_eq!(again_sandbox(&sandbox)["version"], 1);
}

#[test]
fn a_record_of_a_later_version_is_not_taken_for_one_that_is_known() {
    let mut container = document(include_str!("tests/container-2.json"));
    container["version"] = 3.into();
    assert!(matches!(read::<ContainerFile>(&container), Err(RecordError::Newer { version: 3, known: 2 })));
    let mut volume = document(include_str!("tests/volume-1.json"));
    volume["version"] = 2.into();
    assert!(matches!(read::<VolumeFile>(&volume), Err(RecordError::Newer { version: 2, known: 1 })));
}
