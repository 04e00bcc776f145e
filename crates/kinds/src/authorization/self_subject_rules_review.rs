//! SelfSubjectRulesReviews: all that the caller may do in a namespace. None is stored.

use apiserver::{Body, Call, Error, PolicyRule, Resource, Result};
use http::Response;
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;
use model::Object;
use serde_json::{Map, Value, json};

use crate::review::{self, Asked};

pub(crate) fn resource() -> Resource {
    review::resource::<SelfSubjectRulesReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let mut asked = Asked::read(&call, holds).await?;
    let known = call.context().rules_in(namespace(&asked.question));
    // Kubernetes does not repeat the question.
    asked.question.set(&["spec"], json!({}));
    let resources = known.rules.iter().filter(|rule| !rule.resources.is_empty()).map(of_resources);
    let paths = known.rules.iter().filter(|rule| !rule.non_resource_urls.is_empty()).map(of_paths);
    let mut status = json!({
        "resourceRules": resources.collect::<Vec<_>>(),
        "nonResourceRules": paths.collect::<Vec<_>>(),
        "incomplete": known.incomplete,
    });
    if !known.errors.is_empty() {
        status["evaluationError"] = known.errors.join(", ").into();
    }
    Ok(asked.answer(&call, status))
}

fn namespace(question: &Object) -> &str {
    question.get_str(&["spec", "namespace"]).unwrap_or_default()
}

fn holds(question: &Object) -> Result<()> {
    match namespace(question) {
        "" => Err(Error::bad_request("no namespace on request")),
        _ => Ok(()),
    }
}

fn of_resources(rule: &PolicyRule) -> Value {
    let parts = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
    ];
    told(&parts)
}

fn of_paths(rule: &PolicyRule) -> Value {
    told(&[("verbs", &rule.verbs), ("nonResourceURLs", &rule.non_resource_urls)])
}

fn told(parts: &[(&str, &Vec<String>)]) -> Value {
    let filled = parts.iter().filter(|(_, values)| !values.is_empty());
    Value::Object(filled.map(|(name, values)| ((*name).to_owned(), json!(values))).collect::<Map<_, _>>())
}
