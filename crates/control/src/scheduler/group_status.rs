//! What a PodGroup's status says of how its pods were placed.

use client::api::{Patch, PatchOptions};
use client::{Api, Error, Resource as _};
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};
use tracing::warn;

use crate::conditions;

const SCHEDULED: &str = "PodGroupScheduled";

/// So often it is looked again what is said of a group, where somebody was faster.
const TRIES: usize = 5;

/// Whether it is said of a group that its pods were placed.
pub(super) fn is_placed(group: &PodGroup) -> bool {
    let mut conditions = group.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == SCHEDULED && condition.status == "True")
}

/// Writes whether the pods of a group were placed, or why not, unless that is known.
pub(super) async fn tell(api: &Api<PodGroup>, group: &PodGroup, refused: Option<&str>, now: base::Timestamp) {
    if let Err(error) = try_tell(api, group, refused, now).await {
        let error = base::error::chain(&error);
        warn!(group = %group.key(), %error, "cannot tell how a group of pods was placed");
    }
}

async fn try_tell(
    api: &Api<PodGroup>,
    shown: &PodGroup,
    refused: Option<&str>,
    now: base::Timestamp,
) -> Result<(), Error> {
    // What is shown may be older than what was written of the decision before.
    let mut group = shown.clone();
    for _ in 0..TRIES {
        let Some(patch) = patch(&group, refused, now) else { return Ok(()) };
        match api.patch_status(group.name(), &Patch::Merge(patch), &PatchOptions::default()).await {
            Ok(_) | Err(Error::NotFound(_)) => return Ok(()),
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        match api.find(shown.name()).await?.filter(|found| found.uid() == shown.uid()) {
            Some(found) => group = found,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What is to be written; nothing if that changes nothing. A group that was placed stays so, whoever comes to it later.
fn patch(group: &PodGroup, refused: Option<&str>, now: base::Timestamp) -> Option<Value> {
    let known = group.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut all = known.cloned().unwrap_or_default();
    if refused.is_some() && is_placed(group) {
        return None;
    }
    let condition = Condition {
        type_: SCHEDULED.to_owned(),
        status: conditions::status(refused.is_none()),
        reason: if refused.is_none() { "Scheduled" } else { "Unschedulable" }.to_owned(),
        message: refused.unwrap_or_default().to_owned(),
        last_transition_time: Time(super::hands::whole_second(now)),
        observed_generation: group.metadata.generation,
    };
    conditions::set(&mut all, condition);
    if known == Some(&all) {
        return None;
    }
    let (uid, version) = (group.uid(), group.resource_version());
    Some(json!({"metadata": {"uid": uid, "resourceVersion": version}, "status": {"conditions": all}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> base::Timestamp {
        base::Timestamp::from_second(second).expect("in range")
    }

    fn group(conditions: &Value) -> PodGroup {
        let group = json!({
            "metadata": {"name": "g", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}, "status": {"conditions": conditions},
        });
        serde_json::from_value(group).expect("a group")
    }

    /// The conditions that are written at second 9.
    fn written(conditions: &Value, refused: Option<&str>) -> Option<Value> {
        let patch = patch(&group(conditions), refused, second(9))?;
        assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        Some(patch["status"]["conditions"].clone())
    }

    fn condition(status: &str, reason: &str, message: &str, since: &str) -> Value {
        json!({"type": SCHEDULED, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    }

    #[test]
    fn how_a_group_was_placed_is_told_once_and_that_it_was_is_never_taken_back() {
        let (then, now) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:09Z");
        let other = json!({"type": "Other", "status": "True", "reason": "R", "message": "", "lastTransitionTime": then});
        let waits = |message: &str, since: &str| condition("False", "Unschedulable", message, since);
        assert_eq!(written(&json!([other]), Some("no")), Some(json!([other, waits("no", now)])));
        assert_eq!(written(&json!([waits("no", then)]), Some("no")), None);
        assert_eq!(written(&json!([waits("no", then)]), Some("why")), Some(json!([waits("why", then)])));
        let placed = |since: &str| condition("True", "Scheduled", "", since);
        assert_eq!(written(&json!([waits("no", then), other]), None), Some(json!([placed(now), other])));
        assert_eq!(written(&json!([placed(then)]), None), None);
        assert_eq!(written(&json!([placed(then)]), Some("no")), None);
    }
}
