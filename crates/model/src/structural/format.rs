//! Forms that texts may be asked to have, by the names that schemas call them by.
//!
//! Source: the formats that Kubernetes lists for schemas of custom kinds (go-openapi's `strfmt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::Kind;

/// The names, as they are once dashes are left out.
const TEXTS: [&str; 26] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format is one that values of a type have; others count for nothing.
pub fn is_known_format(format: &str, kind: Kind) -> bool {
    applies(format, kind, false)
}

pub(super) fn applies(format: &str, kind: Kind, int_or_string: bool) -> bool {
    let kind = if int_or_string { Kind::Any } else { kind };
    match kind {
        _ if format.is_empty() => false,
        Kind::Any | Kind::String => TEXTS.contains(&normal(format).as_str()),
        Kind::Integer => matches!(format, "int32" | "int64"),
        Kind::Number => matches!(format, "float" | "double"),
        Kind::Array | Kind::Boolean | Kind::Object => false,
    }
}

/// Whether texts are looked at for a format.
pub(super) fn is_of_texts(format: &str) -> bool {
    TEXTS.contains(&normal(format).as_str())
}

/// Whether a text has a format, which is one of texts.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match normal(format).as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "byte" => BASE64.is_match(text),
        "cidr" => is_cidr(text),
        "creditcard" => is_credit_card(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "hostname" => is_hostname(text),
        "ipv4" => ipv4(text).is_some() || (text.contains('.') && text.parse::<Ipv6Addr>().is_ok()),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8slongname" => text.len() <= 253 && text.split('.').all(is_label),
        "k8sshortname" => text.len() <= 63 && is_label(text),
        "mac" => is_mac(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "ssn" => text.len() == 11 && SSN.is_match(text),
        "uri" => is_request_uri(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID3.is_match(text),
        "uuid4" => UUID4.is_match(text),
        "uuid5" => UUID5.is_match(text),
        // A password is any text.
        _ => true,
    }
}

fn normal(format: &str) -> String {
    format.replace('-', "")
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)*) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("it is one"));)*
    };
}

patterns! {
    BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    CREDIT_CARD = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|\
                   3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = "^rgb\\([ \t\n\x0c\r]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\x0c\r]*,[ \t\n\x0c\r]*\
                 (0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\x0c\r]*,[ \t\n\x0c\r]*\
                 (0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[ \t\n\x0c\r]*\\)$";
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    TIME = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    HOSTNAME = "^([a-zA-Z0-9\\p{S}\\p{L}]((-?[a-zA-Z0-9\\p{S}\\p{L}]{0,62})?)|\
                ([a-zA-Z0-9\\p{S}\\p{L}](([a-zA-Z0-9\\-\\p{S}\\p{L}]{0,61}[a-zA-Z0-9\\p{S}\\p{L}])?)(\\.)){1,}\
                ([a-zA-Z\\p{L}]){2,63})$";
    WORDS = "([0-9]+)[ \t\n\x0c\r]*([A-Za-zµ]+)";
}

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match text.as_bytes() {
        [] => false,
        [only] => plain(*only),
        [first, middle @ .., last] => {
            plain(*first) && plain(*last) && middle.iter().all(|byte| plain(*byte) || *byte == b'-')
        }
    }
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && HOSTNAME.is_match(text) && text.split('.').all(|part| part.len() <= 63)
}

/// An address of four numbers, which may begin with zeros.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.trim_start_matches('0')).and_then(|part| match part {
            "" => Some(0),
            part => part.parse::<u8>().ok(),
        })
    };
    let numbers: Vec<u8> = parts.iter().map(number).collect::<Option<_>>()?;
    let octets: [u8; 4] = numbers.try_into().ok()?;
    Some(octets.into())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let address = ipv4(address).map(IpAddr::V4).or_else(|| address.parse().ok());
    let length = length.parse::<u8>().ok().filter(|_| length.bytes().all(|byte| byte.is_ascii_digit()));
    match (address, length) {
        (Some(IpAddr::V4(_)), Some(length)) => length <= 32,
        (Some(IpAddr::V6(_)), Some(length)) => length <= 128,
        _ => false,
    }
}

/// Six, eight or twenty bytes, in pairs or in fours.
fn is_mac(text: &str) -> bool {
    let hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    [(':', 2, [6, 8, 20]), ('-', 2, [6, 8, 20]), ('.', 4, [3, 4, 10])].iter().any(
        |(separator, length, counts)| {
            let parts: Vec<&str> = text.split(*separator).collect();
            counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, *length))
        },
    )
}

fn is_date(text: &str) -> bool {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shaped && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.captures(time).filter(|_| is_date(date)) else { return false };
    let at_most = |group: usize, most: &str| found.get(group).is_some_and(|part| part.as_str() <= most);
    at_most(1, "23") && at_most(2, "59") && at_most(3, "59")
}

/// As Go writes it (`1h30m`), or numbers and units in words.
fn is_duration(text: &str) -> bool {
    if is_go_duration(text) {
        return true;
    }
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut found = false;
    for words in WORDS.captures_iter(text) {
        if words[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = words[2].to_lowercase();
        found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str()) || names.last().is_some_and(|last| unit.starts_with(last))
        });
    }
    found
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit()).count();
        let after = &rest[digits..];
        let fraction = match after.strip_prefix('.') {
            Some(fraction) => fraction.bytes().take_while(|byte| byte.is_ascii_digit()).count() + 1,
            None => 0,
        };
        if digits == 0 && fraction < 2 {
            return false;
        }
        rest = &after[fraction..];
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].into_iter().find(|unit| {
            rest.strip_prefix(unit).is_some_and(|more| {
                more.is_empty() || more.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            })
        });
        let Some(unit) = unit else { return false };
        rest = &rest[unit.len()..];
    }
    true
}

/// An address, or a name and an address in angle brackets.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(open), Some(inside)) => {
            let name = text[..open].trim();
            let quoted = name.len() >= 2 && name.starts_with('"') && name.ends_with('"');
            let plain = |c: char| c.is_alphanumeric() || " .!#$%&'*+-/=?^_`{|}~".contains(c);
            if !(quoted || name.chars().all(plain)) {
                return false;
            }
            &inside[open + 1..]
        }
        (None, _) => text,
        _ => return false,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let dotted = |text: &str| text.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    let quoted = local.len() >= 3 && local.starts_with('"') && local.ends_with('"');
    let literal = domain
        .strip_prefix('[')
        .and_then(|inside| inside.strip_suffix(']'))
        .is_some_and(|inside| inside.strip_prefix("IPv6:").unwrap_or(inside).parse::<IpAddr>().is_ok());
    (dotted(local) || quoted) && (dotted(domain) || literal)
}

/// What can stand in the first line of an HTTP request: a path from the root, or a whole address.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let scheme = text.find(':').map(|end| &text[..end]).filter(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let rest = match scheme {
        Some(scheme) => &text[scheme.len() + 1..],
        None if text.starts_with('/') => text,
        None => return false,
    };
    let (authority, path) = match rest.strip_prefix("//").filter(|_| scheme.is_some()) {
        Some(after) => after.split_at(after.find(['/', '?']).unwrap_or(after.len())),
        None => ("", rest),
    };
    if scheme.is_some() && authority.is_empty() && !path.starts_with('/') && !rest.starts_with("//") {
        // What stands for itself, such as `mailto:`.
        return !rest.is_empty() || scheme.is_some();
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((_, after)) => after.strip_prefix(':').or(after.is_empty().then_some("")),
            None => None,
        },
        None => Some(host.rsplit_once(':').map_or("", |(_, port)| port)),
    };
    let odd = |byte: u8| b" \"<>\\^`{|}".contains(&byte);
    let escapes = |text: &str| {
        text.match_indices('%').all(|(at, _)| {
            text.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        })
    };
    let before_query = path.split('?').next().unwrap_or_default();
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        && !host.bytes().any(odd)
        && escapes(before_query)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0');
            match (at % 2 == 1, digit * 2) {
                (false, _) => digit,
                (true, double) if double >= 10 => double % 10 + 1,
                (true, double) => double,
            }
        })
        .sum();
    CREDIT_CARD.is_match(&digits) && sum.is_multiple_of(10)
}

fn bare(text: &str) -> Vec<u8> {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| u8::try_from(c).unwrap_or(0)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let bytes = bare(text);
    let [digits @ .., last] = bytes.as_slice() else { return false };
    if digits.len() != 9 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let check = match last {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    let sum: u32 = digits.iter().zip(1..).map(|(digit, factor)| u32::from(digit - b'0') * factor).sum();
    (sum + 10 * check).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let bytes = bare(text);
    if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = bytes[..12]
        .iter()
        .enumerate()
        .map(|(at, digit)| u32::from(digit - b'0') * if at % 2 == 0 { 1 } else { 3 })
        .sum();
    u32::from(bytes[12] - b'0') == (10 - sum % 10) % 10
}
