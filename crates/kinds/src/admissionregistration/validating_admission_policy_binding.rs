//! ValidatingAdmissionPolicyBindings: which writes a policy looks at.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

use crate::admission_policy::validating_binding;

pub(crate) fn resource() -> Resource {
    validating_binding(Resource::of::<ValidatingAdmissionPolicyBinding>())
}
