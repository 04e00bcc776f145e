//! What a prune spares.

use base::Timestamp;
use engine::container::PruneFilter;

use crate::fault::Fault;
use crate::filters::Filters;
use crate::when;

/// Reads the filters `until`, `label` and `label!`.
pub(crate) fn filter(filters: &Filters, now: Timestamp) -> Result<PruneFilter, Fault> {
    let until = match filters.get("until") {
        [] => None,
        [text] => when::parse("until", text, now)?,
        _ => return Err(Fault::invalid("more than one until filter specified")),
    };
    Ok(PruneFilter { until, labels: filters.list("label"), without_labels: filters.list("label!") })
}
