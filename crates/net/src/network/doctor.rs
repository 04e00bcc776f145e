//! What on this host stands in the way of the networks.

use super::{Inner, gate};
use crate::nft::{ForeignChain, Point};
use crate::{Finding, Severity};

/// Looks at the host.
pub(super) fn examine(inner: &Inner) -> Vec<Finding> {
    let chains = inner.table.lock().foreign().unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's rules cannot be read");
        Vec::new()
    });
    let is_on = |path: &str| std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0");
    let host = Host {
        chains,
        forwards: is_on("/proc/sys/net/ipv4/ip_forward"),
        filters_bridged: is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        strict: gate::strict(),
        gate: inner.state.lock().gate.is_some(),
        legacy: std::fs::read_to_string("/proc/net/ip_tables_names")
            .is_ok_and(|names| names.contains("filter")),
    };
    findings(&host)
}

/// Tells the log what is wrong, for whoever does not ask the doctor.
pub(super) fn warn(inner: &Inner) {
    for finding in examine(inner).iter().filter(|finding| finding.severity == Severity::Problem) {
        tracing::warn!(cure = finding.cure, "{}", finding.message);
    }
}

/// What is looked at.
struct Host {
    chains: Vec<ForeignChain>,
    forwards: bool,
    filters_bridged: bool,
    strict: bool,
    gate: bool,
    legacy: bool,
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
    let firewalld = |chain: &&ForeignChain| chain.table == "inet firewalld" && chain.point == Point::Forward;
    if let Some(chain) = host.chains.iter().find(firewalld) {
        add(
            Severity::Problem,
            format!(
                "firewalld is in use: chain `{}` of table `{}` rejects what comes from links that are in no zone, so \
                 containers do not reach the outside",
                chain.name, chain.table
            ),
            "put Gantry's bridges into a zone that accepts, for example `firewall-cmd --permanent --zone=trusted \
             --add-interface=gantry0` and `firewall-cmd --reload`",
        );
    }
    for chain in host.chains.iter().filter(|chain| chain.drops && !chain.admits) {
        let ForeignChain { table, name, .. } = chain;
        match chain.point {
            Point::Forward => {
                let bridged = if host.filters_bridged {
                    ", and containers of one network do not reach each other"
                } else {
                    ""
                };
                add(
                    Severity::Problem,
                    format!(
                        "chain `{name}` of table `{table}` drops forwarded packets that it does not know: containers \
                         do not reach the outside, published ports are not reached{bridged}"
                    ),
                    "accept there what comes in by or goes out to Gantry's bridges (for Docker's rules: in chain \
                     DOCKER-USER)",
                );
            }
            Point::Input => add(
                Severity::Notice,
                format!(
                    "chain `{name}` of table `{table}` drops incoming packets that it does not know: published ports \
                     are reached from outside only where it accepts them, and containers ask for names only if it \
                     accepts port 53 from Gantry's bridges"
                ),
                "accept there the published ports that are meant for others, and UDP and TCP port 53 from Gantry's \
                 bridges",
            ),
            Point::Prerouting | Point::Output | Point::Postrouting => {}
        }
    }
    if host.legacy {
        add(
            Severity::Notice,
            "rules of the old iptables are in use, which cannot be examined here".to_owned(),
            "see `iptables-legacy -S`: policies of DROP for FORWARD or INPUT stop containers' traffic",
        );
    }
    if host.strict {
        add(
            Severity::Notice,
            "net.ipv4.conf.all.rp_filter is 1: published ports cannot be made subject to the host's input rules, and \
             are open to everybody who reaches this host"
                .to_owned(),
            "set it to 2 or 0 and restart Gantry, or publish ports at 127.0.0.1",
        );
    } else if !host.gate {
        add(
            Severity::Notice,
            "this kernel cannot copy packets (nft_dup_ipv4): published ports are not subject to the host's input \
             rules"
                .to_owned(),
            "load or build that module and restart Gantry, or publish ports at 127.0.0.1",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Host {
        Host {
            chains: Vec::new(),
            forwards: true,
            filters_bridged: false,
            strict: false,
            gate: true,
            legacy: false,
        }
    }

    fn chain(table: &str, name: &str, point: Point, drops: bool) -> ForeignChain {
        let family = libc::NFPROTO_IPV4 as u8;
        ForeignChain { family, table: table.into(), name: name.into(), point, drops, admits: false }
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
        check(healthy(), &[]);
        check(with(chain("ip filter", "FORWARD", Point::Forward, false)), &[]);
        check(
            with(chain("ip filter", "FORWARD", Point::Forward, true)),
            &[(Severity::Problem, "chain `FORWARD` of table `ip filter` drops forwarded packets")],
        );
        let admits = ForeignChain { admits: true, ..chain("ip filter", "FORWARD", Point::Forward, true) };
        check(with(admits), &[]);
        check(
            with(chain("inet filter", "input", Point::Input, true)),
            &[(Severity::Notice, "chain `input` of table `inet filter` drops incoming packets")],
        );
        check(
            with(chain("inet firewalld", "filter_FORWARD", Point::Forward, false)),
            &[(Severity::Problem, "firewalld is in use")],
        );
        check(Host { forwards: false, ..healthy() }, &[(Severity::Problem, "net.ipv4.ip_forward is 0")]);
        check(Host { strict: true, gate: false, ..healthy() }, &[(Severity::Notice, "rp_filter is 1")]);
        check(Host { gate: false, ..healthy() }, &[(Severity::Notice, "nft_dup_ipv4")]);
        check(Host { legacy: true, ..healthy() }, &[(Severity::Notice, "old iptables")]);
    }
}
