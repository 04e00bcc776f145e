//! Leases: heartbeats and leadership. Renewals stay in memory, so that an idle cluster writes nothing.

use super::Resource;

pub(super) fn resource() -> Resource {
    let mut resource = Resource::builtin("coordination.k8s.io", "v1", "Lease", "leases");
    resource.storage.ephemeral = true;
    resource
}
