//! `PUT /volumes/{name}`: changes a volume of a cluster, which no volume here is.

use crate::answer::Answer;
use crate::call::Call;
use crate::fault::Fault;

/// Refuses: only a swarm has volumes that can be changed.
pub(crate) async fn update(_call: Call) -> Answer {
    Err(Fault::unavailable(
        "this node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again",
    ))
}
