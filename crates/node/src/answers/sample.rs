//! What the node, its pods and their containers use at one moment: control groups, and `/proc`. No disk is walked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::ObjectKey;
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::Agent;
use crate::agent::Shared;
use crate::local_volumes::rooms::Rooms;
use crate::pod::is_over;
use crate::pod::observe::Observation;
use crate::pod::volumes::claims;
use crate::runtime::{DiskUsage, GroupUsage, Kind, Traffic, Usage};
use crate::thresholds::{Supplies, Supply};

/// How old a sample may be that is told: who asks at once shares one.
const FRESH: Duration = Duration::from_secs(1);
/// So many pods are looked at at once.
const AT_ONCE: usize = 8;

/// The latest sample.
#[derive(Default)]
pub(crate) struct Samples(tokio::sync::Mutex<Option<(Duration, Arc<Sample>)>>);

/// What is used at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// When it was begun.
    pub(super) at: Timestamp,
    pub(super) node: OfNode,
    /// All pods together, if that is known.
    pub(super) together: Option<Measured>,
    pub(super) pods: Vec<OfPod>,
    /// Those that could not be looked at.
    pub(super) unknown: Vec<Arc<Pod>>,
}

/// What is used, and how fast processors were used since the sample before.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) usage: Usage,
    /// Bytes of memory that it may have.
    pub(super) memory_limit: Option<u64>,
    /// Billionths of a processor.
    pub(super) rate: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OfNode {
    pub(super) measured: Measured,
    pub(super) started: Timestamp,
    /// Bytes of memory that could be had.
    pub(super) available: u64,
    pub(super) memory: u64,
    pub(super) networks: BTreeMap<String, Traffic>,
    /// The interface that leads out.
    pub(super) outward: Option<String>,
    pub(super) files: Option<Files>,
    pub(super) processes: u64,
    pub(super) most_processes: i64,
}

/// How full the file system is that pods' files are on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Files {
    pub(super) available: u64,
    pub(super) capacity: u64,
    pub(super) used: u64,
    pub(super) inodes_free: u64,
    pub(super) inodes: u64,
}

#[derive(Clone, Debug)]
pub(super) struct OfPod {
    pub(super) pod: Arc<Pod>,
    pub(super) measured: Measured,
    pub(super) networks: BTreeMap<String, Traffic>,
    pub(super) containers: Vec<OfContainer>,
    pub(super) volumes: Vec<OfVolume>,
}

/// A volume of this node that a pod has by a claim.
#[derive(Clone, Debug)]
pub(super) struct OfVolume {
    /// As the pod calls it.
    pub(super) name: String,
    pub(super) claim: String,
    /// Bytes that it may have.
    pub(super) capacity: u64,
    pub(super) used: DiskUsage,
}

#[derive(Clone, Debug)]
pub(super) struct OfContainer {
    pub(super) name: String,
    /// Its id, image and group, by which the metrics of containers name it.
    pub(super) id: String,
    pub(super) image: String,
    pub(super) started: Option<Timestamp>,
    pub(super) measured: Measured,
    /// Bytes of its log.
    pub(super) log: Option<u64>,
}

impl Agent {
    /// What is used now, or was a moment ago.
    pub(crate) async fn sample(&self) -> Arc<Sample> {
        let mut latest = self.shared.samples.0.lock().await;
        let now = self.shared.clock.elapsed();
        if let Some((taken, sample)) = latest.as_ref()
            && now.saturating_sub(*taken) < FRESH
        {
            return Arc::clone(sample);
        }
        let before = latest.as_ref().map(|(_, sample)| Arc::clone(sample));
        let mut sample = self.take().await;
        if let Some(before) = before {
            sample.rate(&before);
        }
        let sample = Arc::new(sample);
        *latest = Some((now, Arc::clone(&sample)));
        sample
    }

    async fn take(&self) -> Sample {
        let shared = &self.shared;
        let at = shared.clock.now();
        let together = shared.machine.host.group_stats(crate::pod::groups::ALL).await.ok().map(measured);
        let node = of_node(shared, at).await;
        let volumes = of_volumes(shared).await;
        let pods = self.pods.store().list();
        let looked: Vec<Result<Option<OfPod>, Arc<Pod>>> =
            stream::iter(pods).map(|pod| of_pod(shared, pod, &volumes)).buffered(AT_ONCE).collect().await;
        let (mut pods, mut unknown) = (Vec::new(), Vec::new());
        for looked in looked {
            match looked {
                Ok(of) => pods.extend(of),
                Err(pod) => unknown.push(pod),
            }
        }
        pods.sort_by_cached_key(|of| (of.pod.metadata.namespace.clone(), of.pod.metadata.name.clone()));
        Sample { at, node, together, pods, unknown }
    }
}

/// What a pod uses, if that could be looked at, and each of its containers by its name.
pub(crate) struct UsedByPod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) usage: Option<Usage>,
    pub(crate) containers: Vec<(String, Usage)>,
}

impl Sample {
    /// The pods of which something runs, or may, and what each uses.
    pub(crate) fn used_by_pods(&self) -> Vec<UsedByPod> {
        let of_container = |of: &OfContainer| (of.name.clone(), of.measured.usage.clone());
        let of_pod = |of: &OfPod| UsedByPod {
            pod: Arc::clone(&of.pod),
            usage: Some(of.measured.usage.clone()),
            containers: of.containers.iter().map(of_container).collect(),
        };
        let unknown =
            |pod: &Arc<Pod>| UsedByPod { pod: Arc::clone(pod), usage: None, containers: Vec::new() };
        let all = self.pods.iter().map(of_pod).chain(self.unknown.iter().map(unknown));
        all.filter(|of| !is_over(&of.pod)).collect()
    }

    /// Works out how fast processors are used, where that was looked at before.
    fn rate(&mut self, before: &Sample) {
        self.node.measured.since(&before.node.measured);
        if let (Some(now), Some(then)) = (&mut self.together, &before.together) {
            now.since(then);
        }
        let known: BTreeMap<Option<&str>, &OfPod> =
            before.pods.iter().map(|of| (of.pod.metadata.uid.as_deref(), of)).collect();
        for of in &mut self.pods {
            let Some(then) = known.get(&of.pod.metadata.uid.as_deref()) else { continue };
            of.measured.since(&then.measured);
            for container in &mut of.containers {
                let same = then.containers.iter().find(|then| then.id == container.id);
                if let Some(then) = same {
                    container.measured.since(&then.measured);
                }
            }
        }
    }
}

impl Measured {
    fn since(&mut self, then: &Self) {
        let (Some(now), Some(before)) = (self.usage.at, then.usage.at) else { return };
        let nanoseconds = now.as_nanosecond().saturating_sub(before.as_nanosecond());
        let used = self.usage.cpu.checked_sub(then.usage.cpu);
        if let (Some(used), true) = (used, nanoseconds > 0) {
            self.rate = u64::try_from(i128::from(used) * 1_000_000_000 / nanoseconds).ok();
        }
    }
}

fn measured(group: GroupUsage) -> Measured {
    Measured { usage: group.usage, memory_limit: group.memory_limit, rate: None }
}

/// What is used of the volumes of this node that are limited, by their names: bytes that there are, and usage.
async fn of_volumes(shared: &Shared) -> HashMap<String, (u64, DiskUsage)> {
    let rooms = Rooms::new(shared.config.volumes.clone());
    let found = shared.files.quick(move || rooms.all()).await.unwrap_or_default();
    let mut used = HashMap::new();
    for (room, recorded) in found {
        let Some(limit) = recorded.limit else { continue };
        if let Ok(Some(usage)) = shared.machine.host.limit_usage(limit).await {
            used.insert(room.name().to_owned(), (recorded.bytes, usage));
        }
    }
    used
}

/// Those of them that a pod has. A claim's name says nothing of that: the volume of one that is gone may be there
/// still, and another claim may have its name, or its volume.
fn volumes_of(
    pod: &Pod,
    used: &HashMap<String, (u64, DiskUsage)>,
    volume_of_claim: impl Fn(&ObjectKey) -> Option<String>,
) -> Vec<OfVolume> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let of_claim = |volume: &Volume| {
        let (claim, _) = claims::claim_of(pod, volume)?;
        let (capacity, usage) =
            used.get(&volume_of_claim(&ObjectKey::new(namespace.clone(), claim.clone()))?)?;
        Some(OfVolume { name: volume.name.clone(), claim, capacity: *capacity, used: *usage })
    };
    volumes.filter_map(of_claim).collect()
}

/// What a pod uses; nothing where nothing of it runs. The pod itself where that could not be looked at.
async fn of_pod(
    shared: &Shared,
    pod: Arc<Pod>,
    volumes: &HashMap<String, (u64, DiskUsage)>,
) -> Result<Option<OfPod>, Arc<Pod>> {
    let runtime = shared.runtime();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let Ok(observation) = Observation::new(runtime, uid).await else { return Err(pod) };
    let Some(sandbox) = &observation.sandbox else { return Ok(None) };
    let group = match runtime.pod_sandbox_stats(&sandbox.id).await {
        Ok(group) => group,
        // It went meanwhile.
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(_) => return Err(pod),
    };
    let networks = group.networks.clone();
    let directory = shared.config.pod_directory(uid);
    let mut containers = Vec::new();
    for instance in observation.running() {
        // One that ends meanwhile uses nothing.
        let Ok(usage) = runtime.container_stats(&instance.id).await else { continue };
        let log = crate::pod::log_path(&directory, &instance.name, instance.attempt);
        let log = offload::in_place(|| std::fs::metadata(log)).ok().map(|log| log.len());
        let limit = instance.resources.memory.and_then(|bytes| u64::try_from(bytes).ok());
        containers.push(OfContainer {
            name: instance.name.clone(),
            id: instance.id.to_string(),
            image: instance.image.clone(),
            started: instance.started_at,
            measured: Measured { usage, memory_limit: limit, rate: None },
            log,
        });
    }
    let volumes = volumes_of(&pod, volumes, |claim| shared.claims.volume_of(claim));
    Ok(Some(OfPod { pod, measured: measured(group), networks, containers, volumes }))
}

async fn of_node(shared: &Shared, at: Timestamp) -> OfNode {
    let root = shared.config.root.clone();
    let looked = shared.files.quick(move || {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let texts =
            ["/proc/stat", "/proc/meminfo", "/proc/vmstat", "/proc/net/dev", "/proc/loadavg"].map(read);
        let disk = root.ancestors().find_map(|place| rustix::fs::statvfs(place).ok());
        (texts, read("/proc/net/route"), disk)
    });
    let ([stat, memory, events, network, load], routes, disk) = looked.await;
    let mut node = from_proc(at, &stat, &memory, &events, &network, &load);
    node.outward = outward(&routes);
    node.most_processes = crate::reserves::host_pids().unwrap_or(0);
    node.files = disk.map(|disk| Files {
        available: disk.f_bavail.saturating_mul(disk.f_frsize),
        capacity: disk.f_blocks.saturating_mul(disk.f_frsize),
        used: disk.f_blocks.saturating_sub(disk.f_bfree).saturating_mul(disk.f_frsize),
        inodes_free: disk.f_ffree,
        inodes: disk.f_files,
    });
    node
}

/// What the node has now of each that can run short.
pub(crate) async fn supplies(shared: &Shared) -> Supplies {
    let supply = |free: u64, all: u64| Supply {
        free: i64::try_from(free).unwrap_or(i64::MAX),
        all: i64::try_from(all).unwrap_or(i64::MAX),
    };
    let node = of_node(shared, shared.clock.now()).await;
    let files = node.files.unwrap_or_default();
    let pids = u64::try_from(node.most_processes).unwrap_or(0);
    Supplies {
        memory: supply(node.available, node.memory),
        disk: supply(files.available, files.capacity),
        inodes: supply(files.inodes_free, files.inodes),
        pids: supply(pids.saturating_sub(node.processes), pids),
    }
}

/// The whole machine, as the kernel tells it.
fn from_proc(at: Timestamp, stat: &str, memory: &str, events: &str, network: &str, load: &str) -> OfNode {
    /// The kernel tells times in hundredths of a second.
    const NANOSECONDS_PER_TICK: u64 = 10_000_000;
    let field = |text: &str, name: &str| -> u64 {
        let mut lines = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()?.trim_end_matches(':') == name).then(|| words.next()?.parse().ok()).flatten()
        });
        lines.next().unwrap_or(0)
    };
    let kilobytes = |name: &str| field(memory, name).saturating_mul(1024);
    let busy = stat.lines().next().map_or(0, |line| {
        let times: Vec<u64> =
            line.split_ascii_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // User, nice, system; then idle and waiting for disks; then interrupts and what a host above took.
        [0, 1, 2, 5, 6, 7].iter().filter_map(|place| times.get(*place)).sum::<u64>()
    });
    let (total, free) = (kilobytes("MemTotal"), kilobytes("MemFree"));
    let used = total.saturating_sub(free);
    let available = kilobytes("MemAvailable");
    let processes = load.split_ascii_whitespace().nth(3).and_then(|counts| counts.split_once('/'));
    let usage = Usage {
        at: Some(at),
        cpu: busy.saturating_mul(NANOSECONDS_PER_TICK),
        memory: used,
        working_set: used.saturating_sub(kilobytes("Inactive(file)")),
        rss: kilobytes("AnonPages"),
        page_faults: field(events, "pgfault"),
        major_page_faults: field(events, "pgmajfault"),
        swap: kilobytes("SwapTotal").saturating_sub(kilobytes("SwapFree")),
        pids: 0,
    };
    let booted = i64::try_from(field(stat, "btime")).unwrap_or(0);
    OfNode {
        measured: Measured { usage, memory_limit: Some(total), rate: None },
        started: Timestamp::from_second(booted).unwrap_or(at),
        available,
        memory: total,
        networks: interfaces(network),
        outward: None,
        files: None,
        processes: processes.and_then(|(_, all)| all.parse().ok()).unwrap_or(0),
        most_processes: 0,
    }
}

/// Reads `/proc/net/route`: the interface of the route to everywhere.
fn outward(text: &str) -> Option<String> {
    let mut routes = text.lines().skip(1).map(|line| line.split_ascii_whitespace());
    routes.find_map(|mut fields| {
        let (interface, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then(|| interface.to_owned())
    })
}

/// Reads `/proc/net/dev`: the host's own interfaces, not the ends of those of containers.
fn interfaces(text: &str) -> BTreeMap<String, Traffic> {
    let one = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let numbers: Vec<u64> =
            counters.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        let traffic = Traffic { rx_bytes: at(0), rx_errors: at(2), tx_bytes: at(8), tx_errors: at(10) };
        Some((name.trim().to_owned(), traffic))
    };
    let is_own = |name: &str| name != "lo" && !name.starts_with("veth");
    text.lines().filter_map(one).filter(|(name, _)| is_own(name)).take(MOST_INTERFACES).collect()
}

/// So many interfaces of the host are told.
const MOST_INTERFACES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_what_the_kernel_tells() {
        let at = Timestamp::from_second(1_800_000_000).expect("in range");
        let stat = "cpu  100 10 50 4000 30 5 5 2 0 0\ncpu0 1 1 1 1\nbtime 1700000000\n";
        let memory = "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 700 kB\nInactive(file): 100 kB\nAnonPages: 200 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n";
        let events = "pgfault 77\npgmajfault 7\n";
        let network = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0 0 0\n vethx: 1 2 3 4 0 0 0 0 1 5 6 7 0 0 0 0\n";
        let node = from_proc(at, stat, memory, events, network, "0.1 0.1 0.1 2/345 99\n");
        let usage = &node.measured.usage;
        assert_eq!(usage.cpu, 172 * 10_000_000);
        assert_eq!((usage.memory, usage.working_set, usage.rss), (600 << 10, 500 << 10, 200 << 10));
        assert_eq!((usage.page_faults, usage.major_page_faults, usage.swap), (77, 7, 6 << 10));
        assert_eq!((node.available, node.processes), (700 << 10, 345));
        assert_eq!(node.started.as_second(), 1_700_000_000);
        assert_eq!(node.networks.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(node.networks["eth0"].tx_errors, 6);
        let routes = "Iface Destination Gateway\npods 00002A0A 00000000\neth0 00000000 0101A8C0\n";
        assert_eq!(outward(routes).as_deref(), Some("eth0"));
    }

    #[test]
    fn a_pods_volume_is_the_one_that_its_claim_has_now() {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "n", "name": "p"},
            "spec": {"containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "unbound", "persistentVolumeClaim": {"claimName": "d"}},
                {"name": "elsewhere", "persistentVolumeClaim": {"claimName": "e"}},
            ]},
        }));
        let pod: Pod = pod.expect("a pod");
        // `old` was kept of a claim of the same name that is gone.
        let used = [("old", 1), ("new", 2)]
            .map(|(name, capacity)| (name.to_owned(), (capacity, DiskUsage::default())));
        let has = |claim: &ObjectKey| match claim.to_string().as_str() {
            "n/c" => Some("new".to_owned()),
            "n/e" => Some("not-here".to_owned()),
            _ => None,
        };
        let found = volumes_of(&pod, &HashMap::from(used), has);
        let found: Vec<_> = found.iter().map(|it| (&*it.name, &*it.claim, it.capacity)).collect();
        assert_eq!(found, [("data", "c", 2)]);
    }

    #[test]
    fn processors_are_used_at_a_rate_once_they_were_looked_at_twice() {
        let measured = |second: i64, cpu: u64| Measured {
            usage: Usage { at: Timestamp::from_second(second).ok(), cpu, ..Usage::default() },
            ..Measured::default()
        };
        let mut now = measured(20, 3_000_000_000);
        now.since(&measured(10, 1_000_000_000));
        assert_eq!(now.rate, Some(200_000_000));
        let mut restarted = measured(20, 5);
        restarted.since(&measured(10, 1_000_000_000));
        assert_eq!(restarted.rate, None);
    }
}
