//! What the agent was told.

use serde_json::{Value, json as value};

use super::{Answer, json};
use crate::Agent;
use crate::reserves::Amounts;

impl Agent {
    /// The settings that this agent has, by the names that a kubelet's have.
    pub(super) fn configuration(&self) -> Answer {
        let config = &self.shared.config;
        let reserved = |amounts: Amounts| -> Value {
            let all = [
                ("cpu", model::quantity::Quantity::from_millis(amounts.cpu)),
                ("memory", model::quantity::Quantity::from_bytes(amounts.memory)),
                ("ephemeral-storage", model::quantity::Quantity::from_bytes(amounts.storage)),
                ("pid", model::quantity::Quantity::new(amounts.pids, model::quantity::Format::Decimal)),
            ];
            let set = all.into_iter().filter(|(_, amount)| !amount.is_zero());
            set.map(|(name, amount)| (name.to_owned(), amount.to_string().into()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json(&value!({"kubeletconfig": {
            "enableServer": false,
            "enableDebuggingHandlers": true,
            "enableSystemLogHandler": false,
            "enableProfilingHandler": false,
            "enableDebugFlagsHandler": false,
            "clusterDomain": config.cluster_domain,
            "clusterDNS": [config.cluster_dns.to_string()],
            "maxPods": config.pods,
            "systemReserved": reserved(config.reserves.system),
            "kubeReserved": reserved(config.reserves.kube),
            "evictionHard": config.reserves.thresholds.named().collect::<std::collections::BTreeMap<_, _>>(),
            "nodeStatusUpdateFrequency": "10s",
            "nodeStatusReportFrequency": "5m0s",
            "nodeLeaseDurationSeconds": 40,
            "cgroupsPerQOS": true,
            "cgroupDriver": "cgroupfs",
            "cpuManagerPolicy": "none",
            "memoryManagerPolicy": "None",
            "containerLogMaxSize": "10Mi",
        }}))
    }
}
