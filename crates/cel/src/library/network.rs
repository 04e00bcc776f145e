//! Addresses and ranges of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Context, Declaration, Other};
use crate::value::{EvalError, Evaluated, Value, failed, no_overload, shown};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("ip", to_ip, &[("string_to_ip", "(string) -> ip"), ("cidr_ip", "cidr.() -> ip")]),
    (
        "family",
        |arguments, _| of_ip(arguments, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        &[("ip_family", "ip.() -> int")],
    ),
    ("ip.isCanonical", is_canonical, &[("ip_is_canonical", "(string) -> bool")]),
    (
        "isUnspecified",
        |arguments, _| of_ip(arguments, |ip| Value::Bool(ip.is_unspecified())),
        &[("ip_is_unspecified", "ip.() -> bool")],
    ),
    (
        "isLoopback",
        |arguments, _| of_ip(arguments, |ip| Value::Bool(ip.is_loopback())),
        &[("ip_is_loopback", "ip.() -> bool")],
    ),
    (
        "isLinkLocalMulticast",
        |arguments, _| of_ip(arguments, |ip| Value::Bool(link_local_multicast(ip))),
        &[("ip_is_link_local_multicast", "ip.() -> bool")],
    ),
    (
        "isLinkLocalUnicast",
        |arguments, _| of_ip(arguments, |ip| Value::Bool(link_local_unicast(ip))),
        &[("ip_is_link_local_unicast", "ip.() -> bool")],
    ),
    (
        "isGlobalUnicast",
        |arguments, _| of_ip(arguments, |ip| Value::Bool(global_unicast(ip))),
        &[("ip_is_global_unicast", "ip.() -> bool")],
    ),
    (
        "isIP",
        |arguments, _| readable(arguments, |text| parse_ip(text).is_ok()),
        &[("is_ip", "(string) -> bool")],
    ),
    ("cidr", to_cidr, &[("string_to_cidr", "(string) -> cidr")]),
    (
        "isCIDR",
        |arguments, _| readable(arguments, |text| parse_cidr(text).is_ok()),
        &[("is_cidr", "(string) -> bool")],
    ),
    (
        "containsIP",
        contains_ip,
        &[("cidr_contains_ip_string", "cidr.(string) -> bool"), ("cidr_contains_ip_ip", "cidr.(ip) -> bool")],
    ),
    (
        "containsCIDR",
        contains_cidr,
        &[
            ("cidr_contains_cidr_string", "cidr.(string) -> bool"),
            ("cidr_contains_cidr", "cidr.(cidr) -> bool"),
        ],
    ),
    (
        "prefixLength",
        |arguments, _| of_cidr(arguments, |cidr| Value::Int(i64::from(cidr.prefix))),
        &[("cidr_prefix_length", "cidr.() -> int")],
    ),
    (
        "masked",
        |arguments, _| {
            of_cidr(arguments, |cidr| {
                Value::Other(Other::Cidr(Cidr { address: cidr.masked(), prefix: cidr.prefix }.into()))
            })
        },
        &[("cidr_masked", "cidr.() -> cidr")],
    ),
];

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    pub(super) prefix: u8,
}

impl Cidr {
    /// The address with only the bits of the prefix.
    fn masked(&self) -> IpAddr {
        self.cut(self.address)
    }

    fn cut(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.cut(address) == self.masked()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn link_local_multicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global_unicast(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local_unicast(ip))
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    // What is longer than errors show is no address.
    let text = &*shown(text);
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        let why = "unable to parse IP";
        format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): {why}")
    })?;
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        address => Ok(address),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let text = &*shown(text);
    let wrong = |why: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
        )
    };
    let (address, prefix) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    if address.contains('%') {
        return Err(wrong("IPv6 zones cannot be present in a prefix"));
    }
    let address: IpAddr =
        address.parse().map_err(|_| wrong(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    if let IpAddr::V6(address) = address
        && address.to_ipv4_mapped().is_some()
    {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let canonical =
        prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix.len() == 1 || !prefix.starts_with('0'));
    match prefix.parse::<u8>() {
        Ok(prefix) if canonical && prefix <= most => Ok(Cidr { address, prefix }),
        Ok(_) if canonical => Err(wrong("prefix length out of range")),
        _ => Err(wrong(&format!("bad bits after slash: {prefix:?}"))),
    }
}

fn readable<'a>(arguments: &[Value<'a>], check: impl FnOnce(&str) -> bool) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(check(text))),
        _ => no_overload(),
    }
}

fn to_ip<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => match parse_ip(text) {
            Ok(address) => Ok(Value::Other(Other::Ip(address.into()))),
            Err(error) => failed(error),
        },
        [Value::Other(Other::Cidr(cidr))] => Ok(Value::Other(Other::Ip(cidr.address.into()))),
        _ => no_overload(),
    }
}

fn is_canonical<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => match parse_ip(text) {
            Ok(address) => Ok(Value::Bool(address.to_string() == **text)),
            Err(error) => failed(error),
        },
        _ => no_overload(),
    }
}

fn of_ip<'a>(arguments: &[Value<'a>], get: impl FnOnce(&IpAddr) -> Value<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Ip(address))] => Ok(get(address)),
        _ => no_overload(),
    }
}

fn of_cidr<'a>(arguments: &[Value<'a>], get: impl FnOnce(&Cidr) -> Value<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Cidr(cidr))] => Ok(get(cidr)),
        _ => no_overload(),
    }
}

fn to_cidr<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    let cidr = read_cidr(text)?;
    Ok(Value::Other(Other::Cidr(cidr.into())))
}

fn read_cidr(text: &str) -> Result<Cidr, EvalError> {
    parse_cidr(text).or_else(|error| {
        failed(format!("network address parse error during conversion from string: {error}"))
    })
}

fn contains_ip<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Cidr(cidr)), Value::Other(Other::Ip(address))] => {
            Ok(Value::Bool(cidr.contains(**address)))
        }
        [Value::Other(Other::Cidr(cidr)), Value::String(text)] => match parse_ip(text) {
            Ok(address) => Ok(Value::Bool(cidr.contains(address))),
            Err(error) => failed(error),
        },
        _ => no_overload(),
    }
}

fn contains_cidr<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let (cidr, other) = match arguments {
        [Value::Other(Other::Cidr(cidr)), Value::Other(Other::Cidr(other))] => (cidr, **other),
        [Value::Other(Other::Cidr(cidr)), Value::String(text)] => (cidr, read_cidr(text)?),
        _ => return no_overload(),
    };
    Ok(Value::Bool(cidr.prefix <= other.prefix && cidr.contains(other.address)))
}
