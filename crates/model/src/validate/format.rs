//! Forms that texts in fields of several kinds have: addresses, networks, paths with a domain, drivers, signers.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Errors, invalid, text};
use crate::field::{FieldError, Path, quote};
use crate::names;

/// The longest name of a driver.
const DRIVER: usize = 63;
/// The longest DNS name.
const SUBDOMAIN: usize = 253;

/// An IP address as fields have it that were there before their form was looked at strictly: any form of it
/// but those that programs read differently.
pub fn ip(errors: &mut Errors, path: &Path<'_>, value: &str) -> Option<IpAddr> {
    let mut refuse = |message: &str| errors.push(FieldError::invalid(path, value, message));
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            refuse("must not be an IPv4-mapped IPv6 address");
            None
        }
        Ok(address) => Some(address),
        Err(_) if without_zeros(value).parse::<IpAddr>().is_ok() => {
            refuse("must not have leading 0s");
            None
        }
        Err(_) => {
            refuse("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            None
        }
    }
}

/// An IP address in the one form that it is written in.
pub fn canonical_ip(errors: &mut Errors, path: &Path<'_>, value: &str) -> Option<IpAddr> {
    let address = ip(errors, path, value)?;
    canonical(errors, path, value, &address.to_string());
    Some(address)
}

/// A network and the length of its prefix, as fields have it that were there before their form was looked
/// at strictly.
pub fn cidr(errors: &mut Errors, path: &Path<'_>, value: &str) -> Option<(IpAddr, u8)> {
    let mut refuse = |message: &str| errors.push(FieldError::invalid(path, value, message));
    let sloppy = value.split_once('/').and_then(|(address, length)| {
        let zeros = length.len() > 1 && length.starts_with('0');
        let length = length.parse::<u8>().ok().filter(|_| !length.starts_with('+'))?;
        let (address, zeros) = match address.parse::<IpAddr>() {
            Ok(address) => (address, zeros),
            Err(_) => (without_zeros(address).parse().ok()?, true),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some((address, length, zeros))
    });
    let Some((address, length, zeros)) = sloppy else {
        refuse("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    if zeros {
        refuse("must not have leading 0s in IP or prefix length");
    } else if mapped {
        refuse("must not have an IPv4-mapped IPv6 address");
    } else if masked(address, length) != address {
        refuse("must not have bits set beyond the prefix length");
    }
    Some((masked(address, length), length))
}

/// A network in the one form that it is written in.
pub fn canonical_cidr(errors: &mut Errors, path: &Path<'_>, value: &str) -> Option<(IpAddr, u8)> {
    let before = errors.len();
    let (address, length) = cidr(errors, path, value)?;
    if errors.len() == before {
        canonical(errors, path, value, &format!("{address}/{length}"));
    }
    Some((address, length))
}

/// An address with nothing after the first `length` bits.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    let keep = |bits: u32| bits.saturating_sub(u32::from(length));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(keep(32)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(keep(128)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// A path with a domain before it: `acme.io/foo`.
pub fn domain_prefixed_path(errors: &mut Errors, path: &Path<'_>, value: &str) {
    const REST: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    match value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) {
        None => {
            let message = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(path, value, message));
        }
        Some((host, rest)) => {
            invalid(errors, path, host, names::dns1123_subdomain(host));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
            if !rest.bytes().all(is_plain) {
                let message = format!("Invalid path (regex used for validation is '{REST}')");
                errors.push(FieldError::invalid(path, rest, message));
            }
        }
    }
}

/// The name of a driver of storage or devices: a domain, in upper or lower case.
pub fn driver(errors: &mut Errors, path: &Path<'_>, value: &str) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if value.len() > DRIVER {
        errors.push(FieldError::too_long(path, DRIVER));
    }
    invalid(errors, path, value, names::dns1123_subdomain(&value.to_lowercase()));
}

/// The name of who signs certificates: a domain and a path, `example.com/signer-name`.
pub fn signer(errors: &mut Errors, path: &Path<'_>, value: &str) {
    /// A domain, and a path that is a namespace, a dot and an object's name.
    const SIGNER: usize = SUBDOMAIN + 1 + 63 + 1 + SUBDOMAIN;
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let (domain, rest) = match value.split_once('/') {
        Some((domain, rest)) if !rest.contains('/') => (domain, rest),
        _ => {
            let message = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid(path, value, message));
            return;
        }
    };
    if domain.len() > SUBDOMAIN {
        errors.push(FieldError::too_long(path, SUBDOMAIN));
    }
    labels(errors, path, domain, names::dns1123_label);
    if !domain.contains('.') {
        let message = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, message));
    }
    labels(errors, path, rest, names::dns1123_subdomain);
    if value.len() > SIGNER {
        errors.push(FieldError::too_long(path, SIGNER));
    }
}

/// Reports the first part between dots that is wrong: what is wrong with the others is mostly the same.
fn labels(errors: &mut Errors, path: &Path<'_>, whole: &str, check: fn(&str) -> Vec<String>) {
    let wrong = whole.split('.').map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty());
    let Some((label, messages)) = wrong else { return };
    for message in messages {
        let message = format!("validating label {}: {message}", quote(label));
        errors.push(FieldError::invalid(path, whole, message));
    }
}

/// A list of `metav1.Condition`s, of which there is one of each type.
pub fn conditions(errors: &mut Errors, conditions: &[Value], path: &Path<'_>) {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    const REASON: usize = 1024;
    const MESSAGE: usize = 32 * 1024;
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        invalid(errors, &path.child("type"), kind, names::qualified(kind));
        let status = text(condition, "status");
        if !STATUSES.contains(&status) {
            errors.push(FieldError::not_supported(&path.child("status"), status, &STATUSES));
        }
        let generation = condition.get("observedGeneration").and_then(Value::as_i64).unwrap_or_default();
        if generation < 0 {
            let message = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, message));
        }
        if text(condition, "lastTransitionTime").is_empty() {
            errors.push(FieldError::required(&path.child("lastTransitionTime"), ""));
        }
        let reason = text(condition, "reason");
        if reason.is_empty() {
            errors.push(FieldError::required(&path.child("reason"), ""));
        } else {
            if !is_reason(reason) {
                let message = "a condition reason must start with alphabetic character, optionally followed by a \
                               string of alphanumeric characters or '_,:', and must end with an alphanumeric \
                               character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  \
                               or 'ReasonA:ReasonB', regex used for validation is \
                               '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
                errors.push(FieldError::invalid(&path.child("reason"), reason, message));
            }
            if reason.len() > REASON {
                errors.push(FieldError::too_long(&path.child("reason"), REASON));
            }
        }
        if text(condition, "message").len() > MESSAGE {
            errors.push(FieldError::too_long(&path.child("message"), MESSAGE));
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':');
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && reason.chars().all(inside)
}

fn canonical(errors: &mut Errors, path: &Path<'_>, value: &str, form: &str) {
    if value != form {
        let message = format!("must be in canonical form ({})", quote(form));
        errors.push(FieldError::invalid(path, value, message));
    }
}

/// An address of four numbers, each without the zeros that it begins with.
fn without_zeros(address: &str) -> String {
    let number = |part: &str| {
        let bare = part.trim_start_matches('0');
        if bare.is_empty() && !part.is_empty() { "0".to_owned() } else { bare.to_owned() }
    };
    address.split('.').map(number).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T>(form: fn(&mut Errors, &Path<'_>, &str) -> T, value: &str, expected: &[&str]) {
        let mut errors = Vec::new();
        form(&mut errors, &Path::root("f"), value);
        let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
        assert_eq!(details, expected, "{value}");
    }

    #[test]
    fn networks_and_addresses_have_a_form_that_all_read_alike() {
        const NETWORK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:DB8::/32", "10.1.2.3/32", "::1/128"] {
            check(cidr, good, &[]);
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/+8", "10.0.0.0/-1"]
        {
            check(cidr, bad, &[NETWORK]);
        }
        check(cidr, "010.0.0.0/8", &["must not have leading 0s in IP or prefix length"]);
        check(cidr, "10.0.0.0/08", &["must not have leading 0s in IP or prefix length"]);
        check(cidr, "::ffff:10.0.0.0/104", &["must not have an IPv4-mapped IPv6 address"]);
        check(cidr, "10.0.0.1/8", &["must not have bits set beyond the prefix length"]);
        check(canonical_cidr, "2001:DB8::/32", &["must be in canonical form (\"2001:db8::/32\")"]);
        check(canonical_ip, "2001:db8:0::1", &["must be in canonical form (\"2001:db8::1\")"]);
        check(canonical_ip, "10.0.0.1", &[]);
        check(ip, "010.0.0.1", &["must not have leading 0s"]);
        check(ip, "::ffff:1.2.3.4", &["must not be an IPv4-mapped IPv6 address"]);
        check(ip, "300.0.0.1", &["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]);
    }

    #[test]
    fn signers_and_paths_begin_with_a_domain() {
        check(signer, "example.com/a.b", &[]);
        check(signer, "", &[""]);
        check(signer, "example/a", &["should be a domain with at least two segments separated by dots"]);
        let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        check(signer, "example.com", &[form]);
        check(signer, "example.com/a/b", &[form]);
        check(domain_prefixed_path, "acme.io/foo", &[]);
        let form = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        check(domain_prefixed_path, "acme.io", &[form]);
        check(domain_prefixed_path, "/foo", &[form]);
    }
}
