//! The pods of a Job, as they are made.

use client::Resource as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::plan::{Creation, is_indexed, spec};
use super::pods::{FAILURES, IGNORED, INDEX, TRACKING};
use crate::making;

const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// So long is the part of a name at most to which more is added.
const MOST_BASE: usize = 58;

/// A pod to make.
pub(super) fn pod(job: &Job, creation: &Creation) -> Pod {
    let mut pod = making::pod(job, spec(job).template.clone());
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    if is_indexed(job)
        && let Some(spec) = &mut pod.spec
    {
        spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(tell_index);
    }
    if let Some(index) = creation.index {
        let text = index.to_string();
        pod.metadata.generate_name = Some(base_of_name(job.name(), index));
        pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), text.clone());
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), text);
        if let Some((counted, ignored)) = creation.failures {
            annotations.insert(FAILURES.to_owned(), counted.to_string());
            if ignored > 0 {
                annotations.insert(IGNORED.to_owned(), ignored.to_string());
            }
        }
        if let Some(spec) = &mut pod.spec {
            spec.hostname = Some(format!("{}-{index}", job.name()));
        }
    }
    pod
}

/// The name with the index, cut so that the index stays.
fn base_of_name(name: &str, index: i64) -> String {
    let end = format!("-{index}-");
    let mut room = MOST_BASE.saturating_sub(end.len()).min(name.len());
    while !name.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{end}", &name[..room])
}

/// Has a container know its index, unless a variable of that name is there.
fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), api_version: None };
    variables.push(EnvVar {
        name: VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(mode: &str, creation: &Creation) -> Value {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "farm", "namespace": "n", "uid": "u"},
            "spec": {"completionMode": mode, "completions": 20, "template": {
                "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                "spec": {
                    "initContainers": [{"name": "i", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "own"}]}],
                    "containers": [{"name": "m"}],
                },
            }},
        });
        let job: Job = serde_json::from_value(job).expect("a job");
        serde_json::to_value(pod(&job, creation)).expect("a document")
    }

    #[test]
    fn an_indexed_pod_knows_its_index_everywhere() {
        let pod = made("Indexed", &Creation { index: Some(12), failures: Some((2, 1)) });
        let metadata = &pod["metadata"];
        assert_eq!(metadata["generateName"], "farm-12-");
        assert_eq!(metadata["finalizers"], json!([TRACKING]));
        assert_eq!(metadata["labels"], json!({"a": "b", INDEX: "12"}));
        assert_eq!(metadata["annotations"], json!({"c": "d", INDEX: "12", FAILURES: "2", IGNORED: "1"}));
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u");
        let spec = &pod["spec"];
        assert_eq!(spec["hostname"], "farm-12");
        let variable = &spec["containers"][0]["env"][0];
        assert_eq!(variable["name"], "JOB_COMPLETION_INDEX");
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], format!("metadata.labels['{INDEX}']"));
        assert_eq!(
            spec["initContainers"][0]["env"],
            json!([{"name": "JOB_COMPLETION_INDEX", "value": "own"}])
        );
    }

    #[test]
    fn another_is_only_kept_until_it_is_counted() {
        let pod = made("NonIndexed", &Creation::default());
        let metadata = &pod["metadata"];
        assert_eq!(metadata["generateName"], "farm-");
        assert_eq!(metadata["finalizers"], json!([TRACKING]));
        assert_eq!(metadata["labels"], json!({"a": "b"}));
        assert!(pod["spec"]["containers"][0].get("env").is_none_or(|env| env == &json!([])));
        assert!(pod["spec"].get("hostname").is_none());
    }

    #[test]
    fn a_long_name_is_cut_before_its_index() {
        assert_eq!(base_of_name(&"a".repeat(63), 1234), format!("{}-1234-", "a".repeat(52)));
        assert_eq!(base_of_name("a", 0), "a-0-");
    }
}
