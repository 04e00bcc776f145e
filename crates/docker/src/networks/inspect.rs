//! `GET /networks/{name}`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::network as convert;
use crate::fault::Fault;

/// One network with the containers in it.
pub(crate) async fn inspect(call: Call) -> Answer {
    if !matches!(call.query.text("scope"), "" | "local") {
        return Err(Fault::not_found(format!("network {} not found", call.name)));
    }
    let id = call.engine().network_find(&call.name)?;
    answer::json(&convert::network(&*call.engine().network_inspect(&id)?, true))
}
