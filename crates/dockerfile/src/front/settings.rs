//! What a client asks for: the options of a request, read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use llb::pb;
use oci::Platform;

use crate::go::csv;
use crate::lint::Rules;

/// A request's options.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `build-arg:*`.
    pub(crate) args: BTreeMap<String, String>,
    /// `label:*`.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) target: String,
    /// What the names of cache mounts begin with.
    pub(crate) cache_namespace: String,
    pub(crate) cgroup_parent: String,
    pub(crate) hosts: Vec<(String, IpAddr)>,
    pub(crate) hostname: String,
    /// `default`, `pull` or `local`.
    pub(crate) resolve_mode: String,
    pub(crate) network: pb::NetMode,
    /// Bytes; 0 for the default.
    pub(crate) shm_size: i64,
    pub(crate) ulimits: Vec<pb::Ulimit>,
    pub(crate) resources: Option<pb::LinuxResources>,
    /// Which rules count, where the request says so.
    pub(crate) rules: Option<Rules>,
    /// Empty where the request does not say.
    pub(crate) platforms: Vec<Platform>,
    pub(crate) is_multi_platform: bool,
    /// The stages of which nothing is taken from the cache; all of them if empty.
    pub(crate) no_cache: Option<Vec<String>>,
    /// All options, as they were given.
    pub(crate) options: BTreeMap<String, String>,
}

impl Settings {
    /// Reads a request's options.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
        let prefixed = |prefix: &str| -> BTreeMap<String, String> {
            let named = options
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())));
            named.collect()
        };
        let args = prefixed("build-arg:");
        let arg = |name: &str| args.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if arg("BUILDKIT_DISABLE_FILEOP").and_then(base::truth::parse) == Some(true) {
            return Err(
                "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11".into()
            );
        }
        let platforms = platforms(get("platform"))?;
        let is_multi_platform = multi_platform(
            arg("BUILDKIT_MULTI_PLATFORM").unwrap_or_else(|| get("multi-platform")),
            platforms.len() > 1,
        )?;
        let rules = args.get("BUILDKIT_DOCKERFILE_CHECK").map(|text| Rules::read(text)).transpose();
        let resolve_mode = match get("image-resolve-mode") {
            "" => "default",
            mode @ ("default" | "pull" | "local") => mode,
            other => return Err(format!("invalid image-resolve-mode: {other}")),
        };
        let network = match get("force-network-mode") {
            "" | "sandbox" => pb::NetMode::Unset,
            "none" => pb::NetMode::None,
            "host" => pb::NetMode::Host,
            other => return Err(format!("invalid netmode {other}")),
        };
        let shm_size = match get("shm-size") {
            "" => 0,
            text => text.parse().map_err(|_| {
                format!("failed to parse shm size: strconv.ParseInt: parsing \"{text}\": invalid syntax")
            })?,
        };
        let no_cache = options.get("no-cache").map(|text| match text.as_str() {
            "" => Vec::new(),
            text => text.split(',').map(str::to_owned).collect(),
        });
        Ok(Self {
            labels: prefixed("label:"),
            target: get("target").to_owned(),
            cache_namespace: arg("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default().to_owned(),
            cgroup_parent: get("cgroup-parent").to_owned(),
            hosts: hosts(get("add-hosts"))
                .map_err(|problem| format!("failed to parse additional hosts: {problem}"))?,
            hostname: arg("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or_else(|| get("hostname")).to_owned(),
            resolve_mode: resolve_mode.to_owned(),
            network,
            shm_size,
            ulimits: ulimits(get("ulimit"))
                .map_err(|problem| format!("failed to parse ulimit: {problem}"))?,
            resources: resources(options)
                .map_err(|problem| format!("failed to parse resource limits: {problem}"))?,
            rules: rules.map_err(|problem| {
                format!("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: {problem}")
            })?,
            platforms,
            is_multi_platform,
            no_cache,
            args,
            options: options.clone(),
        })
    }

    /// An option as it was given; empty where it was not.
    pub(crate) fn option(&self, name: &str) -> &str {
        self.options.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether nothing of the stage of this name is taken from the cache.
    pub(crate) fn ignores_cache(&self, stage: &str) -> bool {
        self.no_cache.as_ref().is_some_and(|names| {
            names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(stage))
        })
    }
}

/// The most platforms of one build.
const PLATFORMS_MAX: usize = 64;

fn platforms(text: &str) -> Result<Vec<Platform>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let read = |text: &str| {
        let platform = text.parse::<Platform>();
        platform
            .map(|platform| platform.normalised())
            .map_err(|error| format!("failed to parse target platform {text}: {error}"))
    };
    let platforms: Vec<Platform> = text.split(',').map(read).collect::<Result<_, _>>()?;
    match platforms.len() > PLATFORMS_MAX {
        true => Err(format!("there are more than {PLATFORMS_MAX} platforms")),
        false => Ok(platforms),
    }
}

fn multi_platform(text: &str, has_several: bool) -> Result<bool, String> {
    if text.is_empty() {
        return Ok(has_several);
    }
    match base::truth::parse(text) {
        None => Err(format!("invalid boolean value for multi-platform: {text}")),
        Some(false) if has_several => {
            Err("conflicting config: returning multiple target platforms is not allowed".to_owned())
        }
        Some(is) => Ok(is),
    }
}

/// `name=address,…`.
fn hosts(text: &str) -> Result<Vec<(String, IpAddr)>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let host = |field: &String| {
        let field = field.to_lowercase();
        let (name, address) =
            field.split_once('=').ok_or_else(|| format!("invalid key-value pair {field}"))?;
        let address = address.parse().map_err(|_| format!("failed to parse IP {address}"))?;
        Ok((name.to_owned(), address))
    };
    csv(text)?.iter().map(host).collect()
}

/// The limits of a process that have a name here.
const ULIMITS: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

/// `name=soft[:hard],…`; -1 is no limit.
fn ulimits(text: &str) -> Result<Vec<pb::Ulimit>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let ulimit = |field: &String| {
        let wrong = || format!("invalid ulimit argument: {field}");
        let (name, values) = field.split_once('=').ok_or_else(wrong)?;
        if !ULIMITS.contains(&name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let (soft, hard) = match values.split_once(':') {
            Some((_, hard)) if hard.contains(':') => {
                return Err(format!(
                    "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
                ));
            }
            Some((soft, hard)) => (soft, Some(hard)),
            None => (values, None),
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        let soft = number(soft)?;
        let hard = hard.map_or(Ok(soft), number)?;
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(match soft {
                -1 => format!(
                    "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
                ),
                soft => {
                    format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
                }
            });
        }
        Ok(pb::Ulimit { name: name.to_owned(), soft, hard })
    };
    csv(text)?.iter().map(ulimit).collect()
}

fn resources(options: &BTreeMap<String, String>) -> Result<Option<pb::LinuxResources>, String> {
    let text = |name: &str| options.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let number = |name: &str, least: i64| -> Result<i64, String> {
        let Some(text) = text(name) else { return Ok(0) };
        let number: i64 = text.parse().map_err(|_| {
            format!("invalid {name} value: {text}: strconv.ParseInt: parsing \"{text}\": invalid syntax")
        })?;
        match (number, least) {
            (0, -1) | (i64::MIN..-1, -1) => {
                Err(format!("invalid {name} value: {text}: must be -1 (unlimited) or > 0"))
            }
            (..=0, 0) => Err(format!("invalid {name} value: {text}: must be > 0")),
            _ => Ok(number),
        }
    };
    let cpuset = |name: &str| {
        let text = text(name).unwrap_or_default();
        let is_set = text.split(',').all(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if first <= last)
        });
        match text.is_empty() || is_set {
            true => Ok(text.to_owned()),
            false => Err(format!("invalid {name} value: {text}")),
        }
    };
    let resources = pb::LinuxResources {
        memory: number("memory", 0)?,
        memory_swap: number("memswap", -1)?,
        cpu_shares: number("cpushares", 0)?.unsigned_abs(),
        cpu_period: number("cpuperiod", 0)?.unsigned_abs(),
        cpu_quota: number("cpuquota", 0)?,
        cpuset_cpus: cpuset("cpusetcpus")?,
        cpuset_mems: cpuset("cpusetmems")?,
    };
    Ok((resources != pb::LinuxResources::default()).then_some(resources))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Settings, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(&options.collect())
    }

    #[test]
    fn options_are_read_as_buildx_sends_them() {
        let settings = read(&[
            ("build-arg:A", "1"),
            ("label:b", "2"),
            ("platform", "linux/amd64,linux/arm64/v8"),
            ("add-hosts", "A=1.2.3.4,b=::1"),
            ("ulimit", "nofile=10:20,core=-1"),
            ("shm-size", "1024"),
            ("no-cache", "x,y"),
            ("force-network-mode", "host"),
            ("memory", "100"),
        ])
        .expect("fine");
        assert_eq!(settings.args["A"], "1");
        assert_eq!(settings.labels["b"], "2");
        let platforms: Vec<String> = settings.platforms.iter().map(ToString::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert!(settings.is_multi_platform);
        assert_eq!(settings.hosts[0], ("a".to_owned(), "1.2.3.4".parse().expect("address")));
        let limits: Vec<_> = settings.ulimits.iter().map(|limit| (limit.soft, limit.hard)).collect();
        assert_eq!(limits, [(10, 20), (-1, -1)]);
        assert_eq!((settings.shm_size, settings.network), (1024, pb::NetMode::Host));
        assert!(settings.ignores_cache("X") && !settings.ignores_cache("z"));
        assert!(read(&[("no-cache", "")]).expect("fine").ignores_cache("any"));
        assert_eq!(settings.resources.expect("some").memory, 100);
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        let error = |name, value| read(&[(name, value)]).expect_err(value);
        assert!(error("platform", "x/y/z/w").starts_with("failed to parse target platform x/y/z/w: "));
        assert_eq!(error("image-resolve-mode", "x"), "invalid image-resolve-mode: x");
        assert_eq!(error("force-network-mode", "x"), "invalid netmode x");
        assert_eq!(error("add-hosts", "x"), "failed to parse additional hosts: invalid key-value pair x");
        assert_eq!(error("add-hosts", "x=y"), "failed to parse additional hosts: failed to parse IP y");
        assert_eq!(error("ulimit", "x=1"), "failed to parse ulimit: invalid ulimit type: x");
        assert_eq!(
            error("ulimit", "core=2:1"),
            "failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: 2 > 1"
        );
        assert_eq!(error("multi-platform", "x"), "invalid boolean value for multi-platform: x");
        assert_eq!(
            error("memswap", "0"),
            "failed to parse resource limits: invalid memswap value: 0: must be -1 (unlimited) or > 0"
        );
        let conflict = read(&[("platform", "linux/amd64,linux/arm64"), ("multi-platform", "0")]);
        assert!(conflict.expect_err("two").starts_with("conflicting config"));
    }
}
