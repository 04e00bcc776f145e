//! What stands between a pod and each node, and what would take it away.

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::framework::Prepared;
use super::groups::{Lack, Standing};
use super::node::NodeInfo;
use super::planner::Planner;
use super::pod::{NodeName, PodInfo};
use super::preemption::{self, Found};
use crate::pods;

/// Why a pod has no node, or which it could have.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// How the pod is, in a sentence.
    pub summary: String,
    /// How the group is that it is placed with, in a sentence; nothing where it is of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Every node, by name; none where that makes no difference.
    pub nodes: Vec<Verdict>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Its name.
    pub node: String,
    /// What is in the way; nothing if the pod fits.
    pub obstacles: Vec<Obstacle>,
}

/// Something that is in the way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// The plugin that says so.
    pub plugin: &'static str,
    /// In Kubernetes' words.
    pub reason: String,
    /// What would take it away, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Planner {
    /// Looks at a pod as if it were to get a node now. Decides nothing.
    pub fn explain(&mut self, pod: &Pod) -> Explanation {
        let alone = |summary: String| Explanation { summary, group: None, nodes: Vec::new() };
        if let Some(summary) = settled(pod) {
            return alone(summary);
        }
        let info = PodInfo::of(pod);
        let group = self.explain_group(&info);
        self.look();
        let Some(framework) = self.framework(&info.scheduler) else {
            return alone(format!("it waits for another scheduler: {}", info.scheduler));
        };
        let (scene, budgets) = (self.scene(), self.budgets());
        let prepared: Vec<_> =
            framework.filters.iter().map(|filter| (filter, filter.prepare(&info, scene))).collect();
        let verdict = |node: &NodeInfo| {
            let obstacles = prepared.iter().filter_map(|(filter, prepared)| {
                let reason = refusal(prepared, node)?;
                Some(Obstacle { plugin: filter.name(), reason, cure: filter.cure(&info, node) })
            });
            Verdict { node: node.name().to_string(), obstacles: obstacles.collect() }
        };
        let nodes: Vec<Verdict> = scene.nodes.iter().map(verdict).collect();
        let fitting = nodes.iter().filter(|node| node.obstacles.is_empty()).count();
        let summary = match (scene.nodes.len(), fitting) {
            (0, _) => "there is no node".to_owned(),
            (all, 0) => {
                let room = framework.choose(&info, scene, &mut 0).err().and_then(|unfit| {
                    let residents = |node: &NodeName| self.residents(node);
                    preemption::find(framework, &info, scene, &unfit, budgets, &residents, 0)
                });
                match room {
                    Some(Found::Room(candidate)) => {
                        let victims = candidate
                            .victims
                            .iter()
                            .map(|victim| format!("{}/{}", victim.share.namespace(), victim.share.name));
                        let victims: Vec<String> = victims.collect();
                        let victims = victims.join(", ");
                        format!(
                            "it fits on none of {all} nodes as they are; less important pods would go for it on \
                             {}: {victims}",
                            candidate.node
                        )
                    }
                    _ => {
                        format!("it fits on none of {all} nodes, and no less important pods could make room")
                    }
                }
            }
            (all, fitting) => format!("it fits on {fitting} of {all} nodes"),
        };
        Explanation { summary, group, nodes }
    }

    /// How the group of a pod is, and how many of it would find a node now.
    fn explain_group(&mut self, pod: &PodInfo) -> Option<String> {
        let group = self.group_of(&pod.id.uid)?;
        let Standing { minimum, placed, waiting } = self.standing(&group);
        let key = &group.key;
        Some(match minimum {
            Err(Lack::PodGroup(_)) => format!("there is no PodGroup {key}, which it names"),
            Err(lack) => format!("its group {key}: {lack}"),
            Ok(minimum) => {
                let needs = format!("its group {key} needs {minimum} at once: {placed} have a node");
                match placed + waiting < minimum {
                    true => format!("{needs}, {waiting} wait for one, and the others are not there"),
                    false => {
                        let found = self.would_find_nodes(&group);
                        format!("{needs}, and of {waiting} that wait {found} would find one now")
                    }
                }
            }
        })
    }
}

fn refusal(prepared: &Prepared<'_>, node: &NodeInfo) -> Option<String> {
    if let Some(refusal) = &prepared.refused {
        return Some(refusal.reasons.join(", "));
    }
    prepared.filter.as_ref()?.refuses(node).map(|refusal| refusal.reasons.join(", "))
}

/// How a pod is that waits for no scheduler.
fn settled(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref();
    if pods::is_terminal(pod) {
        return Some(format!("it has ended: {}", pods::phase(pod)));
    }
    if let Some(node) = spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
        return Some(format!("it has its node: {node}"));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".to_owned());
    }
    let gates = spec.and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("it is held by the scheduling gates {}", names.join(", ")))
}

/// An amount of a resource, as people write it.
pub(super) fn shown(name: &str, amount: i128) -> String {
    const UNITS: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    match name {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" => {
            let fits = |(_, shift): &(&str, u32)| amount != 0 && amount % (1_i128 << shift) == 0;
            match UNITS.into_iter().find(fits) {
                Some((unit, shift)) => format!("{}{unit}", amount >> shift),
                None => amount.to_string(),
            }
        }
        _ => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use client::Change;
    use serde_json::{Value, json};

    use super::*;
    use crate::scheduler::Event;

    fn explain(nodes: &[Value], there: &[Value], pod: &Value) -> (String, Vec<String>) {
        let mut planner = Planner::new();
        for node in nodes {
            let node = Arc::new(serde_json::from_value(node.clone()).expect("a node"));
            planner.apply(Event::of_node(&Change::Added(node)), Duration::ZERO);
        }
        for pod in there {
            let events = Event::of_pod(&Change::Added(Arc::new(typed(pod))));
            events.for_each(|event| planner.apply(event, Duration::ZERO));
        }
        let explanation = planner.explain(&typed(pod));
        let lines = explanation.nodes.iter().flat_map(|verdict| {
            verdict.obstacles.iter().map(move |obstacle| {
                let cure = obstacle.cure.as_deref().unwrap_or("-");
                format!("{}: {}: {} ({cure})", verdict.node, obstacle.plugin, obstacle.reason)
            })
        });
        (explanation.summary, lines.collect())
    }

    fn typed(pod: &Value) -> Pod {
        serde_json::from_value(pod.clone()).expect("a pod")
    }

    fn node(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "labels": {"disk": "hdd"}}, "spec": spec,
               "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "2"}}})
    }

    fn pod(name: &str, spec: Value) -> Value {
        let mut spec = spec;
        let requests = json!({"cpu": "3", "memory": "512Mi"});
        spec["containers"] = json!([{"name": "c", "resources": {"requests": requests},
            "ports": [{"containerPort": 80, "hostPort": 80}]}]);
        json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": spec})
    }

    #[test]
    fn all_that_is_in_the_way_is_told_with_what_would_take_it_away() {
        let taint = json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]});
        let nodes = [node("a", json!({})), node("b", taint), node("c", json!({"unschedulable": true}))];
        let there = [pod("q", json!({"nodeName": "a"}))];
        let (summary, lines) = explain(&nodes, &there, &pod("p", json!({"nodeSelector": {"disk": "ssd"}})));
        assert_eq!(summary, "it fits on none of 3 nodes, and no less important pods could make room");
        let label = "NodeAffinity: node(s) didn't match Pod's node affinity/selector \
                     (the label disk of the node is hdd, and has to be ssd)";
        let ports = "NodePorts: node(s) didn't have free ports for the requested pod ports \
                     (80/TCP of the node has to be given up by another pod)";
        let expected = [
            format!("a: {label}"),
            format!("a: {ports}"),
            "a: NodeResourcesFit: Insufficient cpu (3 cpu is asked for, and 1 of 4 is free)".to_owned(),
            "b: TaintToleration: node(s) had untolerated taint(s) (the pod has to tolerate gpu=yes:NoSchedule, \
             or the node has to lose it)"
                .to_owned(),
            format!("b: {label}"),
            "c: NodeUnschedulable: node(s) were unschedulable (kubectl uncordon c)".to_owned(),
            format!("c: {label}"),
        ];
        assert_eq!(lines, expected);
        let (summary, lines) =
            explain(&nodes, &there, &pod("p", json!({"tolerations": [{"operator": "Exists"}]})));
        assert_eq!((summary.as_str(), lines.len()), ("it fits on 2 of 3 nodes", 2));
    }

    #[test]
    fn who_waits_for_no_node_is_told_so() {
        let nodes = [node("a", json!({}))];
        let summary = |change: &dyn Fn(&mut Value)| {
            let mut pod = pod("p", json!({}));
            change(&mut pod);
            explain(&nodes, &[], &pod).0
        };
        assert_eq!(summary(&|pod| pod["spec"]["nodeName"] = "a".into()), "it has its node: a");
        let gates = json!([{"name": "example.org/wait"}]);
        let held = summary(&|pod| pod["spec"]["schedulingGates"] = gates.clone());
        assert_eq!(held, "it is held by the scheduling gates example.org/wait");
        let others = summary(&|pod| pod["spec"]["schedulerName"] = "another".into());
        assert_eq!(others, "it waits for another scheduler: another");
        assert_eq!(summary(&|pod| pod["status"]["phase"] = "Failed".into()), "it has ended: Failed");
        let low = pod("q", json!({"nodeName": "a", "priority": -5}));
        let (summary, _) = explain(&nodes, &[low], &pod("p", json!({})));
        assert_eq!(
            summary,
            "it fits on none of 1 nodes as they are; less important pods would go for it on a: n/q"
        );
    }

    #[test]
    fn who_is_of_a_group_is_told_how_that_is() {
        let member = |name: &str, count: &str| {
            let mut pod = pod(name, json!({}));
            pod["metadata"]["annotations"] =
                json!({"gantry.dev/pod-group": "g", "gantry.dev/pod-group-min-count": count});
            typed(&pod)
        };
        let group = |nodes: &[&str], there: &[Pod], pod: &Pod| {
            let mut planner = Planner::new();
            for name in nodes {
                let node = Arc::new(serde_json::from_value(node(name, json!({}))).expect("a node"));
                planner.apply(Event::of_node(&Change::Added(node)), Duration::ZERO);
            }
            for pod in there.iter().chain([pod]) {
                let events = Event::of_pod(&Change::Added(Arc::new(pod.clone())));
                events.for_each(|event| planner.apply(event, Duration::ZERO));
            }
            let first = planner.explain(pod).group;
            assert_eq!(planner.explain(pod).group, first, "nothing was decided");
            first.unwrap_or_default()
        };
        let p = member("p", "3");
        let needs = "its group n/g needs 3 at once: 0 have a node";
        assert_eq!(group(&["a"], &[], &p), format!("{needs}, 1 wait for one, and the others are not there"));
        let others = [member("q", "3"), member("r", "3")];
        let told = |found: usize| format!("{needs}, and of 3 that wait {found} would find one now");
        assert_eq!(group(&["a", "b"], &others, &p), told(2));
        assert_eq!(group(&["a", "b", "c"], &others, &p), told(3));
        assert!(
            group(&["a"], &[], &member("p", "0"))
                .starts_with("its group n/g: waiting for a pod of the group to say")
        );
        assert_eq!(group(&["a"], &[], &typed(&pod("p", json!({})))), "");
    }
}
