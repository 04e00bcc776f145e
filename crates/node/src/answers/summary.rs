//! What the node and its pods use, as `/stats/summary` tells it.
//! Source: <https://github.com/kubernetes/kubelet/blob/v0.36.0/pkg/apis/stats/v1alpha1/types.go>.

use std::collections::BTreeMap;

use base::Timestamp;
use serde_json::{Map, Value, json as value};

use super::sample::{Files, Measured, OfPod, OfVolume, Sample};
use super::{Answer, json};
use crate::Agent;
use crate::runtime::Traffic;

impl Agent {
    pub(super) async fn summary(&self, only_cpu_and_memory: bool) -> Answer {
        let sample = self.sample().await;
        json(&summary(&sample, &self.shared.config.name, only_cpu_and_memory))
    }
}

fn summary(sample: &Sample, name: &str, only_cpu_and_memory: bool) -> Value {
    let node = &sample.node;
    let mut of_node = object([
        ("nodeName", Some(name.into())),
        ("startTime", Some(time(node.started))),
        ("cpu", Some(cpu(&node.measured))),
        ("memory", Some(memory(&node.measured, Some(node.available)))),
    ]);
    if let Some(together) = &sample.together {
        let pods = object([
            ("name", Some("pods".into())),
            ("startTime", Some(time(node.started))),
            ("cpu", Some(cpu(together))),
            ("memory", Some(memory(together, None))),
        ]);
        of_node.insert("systemContainers".to_owned(), value!([pods]));
    }
    if !only_cpu_and_memory {
        of_node.insert("network".to_owned(), network(sample.at, &node.networks, node.outward.as_deref()));
        if let Some(files) = &node.files {
            of_node.insert("fs".to_owned(), file_system(sample.at, files));
        }
        of_node.insert(
            "rlimit".to_owned(),
            value!({"time": time(sample.at), "maxpid": node.most_processes, "curproc": node.processes}),
        );
        of_node.insert("swap".to_owned(), swap(&node.measured));
    }
    let pods = sample.pods.iter().map(|of| pod(of, sample, only_cpu_and_memory));
    value!({"node": of_node, "pods": pods.collect::<Vec<_>>()})
}

fn pod(of: &OfPod, sample: &Sample, only_cpu_and_memory: bool) -> Map<String, Value> {
    let metadata = &of.pod.metadata;
    let containers = of.containers.iter().map(|container| {
        let mut told = object([
            ("name", Some(container.name.clone().into())),
            ("startTime", container.started.map(time)),
            ("cpu", Some(cpu(&container.measured))),
            ("memory", Some(memory(&container.measured, None))),
        ]);
        if !only_cpu_and_memory {
            // What it wrote into its root file system is not counted: nobody walks through it for a question.
            if let (Some(files), Some(log)) = (&sample.node.files, container.log) {
                let mut logs = file_system(sample.at, files);
                if let Some(logs) = logs.as_object_mut() {
                    logs.insert("usedBytes".to_owned(), log.into());
                    logs.remove("inodesUsed");
                }
                told.insert("logs".to_owned(), logs);
            }
            told.insert("swap".to_owned(), swap(&container.measured));
        }
        told
    });
    let started = of.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let mut told = object([
        (
            "podRef",
            Some(value!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid})),
        ),
        ("startTime", started.map(|started| time(started.0))),
        ("containers", Some(containers.collect::<Vec<_>>().into())),
        ("cpu", Some(cpu(&of.measured))),
        ("memory", Some(memory(&of.measured, None))),
    ]);
    if !only_cpu_and_memory {
        if !of.networks.is_empty() {
            told.insert("network".to_owned(), network(sample.at, &of.networks, Some("eth0")));
        }
        let volumes: Vec<_> = of.volumes.iter().map(|volume| self::volume(volume, of, sample)).collect();
        if !volumes.is_empty() {
            told.insert("volume".to_owned(), volumes.into());
        }
        told.insert("process_stats".to_owned(), value!({"process_count": of.measured.usage.pids}));
        told.insert("swap".to_owned(), swap(&of.measured));
    }
    told
}

/// A volume that is limited: what is left of that, and no more than the disk has.
fn volume(volume: &OfVolume, of: &OfPod, sample: &Sample) -> Value {
    let left = volume.capacity.saturating_sub(volume.used.bytes);
    let on_disk = sample.node.files.map_or(left, |files| files.available);
    object([
        ("time", Some(time(sample.at))),
        ("availableBytes", Some(left.min(on_disk).into())),
        ("capacityBytes", Some(volume.capacity.into())),
        ("usedBytes", Some(volume.used.bytes.into())),
        ("inodesFree", sample.node.files.map(|files| files.inodes_free.into())),
        ("inodes", sample.node.files.map(|files| files.inodes.into())),
        ("inodesUsed", Some(volume.used.files.into())),
        ("name", Some(volume.name.clone().into())),
        ("pvcRef", Some(value!({"name": volume.claim, "namespace": of.pod.metadata.namespace}))),
    ])
    .into()
}

/// An object of those fields that there are.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn time(at: Timestamp) -> Value {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string().into()
}

fn at(measured: &Measured) -> Option<Value> {
    measured.usage.at.map(time)
}

fn cpu(measured: &Measured) -> Value {
    object([
        ("time", at(measured)),
        ("usageNanoCores", measured.rate.map(Into::into)),
        ("usageCoreNanoSeconds", Some(measured.usage.cpu.into())),
    ])
    .into()
}

fn memory(measured: &Measured, available: Option<u64>) -> Value {
    let usage = &measured.usage;
    let left = measured.memory_limit.map(|limit| limit.saturating_sub(usage.working_set));
    object([
        ("time", at(measured)),
        ("availableBytes", available.or(left).map(Into::into)),
        ("usageBytes", Some(usage.memory.into())),
        ("workingSetBytes", Some(usage.working_set.into())),
        ("rssBytes", Some(usage.rss.into())),
        ("pageFaults", Some(usage.page_faults.into())),
        ("majorPageFaults", Some(usage.major_page_faults.into())),
    ])
    .into()
}

fn swap(measured: &Measured) -> Value {
    object([("time", at(measured)), ("swapUsageBytes", Some(measured.usage.swap.into()))]).into()
}

/// What goes through interfaces: that of `outward` is told first, as a kubelet does.
fn network(at: Timestamp, interfaces: &BTreeMap<String, Traffic>, outward: Option<&str>) -> Value {
    let one = |(name, traffic): (&String, &Traffic)| {
        object([
            ("name", Some(name.clone().into())),
            ("rxBytes", Some(traffic.rx_bytes.into())),
            ("rxErrors", Some(traffic.rx_errors.into())),
            ("txBytes", Some(traffic.tx_bytes.into())),
            ("txErrors", Some(traffic.tx_errors.into())),
        ])
    };
    let first = interfaces.iter().find(|(name, _)| outward == Some(name.as_str()));
    let first = first.or_else(|| interfaces.iter().next());
    let mut told = object([("time", Some(time(at)))]);
    told.extend(first.map(one).unwrap_or_default());
    told.insert("interfaces".to_owned(), interfaces.iter().map(one).collect::<Vec<_>>().into());
    told.into()
}

fn file_system(at: Timestamp, files: &Files) -> Value {
    object([
        ("time", Some(time(at))),
        ("availableBytes", Some(files.available.into())),
        ("capacityBytes", Some(files.capacity.into())),
        ("usedBytes", Some(files.used.into())),
        ("inodesFree", Some(files.inodes_free.into())),
        ("inodes", Some(files.inodes.into())),
        ("inodesUsed", Some(files.inodes.saturating_sub(files.inodes_free).into())),
    ])
    .into()
}
