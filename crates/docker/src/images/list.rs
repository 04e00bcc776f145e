//! `GET /images/json`: what `docker images` shows.

use engine::image::ImageFilter;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;
use crate::when;

/// The images that the query asks for, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let filters = call.filters(&["before", "dangling", "label", "reference", "since", "until"])?;
    let mut references = filters.list("reference");
    // Once there was a parameter instead of a filter; clients still send it.
    references.extend(call.query.get("filter").filter(|name| !name.is_empty()).map(str::to_owned));
    let filter = ImageFilter {
        all: call.query.flag("all"),
        references,
        labels: filters.list("label"),
        dangling: filters.flag("dangling")?,
        before: filters.one("before").map(str::to_owned),
        since: filters.one("since").map(str::to_owned),
        until: when::parse("until", filters.one("until").unwrap_or_default(), call.api.now())?,
    };
    let images = call.engine().image_list(&filter)?;
    let lines: Vec<_> = images.iter().map(|image| convert::summary(image, -1, -1, call.version)).collect();
    answer::json(&lines)
}
