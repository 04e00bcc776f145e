//! MutatingWebhookConfigurations: who is asked what writes are changed to.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use crate::admission_policy::webhooks;

pub(crate) fn resource() -> Resource {
    webhooks(Resource::of::<MutatingWebhookConfiguration>())
}
