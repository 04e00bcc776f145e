//! What a node must have free, or it says that it is under pressure and is given no more pods: the kubelet's hard
//! thresholds of eviction, in its words. So much is kept from what pods are scheduled by, too.
//!
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>, and
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/eviction/helpers.go>.

use std::fmt;
use std::str::FromStr;

use model::quantity::{Format, Quantity, QuantityError};

use crate::reserves::Amounts;

/// What can run short, by the kubelet's names.
const SIGNALS: [&str; 4] = ["memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available"];

/// The least that must be free.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Least {
    /// So much.
    Amount(Quantity),
    /// This share of all.
    Share(f64),
}

impl Least {
    fn of(self, all: i64) -> i64 {
        match self {
            Self::Amount(amount) => amount.value(),
            Self::Share(share) => (all as f64 * share) as i64,
        }
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => amount.fmt(f),
            Self::Share(share) => write!(f, "{}%", share * 100.0),
        }
    }
}

/// What must be free of each that can run short, in the order of [`SIGNALS`]; what is not named is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds([Option<Least>; SIGNALS.len()]);

/// Why a list of thresholds is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdsError {
    /// A part that is no `signal<quantity`.
    #[error("invalid eviction threshold syntax {0}, expected <signal><operator><value>")]
    Syntax(String),
    /// Images and containers are on the node's own disk.
    #[error(
        "unsupported eviction signal {0}: images and containers are on the disk that nodefs.available is of"
    )]
    OneDisk(String),
    /// Nothing that runs short.
    #[error("unsupported eviction signal {0}, must be one of {known}", known = SIGNALS.join(", "))]
    Signal(String),
    /// The same once more.
    #[error("duplicate eviction threshold {0}")]
    Twice(String),
    /// A share that is none.
    #[error("eviction percentage threshold {signal} must be >= 0% and <= 100%: {value}")]
    Share {
        /// Of what.
        signal: String,
        /// What was given.
        value: String,
    },
    /// A quantity that is none.
    #[error("eviction threshold {signal}: {value}: {source}")]
    Quantity {
        /// Of what.
        signal: String,
        /// What was given.
        value: String,
        /// Why it is none.
        source: QuantityError,
    },
    /// Nothing, or less.
    #[error("eviction threshold {signal} must be positive: {value}")]
    Negative {
        /// Of what.
        signal: String,
        /// What was given.
        value: String,
    },
}

impl FromStr for Thresholds {
    type Err = ThresholdsError;

    /// Reads `memory.available<100Mi,nodefs.available<5%`; `=` is as good as `<`, as which a table is written.
    fn from_str(text: &str) -> Result<Self, ThresholdsError> {
        let mut thresholds = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (signal, value) =
                part.split_once(['<', '=']).ok_or_else(|| ThresholdsError::Syntax(part.to_owned()))?;
            let (signal, value) = (signal.trim(), value.trim());
            let place = SIGNALS.iter().position(|known| *known == signal).ok_or_else(|| {
                let of_images = signal.starts_with("imagefs.") || signal.starts_with("containerfs.");
                let error = if of_images { ThresholdsError::OneDisk } else { ThresholdsError::Signal };
                error(signal.to_owned())
            })?;
            let least = least(signal, value)?;
            if thresholds.0[place].is_some() {
                return Err(ThresholdsError::Twice(signal.to_owned()));
            }
            thresholds.0[place] = least;
        }
        Ok(thresholds)
    }
}

/// What must be free; as the kubelet has it, nothing where that is none or all of it.
fn least(signal: &str, value: &str) -> Result<Option<Least>, ThresholdsError> {
    if matches!(value, "0%" | "100%") {
        return Ok(None);
    }
    let (signal, value) = (signal.to_owned(), value.to_owned());
    if let Some(percent) = value.strip_suffix('%') {
        let share = percent.parse::<f64>().ok().map(|percent| percent / 100.0);
        let valid = share.filter(|share| (0.0..=1.0).contains(share));
        return valid.map(|share| Some(Least::Share(share))).ok_or(ThresholdsError::Share { signal, value });
    }
    match value.parse::<Quantity>() {
        Ok(amount) if amount.is_negative() || amount.is_zero() => {
            Err(ThresholdsError::Negative { signal, value })
        }
        Ok(amount) => Ok(Some(Least::Amount(amount))),
        Err(source) => Err(ThresholdsError::Quantity { signal, value, source }),
    }
}

/// How much there is of something, and how much of that is free. Of what nobody knows there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Supply {
    pub(crate) free: i64,
    pub(crate) all: i64,
}

/// What a node has of each that can run short.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Supplies {
    /// Bytes.
    pub(crate) memory: Supply,
    /// Bytes of the disk that pods are on.
    pub(crate) disk: Supply,
    /// Files of that disk.
    pub(crate) inodes: Supply,
    /// Processes and threads.
    pub(crate) pids: Supply,
}

/// Something of which too little is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) of: Scarce,
    /// How much must be free, and how much is, in the words of the API.
    pub(crate) least: String,
    pub(crate) free: String,
}

/// What pods take that can run short, in the order in which they are ended for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarce {
    /// Memory.
    Memory,
    /// Room on the disk.
    Disk,
    /// Files of the disk.
    Inodes,
    /// Processes and threads.
    Pids,
}

impl Scarce {
    /// In the order of [`SIGNALS`].
    const ALL: [Self; SIGNALS.len()] = [Self::Memory, Self::Disk, Self::Inodes, Self::Pids];

    /// The kubelet's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// So much of it, in the words of the API.
    pub(crate) fn quantity(self, amount: i64) -> Quantity {
        let is_bytes = matches!(self, Self::Memory | Self::Disk);
        Quantity::new(amount, if is_bytes { Format::Binary } else { Format::Decimal })
    }
}

/// Of what a node has too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

impl Thresholds {
    /// What is kept from a node that has `capacity`, so that pods that keep to what they asked for bring no pressure.
    pub(crate) fn kept(&self, capacity: Amounts) -> Amounts {
        let [memory, storage, _, pids] = self.0;
        let kept = |least: Option<Least>, all: i64| least.map_or(0, |least| least.of(all));
        Amounts {
            cpu: 0,
            memory: kept(memory, capacity.memory),
            storage: kept(storage, capacity.storage),
            pids: kept(pids, capacity.pids),
        }
    }

    /// What runs short.
    pub(crate) fn pressure(&self, supplies: &Supplies) -> Pressure {
        let short = |least: Option<Least>, supply: Supply| {
            supply.all > 0 && least.is_some_and(|least| supply.free < least.of(supply.all))
        };
        let [memory, disk, inodes, pids] = self.0;
        Pressure {
            memory: short(memory, supplies.memory),
            disk: short(disk, supplies.disk) || short(inodes, supplies.inodes),
            pids: short(pids, supplies.pids),
        }
    }

    /// What of all that runs short, if it is among `of`, pods are ended for first.
    pub(crate) fn shortest(&self, supplies: &Supplies, among: &[Scarce]) -> Option<Short> {
        let Supplies { memory, disk, inodes, pids } = *supplies;
        let all = Scarce::ALL.into_iter().zip(self.0).zip([memory, disk, inodes, pids]);
        let among = all.filter(|((of, _), _)| among.contains(of));
        let mut short = among.filter_map(|((of, least), supply)| {
            let least = least.filter(|_| supply.all > 0)?;
            let amount = least.of(supply.all);
            (supply.free < amount).then(|| Short {
                of,
                least: match least {
                    Least::Amount(amount) => amount.to_string(),
                    Least::Share(_) => of.quantity(amount).to_string(),
                },
                free: of.quantity(supply.free).to_string(),
            })
        });
        short.next()
    }

    /// Those that are looked at, by name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        SIGNALS.into_iter().zip(self.0).filter_map(|(signal, least)| Some((signal, least?.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%";

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
        let read = text.parse::<Thresholds>();
        match expected {
            Ok(named) => {
                let read = read.expect(text);
                let found: Vec<(&str, String)> = read.named().collect();
                let found: Vec<(&str, &str)> = found.iter().map(|(name, least)| (*name, &**least)).collect();
                assert_eq!(found, named, "{text}");
            }
            Err(message) => assert_eq!(read.expect_err(text).to_string(), message, "{text}"),
        }
    }

    #[test]
    fn thresholds_are_read_in_the_kubelet_s_words() {
        let usual = [("memory.available", "100Mi"), ("nodefs.available", "5%"), ("nodefs.inodesFree", "5%")];
        check(USUAL, Ok(&usual));
        check(
            " pid.available < 1k , memory.available<0.5% ",
            Ok(&[("memory.available", "0.5%"), ("pid.available", "1k")]),
        );
        check("nodefs.available=1Gi", Ok(&[("nodefs.available", "1Gi")]));
        check("", Ok(&[]));
        check(
            "memory.available",
            Err("invalid eviction threshold syntax memory.available, expected <signal><operator><value>"),
        );
        check(
            "memory.available>1Gi",
            Err("invalid eviction threshold syntax memory.available>1Gi, expected <signal><operator><value>"),
        );
        check(
            "nodefs.available<1%,nodefs.available<2%",
            Err("duplicate eviction threshold nodefs.available"),
        );
        check(
            "imagefs.available<15%",
            Err(
                "unsupported eviction signal imagefs.available: images and containers are on the disk that nodefs.available is of",
            ),
        );
        check(
            "cpu.available<1",
            Err(
                "unsupported eviction signal cpu.available, must be one of memory.available, nodefs.available, nodefs.inodesFree, pid.available",
            ),
        );
        check(
            "nodefs.available<0%,memory.available<100%,nodefs.available<1%",
            Ok(&[("nodefs.available", "1%")]),
        );
        for share in ["101%", "-1%", "x%", "NaN%", "%"] {
            let message =
                format!("eviction percentage threshold nodefs.available must be >= 0% and <= 100%: {share}");
            check(&format!("nodefs.available<{share}"), Err(&message));
        }
        check("memory.available<-1", Err("eviction threshold memory.available must be positive: -1"));
        check("memory.available<0", Err("eviction threshold memory.available must be positive: 0"));
        let error = "memory.available<1Qi".parse::<Thresholds>().expect_err("no quantity").to_string();
        assert!(error.starts_with("eviction threshold memory.available: 1Qi: "), "{error}");
    }

    #[test]
    fn pressure_begins_below_what_must_be_free() {
        let supply = |free, all| Supply { free, all };
        let enough = Supplies {
            memory: supply(100 << 20, 8 << 30),
            disk: supply(5, 100),
            inodes: supply(50, 1000),
            pids: supply(0, 32_768),
        };
        let usual: Thresholds = USUAL.parse().expect("thresholds");
        let check = |supplies: Supplies, expected: Pressure| {
            assert_eq!(usual.pressure(&supplies), expected, "{supplies:?}")
        };
        let none = Pressure::default();
        check(enough, none);
        check(
            Supplies { memory: supply((100 << 20) - 1, 8 << 30), ..enough },
            Pressure { memory: true, ..none },
        );
        check(Supplies { disk: supply(4, 100), ..enough }, Pressure { disk: true, ..none });
        check(Supplies { inodes: supply(49, 1000), ..enough }, Pressure { disk: true, ..none });
        // Some file systems count no files, and what is not known does not run short.
        check(Supplies { inodes: supply(0, 0), disk: supply(0, 0), ..enough }, none);
        let pids: Thresholds = "pid.available<10".parse().expect("thresholds");
        assert_eq!(
            pids.pressure(&Supplies { disk: supply(0, 100), ..enough }),
            Pressure { pids: true, ..none }
        );
        // Pods are ended for memory first, and it is told what must be free and what is.
        let short =
            |of, least: &str, free: &str| Some(Short { of, least: least.to_owned(), free: free.to_owned() });
        let both = Supplies {
            memory: supply(96 << 20, 8 << 30),
            disk: supply(1 << 30, 100 << 30),
            inodes: supply(49, 1000),
            ..enough
        };
        assert_eq!(usual.shortest(&enough, &Scarce::ALL), None);
        assert_eq!(usual.shortest(&both, &Scarce::ALL), short(Scarce::Memory, "100Mi", "96Mi"));
        let of_disk = Supplies { memory: enough.memory, ..both };
        assert_eq!(usual.shortest(&of_disk, &Scarce::ALL), short(Scarce::Disk, "5Gi", "1Gi"));
        assert_eq!(
            usual.shortest(&Supplies { disk: enough.disk, ..of_disk }, &Scarce::ALL),
            short(Scarce::Inodes, "50", "49")
        );
        assert_eq!(pids.shortest(&enough, &Scarce::ALL), short(Scarce::Pids, "10", "0"));
        let capacity = Amounts { cpu: 4000, memory: 8 << 30, storage: 100 << 30, pids: 32_768 };
        let kept = usual.kept(capacity);
        assert_eq!(kept, Amounts { cpu: 0, memory: 100 << 20, storage: 5 << 30, pids: 0 });
        assert_eq!(pids.kept(capacity), Amounts { pids: 10, ..Amounts::default() });
    }
}
