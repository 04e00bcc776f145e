//! The body of a create request to a container's specification.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::container::{AttachFlags, Dns, HostEntry, NetworkMode};
use engine::network::EndpointSpec;
use engine::{ContainerSpec, Engine, TerminalSize};

use super::{
    endpoint, health, host_config, links, logging, mounts, namespaces, older, ports, refuse, resources,
    restart, security,
};
use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::Map;
use crate::wire::container::host_config::General;
use crate::wire::container::{Config, Create, HostConfig};
use crate::wire::network::EndpointSettings;

/// No host name is longer: the kernel's own limit.
const LONGEST_HOSTNAME: usize = 63;

/// Reads a create request; gives the specification, without name and platform, and warnings.
pub(crate) fn spec(
    engine: &Engine,
    mut document: Create,
    version: ApiVersion,
) -> Result<(ContainerSpec, Vec<String>), Fault> {
    older::adapt(&mut document, version)?;
    let Create { config, mut host_config, networking_config } = document;
    let mut warnings = check(&config, &host_config, &|| engine.host_facts().cpus)?;
    let endpoints = networking_config.endpoints_config;
    if version < ApiVersion(1, 44) && endpoints.len() > 1 {
        let names = endpoints.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(Fault::invalid(format!(
            "Container cannot be created with multiple network endpoints: {names}"
        )));
    }
    refuse::foreign_networks(&host_config.general.network_mode, &endpoints)?;
    take_only_network(&mut host_config, &endpoints);
    if config.network_disabled {
        "none".clone_into(&mut host_config.general.network_mode);
    }
    let namespaces = namespaces::namespaces(engine, &host_config)?;
    if namespaces.network == NetworkMode::Host && !host_config.general.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let find = |name: &str| Ok(engine.container_inspect(&namespaces::other_container(engine, name)?)?);
    let log = logging::options(&host_config.general.log_config, &engine.config().log)?;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let general = &host_config.general;
    let spec = ContainerSpec {
        image: config.image.clone(),
        command: config.cmd.as_ref().map(|words| words.0.clone()).filter(|words| !words.is_empty()),
        entrypoint: config.entrypoint.as_ref().map(|words| entrypoint(&words.0)),
        env: config.env.clone().unwrap_or_default(),
        workdir: some(&config.working_dir),
        user: some(&config.user),
        groups: general.group_add.clone().unwrap_or_default(),
        tty: config.tty,
        stdin_open: config.open_stdin,
        stdin_once: config.stdin_once,
        attach: AttachFlags {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        },
        labels: config.labels.clone().unwrap_or_default(),
        annotations: host_config::note(&host_config)?,
        hostname: some(&config.hostname),
        domainname: some(&config.domainname),
        mounts: mounts::mounts(&config, &host_config, &find)?,
        resources: resources::limits(&host_config.resources, general.oom_score_adj),
        security: security::security(&host_config)?,
        read_only_rootfs: general.readonly_rootfs,
        init: host_config.rest.init.unwrap_or_default(),
        networks: networks(&endpoints, general)?,
        links: match is_predefined(general) {
            true => links::links(engine, general.links.as_deref().unwrap_or_default())?,
            false => Vec::new(),
        },
        mac_address: some(&config.mac_address),
        namespaces,
        dns: dns(&host_config)?,
        extra_hosts: general
            .extra_hosts
            .iter()
            .flatten()
            .map(|line| host_entry(line))
            .collect::<Result<_, _>>()?,
        exposed_ports: ports::exposed(&config.exposed_ports)?,
        ports: ports::bindings(&general.port_bindings)?,
        publish_all: general.publish_all_ports,
        restart: restart::policy(&general.restart_policy)?,
        stop_signal: some(&config.stop_signal),
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.as_ref().map(health::check).transpose()?,
        log,
        sysctls: general.sysctls.clone(),
        auto_remove: general.auto_remove,
        no_shared_memory: general.ipc_mode == "none",
        console_size: console_size(general.console_size),
        shm_size: u64::try_from(general.shm_size).ok().filter(|&size| size > 0),
        cgroup_parent: some(&host_config.resources.cgroup_parent),
        runtime: some(&general.runtime),
        storage_options: general.storage_opt.clone(),
        ..ContainerSpec::default()
    };
    Ok((spec, warnings))
}

/// The checks that look at the documents alone; gives warnings.
fn check(config: &Config, host: &HostConfig, cpus: &dyn Fn() -> u32) -> Result<Vec<String>, Fault> {
    let invalid = |message: String| Err(Fault::invalid(message));
    let mut warnings = Vec::new();
    let general = &host.general;
    if config.image.is_empty() {
        return invalid("no image specified".to_owned());
    }
    refuse::conflicts(config, host)?;
    refuse::unsupported(config, host)?;
    if config.hostname.len() > LONGEST_HOSTNAME {
        return invalid(format!(
            "hostname \"{}\" is too long (maximum {LONGEST_HOSTNAME} bytes)",
            config.hostname
        ));
    }
    if let Some(line) = config.env.iter().flatten().find(|line| line.is_empty() || line.starts_with('=')) {
        return invalid(format!("invalid environment variable: {line}"));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    if general.shm_size < 0 {
        return invalid("SHM size can not be less than 0".to_owned());
    }
    if !(-1000..=1000).contains(&general.oom_score_adj) {
        return invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            general.oom_score_adj
        ));
    }
    if general.auto_remove && !matches!(general.restart_policy.name.as_str(), "" | "no") {
        return invalid("can't create 'AutoRemove' container with restart policy".to_owned());
    }
    resources::validate(&host.resources, cpus)?;
    if host.resources.oom_kill_disable == Some(true) && host.resources.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
    }
    Ok(warnings)
}

/// Height and width; a zero is none.
fn console_size([rows, columns]: [u32; 2]) -> Option<TerminalSize> {
    let number = |number: u32| u16::try_from(number).ok().filter(|&number| number > 0);
    Some(TerminalSize { rows: number(rows)?, columns: number(columns)? })
}

/// `[""]` is how clients say that there is to be no entry point at all.
fn entrypoint(words: &[String]) -> Vec<String> {
    match words {
        [word] if word.is_empty() => Vec::new(),
        words => words.to_vec(),
    }
}

/// A container whose only network is named by its endpoint alone is in that network, not on the
/// default bridge as well.
fn take_only_network(host: &mut HostConfig, endpoints: &Map<Option<EndpointSettings>>) {
    let mode = &mut host.general.network_mode;
    if !matches!(mode.as_str(), "" | "default") || endpoints.keys().any(|name| is_default(name)) {
        return;
    }
    if let Some(name) = endpoints.keys().next() {
        *mode = name.clone();
    }
}

/// Whether the container is in none of the networks that users make.
fn is_predefined(general: &General) -> bool {
    matches!(general.network_mode.as_str(), "" | "default" | "bridge" | "none")
}

fn is_default(name: &str) -> bool {
    matches!(name, "default" | "bridge")
}

fn networks(
    endpoints: &Map<Option<EndpointSettings>>,
    general: &General,
) -> Result<BTreeMap<String, EndpointSpec>, Fault> {
    let mut networks = BTreeMap::new();
    for (name, settings) in endpoints {
        let name = if is_default(name) { "bridge" } else { name.as_str() };
        let wishes = settings.as_ref().map(|settings| endpoint::spec(settings, Some(name)));
        let spec = wishes.transpose()?.unwrap_or_default();
        networks.insert(name.to_owned(), spec);
    }
    let links = general.links.as_ref().filter(|links| !links.is_empty() && !is_predefined(general));
    if let Some(links) = links {
        // Some clients name them here, others with the network.
        let own: &mut EndpointSpec = networks.entry(general.network_mode.clone()).or_default();
        own.links.extend(links.iter().filter(|link| !own.links.contains(link)).cloned().collect::<Vec<_>>());
    }
    Ok(networks)
}

fn dns(host: &HostConfig) -> Result<Dns, Fault> {
    let servers = host.general.dns.iter().map(|text| {
        text.parse::<IpAddr>().map_err(|_| Fault::invalid(format!("invalid IP address: {text}")))
    });
    Ok(Dns {
        servers: servers.collect::<Result<_, _>>()?,
        search: host.general.dns_search.clone(),
        options: host.general.dns_options.clone(),
    })
}

/// Reads `name:address`; `host-gateway` is the host as the container sees it.
fn host_entry(line: &str) -> Result<HostEntry, Fault> {
    let bad = || Fault::invalid(format!("bad format for add-host: \"{line}\""));
    let (name, address) = line.split_once([':', '=']).ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    let address = match address {
        "host-gateway" => None,
        text => {
            let plain = text.trim_start_matches('[').trim_end_matches(']');
            Some(
                plain
                    .parse()
                    .map_err(|_| Fault::invalid(format!("invalid IP address in add-host: \"{text}\"")))?,
            )
        }
    };
    Ok(HostEntry { names: vec![name.to_owned()], address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_document(document: &str, expected: Result<usize, &str>) {
        let document: Create = serde_json::from_str(document).expect("a create request");
        let read = check(&document.config, &document.host_config, &|| 2).map(|warnings| warnings.len());
        assert_eq!(read.map_err(|fault| fault.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_sensible_request_passes() {
        check_document(r#"{"Image":"a","Cmd":["b"],"HostConfig":{"AutoRemove":true}}"#, Ok(0));
        check_document(r#"{"Image":"a","HostConfig":{"OomKillDisable":true}}"#, Ok(1));
    }

    #[test]
    fn what_cannot_be_is_refused_in_the_words_of_the_real_daemon() {
        check_document(r#"{}"#, Err("no image specified"));
        check_document(
            r#"{"Image":"a","WorkingDir":"b"}"#,
            Err("the working directory 'b' is invalid, it needs to be an absolute path"),
        );
        check_document(r#"{"Image":"a","Env":["=x"]}"#, Err("invalid environment variable: =x"));
        check_document(
            r#"{"Image":"a","HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}"#,
            Err("can't create 'AutoRemove' container with restart policy"),
        );
        check_document(
            r#"{"Image":"a","HostConfig":{"ShmSize":-1}}"#,
            Err("SHM size can not be less than 0"),
        );
    }

    #[test]
    fn an_endpoint_alone_names_the_network() {
        let mut document: Create = serde_json::from_str(
            r#"{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"front":{"Aliases":["b"]}}}}"#,
        )
        .expect("a create request");
        take_only_network(&mut document.host_config, &document.networking_config.endpoints_config);
        assert_eq!(document.host_config.general.network_mode, "front");
    }

    #[test]
    fn hosts_are_read() {
        let read = |line: &str| host_entry(line).map(|entry| entry.address).map_err(|fault| fault.message);
        assert_eq!(read("a:host-gateway"), Ok(None));
        assert_eq!(read("a:10.0.0.1"), Ok(Some(IpAddr::from([10, 0, 0, 1]))));
        assert_eq!(read("a:[::1]").map(|address| address.is_some()), Ok(true));
        assert_eq!(read("a"), Err("bad format for add-host: \"a\"".to_owned()));
        assert_eq!(read("a:b"), Err("invalid IP address in add-host: \"b\"".to_owned()));
    }
}
