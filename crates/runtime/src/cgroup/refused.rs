//! Limits that are not applied, and so refused.

use super::CgroupError;
use crate::spec::Resources;

const V2: &str = "cgroup v2";

/// Refuses what would be left out: what no kernel has any more, and with `unified` what v2 has not.
pub(super) fn check(resources: &Resources, unified: bool) -> Result<(), CgroupError> {
    let memory = resources.memory.clone().unwrap_or_default();
    let cpu = resources.cpu.clone().unwrap_or_default();
    let block = resources.block_io.clone().unwrap_or_default();
    let network = resources.network.clone().unwrap_or_default();
    let limits = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
    let leave_out = "leave it out";
    let wishes = [
        (
            limits(memory.kernel),
            "kernel memory by itself",
            "today's kernels",
            "limit memory, which counts it",
        ),
        (unified && limits(memory.kernel_tcp), "memory of TCP buffers", V2, "limit memory, which counts it"),
        (unified && memory.swappiness.is_some(), "swappiness", V2, "limit swap, or leave it out"),
        (unified && memory.disable_oom_killer == Some(true), "the out-of-memory killer", V2, leave_out),
        (
            unified && cpu.realtime_period.is_some_and(|period| period != 0),
            "real-time processor time",
            V2,
            leave_out,
        ),
        (
            unified && cpu.realtime_runtime.is_some_and(|runtime| runtime != 0),
            "real-time processor time",
            V2,
            leave_out,
        ),
        (
            unified && block.leaf_weight.is_some_and(|weight| weight != 0),
            "the disk weight of leaves",
            V2,
            "use the weight of the group",
        ),
        (
            block.weight_device.iter().any(|device| device.leaf_weight.is_some_and(|weight| weight != 0)),
            "the disk weight of leaves on single devices",
            "today's kernels",
            "use the weight of the group",
        ),
        (
            unified && network.class_id.is_some_and(|class| class != 0),
            "the class of packets",
            V2,
            "mark them in the packet filter",
        ),
        (
            unified && !network.priorities.is_empty(),
            "the priority of packets",
            V2,
            "set it in the packet filter",
        ),
    ];
    match wishes.into_iter().find(|(wished, ..)| *wished) {
        Some((_, limit, by, cure)) => Err(CgroupError::Unsupported { limit, by, cure }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(resources: &str, unified: bool, expected: bool) {
        let resources: Resources = serde_json::from_str(resources).expect("resources");
        assert_eq!(check(&resources, unified).is_err(), expected, "{resources:?} unified: {unified}");
    }

    #[test]
    fn a_limit_that_is_not_applied_is_refused() {
        let everywhere = [
            r#"{"memory":{"kernel":4194304}}"#,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":20}]}}"#,
        ];
        let on_v2 = [
            r#"{"memory":{"kernelTCP":4194304}}"#,
            r#"{"memory":{"swappiness":10}}"#,
            r#"{"memory":{"disableOOMKiller":true}}"#,
            r#"{"cpu":{"realtimeRuntime":1000}}"#,
            r#"{"cpu":{"realtimePeriod":1000}}"#,
            r#"{"blockIO":{"leafWeight":20}}"#,
            r#"{"network":{"classID":5}}"#,
            r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#,
        ];
        for resources in everywhere {
            refused(resources, true, true);
            refused(resources, false, true);
        }
        for resources in on_v2 {
            refused(resources, true, true);
            refused(resources, false, false);
        }
    }

    #[test]
    fn what_limits_nothing_passes() {
        let passes = [
            r#"{"memory":{"kernel":-1,"kernelTCP":0,"disableOOMKiller":false}}"#,
            r#"{"cpu":{"realtimeRuntime":0},"network":{"classID":0,"priorities":[]}}"#,
            r#"{"blockIO":{"leafWeight":0,"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#,
        ];
        for resources in passes {
            refused(resources, true, false);
        }
    }
}
