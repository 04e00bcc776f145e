//! `GET /distribution/{name}/json`: what a registry has under a name.

use super::credentials;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::image::{Descriptor, Distribution};

/// Asks the registry.
pub(crate) async fn inspect(call: Call) -> Answer {
    let auth = credentials::of_call(&call);
    let remote = call.engine().image_inspect_remote(&call.name, auth).await?;
    answer::json(&Distribution {
        descriptor: Descriptor {
            media_type: remote.descriptor.media_type,
            digest: remote.descriptor.digest.to_string(),
            size: i64::try_from(remote.descriptor.size).unwrap_or(i64::MAX),
        },
        platforms: remote.platforms,
    })
}
