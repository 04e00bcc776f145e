//! `GET /volumes`.

use engine::volume::VolumeFilter;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::volume as convert;
use crate::wire::volume::List;

/// The volumes that the filters let through.
pub(crate) async fn list(call: Call) -> Answer {
    let filters = call.filters(&["dangling", "driver", "label", "name"])?;
    let filter = VolumeFilter {
        names: filters.list("name"),
        labels: filters.list("label"),
        drivers: filters.list("driver"),
        dangling: filters.flag("dangling")?,
    };
    let volumes = call.engine().volume_list(&filter);
    answer::json(&List {
        volumes: volumes.iter().map(|volume| convert::volume(volume)).collect(),
        warnings: None,
    })
}
