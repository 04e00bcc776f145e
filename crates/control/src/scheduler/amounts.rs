//! Amounts of resources: what pods ask for, what nodes have.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
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

/// What a container counts for in scores that says nothing of processors (thousandths) and of memory: many such
/// on one node are a load all the same.
const UNSAID: [(&str, i128); 2] = [("cpu", 100), ("memory", 200 << 20)];

/// Processors and memory that a pod counts for in scores.
pub(super) fn scored(pod: &Pod) -> [i128; 2] {
    let sum = total(pod, true);
    [sum.cpu, sum.memory]
}

/// What a pod takes: the sum of its containers, or of an init container with the sidecars before it, whichever is
/// more; what is said of the pod as a whole goes over that; and its overhead. Of a container counts the most of
/// what it is to have, what its node has granted and what it really has, as long as these differ.
pub(super) fn requests(pod: &Pod) -> Amounts {
    total(pod, false)
}

/// As [`requests`]; if so, with something for what containers say nothing of.
fn total(pod: &Pod, fill: bool) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let status = pod.status.as_ref();
    let refused = status.iter().flat_map(|status| status.conditions.iter().flatten()).any(|condition| {
        condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
    });
    let told = |statuses: Option<&Vec<ContainerStatus>>, container: &Container| {
        let told = statuses.into_iter().flatten().find(|status| status.name == container.name);
        let mut own = of_container(container, told, refused);
        if fill {
            let resources = container.resources.as_ref();
            let says = |name: &str| {
                let requests = resources.and_then(|resources| resources.requests.as_ref());
                requests.is_some_and(|requests| requests.contains_key(name))
            };
            for (name, amount) in UNSAID {
                if own.get(name) == 0 && !says(name) {
                    own.set(name, amount);
                }
            }
        }
        own
    };
    let mains = status.and_then(|status| status.container_statuses.as_ref());
    let inits = status.and_then(|status| status.init_container_statuses.as_ref());
    let mut sum = Amounts::default();
    for container in &spec.containers {
        sum.add(&told(mains, container));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for init in spec.init_containers.iter().flatten() {
        let own = told(inits, init);
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
    let real = status.and_then(|status| status.resources.as_ref());
    if spec.resources.is_some() {
        let mut whole =
            if refused && real.is_some() { Amounts::default() } else { wanted(spec.resources.as_ref()) };
        whole.raise(&wanted(real));
        for (name, amount) in whole.iter() {
            if matches!(name, "cpu" | "memory") || name.starts_with("hugepages-") {
                sum.set(name, amount);
            }
        }
    }
    sum.add(&Amounts::of(spec.overhead.iter().flatten()));
    sum
}

fn of_container(container: &Container, told: Option<&ContainerStatus>, refused: bool) -> Amounts {
    let real = told.and_then(|told| told.resources.as_ref());
    let mut sum =
        if refused && real.is_some() { Amounts::default() } else { wanted(container.resources.as_ref()) };
    sum.raise(&Amounts::of(real.and_then(|real| real.requests.as_ref()).into_iter().flatten()));
    sum.raise(&Amounts::of(told.and_then(|told| told.allocated_resources.as_ref()).into_iter().flatten()));
    sum
}

fn wanted(resources: Option<&ResourceRequirements>) -> Amounts {
    let limits = resources.and_then(|resources| resources.limits.as_ref()).into_iter().flatten();
    let requests = resources.and_then(|resources| resources.requests.as_ref()).into_iter().flatten();
    // A limit without a request is a request.
    Amounts::of(limits.chain(requests))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(spec: Value, status: Value, cpu: i128) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec, "status": status})).expect("a pod");
        assert_eq!(requests(&pod).cpu, cpu, "{status}");
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    fn told(name: &str, granted: &str, real: &str) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0,
               "allocatedResources": {"cpu": granted}, "resources": {"requests": {"cpu": real}}})
    }

    #[test]
    fn the_most_counts_of_what_is_wanted_granted_and_there() {
        let one = |cpu: &str| json!({"containers": [container("a", cpu)]});
        check(one("1"), json!({}), 1000);
        check(one("2"), json!({"containerStatuses": [told("a", "1", "1")]}), 2000);
        check(one("1"), json!({"containerStatuses": [told("a", "2", "1")]}), 2000);
        check(one("1"), json!({"containerStatuses": [told("a", "1", "3")]}), 3000);
        let pending =
            |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        let with =
            |reason: &str| json!({"containerStatuses": [told("a", "1", "1")], "conditions": pending(reason)});
        check(one("9"), with("Infeasible"), 1000);
        check(one("9"), with("Deferred"), 9000);
    }

    #[test]
    fn who_says_nothing_counts_for_something_in_scores() {
        let check = |spec: Value, expected: [i128; 2]| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
            assert_eq!(scored(&pod), expected, "{spec}");
        };
        const MI: i128 = 1 << 20;
        check(json!({"containers": [{"name": "a"}]}), [100, 200 * MI]);
        check(json!({"containers": [{"name": "a"}, container("b", "1")]}), [1100, 400 * MI]);
        // To ask for nothing is to say something.
        check(json!({"containers": [container("a", "0")]}), [0, 200 * MI]);
        let whole = json!({"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "2"}}});
        check(whole, [2000, 200 * MI]);
        let overhead = json!({"containers": [{"name": "a"}], "overhead": {"cpu": "1", "memory": "1Mi"}});
        check(overhead, [1100, 201 * MI]);
    }

    #[test]
    fn what_is_said_of_the_whole_goes_over_what_its_containers_ask_for() {
        let spec = json!({"containers": [container("a", "3")], "resources": {"requests": {"cpu": "2"}},
                          "overhead": {"cpu": "250m"}});
        check(spec.clone(), json!({}), 2250);
        check(spec, json!({"resources": {"requests": {"cpu": "4"}}}), 4250);
    }
}
