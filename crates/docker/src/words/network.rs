//! What Docker says of networks.

use engine::error::{EndpointProblem, NetworkFact};

/// The sentence for a fact.
pub(super) fn sentence(fact: &NetworkFact) -> String {
    match fact {
        NetworkFact::Endpoint { network, problems } => {
            let problems: Vec<String> = problems.iter().map(problem).collect();
            settings(network.as_deref(), &problems.join("\n"))
        }
        NetworkFact::LinkedNotRunning { name, link } => {
            format!("Cannot link to a non running container: /{name} AS /{}/{}", link.of, link.alias)
        }
        NetworkFact::LinkedElsewhere { name } => {
            format!("Cannot link to /{name}, as it does not belong to the default network")
        }
        NetworkFact::NoLink { .. } => {
            "Conflict, cannot remove the default link name of the container".to_owned()
        }
        NetworkFact::NotInHostNetwork => {
            "cannot connect container to host network - container must be created in host network mode".to_owned()
        }
        NetworkFact::InHostNetwork => {
            "cannot disconnect container from host network - container was created in host network mode"
                .to_owned()
        }
        NetworkFact::SharesNetwork => {
            "container sharing network namespace with another container or host cannot be connected to any other network".to_owned()
        }
        NetworkFact::InNoNetwork => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode".to_owned()
        }
        NetworkFact::NotConnected { container, network, running: true } => {
            format!("container {container} is not connected to network {network}")
        }
        NetworkFact::NotConnected { container, network, running: false } => {
            format!("container {container} is not connected to the network {network}")
        }
    }
}

/// What is said of wishes in a network, which is named where a container is made.
pub(crate) fn settings(network: Option<&str>, problems: &str) -> String {
    match network {
        Some(network) => {
            format!("invalid config for network {network}: invalid endpoint settings:\n{problems}")
        }
        None => format!("invalid endpoint settings:\n{problems}"),
    }
}

fn problem(problem: &EndpointProblem) -> String {
    match problem {
        EndpointProblem::AddressInDefault => {
            "user specified IP address is supported on user defined networks only".to_owned()
        }
        EndpointProblem::AliasInDefault => {
            "network-scoped alias is supported only for containers in user defined networks".to_owned()
        }
        EndpointProblem::NoConfiguredSubnet => {
            "user specified IP address is supported only when connecting to networks with user configured subnets".to_owned()
        }
        EndpointProblem::AddressOutside(address) => {
            format!("no configured subnet or ip-range contain the IP address {address}")
        }
    }
}
