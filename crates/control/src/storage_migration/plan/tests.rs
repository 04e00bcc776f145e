use serde_json::{Value, json};

use super::*;

const FIRST: &str = "2026-01-01T00:00:00Z";
const SECOND: &str = "2026-01-01T00:00:01Z";

fn migration(name: &str, made: &str, conditions: &[(&str, bool)]) -> StorageVersionMigration {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, holds)| {
            json!({"type": kind, "status": if *holds { "True" } else { "False" }, "reason": "R", "message": "",
                   "lastTransitionTime": FIRST})
        })
        .collect();
    let object = json!({
        "metadata": {"name": name, "creationTimestamp": made},
        "spec": {"resource": {"group": "g.io", "resource": "things"}},
        "status": {"conditions": conditions},
    });
    serde_json::from_value(object).expect("a migration")
}

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().expect("a time")
}

#[track_caller]
fn check(all: &[StorageVersionMigration], expected: &[Step]) {
    let steps: Vec<Step> = all.iter().map(|migration| step(migration, all)).collect();
    assert_eq!(steps, expected);
}

#[test]
fn one_of_a_resource_runs_at_a_time_and_the_eldest_comes_first() {
    use Step::{Begin, Close, Migrate, Nothing};
    check(&[migration("b", FIRST, &[]), migration("a", SECOND, &[])], &[Begin, Nothing]);
    check(&[migration("b", FIRST, &[]), migration("a", FIRST, &[])], &[Nothing, Begin]);
    check(&[migration("b", FIRST, &[]), migration("a", SECOND, &[(RUNNING, true)])], &[Nothing, Migrate]);
    let ended = |kind| migration("b", FIRST, &[(kind, true)]);
    check(&[ended(SUCCEEDED), migration("a", SECOND, &[])], &[Nothing, Begin]);
    check(&[ended(FAILED), migration("a", SECOND, &[])], &[Nothing, Begin]);
    // What is said of the definition is said in order.
    let unsaid = migration("b", FIRST, &[(SUCCEEDED, true), (RUNNING, false)]);
    check(&[unsaid, migration("a", SECOND, &[])], &[Close, Nothing]);
    let mut other = migration("a", SECOND, &[]);
    other.spec.get_or_insert_default().resource.resource = "others".to_owned();
    check(&[migration("b", FIRST, &[]), other], &[Begin, Begin]);
}

fn definition() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "things.g.io", "generation": 3},
        "spec": {
            "group": "g.io", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": false},
                         {"name": "v2", "served": true, "storage": true}],
        },
        "status": {"storedVersions": ["v1", "v2"], "conditions": [
            {"type": "Established", "status": "True", "reason": "R", "message": ""},
        ]},
    }))
    .expect("a definition")
}

/// What is said of the migration of a definition's objects, and its stored versions.
fn told(definition: &CustomResourceDefinition) -> (String, Vec<String>) {
    let status = definition.status.as_ref().expect("a status");
    let all = status.conditions.as_ref().expect("conditions");
    assert_eq!(all.len(), 2, "{all:?}");
    let said = all.iter().find(|known| known.type_ == MIGRATING).expect("it is said");
    let words = [&said.status, said.reason.as_ref().expect("a reason"), said.message.as_ref().expect("one")];
    let words = words.map(String::as_str).join(" ");
    (words, status.stored_versions.clone().expect("versions"))
}

#[test]
fn a_definition_forgets_old_versions_where_it_has_been_the_same_all_the_time() {
    let mut begun = definition();
    begin_definition(&mut begun, "m", now());
    let both = vec!["v1".to_owned(), "v2".to_owned()];
    assert_eq!(told(&begun), ("True MigrationRunning Migration m is running".to_owned(), both.clone()));
    let check = |generation: i64, how: &End, words: &str, versions: &[String]| {
        let mut migration = migration("m", FIRST, &[(RUNNING, true)]);
        end(&mut migration, how, now());
        let mut definition = begun.clone();
        definition.metadata.generation = Some(generation);
        finish_definition(&mut definition, &migration, now());
        let expected = (format!("False {words}"), versions.to_vec());
        assert_eq!(told(&definition), expected);
        // Whoever says it once more, not knowing that it was said, says the same.
        finish_definition(&mut definition, &migration, now());
        assert_eq!(told(&definition), expected);
    };
    let words = "MigrationSucceeded The migration has succeeded and the stored versions have been updated";
    check(3, &End::Succeeded, words, &both[1..]);
    let words = "MigrationSucceeded The migration has succeeded but the stored versions have not been updated due to \
                 a generation mismatch";
    check(4, &End::Succeeded, words, &both);
    check(3, &End::Failed("why".to_owned()), "MigrationFailed The migration has failed", &both);
}

#[test]
fn a_migration_begins_at_a_number() {
    let at = |version: Option<&str>| {
        let mut one = migration("m", FIRST, &[]);
        one.status.get_or_insert_default().resource_version = version.map(str::to_owned);
        begun_at(&one)
    };
    assert_eq!((at(Some("7")), at(None), at(Some(""))), (Some(7), None, None));
    assert_eq!((at(Some("x1")), at(Some("-1")), at(Some("18446744073709551615"))), (None, None, None));
}

#[test]
fn a_migration_says_where_it_is() {
    let mut one = migration("m", FIRST, &[]);
    let said = |one: &StorageVersionMigration| -> Vec<String> {
        let conditions = one.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|known| format!("{} {} {}", known.type_, known.status, known.reason)).collect()
    };
    begin(&mut one, now());
    assert_eq!(said(&one), ["Running True MigrationRunning"]);
    end(&mut one, &End::Failed("resource not found".to_owned()), now());
    let failed = "Failed True StorageVersionMigrationFailed";
    assert_eq!(said(&one), ["Running False StorageVersionMigrationFailed", failed]);
    close(&mut one);
    assert_eq!(said(&one), [failed]);
}
