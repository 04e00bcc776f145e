//! Goes through all that watchers were told, and says what cannot be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::record::Seen;
use super::{holds, number, text};

/// What is wrong with a history.
pub(super) fn judge(seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    lives(seen, &mut wrong);
    let mut ordered: Vec<&Seen> = seen.iter().collect();
    // All kinds have one row of revisions; each was told of by a watcher of its own.
    ordered.sort_by_key(|one| one.revision());
    pods(&ordered, &mut wrong);
    jobs(&ordered, seen.iter().all(|one| !one.missed), &mut wrong);
    ticks(&ordered, &mut wrong);
    claims(&ordered, &mut wrong);
    wrong
}

fn name(one: &Seen) -> String {
    format!("{} {} at {}", one.kind, text(&one.object, "/metadata/name"), one.revision())
}

fn uid(one: &Seen) -> &str {
    text(&one.object, "/metadata/uid")
}

/// Each watcher's revisions grow, and what is added was not there, what changes or goes was.
fn lives(seen: &[Seen], wrong: &mut Vec<String>) {
    let mut last = BTreeMap::new();
    let mut there: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut been = BTreeSet::new();
    for one in seen {
        let before = last.insert(one.kind, one.revision()).unwrap_or_default();
        if before >= one.revision() && !one.missed {
            wrong.push(format!("{}: after revision {before}", name(one)));
        }
        let key = (one.kind, text(&one.object, "/metadata/name"));
        let known = match one.change.as_str() {
            "ADDED" => {
                if !been.insert(uid(one)) {
                    wrong.push(format!("{}: {} is there again", name(one), uid(one)));
                }
                there.insert(key, uid(one)).map_or(Ok(()), Err)
            }
            "DELETED" => {
                there.remove(&key).filter(|known| *known == uid(one)).map(drop).ok_or("another or none")
            }
            _ => there.get(&key).filter(|known| **known == uid(one)).map(drop).ok_or("another or none"),
        };
        if let Err(known) = known {
            wrong.push(format!("{}: {} of {}, where {known} was", name(one), one.change, uid(one)));
        }
    }
}

fn is_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// A pod that has ended stays so, its containers' restarts are not forgotten, and it stays where it is.
fn pods(seen: &[&Seen], wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.kind == "pods") {
        let Some(before) = last.insert(uid(one), &one.object) else { continue };
        let differs = |pointer: &str| before.pointer(pointer) != one.object.pointer(pointer);
        if is_ended(before) && differs("/status/phase") {
            let phases = [before, &one.object].map(|pod| text(pod, "/status/phase"));
            wrong.push(format!("{}: is {} after {}", name(one), phases[1], phases[0]));
        }
        let restarts = |pod: &Value| number(pod, "/status/containerStatuses/0/restartCount");
        if restarts(&one.object) < restarts(before) {
            wrong.push(format!(
                "{}: {} restarts after {}",
                name(one),
                restarts(&one.object),
                restarts(before)
            ));
        }
        if before.pointer("/spec/nodeName").is_some() && differs("/spec/nodeName") {
            wrong.push(format!("{}: is bound once more", name(one)));
        }
    }
}

/// What a Job's pods came to.
#[derive(Default)]
struct Farm<'a> {
    /// All there ever were, each with whether it has succeeded.
    pods: BTreeMap<&'a str, bool>,
    /// Those that may count as failed: ended so, on their way out or gone.
    failed: BTreeSet<&'a str>,
    counted: (u64, u64),
    job: Option<&'a Value>,
}

/// Each pod of a Job is counted once at most, all are in the end, and no count sinks. How many pods there ever were is
/// known where all was told.
fn jobs(seen: &[&Seen], all_told: bool, wrong: &mut Vec<String>) {
    let mut farms: BTreeMap<&str, Farm<'_>> = BTreeMap::new();
    for one in seen {
        match one.kind {
            "pods" => {
                let owner = text(&one.object, "/metadata/ownerReferences/0/uid");
                let farm = farms.entry(owner).or_default();
                let has_succeeded = text(&one.object, "/status/phase") == "Succeeded";
                *farm.pods.entry(uid(one)).or_default() |= has_succeeded;
                let goes =
                    one.object.pointer("/metadata/deletionTimestamp").is_some() || one.change == "DELETED";
                if !has_succeeded && (goes || is_ended(&one.object)) {
                    farm.failed.insert(uid(one));
                }
            }
            "jobs" => count(one, farms.entry(uid(one)).or_default(), all_told, wrong),
            _ => {}
        }
    }
    for farm in farms.values() {
        let Some(job) = farm.job.filter(|job| holds(job, "Complete")) else { continue };
        let succeeded = farm.pods.values().filter(|succeeded| **succeeded).count() as u64;
        let wanted = job.pointer("/spec/completions").and_then(Value::as_u64).unwrap_or(1);
        let failed = farm.pods.len() as u64 - succeeded;
        let failed = if all_told { failed } else { farm.counted.1 };
        if farm.counted != (wanted, failed) || all_told && succeeded < wanted {
            wrong.push(format!(
                "{}: counts {:?} of {wanted}; of its {} pods {succeeded} have succeeded",
                text(job, "/metadata/name"),
                farm.counted,
                farm.pods.len()
            ));
        }
    }
}

/// What the status of a Job says at one moment.
fn count<'a>(one: &'a Seen, farm: &mut Farm<'a>, all_told: bool, wrong: &mut Vec<String>) {
    let job = &one.object;
    let counts = |of: &str| number(job, &format!("/status/{of}"));
    let named = |of: &str| {
        let names = job.pointer(&format!("/status/uncountedTerminatedPods/{of}")).and_then(Value::as_array);
        names.map_or(0, Vec::len) as u64
    };
    let counted = (counts("succeeded"), counts("failed"));
    if counted.0 < farm.counted.0 || counted.1 < farm.counted.1 {
        wrong.push(format!("{}: counts {counted:?} after {:?}", name(one), farm.counted));
    }
    let ended = (farm.pods.values().filter(|succeeded| **succeeded).count() as u64, farm.failed.len() as u64);
    if all_told && (counted.0 + named("succeeded") > ended.0 || counted.1 + named("failed") > ended.1) {
        wrong.push(format!("{}: counts {counted:?} of {ended:?}: {}", name(one), job["status"]));
    }
    let was_complete = farm.job.is_some_and(|job| holds(job, "Complete"));
    if was_complete && !holds(job, "Complete") {
        wrong.push(format!("{}: is not complete any more", name(one)));
    }
    (farm.counted, farm.job) = (counted, Some(job));
}

/// A CronJob that forbids it has no two Jobs at work, and makes none a second time.
fn ticks(seen: &[&Seen], wrong: &mut Vec<String>) {
    let mut at_work: BTreeSet<&str> = BTreeSet::new();
    let mut made = BTreeSet::new();
    let of_cron = |one: &&&Seen| {
        one.kind == "jobs" && text(&one.object, "/metadata/ownerReferences/0/kind") == "CronJob"
    };
    for one in seen.iter().filter(of_cron) {
        let name_of = text(&one.object, "/metadata/name");
        if one.change == "ADDED" && (!made.insert(name_of) || !at_work.is_empty()) {
            wrong.push(format!("{}: is made beside or after {at_work:?}", name(one)));
        }
        let is_at_work =
            one.change != "DELETED" && !holds(&one.object, "Complete") && !holds(&one.object, "Failed");
        if is_at_work {
            at_work.insert(name_of)
        } else {
            at_work.remove(name_of)
        };
    }
}

/// A claim keeps its volume, is never lost, and no two volumes are one claim's.
fn claims(seen: &[&Seen], wrong: &mut Vec<String>) {
    let mut made = BTreeSet::new();
    let mut bound: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for one in seen {
        let (pointer, what) = match one.kind {
            "persistentvolumeclaims" => ("/spec/volumeName", "volume"),
            "persistentvolumes" => ("/spec/claimRef/uid", "claim"),
            _ => continue,
        };
        if one.change == "ADDED"
            && one.kind == "persistentvolumeclaims"
            && !made.insert(text(&one.object, "/metadata/name"))
        {
            wrong.push(format!("{}: was lost, and is made anew", name(one)));
        }
        if matches!(text(&one.object, "/status/phase"), "Lost" | "Failed") {
            wrong.push(format!("{}: is {}", name(one), one.object["status"]));
        }
        let now = text(&one.object, pointer);
        let before = bound.get(&(one.kind, uid(one))).copied().unwrap_or_default();
        if !before.is_empty() && now != before {
            wrong.push(format!("{}: has the {what} {now:?} after {before:?}", name(one)));
        }
        let is_another = |(key, has): &(&(&str, &str), &&str)| {
            key.0 == one.kind && key.1 != uid(one) && **has == now && !now.is_empty()
        };
        if let Some(((_, other), _)) = bound.iter().find(is_another) {
            wrong.push(format!("{}: has the {what} of {other}", name(one)));
        }
        bound.insert((one.kind, uid(one)), now);
    }
}

#[cfg(test)]
mod tests;
