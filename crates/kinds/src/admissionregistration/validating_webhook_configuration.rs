//! ValidatingWebhookConfigurations: who is asked whether writes may be.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use crate::webhook_configuration::{self, Sort};

pub(crate) fn resource() -> Resource {
    webhook_configuration::of(Resource::of::<ValidatingWebhookConfiguration>(), Sort::Validating)
}
