//! Probes: is a container started, alive, ready to serve?
//!
//! [`Tally`] is the pure part: results in, verdict changes out. [`fn@check`] makes one attempt over
//! exec, HTTP, HTTPS, gRPC or TCP. The pod worker owns one task per probe of a running
//! container and hears of verdicts only.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::runtime::{ContainerId, Port, Runtime};

mod check;
mod grpc;
mod http;
mod pace;
mod tls;

pub use check::{Passed, check};
pub use http::get as http_get;
pub use pace::{Attempt, Pace};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether the other two may begin.
    Startup,
    /// Whether the container must be killed.
    Liveness,
    /// Whether the pod gets traffic.
    Readiness,
}

impl Kind {
    /// The word in events: `Liveness probe failed: …`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// When and how often a probe is made; the API's defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Before the first attempt.
    pub initial_delay: Duration,
    /// From one attempt to the next.
    pub period: Duration,
    /// For one attempt.
    pub timeout: Duration,
    /// Successes in a row until the verdict is good.
    pub successes: u32,
    /// Failures in a row until the verdict is bad.
    pub failures: u32,
}

impl Timing {
    /// The timing of `probe`.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value.and_then(|value| u64::try_from(value).ok()).filter(|&v| v > 0).unwrap_or(default),
            )
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|&value| value > 0).unwrap_or(default)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }
}

/// Counts results until a verdict is reached.
#[derive(Clone, Debug)]
pub struct Tally {
    timing: Timing,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Tally {
    /// No result yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, last: None, run: 0, verdict: None }
    }

    /// Adds a result; gives the verdict if this result changed it, or confirmed a bad one.
    pub fn add(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let enough = if success { self.timing.successes } else { self.timing.failures };
        if self.run < enough || self.verdict == Some(success) {
            return None;
        }
        self.verdict = Some(success);
        Some(success)
    }
}

/// What a probe is made against.
#[derive(Clone)]
pub struct Target {
    /// The runtime that runs commands.
    pub runtime: Arc<dyn Runtime>,
    /// The container.
    pub container: ContainerId,
    /// The pod's address.
    pub address: IpAddr,
    /// The container's named ports.
    pub ports: Vec<(String, Port)>,
}

/// The named TCP ports of `container`.
pub fn named_ports(container: &Container) -> Vec<(String, Port)> {
    let named = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let protocol = crate::pod::container_spec::protocol(port.protocol.as_deref());
        Some((port.name.clone()?, Port { number: u16::try_from(port.container_port).ok()?, protocol }))
    };
    container.ports.iter().flatten().filter_map(named).collect()
}

/// The number of a port given by number or name.
pub fn port_number(port: &IntOrString, named: &[(String, Port)]) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|&number| number > 0),
        IntOrString::String(name) => named
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, port)| port.number)
            .or_else(|| name.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn verdicts(successes: u32, failures: u32, results: &str, expected: &str) {
        let second = Duration::from_secs(1);
        let timing = Timing { initial_delay: second, period: second, timeout: second, successes, failures };
        let mut tally = Tally::new(timing);
        let shown: String = results
            .chars()
            .map(|result| match tally.add(result == '+') {
                Some(true) => '+',
                Some(false) => '-',
                None => '.',
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_verdict_needs_enough_results_in_a_row_and_is_told_once() {
        verdicts(1, 3, "+++", "+..");
        verdicts(1, 3, "+--+---+", "+.....-+");
        verdicts(2, 1, "+-++", ".-.+");
        verdicts(1, 3, "------", "..-...");
    }

    #[test]
    fn a_port_is_found_by_number_and_by_name() {
        let container = serde_json::json!({"name": "c", "ports": [{"name": "http", "containerPort": 8080}]});
        let container: Container = serde_json::from_value(container).expect("a container");
        let named = named_ports(&container);
        assert_eq!(port_number(&IntOrString::String("http".to_owned()), &named), Some(8080));
        assert_eq!(port_number(&IntOrString::Int(53), &named), Some(53));
        assert_eq!(port_number(&IntOrString::String("none".to_owned()), &named), None);
    }
}
