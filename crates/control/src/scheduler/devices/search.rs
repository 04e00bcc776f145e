//! Finds devices for all claims of a pod on one node: the first that do, in the order of requests and devices.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, Device, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceAttribute,
    DeviceConstraint, DeviceRequestAllocationResult, DeviceTaint, DeviceToleration, ResourceClaim,
    ResourceSlice,
};

use super::{Ask, DeviceId, Devices, Wanted, requests};
use crate::scheduler::node::NodeFacts;

/// So often a device is tried at most: whoever asks for what is hard to find does not hold others up.
const TRIES: usize = 20_000;

type Found<'a> = (&'a ResourceSlice, &'a Device);

/// A device that was chosen, for which request of which claim.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    claim: usize,
    ask: Ask<'a>,
    found: Found<'a>,
}

struct Search<'a> {
    claims: Vec<(&'a ResourceClaim, Vec<Vec<Ask<'a>>>)>,
    devices: Vec<Found<'a>>,
    taken: &'a HashSet<DeviceId<'a>>,
    chosen: Vec<Chosen<'a>>,
    tries: usize,
}

impl Devices {
    /// What each open claim would get, in their order.
    pub(super) fn search<'a>(
        &'a self,
        wanted: &'a Wanted<'a>,
        node: &NodeFacts,
    ) -> Option<Vec<AllocationResult>> {
        let claims = wanted.open.iter().map(|claim| (*claim, requests(claim).collect()));
        let mut search = Search {
            claims: claims.collect(),
            devices: self.on_node(wanted, node),
            taken: &wanted.taken,
            chosen: Vec::new(),
            tries: 0,
        };
        if !search.request(0, 0) {
            return None;
        }
        let claims = wanted.open.iter().enumerate();
        Some(claims.map(|(place, claim)| self.result(claim, place, &search.chosen, node)).collect())
    }

    fn result(
        &self,
        claim: &ResourceClaim,
        place: usize,
        chosen: &[Chosen<'_>],
        node: &NodeFacts,
    ) -> AllocationResult {
        let chosen: Vec<&Chosen<'_>> = chosen.iter().filter(|chosen| chosen.claim == place).collect();
        let result = |chosen: &&Chosen<'_>| {
            let (slice, device) = chosen.found;
            let tolerations = chosen.ask.tolerations;
            DeviceRequestAllocationResult {
                request: chosen.ask.shown(),
                driver: slice.spec.driver.clone(),
                pool: slice.spec.pool.name.clone(),
                device: device.name.clone(),
                admin_access: chosen.ask.is_admin.then_some(true),
                tolerations: (!tolerations.is_empty()).then(|| tolerations.to_vec()),
                ..DeviceRequestAllocationResult::default()
            }
        };
        let results: Vec<_> = chosen.iter().map(result).collect();
        let mut config = Vec::new();
        let mut told: HashSet<String> = HashSet::new();
        for chosen in chosen.iter().filter(|chosen| told.insert(chosen.ask.shown())) {
            let of_class = self.classes.get(chosen.ask.class).and_then(|class| class.spec.config.as_ref());
            config.extend(of_class.into_iter().flatten().map(|config| DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: Some(vec![chosen.ask.shown()]),
                source: "FromClass".to_owned(),
            }));
        }
        let of_claim = claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
        config.extend(of_claim.map(|config| DeviceAllocationConfiguration {
            opaque: config.opaque.clone(),
            requests: config.requests.clone(),
            source: "FromClaim".to_owned(),
        }));
        AllocationResult {
            devices: Some(DeviceAllocationResult {
                config: (!config.is_empty()).then_some(config),
                results: Some(results),
            }),
            node_selector: reach(&chosen, node),
            ..AllocationResult::default()
        }
    }
}

impl<'a> Search<'a> {
    /// Fills a request of a claim and all that come after it.
    fn request(&mut self, claim: usize, request: usize) -> bool {
        let Some((_, requests)) = self.claims.get(claim) else { return true };
        let Some(asks) = requests.get(request) else { return self.request(claim + 1, 0) };
        let asks = asks.clone();
        asks.into_iter().any(|ask| match ask.mode {
            Some("All") => self.all(claim, request, ask),
            _ => {
                let count = usize::try_from(ask.count.unwrap_or(1)).unwrap_or(0);
                self.some(claim, request, ask, count, 0)
            }
        })
    }

    /// Takes so many more devices, from the one at `from` on.
    fn some(&mut self, claim: usize, request: usize, ask: Ask<'a>, count: usize, from: usize) -> bool {
        if count == 0 {
            return self.request(claim, request + 1);
        }
        for place in from..self.devices.len() {
            self.tries += 1;
            if self.tries > TRIES {
                return false;
            }
            let found = self.devices[place];
            if !tolerates(ask, found.1) || !self.is_free(ask, found) || !self.agrees(claim, ask, found) {
                continue;
            }
            self.chosen.push(Chosen { claim, ask, found });
            if self.some(claim, request, ask, count - 1, place + 1) {
                return true;
            }
            self.chosen.pop();
        }
        false
    }

    /// Takes all devices that there are.
    fn all(&mut self, claim: usize, request: usize, ask: Ask<'a>) -> bool {
        let before = self.chosen.len();
        let meant = self.devices.iter().copied().filter(|(_, device)| tolerates(ask, device));
        let meant: Vec<Found<'a>> = meant.collect();
        let takes = meant.iter().all(|found| {
            let can = self.is_free(ask, *found) && self.agrees(claim, ask, *found);
            self.chosen.push(Chosen { claim, ask, found: *found });
            can
        });
        let done = !meant.is_empty() && takes && self.request(claim, request + 1);
        if !done {
            self.chosen.truncate(before);
        }
        done
    }

    fn is_free(&self, ask: Ask<'_>, (slice, device): Found<'_>) -> bool {
        let is_it = |chosen: &Chosen<'_>| {
            let (other, known) = chosen.found;
            !chosen.ask.is_admin
                && known.name == device.name
                && other.spec.pool.name == slice.spec.pool.name
                && other.spec.driver == slice.spec.driver
        };
        let id = (slice.spec.driver.as_str(), slice.spec.pool.name.as_str(), device.name.as_str());
        ask.is_admin || (!self.taken.contains(&id) && !self.chosen.iter().any(is_it))
    }

    /// Whether a device goes with those that the claim has, as it says.
    fn agrees(&self, claim: usize, ask: Ask<'_>, found: Found<'_>) -> bool {
        let devices = self.claims[claim].0.spec.devices.as_ref();
        let constraints = devices.and_then(|devices| devices.constraints.as_deref()).unwrap_or_default();
        constraints.iter().filter(|constraint| concerns(constraint, ask)).all(|constraint| {
            let others = || {
                let of_claim = self.chosen.iter().filter(|chosen| chosen.claim == claim);
                of_claim.filter(|chosen| concerns(constraint, chosen.ask))
            };
            let matches = constraint.match_attribute.as_ref().is_none_or(|name| {
                let own = attribute(name, found);
                own.is_some() && others().all(|other| attribute(name, other.found) == own)
            });
            let differs = constraint.distinct_attribute.as_ref().is_none_or(|name| {
                let own = attribute(name, found);
                own.is_some() && others().all(|other| attribute(name, other.found) != own)
            });
            matches && differs
        })
    }
}

fn concerns(constraint: &DeviceConstraint, ask: Ask<'_>) -> bool {
    let requests = constraint.requests.as_deref().unwrap_or_default();
    let shown = ask.shown();
    requests.is_empty() || requests.iter().any(|name| *name == shown || ask.of == Some(name))
}

/// An attribute of a device by its whole name; what has no domain is of the driver's.
fn attribute<'a>(name: &str, (slice, device): Found<'a>) -> Option<&'a DeviceAttribute> {
    let attributes = device.attributes.as_ref()?;
    let of_driver = || {
        let (domain, id) = name.split_once('/')?;
        attributes.get(id).filter(|_| domain == slice.spec.driver)
    };
    attributes.get(name).or_else(of_driver)
}

fn tolerates(ask: Ask<'_>, device: &Device) -> bool {
    let hard = |taint: &&DeviceTaint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let covers = |toleration: &DeviceToleration, taint: &DeviceTaint| {
        let said = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        let exists = toleration.operator.as_deref() == Some("Exists");
        said(&toleration.effect).is_none_or(|effect| effect == taint.effect)
            && said(&toleration.key).map_or(exists, |key| key == taint.key)
            && (exists || said(&toleration.value) == said(&taint.value))
    };
    let mut taints = device.taints.iter().flatten().filter(hard);
    taints.all(|taint| ask.tolerations.iter().any(|toleration| covers(toleration, taint)))
}

/// The nodes from which all devices can be reached; nothing if that is all.
fn reach(chosen: &[&Chosen<'_>], node: &NodeFacts) -> Option<NodeSelector> {
    let places = chosen.iter().map(|chosen| {
        let (slice, device) = chosen.found;
        match slice.spec.per_device_node_selection == Some(true) {
            true => (device.node_name.as_ref(), device.node_selector.as_ref()),
            false => (slice.spec.node_name.as_ref(), slice.spec.node_selector.as_ref()),
        }
    });
    let places: Vec<_> = places.collect();
    let mut term = NodeSelectorTerm::default();
    if places.iter().any(|(name, _)| name.is_some()) {
        term.match_fields = Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.name.to_string()]),
        }]);
    } else {
        let terms = places.iter().filter_map(|(_, selector)| selector.as_ref());
        let terms = terms.flat_map(|selector| &selector.node_selector_terms);
        let mut expressions: Vec<NodeSelectorRequirement> = Vec::new();
        for expression in terms.flat_map(|term| term.match_expressions.iter().flatten()) {
            if !expressions.contains(expression) {
                expressions.push(expression.clone());
            }
        }
        if expressions.is_empty() {
            return None;
        }
        term.match_expressions = Some(expressions);
    }
    Some(NodeSelector { node_selector_terms: vec![term] })
}
