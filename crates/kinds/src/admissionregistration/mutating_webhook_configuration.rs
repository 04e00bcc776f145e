//! MutatingWebhookConfigurations: who is asked what writes are changed to.

use apiserver::Resource;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use crate::webhook_configuration::{self, Sort};

pub(crate) fn resource() -> Resource {
    webhook_configuration::of(Resource::of::<MutatingWebhookConfiguration>(), Sort::Mutating)
}
