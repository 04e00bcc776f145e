//! `POST /build/prune`: what builds remember, and nobody uses.

use std::time::Duration;

use build::solve::PruneOptions;
use engine::event::EventKind;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::wire::build::Pruned;

/// What narrows it.
const FILTERS: [&str; 10] =
    ["until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "immutable"];

/// Takes parts of the build cache away; images go by `POST /images/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    let options = options(&call)?;
    let removed = call.api.buildkit.solver().prune(options).await;
    let removed =
        removed.map_err(|error| Fault::from(engine::Error::new(error.kind(), error.to_string())))?;
    let reclaimed = removed.iter().filter(|record| !record.shared).map(|record| record.size);
    let reclaimed = reclaimed.fold(0, u64::saturating_add);
    call.engine().tell_prune(EventKind::Builder, reclaimed);
    let ids: Vec<String> = removed.into_iter().map(|record| record.id).collect();
    answer::json(&Pruned { caches_deleted: (!ids.is_empty()).then_some(ids), space_reclaimed: reclaimed })
}

fn options(call: &Call) -> Result<PruneOptions, Fault> {
    let bytes = |key: &str| -> Result<u64, Fault> {
        let number = call.query.number(key)?.unwrap_or_default();
        Ok(u64::try_from(number).unwrap_or_default())
    };
    let filters = call.filters(&FILTERS)?;
    let mut options = PruneOptions {
        all: call.query.flag("all"),
        reserved: bytes("reserved-space")?.max(bytes("keep-storage")?),
        max_used: bytes("max-used-space")?,
        min_free: bytes("min-free-space")?,
        ..PruneOptions::default()
    };
    for name in FILTERS {
        match (name, filters.get(name)) {
            (_, []) => {}
            ("until" | "unused-for", [one]) => {
                let now = call.api.now();
                if let Some(until) = crate::when::parse("until", one, now)? {
                    options.keep_for = Duration::try_from(now.duration_since(until)).unwrap_or_default();
                }
            }
            ("until" | "unused-for", _) => {
                return Err(Fault::invalid("filters expect only one value for `until`"));
            }
            ("inuse" | "shared" | "private" | "immutable", _) => match filters.flag(name)? {
                Some(true) => options.filter.push(name.to_owned()),
                _ => options.filter.push(format!("!{name}")),
            },
            ("id" | "description", values) => {
                options.filter.extend(values.iter().map(|value| format!("{name}~={value}")));
            }
            (name, values) => options.filter.extend(values.iter().map(|value| format!("{name}=={value}"))),
        }
    }
    Ok(options)
}
