//! What on this host stands in the way of the networks.

use super::{firewalld, gate};
use crate::driver::bridge;
use crate::link::{Link, Links};
use crate::nft::{ForeignChain, Point, Stop, Table};
use crate::{Config, Finding, Severity, dns, sandbox};

/// Looks at the host from outside of the daemon, which may run or not; changes nothing.
pub async fn examine(config: Config) -> Vec<Finding> {
    let mut host = offload::Threads::new(1).run(move || look(&config)).await;
    if host.chains.iter().any(ForeignChain::is_firewalld) {
        host.without_zone = firewalld::without_zone(&host.bridges).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "ask firewalld for its zones");
            host.bridges.clone()
        });
    }
    findings(&host)
}

/// Tells the log what is wrong, for whoever does not ask the doctor.
pub(super) fn warn(config: &Config) {
    for finding in findings(&look(config)).iter().filter(|finding| finding.severity == Severity::Problem) {
        tracing::warn!(cure = finding.cure, "{}", finding.message);
    }
}

/// What is looked at.
struct Host {
    /// Links of the instance's bridges.
    bridges: Vec<String>,
    /// Those of them that firewalld has in no zone.
    without_zone: Vec<String>,
    chains: Vec<ForeignChain>,
    forwards: bool,
    filters_bridged: bool,
    gate: Gate,
    legacy: bool,
    /// Ports at which names are to be answered that somebody else has at every address.
    taken: Vec<u16>,
}

/// The way for connections from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// It works, or the instance does not run.
    Open,
    /// It is there, and what comes back by it is dropped.
    Strict,
    /// The instance runs without it.
    Missing,
}

fn look(config: &Config) -> Host {
    let alias = bridge::alias(config);
    let links = Links::open().and_then(|mut links| links.list()).unwrap_or_default();
    let bridges: Vec<String> =
        links.iter().filter(|link| bridge::is_own(link, &alias)).map(|link| link.name.clone()).collect();
    let chains = Table::open(&config.instance).and_then(|mut table| table.foreign(&bridges));
    let chains = chains.unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's rules cannot be read");
        Vec::new()
    });
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let is_on = |path: &str| !["", "0"].contains(&text(path).trim());
    Host {
        without_zone: Vec::new(),
        chains,
        forwards: bridges.is_empty() || is_on("/proc/sys/net/ipv4/ip_forward"),
        filters_bridged: is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        gate: gate(config, !bridges.is_empty(), &links),
        legacy: text("/proc/net/ip_tables_names").contains("filter"),
        taken: [53, sandbox::NAMES_PORT].into_iter().filter(|port| dns::is_everywhere(*port)).collect(),
        bridges,
    }
}

fn gate(config: &Config, runs: bool, links: &[Link]) -> Gate {
    let (_, back) = gate::names(config);
    if !links.iter().any(|link| link.name == back) {
        return if runs { Gate::Missing } else { Gate::Open };
    }
    if gate::strict(&back) { Gate::Strict } else { Gate::Open }
}

fn findings(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, message: String, cure: &str| {
        findings.push(Finding { severity, message, cure: cure.to_owned() });
    };
    if !host.forwards {
        add(
            Severity::Problem,
            "net.ipv4.ip_forward is 0: containers reach nothing outside, and nobody reaches them".to_owned(),
            "set net.ipv4.ip_forward to 1 (something has turned it off after Gantry turned it on)",
        );
    }
    if !host.without_zone.is_empty() {
        add(
            Severity::Problem,
            format!(
                "firewalld has {} in no zone and refuses what comes from there: containers do not reach the outside",
                host.without_zone.join(", ")
            ),
            "restart Gantry, which puts its bridges into the zone `trusted`, or put them into a zone that accepts: \
             `firewall-cmd --zone=trusted --add-interface=gantry0`",
        );
    }
    for chain in host.chains.iter().filter(|chain| chain.stops.is_some()) {
        let ForeignChain { table, name, .. } = chain;
        let does = match chain.stops {
            Some(Stop::Rule(_)) => "refuses",
            _ => "drops",
        };
        match chain.point {
            _ if chain.is_firewalld() => {}
            Point::Forward if !chain.admits => {
                let bridged = if host.filters_bridged {
                    ", and containers of one network do not reach each other"
                } else {
                    ""
                };
                add(
                    Severity::Problem,
                    format!(
                        "chain `{name}` of table `{table}` {does} forwarded packets that it does not know: containers \
                         do not reach the outside, published ports are not reached{bridged}"
                    ),
                    "accept there what comes in by or goes out to Gantry's bridges (for Docker's rules: in chain \
                     DOCKER-USER)",
                );
            }
            Point::Input if !chain.admits => add(
                Severity::Problem,
                format!(
                    "chain `{name}` of table `{table}` {does} incoming packets that it does not know, those from \
                     containers for names and for the API among them"
                ),
                "accept there what comes in by Gantry's bridges: UDP and TCP ports 53 and 11153, and the API's port",
            ),
            _ => {}
        }
    }
    let filters = |chain: &&ForeignChain| chain.point == Point::Input && chain.stops.is_some();
    if let Some(chain) = host.chains.iter().find(filters) {
        let how = if chain.is_firewalld() {
            "open them to whom they are meant for, as ports of the host: `firewall-cmd --permanent --add-port=8080/tcp` \
             and `firewall-cmd --reload`"
        } else {
            "open them to whom they are meant for, as ports of the host (`ufw allow 8080/tcp`, or a rule of `nft`)"
        };
        let message = format!(
            "chain `{}` of table `{}` lets in only what it knows: published ports obey it, and are reached from \
             outside only where it opens them",
            chain.name, chain.table
        );
        add(Severity::Notice, message, how);
    }
    if host.legacy {
        add(
            Severity::Notice,
            "rules of the old iptables are in use, which cannot be examined here".to_owned(),
            "see `iptables-legacy -S`: policies of DROP for FORWARD or INPUT stop containers' traffic",
        );
    }
    for port in &host.taken {
        add(
            Severity::Notice,
            format!(
                "somebody listens at port {port} of every address: Gantry answers names at another port, which no \
                 rule of the host's firewall can know"
            ),
            "have that server listen at the addresses alone that it is meant for, and restart Gantry",
        );
    }
    match host.gate {
        Gate::Open => {}
        Gate::Strict => add(
            Severity::Problem,
            "net.ipv4.conf.*.rp_filter is 1 for the link by which published ports are reached from outside: they are \
             not"
                .to_owned(),
            "restart Gantry, and leave the settings of its links alone",
        ),
        Gate::Missing => add(
            Severity::Notice,
            "this kernel cannot copy packets (nft_dup_ipv4): published ports are not subject to the host's input \
             rules"
                .to_owned(),
            "load or build that module and restart Gantry, or publish ports at 127.0.0.1",
        ),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Host {
        Host {
            bridges: vec!["gantry0".to_owned()],
            without_zone: Vec::new(),
            chains: Vec::new(),
            forwards: true,
            filters_bridged: false,
            gate: Gate::Open,
            legacy: false,
            taken: Vec::new(),
        }
    }

    fn chain(table: &str, name: &str, point: Point, stops: Option<Stop>, admits: bool) -> ForeignChain {
        let family = libc::NFPROTO_IPV4 as u8;
        ForeignChain { family, table: table.into(), name: name.into(), point, stops, admits }
    }

    #[test]
    fn each_obstacle_is_found_and_nothing_else() {
        let check = |host: Host, expected: &[(Severity, &str)]| {
            let found = findings(&host);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, (severity, part)) in found.iter().zip(expected) {
                assert_eq!(finding.severity, *severity, "{finding:?}");
                assert!(finding.message.contains(part), "`{part}` in {finding:?}");
            }
        };
        let with = |chain| Host { chains: vec![chain], ..healthy() };
        let (drops, refuses) = (Some(Stop::Policy), Some(Stop::Rule(vec![1])));
        let forward = |stops, admits| with(chain("ip filter", "FORWARD", Point::Forward, stops, admits));
        let input = |stops, admits| with(chain("ip filter", "INPUT", Point::Input, stops, admits));
        check(healthy(), &[]);
        check(forward(None, false), &[]);
        check(forward(drops.clone(), true), &[]);
        check(
            forward(drops.clone(), false),
            &[(Severity::Problem, "chain `FORWARD` of table `ip filter` drops forwarded packets")],
        );
        check(forward(refuses.clone(), false), &[(Severity::Problem, "refuses forwarded packets")]);
        let obey = (Severity::Notice, "published ports obey it");
        check(input(drops.clone(), true), &[obey]);
        check(
            input(drops, false),
            &[(Severity::Problem, "chain `INPUT` of table `ip filter` drops incoming packets"), obey],
        );
        let firewalld = || chain("inet firewalld", "filter_FORWARD", Point::Forward, refuses.clone(), false);
        check(with(firewalld()), &[]);
        check(
            Host { without_zone: vec!["gantry0".into()], ..with(firewalld()) },
            &[(Severity::Problem, "firewalld has gantry0 in no zone")],
        );
        check(Host { forwards: false, ..healthy() }, &[(Severity::Problem, "net.ipv4.ip_forward is 0")]);
        check(Host { gate: Gate::Strict, ..healthy() }, &[(Severity::Problem, "rp_filter is 1")]);
        check(Host { gate: Gate::Missing, ..healthy() }, &[(Severity::Notice, "nft_dup_ipv4")]);
        check(Host { legacy: true, ..healthy() }, &[(Severity::Notice, "old iptables")]);
        let taken = [(Severity::Notice, "at port 53 of every"), (Severity::Notice, "at port 11153 of every")];
        check(Host { taken: vec![53, 11153], ..healthy() }, &taken);
    }
}
