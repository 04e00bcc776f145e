//! `GET /images/get` and `GET /images/{name}/get`: images as an archive.

use super::platform;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// The images that the query names.
pub(crate) async fn save_several(call: Call) -> Answer {
    let names = call.query.all("names");
    if names.is_empty() {
        return Err(Fault::invalid("no images named"));
    }
    save(call, names).await
}

/// The image that the path names.
pub(crate) async fn save_one(call: Call) -> Answer {
    let names = vec![call.name.clone()];
    save(call, names).await
}

async fn save(call: Call, names: Vec<String>) -> Answer {
    let platform = platform::one(&call, 48)?;
    let archive = call.engine().image_save(&names, platform.as_deref()).await?;
    answer::stream("application/x-tar", archive)
}
