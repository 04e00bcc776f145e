//! What a node and its containers use, from two looks at them: processors as a rate, memory as it is.
//!
//! The rules are those of Kubernetes' metrics server. Source:
//! <https://github.com/kubernetes-sigs/metrics-server/tree/v0.8.0/pkg/storage>.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;

use crate::text::{self, TextError};

/// So many numbers a node may tell: of 110 pods it tells some thousand.
const NUMBERS: usize = 50_000;
/// A container that began so lately is too new to be told of.
const TOO_NEW: Duration = Duration::from_secs(10);

/// What was used up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    at: Option<Timestamp>,
    /// Nanoseconds of processors, since the beginning.
    cpu: Option<u64>,
    /// Bytes that cannot be had back at once.
    memory: Option<u64>,
    started: Option<Timestamp>,
}

/// What is used: processors over a time, memory at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Billionths of a processor.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// The end of the time.
    pub at: Timestamp,
    /// How long it is.
    pub window: Duration,
}

/// What a node told at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    node: Point,
    /// By namespace and pod, then by container.
    pods: BTreeMap<(String, String), BTreeMap<String, Point>>,
}

impl Look {
    /// Reads what a node tells at `/metrics/resource`.
    pub fn read(page: &str) -> Result<Self, TextError> {
        let mut look = Self::default();
        text::read(page, NUMBERS, |sample| {
            let point = match sample.name {
                "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => &mut look.node,
                "container_cpu_usage_seconds_total"
                | "container_memory_working_set_bytes"
                | "container_start_time_seconds" => {
                    let label = |name: &str| {
                        sample.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
                    };
                    let (Some(namespace), Some(pod), Some(container)) =
                        (label("namespace"), label("pod"), label("container"))
                    else {
                        return;
                    };
                    let pod = look.pods.entry((namespace.to_owned(), pod.to_owned())).or_default();
                    pod.entry(container.to_owned()).or_default()
                }
                _ => return,
            };
            // Casts hold what they can: less than nothing is nothing, and none is nothing.
            if sample.name.ends_with("_cpu_usage_seconds_total") {
                point.cpu = Some((sample.value * 1e9) as u64);
                point.at = sample.at.and_then(|at| Timestamp::from_millisecond(at).ok());
            } else if sample.name.ends_with("_memory_working_set_bytes") {
                point.memory = Some(sample.value as u64);
            } else {
                point.started = Timestamp::from_millisecond((sample.value * 1000.0) as i64).ok();
            }
        })?;
        // What is not told whole is not told.
        for containers in look.pods.values_mut() {
            containers.retain(|_, point| point.is_whole());
        }
        look.pods.retain(|_, containers| !containers.is_empty());
        Ok(look)
    }

    /// What the node uses since it told `before`.
    pub fn node(&self, before: &Self) -> Option<Usage> {
        self.node.since(&before.node)
    }

    /// What the containers of a pod use since the node told `before`, by their names. Nothing where one of them is
    /// too new to be told of.
    pub fn pod(&self, before: &Self, namespace: &str, name: &str) -> Option<BTreeMap<&str, Usage>> {
        let key = (namespace.to_owned(), name.to_owned());
        let then = before.pods.get(&key);
        let usage = |(name, point): (&'_ String, &Point)| {
            let then = then.and_then(|then| then.get(name));
            // One that was started anew has nothing to do with what it was.
            let same = then.filter(|then| point.started.zip(then.at).is_none_or(|(began, at)| began < at));
            match same {
                Some(then) => point.since(then),
                None => point.since_start(),
            }
        };
        self.pods.get(&key)?.iter().map(|one| Some((one.0.as_str(), usage(one)?))).collect()
    }
}

impl Point {
    fn is_whole(&self) -> bool {
        self.at.is_some() && self.cpu.is_some() && self.memory.is_some()
    }

    fn since(&self, then: &Self) -> Option<Usage> {
        let (at, before) = (self.at?, then.at?);
        let window = Duration::try_from(at.duration_since(before)).ok().filter(|window| !window.is_zero())?;
        let used = self.cpu?.checked_sub(then.cpu?)?;
        let cpu = (used as f64 / window.as_secs_f64()) as u64;
        Some(Usage { cpu, memory: self.memory?, at, window })
    }

    /// Since it began, when it had used nothing.
    fn since_start(&self) -> Option<Usage> {
        let began = Self { at: self.started, cpu: Some(0), ..*self };
        self.since(&began).filter(|usage| usage.window >= TOO_NEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(at: i64, cpu: f64, started: f64) -> Look {
        let labels = r#"{container="c",namespace="n",pod="p"}"#;
        let page = format!(
            "# TYPE node_cpu_usage_seconds_total counter\n\
             node_cpu_usage_seconds_total {cpu} {at}\n\
             node_memory_working_set_bytes 4096 {at}\n\
             container_cpu_usage_seconds_total{labels} {cpu} {at}\n\
             container_memory_working_set_bytes{labels} 2048 {at}\n\
             container_start_time_seconds{labels} {started}\n\
             container_cpu_usage_seconds_total{{container=\"half\",namespace=\"n\",pod=\"q\"}} 1 {at}\n"
        );
        Look::read(&page).expect("a page")
    }

    /// Billionths of a processor, bytes, and the window in milliseconds.
    fn check(now: &Look, before: &Look, expected: Option<(u64, u64, u128)>) {
        let found = now.pod(before, "n", "p").map(|containers| {
            let usage = containers["c"];
            (usage.cpu, usage.memory, usage.window.as_millis())
        });
        assert_eq!(found, expected, "{now:?} {before:?}");
    }

    #[test]
    fn processors_are_told_as_a_rate_between_two_looks() {
        let (then, now) = (page(1_000_000, 2.0, 500.0), page(1_010_000, 3.0, 500.0));
        check(&now, &then, Some((100_000_000, 2048, 10_000)));
        let node = now.node(&then).expect("two looks");
        assert_eq!((node.cpu, node.memory, node.at.as_second()), (100_000_000, 4096, 1010));
        assert!(now.pod(&then, "n", "q").is_none(), "of which not all is told");
        assert!(now.node(&Look::default()).is_none());
        // The same look twice says nothing of a rate, nor does one before the other.
        check(&now, &now, None);
        check(&then, &now, None);
    }

    #[test]
    fn what_is_new_is_told_since_it_began_and_not_too_soon() {
        let nothing = Look::default();
        check(&page(1_020_000, 2.0, 1000.0), &nothing, Some((100_000_000, 2048, 20_000)));
        check(&page(1_009_000, 2.0, 1000.0), &nothing, None);
        // Started anew between the looks.
        check(&page(1_040_000, 2.0, 1020.0), &page(1_010_000, 9.0, 500.0), Some((100_000_000, 2048, 20_000)));
        // It counts from less though it is said to be the same.
        check(&page(1_040_000, 2.0, 500.0), &page(1_010_000, 9.0, 500.0), None);
    }
}
