//! How an image is built, as the query says it.

use std::collections::BTreeMap;

use build::BuildOptions;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::convert::resources;
use crate::fault::Fault;
use crate::images::credentials;
use crate::query::Query;
use crate::version::ApiVersion;
use crate::wire::container::Resources;

/// Reads the query and the credentials of a build.
pub(super) fn read(call: &Call) -> Result<BuildOptions, Fault> {
    let auth = credentials::of_build(call);
    let options = from_query(&call.query)?;
    // Before, it was no parameter.
    let platform = options.platform.clone().filter(|_| call.version >= ApiVersion(1, 32));
    Ok(BuildOptions { auth, platform, ..options })
}

pub(super) fn from_query(query: &Query) -> Result<BuildOptions, Fault> {
    let some = |name: &str| Some(query.text(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    // Older clients say that there are none.
    if query.all("securityopt").iter().any(|option| !matches!(option.as_str(), "" | "null" | "[]")) {
        return Err(Fault::invalid("security options are not supported on linux"));
    }
    let isolation = query.text("isolation");
    if !matches!(isolation.to_ascii_lowercase().as_str(), "" | "default") {
        return Err(Fault::invalid(format!("unsupported isolation: \"{isolation}\"")));
    }
    let limits = limits(query)?;
    resources::validate_update(&limits)?;
    let force_remove = query.flag("forcerm");
    Ok(BuildOptions {
        remote: query.text("remote").to_owned(),
        dockerfile: query.text("dockerfile").to_owned(),
        tags: query.all("t").into_iter().filter(|tag| !tag.is_empty()).collect(),
        args: json(query, "buildargs")?,
        labels: json(query, "labels")?,
        target: query.text("target").to_owned(),
        no_cache: query.flag("nocache"),
        cache_from: json(query, "cachefrom")?,
        pull: query.flag("pull"),
        remove: force_remove || query.flag_or("rm", true),
        force_remove,
        quiet: query.flag("q"),
        squash: query.flag("squash"),
        network: query.text("networkmode").to_owned(),
        platform: some("platform"),
        extra_hosts: query
            .all("extrahosts")
            .iter()
            .flat_map(|text| text.split(','))
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
        resources: resources::limits(&limits, 0),
        shm_size: query.number("shmsize")?.and_then(|size| u64::try_from(size).ok()).filter(|&size| size > 0),
        cgroup_parent: some("cgroupparent"),
        auth: BTreeMap::new(),
    })
}

fn limits(query: &Query) -> Result<Resources, Fault> {
    let number = |name: &str| Ok::<_, Fault>(query.number(name)?.unwrap_or_default());
    Ok(Resources {
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        ulimits: json(query, "ulimits")?,
        ..Resources::default()
    })
}

/// A parameter that is a JSON document; absent, empty and `null` are the default.
fn json<T: DeserializeOwned + Default>(query: &Query, name: &str) -> Result<T, Fault> {
    match query.text(name) {
        "" => Ok(T::default()),
        text => serde_json::from_str::<Option<T>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| Fault::invalid(format!("error reading build parameter {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<BuildOptions, &str>) {
        match (from_query(&Query::parse(query)), expected) {
            (Ok(read), Ok(wanted)) => {
                assert_eq!(read.tags, wanted.tags);
                assert_eq!(read.args, wanted.args);
                assert_eq!(read.cache_from, wanted.cache_from);
                assert_eq!((read.remove, read.force_remove), (wanted.remove, wanted.force_remove));
                assert_eq!(read.resources, wanted.resources);
            }
            (Err(fault), Err(message)) => assert!(fault.message.starts_with(message), "{}", fault.message),
            (read, _) => panic!("{:?}", read.map(|_| ()).map_err(|fault| fault.message)),
        }
    }

    #[test]
    fn what_the_client_sends_is_read() {
        let args = BTreeMap::from([("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]);
        let wanted = BuildOptions {
            tags: vec!["a:1".to_owned(), "b".to_owned()],
            args,
            remove: true,
            ..BuildOptions::default()
        };
        check(
            "t=a%3A1&t=b&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&cachefrom=null&rm=1",
            Ok(wanted),
        );
        check("rm=0", Ok(BuildOptions::default()));
        check(
            "rm=0&forcerm=1",
            Ok(BuildOptions { remove: true, force_remove: true, ..BuildOptions::default() }),
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check("isolation=hyperv", Err("unsupported isolation: \"hyperv\""));
        check(
            "securityopt=%5B%22seccomp%3Dunconfined%22%5D",
            Err("security options are not supported on linux"),
        );
        check("labels=%5B", Err("error reading build parameter labels"));
        check("memory=5", Err("Minimum memory limit allowed is 6MB"));
    }
}
