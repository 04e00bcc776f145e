//! `GET /images/json`: what `docker images` shows.

use engine::image::ImageFilter;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;
use crate::version::ApiVersion;
use crate::when;

/// The images that the query asks for, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let filters = call.filters(&["before", "dangling", "label", "reference", "since", "until"])?;
    let mut references = filters.list("reference");
    // Once there was a parameter instead of a filter.
    let old = call.query.get("filter").filter(|_| call.version < ApiVersion(1, 41));
    references.extend(old.filter(|name| !name.is_empty()).map(str::to_owned));
    let mut until = None;
    for text in filters.get("until") {
        let time = when::parse("until", text, call.api.now())?;
        until = until.into_iter().chain(time).min();
    }
    let filter = ImageFilter {
        all: call.query.flag("all"),
        references,
        labels: filters.list("label"),
        dangling: filters.flag("dangling")?,
        before: filters.list("before"),
        since: filters.list("since"),
        until,
    };
    let images = call.engine().image_list(&filter)?;
    let shares = call.version >= ApiVersion(1, 42) && call.query.flag("shared-size");
    let shared = if shares { call.engine().image_shared_sizes() } else { Default::default() };
    let shared_size = |image: &engine::image::Image| match shares {
        true => i64::try_from(shared.get(&image.id).copied().unwrap_or_default()).unwrap_or(i64::MAX),
        false => -1,
    };
    let line = |image| convert::summary(image, -1, shared_size(image), call.version);
    let lines: Vec<_> = images.iter().map(line).collect();
    answer::json(&lines)
}
