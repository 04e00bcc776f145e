//! Objects that tell of the server itself.

use model::Object;

/// Whether an object of endpoints tells where the server is. That may be at the loopback of the node, which
/// leads pods to it; nothing else of the node's own is led to.
pub(crate) fn is_servers_own(object: &Object) -> bool {
    (object.namespace(), object.name()) == (Some("default"), "kubernetes")
}
