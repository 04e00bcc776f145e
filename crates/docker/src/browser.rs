//! Pages in browsers of this host, which reach what listens at a loopback address without a certificate.
//!
//! A page's own script may send requests anywhere, and reads the answers where the name that it was loaded from has
//! come to mean this host (DNS rebinding). No client of the Docker API names an origin, or this host by a name of its
//! own choice.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};

use crate::fault::Fault;

/// Refuses what a page in a browser has sent over a connection without a certificate.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Fault> {
    if headers.contains_key(ORIGIN) {
        return Err(Fault::forbidden("pages in browsers are not served: the request has an Origin"));
    }
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or("?")).unwrap_or_default();
    if is_this_host(host) {
        return Ok(());
    }
    Err(Fault::forbidden(format!(
        "the request is for {host:?}: without a certificate this daemon is reached by a loopback address, as localhost or by a name below that"
    )))
}

/// Whether `host`, with or without a port, is no name that somebody else can lead here. Clients before HTTP/1.1 name
/// none, and those that were made for Unix sockets a word without dots.
fn is_this_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(host, |(name, _)| name),
    };
    let is_own = |address: IpAddr| address.to_canonical().is_loopback();
    // Names below `localhost` mean this host and nothing else, wherever they are looked up (RFC 6761).
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_local = lower == "localhost" || lower.ends_with(".localhost");
    name.is_empty() || name == "docker" || is_local || name.parse().is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], served: bool) {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        assert_eq!(refuse(&headers.collect()).is_ok(), served);
    }

    #[test]
    fn a_page_is_told_by_its_origin_and_by_a_name_that_leads_here() {
        let own = ["127.0.0.1:2375", "127.0.0.1", "localhost:2375", "[::1]:2375", "docker", ""];
        let named = ["gantry.localhost:2375", "a.b.localhost", "LocalHost.", "x.localhost.:2375"];
        for host in own.into_iter().chain(named) {
            check(&[("host", host)], true);
            check(&[("host", host), ("origin", "http://evil.example")], false);
            check(&[("host", host), ("origin", "null")], false);
        }
        check(&[], true);
        for host in
            ["evil.example:2375", "localhost.evil.example", "notlocalhost", "10.0.0.1:2375", "[fd00::1]"]
        {
            check(&[("host", host)], false);
        }
    }
}
