//! What pods and services have in common where requests are passed on to them: how they are named, and which
//! addresses nobody is led to.

use std::net::IpAddr;

use apiserver::request::Verb;
use apiserver::{Error, Result};

/// What can be asked of somebody else, in the order in which discovery shows it.
pub(crate) const VERBS: [Verb; 5] = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

/// Who is meant: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) tls: bool,
    pub(crate) name: &'a str,
    /// A number or a name; empty where none is named.
    pub(crate) port: &'a str,
}

impl<'a> Wanted<'a> {
    /// Reads what a path names; `kind` is for the refusal.
    pub(crate) fn parse(text: &'a str, kind: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let wanted = match parts[..] {
            [name] => Some(("", name, "")),
            [name, port] => Some(("", name, port)),
            [scheme @ ("" | "http" | "https"), name, port] => Some((scheme, name, port)),
            _ => None,
        };
        match wanted {
            Some((scheme, name, port)) if !name.is_empty() => Ok(Self { tls: scheme == "https", name, port }),
            _ => {
                let text = model::field::quote(text);
                Err(Error::bad_request(format!("invalid {kind} request {text}")))
            }
        }
    }
}

/// An address that requests may be passed on to: not the node's own, nor one of its neighbourhood.
pub(crate) fn address(text: &str) -> Result<IpAddr> {
    let address: IpAddr = text.parse().map_err(|_| refused())?;
    if apiserver::is_near(address) { Err(refused()) } else { Ok(address.to_canonical()) }
}

fn refused() -> Error {
    Error::bad_request("address not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_scheme_and_a_port_or_neither() {
        let parse = |text| Wanted::parse(text, "pod").map(|wanted| (wanted.tls, wanted.name, wanted.port));
        assert_eq!(parse("a").ok(), Some((false, "a", "")));
        assert_eq!(parse("a:80").ok(), Some((false, "a", "80")));
        assert_eq!(parse("https:a:").ok(), Some((true, "a", "")));
        assert_eq!(parse(":a:web").ok(), Some((false, "a", "web")));
        for bad in ["", ":80", "ftp:a:80", "http::80", "a:b:c:d"] {
            let refused = parse(bad).expect_err("it names nothing").to_string();
            assert_eq!(refused, format!("invalid pod request {bad:?}"));
        }
    }

    #[test]
    fn nobody_is_led_to_the_node_itself() {
        for good in ["10.42.0.7", "192.0.2.1", "2001:db8::1"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "x",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "224.0.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "ff01::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
