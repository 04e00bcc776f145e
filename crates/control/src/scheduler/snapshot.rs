//! The nodes as they are at one moment, with what their pods ask for.

use std::collections::HashMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::Quantity;

use crate::pods;

/// Resources by name; processors in thousandths, all others in units.
pub(super) type Amounts = HashMap<String, i64>;

/// All nodes.
pub(super) struct Snapshot<'a> {
    pub(super) nodes: Vec<NodeView<'a>>,
}

/// One node with what is taken of it.
pub(super) struct NodeView<'a> {
    pub(super) node: &'a Node,
    pub(super) allocatable: Amounts,
    pub(super) requested: Amounts,
    pub(super) pods: usize,
    /// Host ports in use: address, protocol, port.
    pub(super) ports: Vec<HostPort>,
    /// The labels of its pods, for spreading.
    pub(super) owners: HashMap<String, usize>,
}

/// A port of the host that a pod takes.
pub(super) type HostPort = (String, String, i32);

impl<'a> Snapshot<'a> {
    /// The nodes with the pods that are bound to them, and those that are about to be.
    pub(super) fn new<'p>(
        nodes: &'a [Arc<Node>],
        pods: &'p [Arc<Pod>],
        assumed: impl Iterator<Item = (&'p Pod, &'p str)>,
    ) -> Self {
        let mut views: HashMap<&str, NodeView<'a>> =
            nodes.iter().map(|node| (node.name(), NodeView::new(node))).collect();
        let bound = pods.iter().filter(|pod| !pods::is_terminal(pod)).filter_map(|pod| {
            let node = pod.spec.as_ref()?.node_name.as_deref()?;
            Some((pod.as_ref(), node))
        });
        for (pod, node) in bound.chain(assumed) {
            if let Some(view) = views.get_mut(node) {
                view.add(pod);
            }
        }
        let mut nodes: Vec<NodeView<'a>> = views.into_values().collect();
        nodes.sort_by(|one, other| one.name().cmp(other.name()));
        Self { nodes }
    }
}

impl<'a> NodeView<'a> {
    fn new(node: &'a Node) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let amounts = allocatable
            .into_iter()
            .flatten()
            .filter_map(|(name, text)| Some((name.clone(), amount(name, text)?)));
        Self {
            node,
            allocatable: amounts.collect(),
            requested: Amounts::new(),
            pods: 0,
            ports: Vec::new(),
            owners: HashMap::new(),
        }
    }

    pub(super) fn name(&self) -> &'a str {
        self.node.name()
    }

    fn add(&mut self, pod: &Pod) {
        add(&mut self.requested, &requests(pod));
        self.pods += 1;
        self.ports.extend(host_ports(pod));
        if let Some(owner) = pod.controller() {
            *self.owners.entry(owner.uid).or_default() += 1;
        }
    }
}

/// What a pod asks for: the sum of its containers, or of an init container with the sidecars
/// before it, whichever is more; and its overhead.
pub(super) fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut sum = Amounts::new();
    for container in &spec.containers {
        add(&mut sum, &of_container(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for init in spec.init_containers.iter().flatten() {
        let own = of_container(init);
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut together = sidecars.clone();
            add(&mut together, &own);
            raise(&mut peak, &together);
        }
    }
    add(&mut sum, &sidecars);
    raise(&mut sum, &peak);
    let overhead =
        spec.overhead.iter().flatten().filter_map(|(name, text)| Some((name.clone(), amount(name, text)?)));
    add(&mut sum, &overhead.collect());
    sum
}

/// Ports of the host that a pod takes.
pub(super) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|&number| number > 0)?;
            let address =
                port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
        })
        .collect()
}

fn of_container(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref()).into_iter().flatten();
    let requests = resources.and_then(|resources| resources.requests.as_ref()).into_iter().flatten();
    // A limit without a request is a request.
    limits.chain(requests).filter_map(|(name, text)| Some((name.clone(), amount(name, text)?))).collect()
}

fn amount(name: &str, text: &Text) -> Option<i64> {
    let quantity: Quantity = text.0.parse().ok()?;
    Some(if name == "cpu" { quantity.millis() } else { quantity.value() })
}

/// What nobody can have stays the most there is: it must not come out as little.
fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn raise(sum: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let current = sum.entry(name.clone()).or_default();
        *current = (*current).max(*amount);
    }
}
