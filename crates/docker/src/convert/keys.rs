//! Keys of requests that make things, in whatever letters' case.
//!
//! To the real daemon's language the case of a key means nothing: `user` is `User`, `HostIP` is
//! `HostIp`. What is spelt so must not be lost: a port would be published on every address, a program
//! run as root, a network lead outside. Keys are brought to the spelling of the documents before those
//! are read.

use base::wish::is_wish;
use serde_json::{Map, Value};

/// The keys of an object, and what stands there where that has keys of its own.
struct Shape(&'static [(&'static str, Part)]);

#[derive(Clone, Copy)]
enum Part {
    /// No object, or one whose keys are names: of labels, of ports.
    Plain,
    Object(&'static Shape),
    List(&'static Shape),
    /// An object whose keys are names of lists of objects.
    Lists(&'static Shape),
    /// An object whose keys are names of objects.
    Objects(&'static Shape),
}

use Part::{List, Lists, Object, Objects, Plain};

static CREATE: Shape = Shape(&[
    ("Hostname", Plain),
    ("Domainname", Plain),
    ("User", Plain),
    ("AttachStdin", Plain),
    ("AttachStdout", Plain),
    ("AttachStderr", Plain),
    ("ExposedPorts", Plain),
    ("Tty", Plain),
    ("OpenStdin", Plain),
    ("StdinOnce", Plain),
    ("Env", Plain),
    ("Cmd", Plain),
    ("Healthcheck", Object(&HEALTHCHECK)),
    ("ArgsEscaped", Plain),
    ("Image", Plain),
    ("Volumes", Plain),
    ("WorkingDir", Plain),
    ("Entrypoint", Plain),
    ("NetworkDisabled", Plain),
    ("MacAddress", Plain),
    ("OnBuild", Plain),
    ("Labels", Plain),
    ("StopSignal", Plain),
    ("StopTimeout", Plain),
    ("Shell", Plain),
    ("HostConfig", Object(&HOST_CONFIG)),
    ("NetworkingConfig", Object(&NETWORKING_CONFIG)),
]);

static HEALTHCHECK: Shape = Shape(&[
    ("Test", Plain),
    ("Interval", Plain),
    ("Timeout", Plain),
    ("StartPeriod", Plain),
    ("StartInterval", Plain),
    ("Retries", Plain),
]);

static HOST_CONFIG: Shape = Shape(&[
    ("Binds", Plain),
    ("ContainerIDFile", Plain),
    ("LogConfig", Object(&LOG_CONFIG)),
    ("NetworkMode", Plain),
    ("PortBindings", Lists(&PORT_BINDING)),
    ("RestartPolicy", Object(&RESTART_POLICY)),
    ("AutoRemove", Plain),
    ("VolumeDriver", Plain),
    ("VolumesFrom", Plain),
    ("ConsoleSize", Plain),
    ("Annotations", Plain),
    ("CapAdd", Plain),
    ("CapDrop", Plain),
    ("CgroupnsMode", Plain),
    ("Dns", Plain),
    ("DnsOptions", Plain),
    ("DnsSearch", Plain),
    ("ExtraHosts", Plain),
    ("GroupAdd", Plain),
    ("IpcMode", Plain),
    ("Cgroup", Plain),
    ("Links", Plain),
    ("OomScoreAdj", Plain),
    ("PidMode", Plain),
    ("Privileged", Plain),
    ("PublishAllPorts", Plain),
    ("ReadonlyRootfs", Plain),
    ("SecurityOpt", Plain),
    ("StorageOpt", Plain),
    ("Tmpfs", Plain),
    ("UTSMode", Plain),
    ("UsernsMode", Plain),
    ("ShmSize", Plain),
    ("Sysctls", Plain),
    ("Runtime", Plain),
    ("Isolation", Plain),
    ("CpuShares", Plain),
    ("Memory", Plain),
    ("NanoCpus", Plain),
    ("CgroupParent", Plain),
    ("BlkioWeight", Plain),
    ("BlkioWeightDevice", List(&WEIGHT)),
    ("BlkioDeviceReadBps", List(&THROTTLE)),
    ("BlkioDeviceWriteBps", List(&THROTTLE)),
    ("BlkioDeviceReadIOps", List(&THROTTLE)),
    ("BlkioDeviceWriteIOps", List(&THROTTLE)),
    ("CpuPeriod", Plain),
    ("CpuQuota", Plain),
    ("CpuRealtimePeriod", Plain),
    ("CpuRealtimeRuntime", Plain),
    ("CpusetCpus", Plain),
    ("CpusetMems", Plain),
    ("Devices", List(&DEVICE)),
    ("DeviceCgroupRules", Plain),
    ("DeviceRequests", List(&DEVICE_REQUEST)),
    ("MemoryReservation", Plain),
    ("MemorySwap", Plain),
    ("MemorySwappiness", Plain),
    ("OomKillDisable", Plain),
    ("PidsLimit", Plain),
    ("Ulimits", List(&ULIMIT)),
    ("CpuCount", Plain),
    ("CpuPercent", Plain),
    ("IOMaximumIOps", Plain),
    ("IOMaximumBandwidth", Plain),
    ("Mounts", List(&MOUNT)),
    ("MaskedPaths", Plain),
    ("ReadonlyPaths", Plain),
    ("Init", Plain),
    ("Capabilities", Plain),
]);

static LOG_CONFIG: Shape = Shape(&[("Type", Plain), ("Config", Plain)]);
static PORT_BINDING: Shape = Shape(&[("HostIp", Plain), ("HostPort", Plain)]);
static RESTART_POLICY: Shape = Shape(&[("Name", Plain), ("MaximumRetryCount", Plain)]);
static WEIGHT: Shape = Shape(&[("Path", Plain), ("Weight", Plain)]);
static THROTTLE: Shape = Shape(&[("Path", Plain), ("Rate", Plain)]);
static ULIMIT: Shape = Shape(&[("Name", Plain), ("Hard", Plain), ("Soft", Plain)]);

static DEVICE: Shape =
    Shape(&[("PathOnHost", Plain), ("PathInContainer", Plain), ("CgroupPermissions", Plain)]);

static DEVICE_REQUEST: Shape = Shape(&[
    ("Driver", Plain),
    ("Count", Plain),
    ("DeviceIDs", Plain),
    ("Capabilities", Plain),
    ("Options", Plain),
]);

static MOUNT: Shape = Shape(&[
    ("Type", Plain),
    ("Source", Plain),
    ("Target", Plain),
    ("ReadOnly", Plain),
    ("Consistency", Plain),
    ("BindOptions", Object(&BIND_OPTIONS)),
    ("VolumeOptions", Object(&VOLUME_OPTIONS)),
    ("TmpfsOptions", Object(&TMPFS_OPTIONS)),
    ("ImageOptions", Object(&IMAGE_OPTIONS)),
]);

static BIND_OPTIONS: Shape = Shape(&[
    ("Propagation", Plain),
    ("NonRecursive", Plain),
    ("CreateMountpoint", Plain),
    ("ReadOnlyNonRecursive", Plain),
    ("ReadOnlyForceRecursive", Plain),
]);

static VOLUME_OPTIONS: Shape = Shape(&[
    ("NoCopy", Plain),
    ("Labels", Plain),
    ("Subpath", Plain),
    ("DriverConfig", Object(&DRIVER_CONFIG)),
]);

static DRIVER_CONFIG: Shape = Shape(&[("Name", Plain), ("Options", Plain)]);
static TMPFS_OPTIONS: Shape = Shape(&[("SizeBytes", Plain), ("Mode", Plain), ("Options", Plain)]);
static IMAGE_OPTIONS: Shape = Shape(&[("Subpath", Plain)]);
static NETWORKING_CONFIG: Shape = Shape(&[("EndpointsConfig", Objects(&ENDPOINT))]);

static ENDPOINT: Shape = Shape(&[
    ("IPAMConfig", Object(&ENDPOINT_IPAM)),
    ("Links", Plain),
    ("Aliases", Plain),
    ("MacAddress", Plain),
    ("DriverOpts", Plain),
    ("GwPriority", Plain),
    ("NetworkID", Plain),
    ("EndpointID", Plain),
    ("Gateway", Plain),
    ("IPAddress", Plain),
    ("IPPrefixLen", Plain),
    ("IPv6Gateway", Plain),
    ("GlobalIPv6Address", Plain),
    ("GlobalIPv6PrefixLen", Plain),
    ("DNSNames", Plain),
]);

static ENDPOINT_IPAM: Shape =
    Shape(&[("IPv4Address", Plain), ("IPv6Address", Plain), ("LinkLocalIPs", Plain)]);

static EXEC: Shape = Shape(&[
    ("User", Plain),
    ("Privileged", Plain),
    ("Tty", Plain),
    ("ConsoleSize", Plain),
    ("AttachStdin", Plain),
    ("AttachStderr", Plain),
    ("AttachStdout", Plain),
    ("DetachKeys", Plain),
    ("Env", Plain),
    ("WorkingDir", Plain),
    ("Cmd", Plain),
]);

static NETWORK: Shape = Shape(&[
    ("Name", Plain),
    ("CheckDuplicate", Plain),
    ("Driver", Plain),
    ("Scope", Plain),
    ("EnableIPv4", Plain),
    ("EnableIPv6", Plain),
    ("IPAM", Object(&IPAM)),
    ("Internal", Plain),
    ("Attachable", Plain),
    ("Ingress", Plain),
    ("ConfigOnly", Plain),
    ("ConfigFrom", Object(&CONFIG_FROM)),
    ("Options", Plain),
    ("Labels", Plain),
]);

static IPAM: Shape = Shape(&[("Driver", Plain), ("Options", Plain), ("Config", List(&POOL))]);
static POOL: Shape =
    Shape(&[("Subnet", Plain), ("IPRange", Plain), ("Gateway", Plain), ("AuxiliaryAddresses", Plain)]);
static CONFIG_FROM: Shape = Shape(&[("Network", Plain)]);
static CONNECT: Shape = Shape(&[("Container", Plain), ("EndpointConfig", Object(&ENDPOINT))]);
static VOLUME: Shape = Shape(&[
    ("Name", Plain),
    ("Driver", Plain),
    ("DriverOpts", Plain),
    ("Labels", Plain),
    ("ClusterVolumeSpec", Plain),
]);

/// Brings the keys of a create request to their spelling. Gives the first that is unknown in the host's
/// half, below that, or in a network, and asks for something: its place, with dots.
///
/// What is unknown beside them is left alone, as the real daemon leaves it: clients put names and
/// platforms there.
pub(crate) fn of_create(document: &mut Value) -> Option<String> {
    spell(document, &CREATE, "")
}

/// As [`of_create`], for an update.
pub(crate) fn of_update(document: &mut Value) -> Option<String> {
    spell(document, &HOST_CONFIG, "UpdateConfig")
}

/// Brings the keys of a request for a further process to their spelling.
pub(crate) fn of_exec(document: &mut Value) {
    spell(document, &EXEC, "");
}

/// The same of a request for a network.
pub(crate) fn of_network(document: &mut Value) {
    spell(document, &NETWORK, "");
}

/// The same of a request to put a container into a network.
pub(crate) fn of_connect(document: &mut Value) {
    spell(document, &CONNECT, "");
}

/// The same of a request for a volume.
pub(crate) fn of_volume(document: &mut Value) {
    spell(document, &VOLUME, "");
}

fn spell(value: &mut Value, shape: &'static Shape, place: &str) -> Option<String> {
    let members = value.as_object_mut()?;
    let known = |key: &str| shape.0.iter().find(|(name, _)| *name == key).map(|(_, part)| *part);
    let odd: Vec<String> = members.keys().filter(|key| known(key).is_none()).cloned().collect();
    odd.iter().for_each(|key| respell(members, key, shape));
    let mut unknown = None;
    for (key, value) in members {
        let here = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        let found = match known(key) {
            None => (!place.is_empty() && is_wish(value)).then(|| here.clone()),
            Some(Plain) => None,
            Some(Object(shape)) => spell(value, shape, &here),
            Some(List(shape)) => spell_all(value.as_array_mut().into_iter().flatten(), shape, &here),
            Some(Lists(shape)) => {
                let lists = value.as_object_mut().into_iter().flatten();
                let items = lists.filter_map(|(_, list)| list.as_array_mut()).flatten();
                spell_all(items, shape, &here)
            }
            Some(Objects(shape)) => {
                spell_all(value.as_object_mut().into_iter().flatten().map(|(_, value)| value), shape, &here)
            }
        };
        unknown = unknown.or(found);
    }
    unknown
}

fn spell_all<'a>(
    items: impl Iterator<Item = &'a mut Value>,
    shape: &'static Shape,
    place: &str,
) -> Option<String> {
    items.fold(None, |unknown, item| {
        let found = spell(item, shape, place);
        unknown.or(found)
    })
}

/// Gives a key its spelling, if it has one that is not there too: then the exact one counts.
fn respell(members: &mut Map<String, Value>, key: &str, shape: &Shape) {
    let name = shape.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    if let Some((name, _)) = name
        && !members.contains_key(*name)
        && let Some(value) = members.remove(key)
    {
        members.insert((*name).to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::container::{Create, HostConfig, MountSpec};
    use serde_json::json;

    #[track_caller]
    fn check(mut document: Value, expected: Value, unknown: Option<&str>) {
        let found = of_create(&mut document);
        assert_eq!(found.as_deref(), unknown);
        assert_eq!(document, expected);
    }

    #[test]
    fn the_case_of_letters_means_nothing_in_keys_and_all_in_names() {
        check(
            json!({"user": "1000", "labels": {"User": "x", "user": "y"}, "hostconfig": {
                "memory": 5,
                "READONLYROOTFS": true,
                "portbindings": {"80/tcp": [{"HostIP": "127.0.0.1", "hostPort": "80"}]},
                "devices": [{"pathonhost": "/dev/a", "cgroupPermissions": "r"}],
                "mounts": [{"type": "bind", "bindOptions": {"readonlyForceRecursive": true}}],
                "sysctls": {"Net.X": "1"},
            }}),
            json!({"User": "1000", "Labels": {"User": "x", "user": "y"}, "HostConfig": {
                "Memory": 5,
                "ReadonlyRootfs": true,
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]},
                "Devices": [{"PathOnHost": "/dev/a", "CgroupPermissions": "r"}],
                "Mounts": [{"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": true}}],
                "Sysctls": {"Net.X": "1"},
            }}),
            None,
        );
        check(json!({"User": "a", "user": "b"}), json!({"User": "a", "user": "b"}), None);
    }

    #[test]
    fn other_requests_are_spelt_too() {
        let check = |spell: fn(&mut Value), mut document: Value, expected: Value| {
            spell(&mut document);
            assert_eq!(document, expected);
        };
        check(of_exec, json!({"user": "1000", "cmd": ["a"]}), json!({"User": "1000", "Cmd": ["a"]}));
        check(
            of_network,
            json!({"internal": true, "ipam": {"config": [{"subnet": "10.0.0.0/24"}]}}),
            json!({"Internal": true, "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}}),
        );
        check(
            of_connect,
            json!({"container": "a", "endpointconfig": {"ipamconfig": {"ipv6address": "::1"}}}),
            json!({"Container": "a", "EndpointConfig": {"IPAMConfig": {"IPv6Address": "::1"}}}),
        );
        check(of_volume, json!({"driveropts": {"Size": "1"}}), json!({"DriverOpts": {"Size": "1"}}));
    }

    #[test]
    fn what_is_unknown_is_found_at_every_depth_of_the_host_s_half() {
        let unknown = |host: Value| {
            let mut document = json!({"Name": "x", "platform": "y", "HostConfig": host});
            of_create(&mut document)
        };
        assert_eq!(unknown(json!({})), None);
        assert_eq!(unknown(json!({"KernelMemory": 0, "LxcConf": [], "New": {}})), None);
        assert_eq!(unknown(json!({"KernelMemory": 5})).as_deref(), Some("HostConfig.KernelMemory"));
        let device = json!({"Devices": [{"PathOnHost": "/a", "Permissions": "r"}]});
        assert_eq!(unknown(device).as_deref(), Some("HostConfig.Devices.Permissions"));
        let port = json!({"PortBindings": {"80/tcp": [{"Address": "127.0.0.1"}]}});
        assert_eq!(unknown(port).as_deref(), Some("HostConfig.PortBindings.Address"));
        let mount = json!({"Mounts": [{"BindOptions": {"Readonly": true}}]});
        assert_eq!(unknown(mount).as_deref(), Some("HostConfig.Mounts.BindOptions.Readonly"));
    }

    #[test]
    fn every_key_of_the_documents_is_known_here() {
        fn keys(document: &impl serde::Serialize) -> Vec<String> {
            let value = serde_json::to_value(document).expect("JSON");
            value.as_object().expect("an object").keys().cloned().collect()
        }
        let known = |shape: &Shape, keys: Vec<String>| {
            for key in keys {
                assert!(shape.0.iter().any(|(name, _)| *name == key), "{key}");
            }
        };
        known(&CREATE, keys(&Create::default()));
        known(&HOST_CONFIG, keys(&HostConfig::default()));
        known(&MOUNT, keys(&MountSpec::default()));
        known(&EXEC, keys(&crate::wire::exec::Create::default()));
        known(&NETWORK, keys(&crate::wire::network::Create::default()));
        known(&CONNECT, keys(&crate::wire::network::Connect::default()));
        known(&ENDPOINT, keys(&crate::wire::network::EndpointSettings::default()));
    }
}
