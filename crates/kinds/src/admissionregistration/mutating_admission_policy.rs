//! MutatingAdmissionPolicies: what writes are changed to, in expressions.

use apiserver::Resource;
use apiserver::table::Column;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;

use crate::admission_policy::{mutating, policy_columns};

const COLUMNS: &[Column] = &policy_columns("Mutations", "How many mutations it has.");

pub(crate) fn resource() -> Resource {
    mutating(Resource::of::<MutatingAdmissionPolicy>(), COLUMNS)
}
