//! Limits, and the checks that do not need the host.

use engine::container::{Device, DeviceWeight, Resources, Throttle, Ulimit};

use crate::fault::Fault;
use crate::wire::container::{Resources as Wire, host_config as wire};

/// The least memory that a container can run in.
const LEAST_MEMORY: i64 = 6 << 20;

/// Checks the limits of a new container; `cpus` is asked only where it matters, for it looks at
/// the host.
pub(crate) fn validate(limits: &Wire, cpus: &dyn Fn() -> u32) -> Result<(), Fault> {
    let invalid = |message: &str| Err(Fault::invalid(message));
    if limits.memory > 0 && limits.memory < LEAST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limits.memory == 0 && limits.memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = limits.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return invalid(&format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    validate_common(limits)?;
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if limits.nano_cpus == 0 {
        return Ok(());
    }
    let cpus = cpus();
    if !(1..=i64::from(cpus) * 1_000_000_000).contains(&limits.nano_cpus) {
        return invalid(&format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    Ok(())
}

/// Checks the limits of an update, which may be given without those that they relate to.
pub(crate) fn validate_update(limits: &Wire) -> Result<(), Fault> {
    if limits.memory > 0 && limits.memory < LEAST_MEMORY {
        return Err(Fault::invalid("Minimum memory limit allowed is 6MB"));
    }
    validate_common(limits)
}

fn validate_common(limits: &Wire) -> Result<(), Fault> {
    let invalid = |message: &str| Err(Fault::invalid(message));
    if limits.memory_reservation > 0 && limits.memory_reservation < LEAST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if limits.cpu_shares < 0 {
        return invalid(&format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ));
    }
    if limits.cpu_period != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if limits.blkio_weight != 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    let weights = limits.blkio_weight_device.iter().flatten();
    if weights.into_iter().any(|device| device.weight != 0 && !(10..=1000).contains(&device.weight)) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if limits.io_maximum_bandwidth != 0 || limits.io_maximum_iops != 0 {
        return invalid(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    Ok(())
}

/// The limits; zero and empty are none.
pub(crate) fn limits(limits: &Wire, oom_score_adj: i64) -> Resources {
    Resources {
        memory: positive(limits.memory),
        memory_reservation: positive(limits.memory_reservation),
        memory_swap: nonzero(limits.memory_swap),
        memory_swappiness: limits.memory_swappiness.filter(|&value| value >= 0),
        nano_cpus: positive(limits.nano_cpus),
        cpu_shares: unsigned(limits.cpu_shares),
        cpu_quota: nonzero(limits.cpu_quota),
        cpu_period: unsigned(limits.cpu_period),
        cpu_realtime_runtime: nonzero(limits.cpu_realtime_runtime),
        cpu_realtime_period: unsigned(limits.cpu_realtime_period),
        cpuset_cpus: text(&limits.cpuset_cpus),
        cpuset_mems: text(&limits.cpuset_mems),
        pids: limits.pids_limit.filter(|&value| value > 0),
        blkio_weight: Some(limits.blkio_weight).filter(|&value| value != 0),
        blkio_weights: limits
            .blkio_weight_device
            .iter()
            .flatten()
            .map(|device| DeviceWeight { path: device.path.clone(), weight: device.weight })
            .collect(),
        blkio_read_bps: throttles(&limits.blkio_device_read_bps),
        blkio_write_bps: throttles(&limits.blkio_device_write_bps),
        blkio_read_iops: throttles(&limits.blkio_device_read_iops),
        blkio_write_iops: throttles(&limits.blkio_device_write_iops),
        oom_group: false,
        oom_kill_disable: limits.oom_kill_disable.unwrap_or_default(),
        oom_score_adj: i32::try_from(oom_score_adj).ok().filter(|&value| value != 0),
        devices: limits.devices.iter().flatten().map(device).collect(),
        device_rules: limits.device_cgroup_rules.clone().unwrap_or_default(),
        ulimits: limits.ulimits.iter().flatten().map(ulimit).collect(),
    }
}

/// Writes limits over a document, which keeps what the engine does not know.
pub(crate) fn write(limits: &Resources, document: &mut Wire) {
    document.memory = limits.memory.unwrap_or_default();
    document.memory_reservation = limits.memory_reservation.unwrap_or_default();
    // Who limits memory alone may use as much swap again.
    let usual = limits.memory.map(|memory| memory.saturating_mul(2));
    document.memory_swap = limits.memory_swap.or(usual).unwrap_or_default();
    document.memory_swappiness = limits.memory_swappiness;
    document.nano_cpus = limits.nano_cpus.unwrap_or_default();
    document.cpu_shares = signed(limits.cpu_shares);
    document.cpu_quota = limits.cpu_quota.unwrap_or_default();
    document.cpu_period = signed(limits.cpu_period);
    document.cpu_realtime_runtime = limits.cpu_realtime_runtime.unwrap_or_default();
    document.cpu_realtime_period = signed(limits.cpu_realtime_period);
    document.cpuset_cpus = limits.cpuset_cpus.clone().unwrap_or_default();
    document.cpuset_mems = limits.cpuset_mems.clone().unwrap_or_default();
    // No limit any more is told as zero.
    document.pids_limit = limits.pids.map(|limit| limit.max(0));
    document.blkio_weight = limits.blkio_weight.unwrap_or_default();
    document.oom_kill_disable = Some(limits.oom_kill_disable);
    if document.devices.is_none() && !limits.devices.is_empty() {
        document.devices = Some(limits.devices.iter().map(device_document).collect());
    }
    if document.ulimits.is_none() && !limits.ulimits.is_empty() {
        let ulimits = limits.ulimits.iter();
        let ulimits = ulimits.map(|limit| wire::Ulimit {
            name: limit.name.clone(),
            hard: limit.hard,
            soft: limit.soft,
        });
        document.ulimits = Some(ulimits.collect());
    }
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

fn nonzero(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn unsigned(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|&value| value != 0)
}

fn signed(value: Option<u64>) -> i64 {
    value.and_then(|value| i64::try_from(value).ok()).unwrap_or_default()
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn throttles(devices: &Option<Vec<wire::ThrottleDevice>>) -> Vec<Throttle> {
    devices.iter().flatten().map(|device| Throttle { path: device.path.clone(), rate: device.rate }).collect()
}

fn device(device: &wire::DeviceMapping) -> Device {
    let or = |value: &str, other: &str| if value.is_empty() { other.to_owned() } else { value.to_owned() };
    Device {
        host_path: device.path_on_host.clone(),
        container_path: or(&device.path_in_container, &device.path_on_host),
        permissions: or(&device.cgroup_permissions, "rwm"),
    }
}

fn device_document(device: &Device) -> wire::DeviceMapping {
    wire::DeviceMapping {
        path_on_host: device.host_path.clone(),
        path_in_container: device.container_path.clone(),
        cgroup_permissions: device.permissions.clone(),
    }
}

fn ulimit(limit: &wire::Ulimit) -> Ulimit {
    Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<(), &str>) {
        let limits: Wire = serde_json::from_str(document).expect("limits");
        assert_eq!(
            validate(&limits, &|| 2).map_err(|fault| fault.message),
            expected.map_err(str::to_owned),
            "{document}"
        );
    }

    #[test]
    fn sensible_limits_pass() {
        check("{}", Ok(()));
        check(r#"{"Memory":6291456,"MemorySwap":-1,"NanoCpus":1500000000}"#, Ok(()));
        check(r#"{"CpuPeriod":100000,"CpuQuota":50000,"PidsLimit":-1}"#, Ok(()));
    }

    #[test]
    fn limits_that_cannot_be_are_refused_in_the_words_of_the_real_daemon() {
        check(r#"{"Memory":1}"#, Err("Minimum memory limit allowed is 6MB"));
        check(
            r#"{"Memory":8388608,"MemorySwap":7340032}"#,
            Err("Minimum memoryswap limit should be larger than memory limit, see usage"),
        );
        check(
            r#"{"NanoCpus":3000000000}"#,
            Err("range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        );
        check(
            r#"{"NanoCpus":1,"CpuQuota":5000}"#,
            Err("Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        );
        check(
            r#"{"BlkioWeightDevice":[{"Path":"/dev/a","Weight":5}]}"#,
            Err("Range of blkio weight is from 10 to 1000"),
        );
        check(r#"{"BlkioWeight":5}"#, Err("Range of blkio weight is from 10 to 1000"));
        check(
            r#"{"CpuPeriod":5}"#,
            Err("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        );
        check(
            r#"{"MemorySwappiness":101}"#,
            Err("Invalid value: 101, valid memory swappiness range is 0-100"),
        );
    }

    #[test]
    fn limits_survive_the_way_there_and_back() {
        let document = r#"{"Memory":8388608,"NanoCpus":5,"CpusetCpus":"0-1","PidsLimit":9}"#;
        let read: Wire = serde_json::from_str(document).expect("limits");
        let mut written = Wire { oom_kill_disable: None, ..Wire::default() };
        write(&limits(&read, 0), &mut written);
        // Twice the memory, where nobody says otherwise.
        let memory_swap = 2 * read.memory;
        assert_eq!(written, Wire { oom_kill_disable: Some(false), memory_swap, ..read });
    }
}
