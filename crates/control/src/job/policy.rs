//! What a Job's policies say of pods that failed and of indexes that succeeded.

use client::Resource as _;
use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, SuccessPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;

/// What is to be made of a pod that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts, as it does where no policy says anything of it.
    Counts,
    /// It does not count.
    Ignored,
    /// It counts, and its index has failed for good.
    FailsIndex,
    /// It counts, and the Job has failed: why.
    FailsJob(String),
}

impl Verdict {
    /// Whether the failure counts towards the limits.
    pub(super) fn counts(&self) -> bool {
        *self != Self::Ignored
    }
}

/// What the policy of a Job says of a pod: the first rule that fits it does.
pub(super) fn of_failure(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    let status = pod.status.as_ref();
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name();
    for (index, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let action = rule.action.as_str();
        let message = if let Some(codes) = &rule.on_exit_codes {
            let statuses = |all: &Option<Vec<ContainerStatus>>| {
                all.iter()
                    .flatten()
                    .find_map(|one| exit_code(one, codes).map(|code| (one.name.clone(), code)))
            };
            let found = status.and_then(|status| {
                statuses(&status.container_statuses).or_else(|| statuses(&status.init_container_statuses))
            });
            found.map(|(container, code)| {
                format!(
                    "Container {container} for pod {namespace}/{name} failed with exit code {code} matching {action} rule at index {index}"
                )
            })
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            let fits = |kind: &str, status: &str| {
                patterns
                    .iter()
                    .any(|pattern| pattern.type_ == kind && pattern.status.as_deref() == Some(status))
            };
            let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.find(|condition| fits(&condition.type_, &condition.status)).map(|condition| {
                let kind = &condition.type_;
                format!("Pod {namespace}/{name} has condition {kind} matching {action} rule at index {index}")
            })
        };
        let Some(message) = message else { continue };
        match action {
            "Ignore" => return Verdict::Ignored,
            "FailIndex" => return Verdict::FailsIndex,
            "Count" => return Verdict::Counts,
            "FailJob" => return Verdict::FailsJob(message),
            _ => {}
        }
    }
    Verdict::Counts
}

/// The exit code of a container that a rule is for.
fn exit_code(status: &ContainerStatus, rule: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = rule.container_name.as_ref().is_none_or(|name| *name == status.name);
    let fits = match rule.operator.as_str() {
        "In" => rule.values.contains(&code),
        "NotIn" => !rule.values.contains(&code),
        _ => false,
    };
    (named && code != 0 && fits).then_some(code)
}

/// What is said of a Job whose policy says that these indexes are enough.
pub(super) fn of_success(policy: &SuccessPolicy, completions: i64, succeeded: &Indexes) -> Option<String> {
    if succeeded.count() == 0 {
        return None;
    }
    let enough = |count: i64, wanted: Option<i32>| wanted.is_some_and(|wanted| count >= i64::from(wanted));
    let met = policy.rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(named) => {
            let named = Indexes::parse(named, completions);
            let common = named.common(succeeded);
            named.count() > 0 && (common == named.count() || enough(common, rule.succeeded_count))
        }
        None => enough(succeeded.count(), rule.succeeded_count),
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(rules: Value, status: Value, expected: &Verdict) {
        let job = json!({"spec": {"podFailurePolicy": {"rules": rules}, "template": {}}});
        let job: Job = serde_json::from_value(job).expect("a job");
        let pod = json!({"metadata": {"namespace": "n", "name": "p"}, "status": status});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        assert_eq!(of_failure(&job, &pod), *expected);
    }

    fn ended(containers: &[(&str, i32)]) -> Value {
        let one = |(name, code): &(&str, i32)| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}})
        };
        containers.iter().map(one).collect()
    }

    #[test]
    fn the_first_rule_that_fits_a_failed_pod_says_what_becomes_of_it() {
        let codes = |action: &str, operator: &str, values: &[i32]| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let pod =
            |containers: &[(&str, i32)]| json!({"phase": "Failed", "containerStatuses": ended(containers)});
        let job = |container: &str, code: i32, index: i32| {
            Verdict::FailsJob(format!(
                "Container {container} for pod n/p failed with exit code {code} matching FailJob rule at index {index}"
            ))
        };
        check(json!([]), pod(&[("a", 1)]), &Verdict::Counts);
        check(json!([codes("FailJob", "In", &[3, 42])]), pod(&[("a", 42)]), &job("a", 42, 0));
        check(json!([codes("FailJob", "In", &[3])]), pod(&[("a", 42)]), &Verdict::Counts);
        // What ended well is none of them, even where all but a few codes are meant.
        check(json!([codes("FailJob", "NotIn", &[3])]), pod(&[("a", 0), ("b", 3)]), &Verdict::Counts);
        check(json!([codes("FailJob", "NotIn", &[3])]), pod(&[("a", 0), ("b", 4)]), &job("b", 4, 0));
        let two = json!([codes("Ignore", "In", &[1]), codes("FailJob", "In", &[1, 2])]);
        check(two.clone(), pod(&[("a", 1)]), &Verdict::Ignored);
        check(two, pod(&[("a", 2)]), &job("a", 2, 1));
        check(json!([codes("FailIndex", "In", &[7])]), pod(&[("a", 7)]), &Verdict::FailsIndex);
        check(
            json!([codes("Count", "In", &[7]), codes("Ignore", "In", &[7])]),
            pod(&[("a", 7)]),
            &Verdict::Counts,
        );
        let named = json!([{"action": "FailJob", "onExitCodes": {
            "containerName": "b", "operator": "In", "values": [1]}}]);
        check(named.clone(), pod(&[("a", 1), ("b", 2)]), &Verdict::Counts);
        check(named, json!({"initContainerStatuses": ended(&[("b", 1)])}), &job("b", 1, 0));
        // One that runs still has no code yet.
        let running = json!([{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {}}}]);
        check(
            json!([codes("FailJob", "NotIn", &[3])]),
            json!({"containerStatuses": running}),
            &Verdict::Counts,
        );
    }

    #[test]
    fn a_condition_of_the_pod_may_say_so_too() {
        let rule = |action: &str| json!([{"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
        let pod = |status: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": status}]});
        check(rule("Ignore"), pod("True"), &Verdict::Ignored);
        check(rule("Ignore"), pod("False"), &Verdict::Counts);
        let message = "Pod n/p has condition DisruptionTarget matching FailJob rule at index 0";
        check(rule("FailJob"), pod("True"), &Verdict::FailsJob(message.to_owned()));
    }

    #[test]
    fn a_job_has_succeeded_when_a_rule_says_so() {
        let check = |rules: Value, succeeded: &str, expected: Option<&str>| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).expect("a policy");
            let met = of_success(&policy, 10, &Indexes::parse(succeeded, 10));
            assert_eq!(met.as_deref(), expected, "{rules} {succeeded}");
        };
        let met = |index: usize| ["Matched rules at index 0", "Matched rules at index 1"].get(index).copied();
        check(json!([{"succeededCount": 2}]), "4", None);
        check(json!([{"succeededCount": 2}]), "4,7", met(0));
        check(json!([{"succeededIndexes": "0,3-4"}]), "0,3", None);
        check(json!([{"succeededIndexes": "0,3-4"}]), "0-5", met(0));
        check(json!([{"succeededIndexes": "0,3-4", "succeededCount": 2}]), "0,4,9", met(0));
        check(json!([{"succeededIndexes": "0,3-4", "succeededCount": 2}]), "0,5-9", None);
        check(json!([{"succeededIndexes": "0"}, {"succeededCount": 3}]), "1-3", met(1));
        check(json!([{"succeededCount": 0}]), "", None);
    }
}
