//! Endpoints and EndpointSlices: what controllers write about services.

use super::Resource;

pub(super) fn endpoints() -> Resource {
    let mut resource = Resource::builtin("", "v1", "Endpoints", "endpoints").short(&["ep"]);
    "endpoints".clone_into(&mut resource.singular);
    resource
}

pub(super) fn endpoint_slices() -> Resource {
    Resource::builtin("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
}
