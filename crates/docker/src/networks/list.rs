//! `GET /networks`.

use engine::network::NetworkFilter;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::network as convert;
use crate::fault::Fault;
use crate::wire::network::Network;

/// The networks that the filters let through.
pub(crate) async fn list(call: Call) -> Answer {
    let filters = call.filters(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let builtin = match filters.get("type") {
        [] => None,
        [kind] if kind == "builtin" => Some(true),
        [kind] if kind == "custom" => Some(false),
        [kind, ..] => return Err(Fault::invalid(format!("invalid filter: 'type'='{kind}'"))),
    };
    if !filters.matches("scope", "local") {
        return answer::json(&Vec::<Network>::new());
    }
    let filter = NetworkFilter {
        ids: filters.list("id"),
        names: filters.list("name"),
        drivers: filters.list("driver"),
        labels: filters.list("label"),
        builtin,
        dangling: filters.flag("dangling")?,
    };
    let networks = call.engine().network_list(&filter);
    answer::json(&networks.iter().map(|network| convert::network(network, false)).collect::<Vec<_>>())
}
