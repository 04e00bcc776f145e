//! Whether what a container asks for in a network can be had there.

use std::net::IpAddr;

use super::EndpointSpec;
use super::list::is_builtin_name;
use crate::engine::Engine;
use crate::error::{EndpointProblem, Fact, NetworkFact, Result};

impl Engine {
    /// Refuses what cannot be had in the network called `name`; `named` is how to call it then.
    pub(crate) fn check_endpoint(&self, name: &str, asked: &EndpointSpec, named: Option<&str>) -> Result<()> {
        let view = self.inner.network.network_find(name).ok();
        let problems = problems(name, view.as_ref(), asked);
        if problems.is_empty() {
            return Ok(());
        }
        Err(Fact::from(NetworkFact::Endpoint { network: named.map(str::to_owned), problems }).into())
    }
}

/// All that is wrong with `asked`, as far as the network is known.
fn problems(name: &str, view: Option<&net::NetworkView>, asked: &EndpointSpec) -> Vec<EndpointProblem> {
    let addresses = || asked.ipv4.map(IpAddr::V4).into_iter().chain(asked.ipv6.map(IpAddr::V6));
    let is_own = match view {
        Some(view) => view.kind == net::NetworkKind::User,
        None => !is_builtin_name(name),
    };
    let mut problems = Vec::new();
    if !is_own && addresses().next().is_some() {
        problems.push(EndpointProblem::AddressInDefault);
    }
    if !is_own && !asked.aliases.is_empty() {
        problems.push(EndpointProblem::AliasInDefault);
    }
    let Some(view) = view else { return problems };
    for address in addresses() {
        let same_family = |pool: &&net::Pool| pool.subnet.addr().is_ipv4() == address.is_ipv4();
        let configured: Vec<_> =
            view.pools.iter().filter(same_family).filter(|pool| pool.configured).collect();
        if configured.is_empty() {
            problems.push(EndpointProblem::NoConfiguredSubnet);
        } else if !configured.iter().any(|pool| pool.subnet.contains(&address)) {
            problems.push(EndpointProblem::AddressOutside(address));
        }
    }
    problems
}
