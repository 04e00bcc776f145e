//! Amounts of resources: what pods ask for, what nodes have.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::Quantity;

/// Resources by name: processors in thousandths, all others in units. What there is none of is not
/// in it.
///
/// An amount is of 64 bits where it comes from, and of 128 here, so that no sum is ever cut short: a
/// sum from which what was added is taken away again is what it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Amounts {
    pub(super) cpu: i128,
    pub(super) memory: i128,
    /// All others, by name.
    others: Vec<(Box<str>, i128)>,
}

impl Amounts {
    /// Amounts as an object has them; what is no quantity is left out, which the API does not let in.
    pub(super) fn of<'a>(texts: impl IntoIterator<Item = (&'a String, &'a Text)>) -> Self {
        let mut amounts = Self::default();
        for (name, text) in texts {
            if let Ok(quantity) = text.0.parse::<Quantity>() {
                let amount = if name == "cpu" { quantity.millis() } else { quantity.value() };
                amounts.set(name, i128::from(amount));
            }
        }
        amounts
    }

    /// How much there is of one resource.
    pub(super) fn get(&self, name: &str) -> i128 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            _ => self.place(name).map_or(0, |place| self.others[place].1),
        }
    }

    /// All that is in it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        let well_known = [("cpu", self.cpu), ("memory", self.memory)];
        let others = self.others.iter().map(|(name, amount)| (name.as_ref(), *amount));
        well_known.into_iter().filter(|(_, amount)| *amount != 0).chain(others)
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.combine(more, |sum, more| sum + more);
    }

    pub(super) fn take_away(&mut self, less: &Self) {
        self.combine(less, |sum, less| sum - less);
    }

    /// Raises each amount to the other's where that is more.
    fn raise(&mut self, to: &Self) {
        self.combine(to, i128::max);
    }

    fn combine(&mut self, other: &Self, combined: impl Fn(i128, i128) -> i128) {
        self.cpu = combined(self.cpu, other.cpu);
        self.memory = combined(self.memory, other.memory);
        for (name, amount) in &other.others {
            self.set(name, combined(self.get(name), *amount));
        }
    }

    fn set(&mut self, name: &str, amount: i128) {
        match name {
            "cpu" => self.cpu = amount,
            "memory" => self.memory = amount,
            _ => match self.place(name) {
                Ok(place) if amount == 0 => drop(self.others.remove(place)),
                Ok(place) => self.others[place].1 = amount,
                Err(_) if amount == 0 => {}
                Err(place) => self.others.insert(place, (name.into(), amount)),
            },
        }
    }

    /// Where another resource is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.others.binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }
}

/// What a pod asks for: the sum of its containers, or of an init container with the sidecars
/// before it, whichever is more; and its overhead.
pub(super) fn requests(spec: &PodSpec) -> Amounts {
    let mut sum = Amounts::default();
    for container in &spec.containers {
        sum.add(&of_container(container));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for init in spec.init_containers.iter().flatten() {
        let own = of_container(init);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            peak.raise(&sidecars);
        } else {
            let mut together = sidecars.clone();
            together.add(&own);
            peak.raise(&together);
        }
    }
    sum.add(&sidecars);
    sum.raise(&peak);
    sum.add(&Amounts::of(spec.overhead.iter().flatten()));
    sum
}

fn of_container(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref()).into_iter().flatten();
    let requests = resources.and_then(|resources| resources.requests.as_ref()).into_iter().flatten();
    // A limit without a request is a request.
    Amounts::of(limits.chain(requests))
}
