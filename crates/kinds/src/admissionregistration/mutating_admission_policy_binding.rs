//! MutatingAdmissionPolicyBindings: which writes a policy changes.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;

use crate::admission_policy::mutating_binding;

pub(crate) fn resource() -> Resource {
    mutating_binding(Resource::of::<MutatingAdmissionPolicyBinding>())
}
