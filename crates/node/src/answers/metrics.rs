//! What the node and its pods use, and how many there are, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base::Timestamp;
use http::StatusCode;

use super::sample::{OfPod, Sample};
use super::{Answer, answer};
use crate::Agent;

/// The text form of Prometheus.
const FORM: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Agent {
    /// How many there are of what it looks after.
    pub(super) async fn metrics(&self) -> Answer {
        let sample = self.sample().await;
        let mut text = Text::default();
        let node = &self.shared.config.name;
        text.head("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
        text.line("kubelet_node_name", &[("node", node)], "1", None);
        let containers: usize = sample.pods.iter().map(|of| of.containers.len()).sum();
        text.head("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
        text.line(
            "kubelet_running_containers",
            &[("container_state", "running")],
            &containers.to_string(),
            None,
        );
        text.head("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
        text.line("kubelet_running_pods", &[], &sample.pods.len().to_string(), None);
        text.answer()
    }

    /// What is used, as autoscalers ask for it.
    pub(super) async fn resource_metrics(&self) -> Answer {
        let sample = self.sample().await;
        resources(&sample).answer()
    }

    /// What is used, by the names that cAdvisor has for it.
    pub(super) async fn container_metrics(&self) -> Answer {
        let sample = self.sample().await;
        containers(&sample).answer()
    }
}

/// Metrics in the making.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], amount: &str, at: Option<Timestamp>) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = write!(self.0, " {amount}");
        if let Some(at) = at {
            let _ = write!(self.0, " {}", at.as_millisecond());
        }
        self.0.push('\n');
    }

    pub(super) fn answer(self) -> Answer {
        answer(StatusCode::OK, FORM, self.0)
    }

    #[cfg(test)]
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

fn names(of: &OfPod) -> (&str, &str) {
    let metadata = &of.pod.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// An amount as it is written, and when it was read if that is known.
type Amount = (String, Option<Timestamp>);
/// Gives an amount as it is written.
type Told<T> = fn(&T) -> String;
/// Gives a number.
type Counted<T> = fn(&T) -> u64;

fn resources(sample: &Sample) -> Text {
    let mut text = Text::default();
    let of_containers =
        |text: &mut Text, name: &str, amount: &dyn Fn(&super::sample::OfContainer) -> Option<Amount>| {
            for of in &sample.pods {
                let (namespace, pod) = names(of);
                for container in &of.containers {
                    let labels = [("container", &*container.name), ("namespace", namespace), ("pod", pod)];
                    if let Some((amount, at)) = amount(container) {
                        text.line(name, &labels, &amount, at);
                    }
                }
            }
        };
    let name = "container_cpu_usage_seconds_total";
    text.head(name, "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
    of_containers(&mut text, name, &|of| Some((seconds(of.measured.usage.cpu), of.measured.usage.at)));
    let name = "container_memory_working_set_bytes";
    text.head(name, "gauge", "[STABLE] Current working set of the container in bytes");
    of_containers(&mut text, name, &|of| {
        Some((of.measured.usage.working_set.to_string(), of.measured.usage.at))
    });
    let name = "container_start_time_seconds";
    text.head(name, "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    of_containers(&mut text, name, &|of| {
        let started = of.started?;
        Some((format!("{}.{:03}", started.as_second(), started.subsec_millisecond()), None))
    });
    let name = "container_swap_usage_bytes";
    text.head(
        name,
        "gauge",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
    );
    of_containers(&mut text, name, &|of| Some((of.measured.usage.swap.to_string(), of.measured.usage.at)));

    let node = &sample.node.measured.usage;
    for (name, kind, help, amount) in [
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            seconds(node.cpu),
        ),
        (
            "node_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the node in bytes",
            node.working_set.to_string(),
        ),
        (
            "node_swap_usage_bytes",
            "gauge",
            "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
            node.swap.to_string(),
        ),
    ] {
        text.head(name, kind, help);
        text.line(name, &[], &amount, node.at);
    }
    let of_pods: [(&str, &str, &str, Told<OfPod>); 3] = [
        (
            "pod_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            |of| seconds(of.measured.usage.cpu),
        ),
        ("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes", |of| {
            of.measured.usage.working_set.to_string()
        }),
        (
            "pod_swap_usage_bytes",
            "gauge",
            "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
            |of| of.measured.usage.swap.to_string(),
        ),
    ];
    for (name, kind, help, amount) in of_pods {
        text.head(name, kind, help);
        for of in &sample.pods {
            let (namespace, pod) = names(of);
            text.line(name, &[("namespace", namespace), ("pod", pod)], &amount(of), of.measured.usage.at);
        }
    }
    let name = "resource_scrape_error";
    text.head(name, "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    text.line(name, &[], if !sample.unknown.is_empty() { "1" } else { "0" }, None);
    text
}

fn containers(sample: &Sample) -> Text {
    type Amount = fn(&super::sample::Measured) -> String;
    let mut text = Text::default();
    let all: [(&str, &str, &str, Amount); 7] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |of| {
            seconds(of.usage.cpu)
        }),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |of| of.usage.memory.to_string(),
        ),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |of| {
            of.usage.working_set.to_string()
        }),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |of| of.usage.rss.to_string()),
        ("container_memory_swap", "gauge", "Container swap usage in bytes.", |of| of.usage.swap.to_string()),
        ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", |of| {
            of.memory_limit.unwrap_or(0).to_string()
        }),
        ("container_threads", "gauge", "Number of threads running inside the container", |of| {
            of.usage.pids.to_string()
        }),
    ];
    for (name, kind, help, amount) in all {
        text.head(name, kind, help);
        let cpu: &[(&str, &str)] =
            if name == "container_cpu_usage_seconds_total" { &[("cpu", "total")] } else { &[] };
        let mut line = |labels: [(&str, &str); 6], of: &super::sample::Measured| {
            let labels: Vec<(&str, &str)> =
                labels[..1].iter().chain(cpu).chain(&labels[1..]).copied().collect();
            text.line(name, &labels, &amount(of), of.usage.at);
        };
        let machine =
            [("container", ""), ("id", "/"), ("image", ""), ("name", ""), ("namespace", ""), ("pod", "")];
        line(machine, &sample.node.measured);
        for of in &sample.pods {
            let (namespace, pod) = names(of);
            let uid = of.pod.metadata.uid.as_deref().unwrap_or_default();
            let id = format!("/pods/{uid}");
            let labels = [
                ("container", ""),
                ("id", &*id),
                ("image", ""),
                ("name", ""),
                ("namespace", namespace),
                ("pod", pod),
            ];
            line(labels, &of.measured);
            for container in &of.containers {
                let id = format!("/pods/{uid}/{}", container.id);
                let labels = [
                    ("container", &*container.name),
                    ("id", &*id),
                    ("image", &*container.image),
                    ("name", &*container.id),
                    ("namespace", namespace),
                    ("pod", pod),
                ];
                line(labels, &container.measured);
            }
        }
    }
    let of_network: [(&str, &str, Counted<crate::runtime::Traffic>); 4] = [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received", |traffic| {
            traffic.rx_bytes
        }),
        (
            "container_network_receive_errors_total",
            "Cumulative count of errors encountered while receiving",
            |traffic| traffic.rx_errors,
        ),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |traffic| {
            traffic.tx_bytes
        }),
        (
            "container_network_transmit_errors_total",
            "Cumulative count of errors encountered while transmitting",
            |traffic| traffic.tx_errors,
        ),
    ];
    for (name, help, amount) in of_network {
        text.head(name, "counter", help);
        let mut lines = |interfaces: &BTreeMap<String, crate::runtime::Traffic>,
                         namespace: &str,
                         pod: &str,
                         at: Option<Timestamp>| {
            for (interface, traffic) in interfaces {
                let labels = [("interface", &**interface), ("namespace", namespace), ("pod", pod)];
                text.line(name, &labels, &amount(traffic).to_string(), at);
            }
        };
        lines(&sample.node.networks, "", "", sample.node.measured.usage.at);
        for of in &sample.pods {
            let (namespace, pod) = names(of);
            lines(&of.networks, namespace, pod, of.measured.usage.at);
        }
    }
    text.head("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    text.line("machine_memory_bytes", &[], &sample.node.memory.to_string(), None);
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::sample::{Measured, OfContainer};
    use super::*;
    use crate::runtime::Usage;

    fn sample() -> Sample {
        let at = Timestamp::from_second(1_800_000_000).expect("in range");
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}});
        let usage = Usage { at: Some(at), cpu: 1_500_000_000, working_set: 7, ..Usage::default() };
        let measured = Measured { usage, ..Measured::default() };
        let container = OfContainer {
            name: "a\"b".to_owned(),
            id: "i".to_owned(),
            image: "busybox".to_owned(),
            started: Some(at),
            measured: measured.clone(),
            log: None,
        };
        Sample {
            at,
            pods: vec![OfPod {
                pod: Arc::new(serde_json::from_value(pod).expect("a pod")),
                measured,
                networks: BTreeMap::new(),
                containers: vec![container],
                volumes: Vec::new(),
            }],
            ..Sample::default()
        }
    }

    #[test]
    fn what_autoscalers_ask_for_is_in_the_form_that_they_read() {
        let text = resources(&sample()).0;
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            r#"container_cpu_usage_seconds_total{container="a\"b",namespace="n",pod="p"} 1.500000000 1800000000000"#,
            r#"container_start_time_seconds{container="a\"b",namespace="n",pod="p"} 1800000000.000"#,
            r#"pod_memory_working_set_bytes{namespace="n",pod="p"} 7 1800000000000"#,
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let text = containers(&sample()).0;
        let line = r#"container_cpu_usage_seconds_total{container="a\"b",cpu="total",id="/pods/u/i",image="busybox",name="i",namespace="n",pod="p"} 1.500000000 1800000000000"#;
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
