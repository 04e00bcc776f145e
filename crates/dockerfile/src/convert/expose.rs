//! EXPOSE.

use std::net::IpAddr;

use super::Converter;
use crate::go::{list, quote};
use crate::lint;
use crate::syntax::Lines;

/// The most ports that one instruction may stand for: all of each protocol.
const PORTS_MAX: usize = 3 * 65_536;

impl Converter<'_> {
    pub(super) fn expose(&mut self, at: usize, words: &[String], lines: Lines) -> Result<(), String> {
        let mut ports = Vec::new();
        for word in words {
            let expansion = self.lexer.expand(word, &self.stages[at].state.env)?;
            self.charge(expansion.text.len())?;
            let words = expansion.words;
            for word in words {
                ports.extend(self.ports(&word, lines)?);
                if ports.len() > PORTS_MAX {
                    return Err(format!("EXPOSE stands for more than {PORTS_MAX} ports"));
                }
            }
        }
        self.commit(at, format!("EXPOSE {}", list(&ports)), false);
        self.stages[at].image.config.exposed_ports.extend(ports);
        Ok(())
    }

    /// `[ip:][host:]first[-last][/protocol]` as `port/protocol`, each for itself.
    fn ports(&mut self, word: &str, lines: Lines) -> Result<Vec<String>, String> {
        let (address, host, container) = parts(word);
        let invalid = |problem: String| format!("invalid port: {}: {problem}", quote(word));
        let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
        if container.is_empty() {
            return Err(invalid("no port specified".to_owned()));
        }
        let lower = match protocol.to_lowercase().as_str() {
            "" => "tcp".to_owned(),
            lower @ ("tcp" | "udp" | "sctp") => lower.to_owned(),
            _ => return Err(invalid(format!("invalid proto: {protocol}"))),
        };
        if !protocol.is_empty() && protocol != lower {
            let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.linter.found(&lint::EXPOSE_PROTO_CASING, lines, message);
        }
        if !address.is_empty() || !host.is_empty() {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
            );
            self.linter.found(&lint::EXPOSE_INVALID_FORMAT, lines, message);
        }
        let plain = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        if !plain.is_empty() && plain.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {plain}"));
        }
        let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
        if !host.is_empty() {
            let (from, to) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
            if last != first && last - first != to - from {
                return Err(format!(
                    "invalid ranges specified for container and host Ports: {container} and {host}"
                ));
            }
        }
        Ok((first..=last).map(|port| format!("{port}/{lower}")).collect())
    }
}

/// Address, host port and container port.
fn parts(word: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = word.rsplit_once(':') else { return ("", "", word) };
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    (address, host, container)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
