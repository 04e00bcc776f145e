//! ValidatingAdmissionPolicyBindings: which writes a policy looks at.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

use crate::admission_policy::binding;

pub(crate) fn resource() -> Resource {
    binding(Resource::of::<ValidatingAdmissionPolicyBinding>())
}
