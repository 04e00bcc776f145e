//! What becomes of a migration, and what is said of it.

use std::cmp::Reverse;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::conditions::{self, status};

const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
/// What a definition says of the migration of its objects.
const MIGRATING: &str = "StorageMigrating";

/// What is to be done about a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is over, or another of the same resource comes first.
    Nothing,
    Begin,
    /// It has begun.
    Migrate,
    /// It has ended, and not all is said of it.
    Close,
}

/// How a migration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Succeeded,
    /// And why.
    Failed(String),
}

/// The group and the resource whose objects are to be stored anew.
pub(super) fn wanted(migration: &StorageVersionMigration) -> (&str, &str) {
    migration.spec.as_ref().map_or(("", ""), |spec| (&*spec.resource.group, &*spec.resource.resource))
}

/// The revision at which a migration began, once that is known: what was written later was written as it is stored now.
pub(super) fn begun_at(migration: &StorageVersionMigration) -> Option<u64> {
    let version = migration.status.as_ref()?.resource_version.as_ref()?;
    // As the API takes it.
    version.parse::<i64>().ok().and_then(|version| u64::try_from(version).ok())
}

/// The next step for one of `all`.
pub(super) fn step(migration: &StorageVersionMigration, all: &[StorageVersionMigration]) -> Step {
    if has_ended(migration) {
        return if find(migration, RUNNING).is_some() { Step::Close } else { Step::Nothing };
    }
    if holds(migration, RUNNING) {
        return Step::Migrate;
    }
    let place = |one: &StorageVersionMigration| {
        // One that runs, or that is not closed, goes on before another begins; then the eldest comes.
        let goes_on = find(one, RUNNING).is_some();
        let made = one.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(goes_on), made, one.name().to_owned())
    };
    let rivals = all.iter().filter(|other| wanted(other) == wanted(migration));
    let waits = rivals.filter(|other| !has_ended(other) || find(other, RUNNING).is_some());
    let first = waits.map(place).min();
    if first.is_none_or(|first| first >= place(migration)) { Step::Begin } else { Step::Nothing }
}

/// Says that a migration runs.
pub(super) fn begin(migration: &mut StorageVersionMigration, now: Timestamp) {
    say(migration, RUNNING, true, "MigrationRunning", "The migration is running", now);
}

/// Says how a migration ended.
pub(super) fn end(migration: &mut StorageVersionMigration, how: &End, now: Timestamp) {
    let (kind, reason, message) = match how {
        End::Succeeded => (SUCCEEDED, "StorageVersionMigrationSucceeded", ""),
        End::Failed(why) => (FAILED, "StorageVersionMigrationFailed", why.as_str()),
    };
    say(migration, RUNNING, false, reason, message, now);
    say(migration, kind, true, reason, message, now);
}

/// Says that nothing is left to be done about a migration.
pub(super) fn close(migration: &mut StorageVersionMigration) {
    let conditions = migration.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|known| known.type_ != RUNNING);
}

/// Says of a definition that its objects are stored anew.
pub(super) fn begin_definition(definition: &mut CustomResourceDefinition, name: &str, now: Timestamp) {
    say_of(definition, true, "MigrationRunning", format!("Migration {name} is running"), now);
}

/// Says of a definition how the migration of its objects ended, where that is not said; and that no other version is
/// stored than the one that is now, where that is so: all objects were stored anew, and the definition has been the same
/// all the time.
pub(super) fn finish_definition(
    definition: &mut CustomResourceDefinition,
    migration: &StorageVersionMigration,
    now: Timestamp,
) {
    let mut conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let Some(begun) = conditions.find(|known| known.type_ == MIGRATING && known.status == "True") else {
        return;
    };
    let is_same = begun.observed_generation == definition.metadata.generation;
    if !holds(migration, SUCCEEDED) {
        say_of(definition, false, "MigrationFailed", "The migration has failed".to_owned(), now);
        return;
    }
    let stored = definition.spec.versions.iter().find(|version| version.storage);
    let stored = stored.filter(|_| is_same).map(|version| version.name.clone());
    let of_versions = match stored {
        Some(stored) => {
            definition.status.get_or_insert_default().stored_versions = Some(vec![stored]);
            "and the stored versions have been updated"
        }
        None => "but the stored versions have not been updated due to a generation mismatch",
    };
    say_of(
        definition,
        false,
        "MigrationSucceeded",
        format!("The migration has succeeded {of_versions}"),
        now,
    );
}

fn find<'m>(migration: &'m StorageVersionMigration, kind: &str) -> Option<&'m Condition> {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|known| known.type_ == kind)
}

fn holds(migration: &StorageVersionMigration, kind: &str) -> bool {
    find(migration, kind).is_some_and(|known| known.status == "True")
}

fn has_ended(migration: &StorageVersionMigration) -> bool {
    holds(migration, SUCCEEDED) || holds(migration, FAILED)
}

fn say(
    migration: &mut StorageVersionMigration,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let condition = Condition {
        type_: kind.to_owned(),
        status: status(holds),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    };
    let status = migration.status.get_or_insert_default();
    conditions::set(status.conditions.get_or_insert_default(), condition);
}

fn say_of(
    definition: &mut CustomResourceDefinition,
    holds: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let observed_generation = definition.metadata.generation;
    let conditions = definition.status.get_or_insert_default().conditions.get_or_insert_default();
    let known = conditions.iter().find(|known| known.type_ == MIGRATING && known.status == status(holds));
    let since = known.and_then(|known| known.last_transition_time.clone()).unwrap_or(Time(now));
    conditions.retain(|known| known.type_ != MIGRATING);
    conditions.push(CustomResourceDefinitionCondition {
        type_: MIGRATING.to_owned(),
        status: status(holds),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(since),
        observed_generation,
    });
}

#[cfg(test)]
mod tests;
