//! Bindings: pods are bound to nodes by them, as by the subresource of a pod. None is stored.

use apiserver::request::Verb;
use apiserver::{Body, Call, Error, Resource, Result};
use http::Response;
use k8s_openapi::api::core::v1::Binding;
use model::GroupVersionKind;

pub(crate) fn resource() -> Resource {
    Resource::of::<Binding>().unstored(&[Verb::Create], handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let binding = call.decode_as(&GroupVersionKind::of::<Binding>())?;
    if binding.name().is_empty() {
        return Err(Error::bad_request("name is required"));
    }
    let options = call.write_options()?;
    let (binding, warnings) = call.admit(&options, binding).await?;
    let pod = call.about("pods", binding.name())?;
    crate::core::pod::bind(&pod, &options, &binding, &warnings).await
}
