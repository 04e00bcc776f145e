//! ValidatingWebhookConfigurations: who is asked whether writes may be.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use crate::admission_policy::webhooks;

pub(crate) fn resource() -> Resource {
    webhooks(Resource::of::<ValidatingWebhookConfiguration>())
}
