//! What of the node is kept for other things than pods, and what is left for these: Node Allocatable.
//!
//! ```text
//! capacity ── kube-reserved ── system-reserved ──────────────────▶ what all pods may take together
//!                                                └─ hard eviction ─▶ allocatable, by which is scheduled
//! ```
//!
//! Source: <https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/>, and
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/cm/node_container_manager_linux.go>.

use std::str::FromStr;

use model::quantity::{Quantity, QuantityError};

use crate::pod::resources::shares;
use crate::runtime::Resources;
use crate::thresholds::Thresholds;

/// Amounts of what can be reserved on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of processors.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the disk that pods are on.
    pub storage: i64,
    /// Processes and threads.
    pub pids: i64,
}

/// Why a list of reserved resources is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountsError {
    /// A part that is no `name=quantity`.
    #[error("malformed pair `{0}`, expect RESOURCE=QUANTITY, for example `cpu=500m,memory=1Gi`")]
    Pair(String),
    /// A resource that cannot be reserved.
    #[error("cannot reserve \"{0}\" resource: cpu, memory, ephemeral-storage and pid can be")]
    Name(String),
    /// The same resource once more.
    #[error("\"{0}\" resource is there twice")]
    Twice(String),
    /// A quantity that is none.
    #[error("failed to parse quantity \"{quantity}\" for \"{name}\" resource: {source}")]
    Quantity {
        /// The resource.
        name: String,
        /// What was given.
        quantity: String,
        /// Why it is none.
        source: QuantityError,
    },
    /// Less than nothing.
    #[error("resource quantity for \"{name}\" cannot be negative: {quantity}")]
    Negative {
        /// The resource.
        name: String,
        /// What was given.
        quantity: String,
    },
}

impl FromStr for Amounts {
    type Err = AmountsError;

    /// Reads `cpu=500m,memory=1Gi,ephemeral-storage=10Gi,pid=1000`, of which any part may be missing.
    fn from_str(text: &str) -> Result<Self, AmountsError> {
        let mut amounts = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, quantity) = part.split_once('=').ok_or_else(|| AmountsError::Pair(part.to_owned()))?;
            let (name, quantity) = (name.trim(), quantity.trim());
            let read: Quantity = quantity.parse().map_err(|source| AmountsError::Quantity {
                name: name.to_owned(),
                quantity: quantity.to_owned(),
                source,
            })?;
            let (amount, read_as) = match name {
                "cpu" => (&mut amounts.cpu, read.millis()),
                "memory" => (&mut amounts.memory, read.value()),
                "ephemeral-storage" => (&mut amounts.storage, read.value()),
                "pid" => (&mut amounts.pids, read.value()),
                _ => return Err(AmountsError::Name(name.to_owned())),
            };
            if read.is_negative() {
                return Err(AmountsError::Negative { name: name.to_owned(), quantity: quantity.to_owned() });
            }
            if seen.contains(&name) {
                return Err(AmountsError::Twice(name.to_owned()));
            }
            seen.push(name);
            *amount = read_as;
        }
        Ok(amounts)
    }
}

impl Amounts {
    fn map(self, other: Self, each: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            cpu: each(self.cpu, other.cpu),
            memory: each(self.memory, other.memory),
            storage: each(self.storage, other.storage),
            pids: each(self.pids, other.pids),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.map(other, i64::saturating_add)
    }

    /// No less than nothing.
    fn less(self, other: Self) -> Self {
        self.map(other, |have, taken| have.saturating_sub(taken).max(0))
    }
}

/// What is reserved on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reserves {
    /// For the system's own services.
    pub system: Amounts,
    /// For the daemon itself, and what else makes the cluster.
    pub kube: Amounts,
    /// What must be free.
    pub thresholds: Thresholds,
}

/// Why what is reserved cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid Node Allocatable configuration. {}", .0.join(" "))]
pub struct ReservesError(Vec<String>);

impl Reserves {
    /// What all pods together may take of a node that has `capacity`.
    pub fn for_pods(&self, capacity: Amounts) -> Amounts {
        capacity.less(self.system.plus(self.kube))
    }

    /// What pods of a node that has `capacity` are scheduled by.
    pub fn allocatable(&self, capacity: Amounts) -> Amounts {
        capacity.less(self.all(capacity))
    }

    /// Refuses to reserve more than there is.
    pub fn check(&self, capacity: Amounts) -> Result<(), ReservesError> {
        let all = self.all(capacity);
        let too_much = [
            ("cpu", Quantity::from_millis(all.cpu), Quantity::from_millis(capacity.cpu)),
            ("memory", Quantity::from_bytes(all.memory), Quantity::from_bytes(capacity.memory)),
            ("ephemeral-storage", Quantity::from_bytes(all.storage), Quantity::from_bytes(capacity.storage)),
            (
                "pid",
                Quantity::from_millis(all.pids.saturating_mul(1000)),
                Quantity::from_millis(capacity.pids.saturating_mul(1000)),
            ),
        ];
        let too_much: Vec<String> = too_much
            .into_iter()
            // No processes at all are no limit to the kernel's mind, and of no use.
            .filter(|(name, reserved, capacity)| {
                reserved > capacity || (*name == "pid" && all.pids > 0 && reserved == capacity)
            })
            .map(|(name, reserved, capacity)| {
                format!(
                    "Resource \"{name}\" has a reservation of {reserved} but capacity of {capacity}. Expected capacity >= reservation."
                )
            })
            .collect();
        if too_much.is_empty() { Ok(()) } else { Err(ReservesError(too_much)) }
    }

    /// All that is kept, the thresholds of eviction included.
    fn all(&self, capacity: Amounts) -> Amounts {
        self.system.plus(self.kube).plus(self.thresholds.kept(capacity))
    }
}

/// The limits of the group of all pods, which may take so much together.
pub(crate) fn limits(for_pods: Amounts) -> Resources {
    let limit = |amount: i64| Some(amount).filter(|&amount| amount > 0);
    Resources {
        cpu_shares: Some(shares(for_pods.cpu)),
        memory: limit(for_pods.memory),
        pids: limit(for_pods.pids),
        ..Resources::default()
    }
}

/// As many processes and threads as this host can have; `None` if it does not say.
pub fn host_pids() -> Option<i64> {
    let read = |name: &str| -> Option<i64> {
        let text = offload::in_place(|| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"))).ok()?;
        text.trim().parse().ok()
    };
    ["pid_max", "threads-max"].into_iter().filter_map(read).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Amounts = Amounts { cpu: 4000, memory: 8 << 30, storage: 100 << 30, pids: 32_768 };

    fn thresholds() -> Thresholds {
        "memory.available<100Mi,nodefs.available<10%".parse().expect("thresholds")
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Amounts, &str>) {
        let read = text.parse::<Amounts>().map_err(|error| error.to_string());
        match expected {
            Ok(amounts) => assert_eq!(read, Ok(amounts), "{text}"),
            Err(message) => {
                let error = read.expect_err(text);
                assert!(error.starts_with(message), "{text}: {error}");
            }
        }
    }

    #[test]
    fn resources_are_reserved_in_the_kubelet_s_words() {
        let all = Amounts { cpu: 500, memory: 1 << 30, storage: 10_000_000_000, pids: 1000 };
        check("cpu=500m,memory=1Gi,ephemeral-storage=10G,pid=1000", Ok(all));
        check(" memory = 1Gi , cpu = 0.5 ", Ok(Amounts { storage: 0, pids: 0, ..all }));
        check("", Ok(Amounts::default()));
        check("cpu", Err("malformed pair `cpu`, expect RESOURCE=QUANTITY"));
        check("gpu=1", Err("cannot reserve \"gpu\" resource: cpu, memory,"));
        check("memory=1Qi", Err("failed to parse quantity \"1Qi\" for \"memory\" resource: "));
        check("memory=", Err("failed to parse quantity \"\" for \"memory\" resource: "));
        check("cpu=-1", Err("resource quantity for \"cpu\" cannot be negative: -1"));
        check("cpu=1,cpu=2", Err("\"cpu\" resource is there twice"));
    }

    #[test]
    fn pods_are_left_what_is_not_reserved_and_are_scheduled_by_less() {
        let reserves = Reserves {
            system: "cpu=500m,memory=1Gi,ephemeral-storage=5Gi,pid=1000".parse().expect("amounts"),
            kube: "cpu=1,memory=1Gi".parse().expect("amounts"),
            thresholds: thresholds(),
        };
        let pods = reserves.for_pods(CAPACITY);
        assert_eq!(pods, Amounts { cpu: 2500, memory: 6 << 30, storage: 95 << 30, pids: 31_768 });
        let left = reserves.allocatable(CAPACITY);
        assert_eq!((left.cpu, left.memory, left.storage), (2500, (6 << 30) - (100 << 20), 85 << 30));
        let group = limits(pods);
        assert_eq!((group.cpu_shares, group.memory, group.pids), (Some(2560), Some(6 << 30), Some(31_768)));
        reserves.check(CAPACITY).expect("there is enough");
        let none = Reserves { thresholds: thresholds(), ..Reserves::default() };
        assert_eq!(none.for_pods(CAPACITY), CAPACITY);
        assert_eq!(none.allocatable(CAPACITY).memory, (8 << 30) - (100 << 20));
    }

    #[test]
    fn no_more_is_reserved_than_there_is() {
        let kube = "cpu=5,memory=8Gi,pid=40k".parse().expect("amounts");
        let error = Reserves { kube, thresholds: thresholds(), ..Reserves::default() }
            .check(CAPACITY)
            .expect_err("too much");
        assert_eq!(
            error.to_string(),
            "invalid Node Allocatable configuration. \
             Resource \"cpu\" has a reservation of 5 but capacity of 4. Expected capacity >= reservation. \
             Resource \"memory\" has a reservation of 8292Mi but capacity of 8Gi. Expected capacity >= reservation. \
             Resource \"pid\" has a reservation of 40k but capacity of 32768. Expected capacity >= reservation."
        );
        // Nothing left is no limit where limits are written, and so are numbers beyond all others.
        for pids in ["pid=32768", "pid=9E", "pid=10P"] {
            let kube = pids.parse().expect("amounts");
            Reserves { kube, ..Reserves::default() }.check(CAPACITY).expect_err(pids);
        }
    }
}
