//! The effective configuration: one table of keys, four layers, each value with its origin.
//!
//! Precedence: flag, `GANTRY_*` environment, file, default. The table [`KEYS`] is the only place
//! that names a key; flags, variables, file keys and `gantry config show` all follow from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::{audit_log, audit_webhook};

mod access;
mod auditing;
mod keys;

pub(crate) use access::{Access, Deciders};
use keys::Default;
pub(crate) use keys::{KEYS, Key};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag on the command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why there is no effective configuration. All of these are wrong usage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file that `--config` names cannot be read.
    #[error("read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading it gave.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("parse the configuration file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {place}; known keys: {}", known_keys())]
    UnknownKey {
        /// The key.
        key: String,
        /// The file, or the environment.
        place: String,
    },
    /// A value that its key does not take.
    #[error("`{key}` is `{value}` (from {origin}): {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What would be right.
        why: String,
    },
}

fn known_keys() -> String {
    KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

/// A configuration file's path and its values by key.
pub(crate) type FileLayer = (PathBuf, BTreeMap<String, String>);

/// What was said, by layer, before defaults and parsing.
pub(crate) struct Layers<'a> {
    /// Values of flags by key.
    pub(crate) flags: BTreeMap<&'a str, String>,
    /// Values of `GANTRY_*` variables by key.
    pub(crate) environment: BTreeMap<&'a str, String>,
    /// The file's path and its values by key.
    pub(crate) file: Option<FileLayer>,
}

impl Layers<'_> {
    /// The value of a key and its origin.
    fn value(&self, key: &Key) -> (String, Origin) {
        if let Some(value) = self.flags.get(key.name) {
            return (value.clone(), Origin::Flag);
        }
        if let Some(value) = self.environment.get(key.name) {
            return (value.clone(), Origin::Environment);
        }
        if let Some((path, values)) = &self.file
            && let Some(value) = values.get(key.name)
        {
            return (value.clone(), Origin::File(path.clone()));
        }
        let below = |directory: &str, rest: &str| format!("{}/{rest}", directory.trim_end_matches('/'));
        let value = match key.default {
            Default::Text(text) => text.to_owned(),
            Default::BelowRoot(rest) => below(&self.named("root"), rest),
            Default::BelowRun(rest) => below(&self.named("run"), rest),
            Default::Derived(derive) => derive(self),
        };
        (value, Origin::Default)
    }

    fn named(&self, name: &str) -> String {
        let key =
            KEYS.iter().find(|key| key.name == name).expect("the table has the keys that the code names");
        self.value(key).0
    }
}

/// A value as a flag would have it.
fn bare(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Reads a configuration file: a TOML table whose keys are those of [`KEYS`]. A list of values may be an
/// array, a list of pairs a table.
///
/// A file that is absent is an error only if it was asked for by name (`required`).
pub(crate) fn read_file(path: &Path, required: bool) -> Result<Option<FileLayer>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    let table: toml::Table = text
        .parse()
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if !KEYS.iter().any(|known| known.name == key) {
            return Err(ConfigError::UnknownKey { key, place: path.display().to_string() });
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Array(items) => items.iter().map(bare).collect::<Vec<_>>().join(","),
            toml::Value::Table(pairs) => {
                let texts: Vec<_> =
                    pairs.iter().map(|(name, value)| format!("{name}={}", bare(value))).collect();
                texts.join(",")
            }
            other => other.to_string(),
        };
        values.insert(key, text);
    }
    Ok(Some((path.to_owned(), values)))
}

/// The variable of a key: `GANTRY_POD_CIDR` for `pod-cidr`.
pub(crate) fn variable(key: &str) -> String {
    format!("GANTRY_{}", key.to_uppercase().replace('-', "_"))
}

/// Takes the `GANTRY_*` variables; one that names no key is an error.
pub(crate) fn read_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with("GANTRY_") && name != "GANTRY_CONFIG")
    {
        let key = KEYS.iter().find(|key| variable(key.name) == name);
        let key =
            key.ok_or_else(|| ConfigError::UnknownKey { key: name, place: "the environment".to_owned() })?;
        values.insert(key.name, value);
    }
    Ok(values)
}

/// The effective configuration, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Durable state.
    pub(crate) root: PathBuf,
    /// Sockets and volatile state.
    pub(crate) run: PathBuf,
    /// What this instance's kernel objects are named after.
    pub(crate) instance: String,
    /// This machine's name in the cluster.
    pub(crate) node_name: String,
    /// The Docker API's socket.
    pub(crate) docker_socket: PathBuf,
    /// Where it listens over TCP besides, if anywhere.
    pub(crate) docker_address: Option<SocketAddr>,
    /// The Kubernetes API's address.
    pub(crate) api_address: SocketAddr,
    /// Where the administrator's kubeconfig goes.
    pub(crate) kubeconfig: PathBuf,
    /// Addresses of pods.
    pub(crate) pod_cidr: Ipv4Net,
    /// Addresses of services.
    pub(crate) service_cidr: Ipv4Net,
    /// DNS domain of the cluster.
    pub(crate) cluster_domain: String,
    /// How objects are encrypted on disk, where that is not as the root's own file says.
    pub(crate) encryption: Option<PathBuf>,
    /// The etcd that keeps the cluster's state, if it is not kept in the root.
    pub(crate) etcd: Option<Etcd>,
    /// Docker's default bridge.
    pub(crate) bridge: String,
    /// Its subnet.
    pub(crate) bip: Ipv4Net,
    /// Whether the subnet was asked for; otherwise a free one may be taken instead.
    pub(crate) bip_is_default: bool,
    /// Registries spoken to without verified TLS.
    pub(crate) insecure_registries: Vec<String>,
    /// What becomes of the compressed form in which images' layers come.
    pub(crate) image_blobs: engine::image::Blobs,
    /// What of the machine pods may not take.
    pub(crate) reserves: node::Reserves,
    /// Kernel parameters that pods may set besides the safe ones.
    pub(crate) allowed_sysctls: node::AllowedSysctls,
    /// The file that says how the scheduler is set up.
    pub(crate) scheduler: Option<PathBuf>,
    /// The file of users' tokens, if there is one.
    pub(crate) token_file: Option<PathBuf>,
    /// What is asked of writes to the API besides what always is, and which of that is not.
    pub(crate) admission: Admission,
    /// What Kubernetes ships switched off, and is on.
    pub(crate) features: kinds::Features,
    /// How much the Kubernetes API serves at once.
    pub(crate) limits: apiserver::fairness::Limits,
    /// Who callers of the API are, and who decides what they may.
    pub(crate) access: Access,
    /// The file that says what is noted of requests.
    pub(crate) audit_policy: Option<PathBuf>,
    /// Where it is noted.
    pub(crate) audit_log: Option<audit_log::Options>,
    /// To whom it is sent.
    pub(crate) audit_webhook: Option<audit_webhook::Options>,
    /// How long the API goes on when it is to stop.
    pub(crate) shutdown_delay: Duration,
    /// The log filter.
    pub(crate) log: String,
    /// Every key with its text and origin, for `gantry config show`.
    pub(crate) origins: Vec<(&'static str, String, Origin)>,
}

/// What is asked of writes to the Kubernetes API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    /// The names of what is asked besides what always is.
    pub(crate) enabled: Vec<String>,
    /// The names of what is not asked.
    pub(crate) disabled: Vec<String>,
    /// The file that says how, if there is one.
    pub(crate) file: Option<PathBuf>,
}

/// Where etcd is, and what is shown to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Etcd {
    /// The URLs of its members.
    pub(crate) servers: Vec<String>,
    /// What all keys begin with there.
    pub(crate) prefix: String,
    /// The file of the authorities that vouch for it.
    pub(crate) authority: Option<PathBuf>,
    /// The files of this server's certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl Config {
    /// Merges the layers and parses every value.
    pub(crate) fn new(layers: &Layers<'_>) -> Result<Self, ConfigError> {
        let origins: Vec<_> = KEYS
            .iter()
            .map(|key| {
                let (value, origin) = layers.value(key);
                (key.name, value, origin)
            })
            .collect();
        let read = Reader { origins: &origins };
        let config = Self {
            root: read.directory("root")?,
            run: read.directory("run")?,
            instance: read.checked("instance", check_instance)?,
            node_name: read.checked("node-name", check_node_name)?,
            docker_socket: read.directory("docker-socket")?,
            docker_address: read.docker_address()?,
            api_address: read.parsed("api-address", "an address and a port, for example `0.0.0.0:6443`")?,
            kubeconfig: read.directory("write-kubeconfig")?,
            pod_cidr: read.parsed("pod-cidr", CIDR)?,
            service_cidr: read.parsed("service-cidr", CIDR)?,
            cluster_domain: read.checked("cluster-domain", check_domain)?,
            encryption: match read.raw("encryption-provider-config").0.as_str() {
                "" => None,
                _ => Some(read.directory("encryption-provider-config")?),
            },
            etcd: read.etcd()?,
            bridge: read.checked("bridge", check_interface)?,
            bip: read.parsed("bip", CIDR)?,
            bip_is_default: read.raw("bip").1 == Origin::Default,
            insecure_registries: read.list("insecure-registries"),
            image_blobs: read.parsed("image-blobs", "`keep` or `remake`")?,
            reserves: node::Reserves {
                system: read.told("system-reserved")?,
                kube: read.told("kube-reserved")?,
                thresholds: read.told("eviction-hard")?,
            },
            allowed_sysctls: read.told("allowed-unsafe-sysctls")?,
            scheduler: match read.raw("scheduler-config").0.as_str() {
                "" => None,
                _ => Some(read.directory("scheduler-config")?),
            },
            token_file: match read.raw("token-auth-file").0.as_str() {
                "" => None,
                _ => Some(read.directory("token-auth-file")?),
            },
            admission: Admission {
                enabled: read.list("enable-admission-plugins"),
                disabled: read.list("disable-admission-plugins"),
                file: match read.raw("admission-control-config-file").0.as_str() {
                    "" => None,
                    _ => Some(read.directory("admission-control-config-file")?),
                },
            },
            features: kinds::Features {
                gates: read.told("feature-gates")?,
                versions: read.told("runtime-config")?,
            },
            limits: read.limits()?,
            access: Access::read(&read)?,
            audit_policy: match read.raw("audit-policy-file").0.as_str() {
                "" => None,
                _ => Some(read.directory("audit-policy-file")?),
            },
            audit_log: read.audit_log()?,
            audit_webhook: read.audit_webhook()?,
            shutdown_delay: read.shutdown_delay()?,
            log: read.raw("log").0,
            origins: Vec::new(),
        };
        // Served by later crates; a mistyped value is an error today already.
        read.directory("cri-socket")?;
        read.parsed::<SocketAddr>("registry-address", "an address and a port, for example `127.0.0.1:5000`")?;
        Ok(Self { origins, ..config })
    }
}

/// Whoever stops the daemon waits for it.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);
const CIDR: &str = "an IPv4 network, for example `10.42.0.0/16`";

/// Reads typed values out of the merged texts.
struct Reader<'a> {
    origins: &'a [(&'static str, String, Origin)],
}

impl Reader<'_> {
    fn raw(&self, name: &str) -> (String, Origin) {
        let (_, value, origin) = self
            .origins
            .iter()
            .find(|(key, ..)| *key == name)
            .expect("the table has the keys that the code names");
        (value.clone(), origin.clone())
    }

    fn wrong(&self, name: &'static str, why: impl Into<String>) -> ConfigError {
        let (value, origin) = self.raw(name);
        ConfigError::Value { key: name, value, origin, why: why.into() }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str, expected: &str) -> Result<T, ConfigError> {
        self.raw(name).0.parse().map_err(|_| self.wrong(name, format!("must be {expected}")))
    }

    /// A value of a kind that says itself what is wrong with one.
    fn told<T>(&self, name: &'static str) -> Result<T, ConfigError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.raw(name).0.parse().map_err(|why: T::Err| self.wrong(name, why.to_string()))
    }

    fn checked(
        &self,
        name: &'static str,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<String, ConfigError> {
        let value = self.raw(name).0;
        check(&value).map_err(|why| self.wrong(name, why))?;
        Ok(value)
    }

    fn directory(&self, name: &'static str) -> Result<PathBuf, ConfigError> {
        let path = PathBuf::from(self.raw(name).0);
        if path.is_absolute() {
            return Ok(path);
        }
        std::path::absolute(&path).map_err(|error| self.wrong(name, error.to_string()))
    }

    /// With or without the `tcp://` that Docker's own flags have.
    fn docker_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        const NAME: &str = "docker-address";
        let text = self.raw(NAME).0;
        let address = text.strip_prefix("tcp://").unwrap_or(&text);
        if address.is_empty() {
            return Ok(None);
        }
        let why = "must be an address and a port, for example `0.0.0.0:2376`, or `127.0.0.1:2375` where only this host is to reach it";
        address.parse().map(Some).map_err(|_| self.wrong(NAME, why))
    }

    fn limits(&self) -> Result<apiserver::fairness::Limits, ConfigError> {
        const COUNT: &str = "a number of requests, not negative";
        let timeout = base::duration::parse(&self.raw("request-timeout").0)
            .map_err(|why| self.wrong("request-timeout", why.to_string()))?;
        let timeout = u64::try_from(timeout).ok().filter(|timeout| *timeout > 0);
        let timeout = timeout.ok_or_else(|| self.wrong("request-timeout", "must be longer than nothing"))?;
        let limits = apiserver::fairness::Limits {
            reading: self.parsed("max-requests-inflight", COUNT)?,
            writing: self.parsed("max-mutating-requests-inflight", COUNT)?,
            fair: self.parsed("enable-priority-and-fairness", "`true` or `false`")?,
            timeout: std::time::Duration::from_nanos(timeout),
        };
        if limits.fair && limits.reading == 0 && limits.writing == 0 {
            let why =
                "with priority and fairness, this and max-mutating-requests-inflight must not both be 0";
            return Err(self.wrong("max-requests-inflight", why));
        }
        Ok(limits)
    }

    fn etcd(&self) -> Result<Option<Etcd>, ConfigError> {
        let servers = self.list("etcd-servers");
        let file = |name: &'static str| match self.raw(name).0.as_str() {
            "" => Ok(None),
            _ if servers.is_empty() => Err(self.wrong(name, "etcd-servers names no etcd that it is for")),
            _ => self.directory(name).map(Some),
        };
        let [authority, certificate, key] = ["etcd-cafile", "etcd-certfile", "etcd-keyfile"].map(file);
        let (authority, certificate, key) = (authority?, certificate?, key?);
        if servers.is_empty() {
            return Ok(None);
        }
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !servers.iter().all(is_url) {
            return Err(self.wrong("etcd-servers", "must be URLs, for example `https://10.0.0.1:2379`"));
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(self.wrong("etcd-certfile", "etcd-keyfile must name its key")),
            (None, Some(_)) => {
                return Err(self.wrong("etcd-keyfile", "etcd-certfile must name its certificate"));
            }
        };
        Ok(Some(Etcd { servers, prefix: self.raw("etcd-prefix").0, authority, identity }))
    }

    fn shutdown_delay(&self) -> Result<Duration, ConfigError> {
        const NAME: &str = "shutdown-delay-duration";
        let read = base::duration::parse(&self.raw(NAME).0);
        let nanos = read.ok().and_then(|nanos| u64::try_from(nanos).ok());
        let delay = nanos.map(Duration::from_nanos).filter(|delay| *delay <= LONGEST_DELAY);
        delay.ok_or_else(|| self.wrong(NAME, "must be a duration from `0s` to `1h`, for example `5s`"))
    }

    fn list(&self, name: &'static str) -> Vec<String> {
        self.raw(name)
            .0
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

fn check_instance(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() || name.len() > 10 || !name.chars().all(good) {
        return Err("must be 1 to 10 lower-case letters and digits".to_owned());
    }
    Ok(())
}

fn check_node_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty()
        || name.len() > 253
        || !name.chars().all(good)
        || !name.starts_with(ends)
        || !name.ends_with(ends)
    {
        return Err("must be a DNS name: lower-case letters, digits, `-` and `.`".to_owned());
    }
    Ok(())
}

fn check_domain(name: &str) -> Result<(), String> {
    check_node_name(name)
}

fn check_interface(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) || name == "." || name == ".." {
        return Err("must be an interface name of 1 to 15 characters".to_owned());
    }
    Ok(())
}

/// `gantry` for the default root; another root gets a name of its own, so that two instances never
/// meet in the kernel.
fn instance_name(layers: &Layers<'_>) -> String {
    let root = layers.named("root");
    if root.trim_end_matches('/') == "/var/lib/gantry" {
        "gantry".to_owned()
    } else {
        format!("g{:05x}", short_hash(&root))
    }
}

fn bridge_name(layers: &Layers<'_>) -> String {
    format!("{}0", layers.named("instance"))
}

/// The host's name as a cluster can use it: lower case, other characters as dashes.
fn node_name(_: &Layers<'_>) -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// 20 bits: enough to tell the instances of one machine apart, and stable for ever.
fn short_hash(text: &str) -> u32 {
    let hash = base::hash::fnv1a_32(text.trim_end_matches('/').as_bytes());
    (hash >> 20) ^ (hash & 0xf_ffff)
}

#[cfg(test)]
mod tests;
