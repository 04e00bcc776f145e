//! ServiceAccounts, and their tokens as a subresource.

use model::GroupVersionKind;

use super::Resource;

pub(super) fn resource() -> Resource {
    let token = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    Resource::builtin("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).subresource(
        "token",
        Some(token),
        &["create"],
    )
}
