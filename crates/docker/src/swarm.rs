//! What a single engine is not: a swarm manager, a host of plugins, a BuildKit session.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Everything that only a swarm manager answers.
pub(crate) fn not_a_manager() -> Answer {
    Err(Fault::unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    ))
}

/// `POST /swarm/leave`.
pub(crate) async fn not_a_node(_call: Call) -> Answer {
    Err(Fault::unavailable("This node is not part of a swarm"))
}

/// `POST /swarm/init`, `POST /swarm/join`.
pub(crate) async fn refused(_call: Call) -> Answer {
    Err(Fault::unsupported(
        "swarm mode is not supported: this engine is a Kubernetes cluster, use kubectl with it",
    ))
}

/// `GET /plugins`: there are none.
pub(crate) async fn no_plugins(_call: Call) -> Answer {
    answer::json(&[(); 0])
}

/// Everything about one plugin.
pub(crate) async fn no_such_plugin(call: Call) -> Answer {
    Err(Fault::not_found(format!("plugin \"{}\" not found", call.name)))
}

/// Everything that would bring a plugin.
pub(crate) async fn plugins_refused(_call: Call) -> Answer {
    Err(Fault::unsupported("plugins are not supported"))
}
