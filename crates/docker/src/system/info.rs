//! `GET /info`.

use engine::host::HostFacts;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::version::ApiVersion;
use crate::wire::system::{AddressPool, FirewallInfo, Index, Info, Plugins, RegistryConfig, Runtime, Swarm};
use crate::wire::{self, Map};

/// What the daemon runs, what it runs on and what its host can do.
pub(crate) async fn info(call: Call) -> Answer {
    let engine = call.engine();
    let facts = engine.host_facts();
    let warnings = warnings(&facts);
    let runtime = "gantry".to_owned();
    answer::json(&Info {
        containers: facts.running + facts.paused + facts.stopped,
        containers_running: facts.running,
        containers_paused: facts.paused,
        containers_stopped: facts.stopped,
        images: facts.images,
        driver: "overlay2".to_owned(),
        driver_status: facts
            .storage
            .iter()
            .map(|(name, value)| [(*name).to_owned(), value.clone()])
            .collect(),
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "local", "none"]),
        },
        memory_limit: facts.limits.memory,
        swap_limit: facts.limits.swap,
        cpu_cfs_period: facts.limits.cpu_quota,
        cpu_cfs_quota: facts.limits.cpu_quota,
        cpu_shares: facts.limits.cpu_shares,
        cpu_set: facts.limits.cpuset,
        pids_limit: facts.limits.pids,
        ipv4_forwarding: facts.limits.ipv4_forwarding,
        // Later versions say nothing of it: bridges do without.
        bridge_nf_iptables: (call.version < ApiVersion(1, 50)).then_some(false),
        bridge_nf_ip6tables: (call.version < ApiVersion(1, 50)).then_some(false),
        oom_kill_disable: facts.limits.oom_kill_disable,
        // What the daemon does at once; here these are tasks.
        n_goroutines: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        system_time: wire::time(call.api.now()),
        logging_driver: engine.config().log.driver.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: facts.cgroup_version.to_string(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(&engine.config().insecure_registries),
        n_cpu: facts.cpus,
        mem_total: facts.memory,
        docker_root_dir: facts.root.display().to_string(),
        server_version: call.api.about.version.clone(),
        runtimes: Map::from([(runtime.clone(), Runtime { path: "gantry runtime".to_owned() })]),
        default_runtime: runtime,
        swarm: Swarm { local_node_state: "inactive".to_owned(), ..Swarm::default() },
        // Containers always outlive the daemon.
        live_restore_enabled: true,
        init_binary: "gantry".to_owned(),
        default_address_pools: engine
            .config()
            .network
            .address_pools
            .iter()
            .map(|pool| AddressPool { base: pool.base.to_string(), size: pool.size })
            .collect(),
        firewall_backend: (call.version >= ApiVersion(1, 49))
            .then(|| FirewallInfo { driver: "nftables".to_owned() }),
        security_options: facts.security.iter().map(|feature| security(feature)).collect(),
        warnings: (!warnings.is_empty()).then_some(warnings),
        id: facts.id,
        kernel_version: facts.kernel,
        operating_system: facts.operating_system,
        os_version: facts.os_version,
        os_type: facts.os,
        architecture: facts.machine,
        name: facts.hostname,
        ..Info::default()
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// `seccomp` becomes `name=seccomp,profile=builtin`.
fn security(feature: &str) -> String {
    match feature {
        "seccomp" => "name=seccomp,profile=builtin".to_owned(),
        other if other.starts_with("name=") => other.to_owned(),
        other => format!("name={other}"),
    }
}

fn registries(insecure: &[String]) -> RegistryConfig {
    let index = |name: &str, secure, official| {
        (name.to_owned(), Index { name: name.to_owned(), mirrors: Vec::new(), secure, official })
    };
    let mut index_configs = Map::from([index("docker.io", true, true)]);
    index_configs.extend(insecure.iter().map(|name| index(name, false, false)));
    RegistryConfig {
        insecure_registry_cidrs: words(&["127.0.0.0/8", "::1/128"]),
        index_configs,
        mirrors: Vec::new(),
    }
}

/// What the user should know is missing, in the words that the client prints.
fn warnings(facts: &HostFacts) -> Vec<String> {
    let limits = &facts.limits;
    let missing = [
        (limits.memory, "WARNING: No memory limit support"),
        (limits.swap, "WARNING: No swap limit support"),
        (limits.cpu_quota, "WARNING: No cpu cfs quota support"),
        (limits.cpu_shares, "WARNING: No cpu shares support"),
        (limits.cpuset, "WARNING: No cpuset support"),
        (limits.pids, "WARNING: No pids limit support"),
        (limits.ipv4_forwarding, "WARNING: IPv4 forwarding is disabled"),
    ];
    let missing = missing.into_iter().filter(|(there, _)| !there).map(|(_, text)| text.to_owned());
    let faults = base::panics::count();
    let faults = (faults > 0).then(|| {
        format!("WARNING: {faults} panics since the daemon started, each told in its log: please report them")
    });
    missing.chain(facts.warnings.iter().map(|text| format!("WARNING: {text}"))).chain(faults).collect()
}
