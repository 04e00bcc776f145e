//! MutatingAdmissionPolicyBindings: which writes a policy changes.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;

use crate::admission_policy::binding;

pub(crate) fn resource() -> Resource {
    binding(Resource::of::<MutatingAdmissionPolicyBinding>())
}
