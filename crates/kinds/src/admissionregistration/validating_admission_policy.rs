//! ValidatingAdmissionPolicies: which writes may be, in expressions.

use apiserver::Resource;
use apiserver::table::Column;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;

use crate::admission_policy::{policy_columns, validating};

const COLUMNS: &[Column] = &policy_columns("Validations", "How many validations it has.");

pub(crate) fn resource() -> Resource {
    validating(Resource::of::<ValidatingAdmissionPolicy>().status(), COLUMNS)
}
