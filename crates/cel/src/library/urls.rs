//! URLs, as Go's `net/url` reads them.

use std::fmt::Write;

use super::{Context, Declaration, Other};
use crate::value::{Evaluated, Value, failed, no_overload, shown};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("url", to_url, &[("string_to_url", "(string) -> url")]),
    ("isURL", is_url, &[("is_url_string", "(string) -> bool")]),
    ("getScheme", |url, _| field(url, |url| url.scheme.clone()), &[("url_get_scheme", "url.() -> string")]),
    ("getHost", |url, _| field(url, |url| url.host.clone()), &[("url_get_host", "url.() -> string")]),
    ("getHostname", |url, _| field(url, Url::hostname), &[("url_get_hostname", "url.() -> string")]),
    ("getPort", |url, _| field(url, Url::port), &[("url_get_port", "url.() -> string")]),
    (
        "getEscapedPath",
        |url, _| field(url, Url::escaped_path),
        &[("url_get_escaped_path", "url.() -> string")],
    ),
    ("getQuery", query, &[("url_get_query", "url.() -> map(string, list(string))")]),
];

/// A URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    opaque: String,
    user: String,
    host: String,
    /// Without escapes.
    path: Vec<u8>,
    /// As it was written, if that is a way to write it.
    raw_path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Url {
    fn hostname(&self) -> String {
        let host = self.host.strip_suffix(&format!(":{}", self.port())).unwrap_or(&self.host);
        let host =
            host.strip_suffix(':').filter(|host| !host.contains(':') || host.ends_with(']')).unwrap_or(host);
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.to_owned(),
            None => host.to_owned(),
        }
    }

    fn port(&self) -> String {
        let behind = self.host.rfind(']').map_or(0, |bracket| bracket + 1);
        match self.host[behind..].rfind(':') {
            Some(colon) => self.host[behind + colon + 1..].to_owned(),
            None => String::new(),
        }
    }

    fn escaped_path(&self) -> String {
        if !self.raw_path.is_empty() {
            return self.raw_path.clone();
        }
        if self.path == b"*" {
            return "*".to_owned();
        }
        escape(&self.path)
    }

    /// The URL as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.scheme.is_empty() {
            let _ = write!(text, "{}:", self.scheme);
        }
        if self.opaque.is_empty() {
            if !self.scheme.is_empty() || !self.host.is_empty() || !self.user.is_empty() {
                if !self.host.is_empty() || !self.path.is_empty() || !self.user.is_empty() {
                    text.push_str("//");
                }
                if !self.user.is_empty() {
                    let _ = write!(text, "{}@", self.user);
                }
                text.push_str(&self.host);
            }
            text.push_str(&self.escaped_path());
        } else {
            text.push_str(&self.opaque);
        }
        if let Some(query) = &self.query {
            let _ = write!(text, "?{query}");
        }
        if let Some(fragment) = &self.fragment {
            let _ = write!(text, "#{fragment}");
        }
        text
    }
}

/// Bytes that stand for themselves in a path.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+/:=@".contains(&byte)
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if plain(*byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescape(text: &str, plus: bool) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'%' => {
                let digits =
                    bytes.get(index + 1..index + 3).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
                let Some(byte) = digits
                    .and_then(|pair| std::str::from_utf8(pair).ok())
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                else {
                    let end = (index + 3).min(bytes.len());
                    let found = String::from_utf8_lossy(&bytes[index..end]);
                    return Err(format!("invalid URL escape {found:?}"));
                };
                result.push(byte);
                index += 3;
            }
            b'+' if plus => {
                result.push(b' ');
                index += 1;
            }
            byte => {
                result.push(byte);
                index += 1;
            }
        }
    }
    Ok(result)
}

/// Scheme and what is behind it.
fn scheme(text: &str) -> Result<(String, &str), String> {
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' => return Ok((String::new(), text)),
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((text[..index].to_ascii_lowercase(), &text[index + 1..])),
            _ => return Ok((String::new(), text)),
        }
    }
    Ok((String::new(), text))
}

/// Reads a URL. `request` says that it is what a request names: absolute, or a path, without a fragment.
pub(crate) fn parse(text: &str, request: bool) -> Result<Url, String> {
    let told = |why: String| format!("parse {:?}: {why}", shown(text));
    let (whole, fragment) = match text.split_once('#').filter(|_| !request) {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (text, None),
    };
    let mut url = rest(whole, request).map_err(told)?;
    if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
        unescape(fragment, false).map_err(told)?;
        url.fragment = Some(fragment.to_owned());
    }
    Ok(url)
}

fn rest(text: &str, request: bool) -> Result<Url, String> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() && request {
        return Err("empty url".to_owned());
    }
    let mut url = Url::default();
    if text == "*" {
        url.path = b"*".to_vec();
        return Ok(url);
    }
    let (name, mut rest) = scheme(text)?;
    url.scheme = name;
    if let Some((before, query)) = rest.split_once('?') {
        rest = before;
        url.query = Some(query.to_owned());
    }
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            url.opaque = rest.to_owned();
            return Ok(url);
        }
        if request {
            return Err("invalid URI for request".to_owned());
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    if (!url.scheme.is_empty() || (!request && !rest.starts_with("///"))) && rest.starts_with("//") {
        let after = &rest[2..];
        let end = after.find('/').unwrap_or(after.len());
        authority(&after[..end], &mut url)?;
        rest = &after[end..];
    }
    url.path = unescape(rest, false)?;
    if escape(&url.path) != rest {
        let valid = |byte: u8| plain(byte) || b"!'()*,;[]%".contains(&byte);
        if rest.bytes().all(valid) {
            url.raw_path = rest.to_owned();
        }
    }
    Ok(url)
}

fn authority(text: &str, url: &mut Url) -> Result<(), String> {
    let host = match text.rsplit_once('@') {
        Some((user, host)) => {
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
            if !user.bytes().all(valid) {
                return Err("net/url: invalid userinfo".to_owned());
            }
            unescape(user, false)?;
            url.user = user.to_owned();
            host
        }
        None => text,
    };
    let port = |text: &str| -> Result<(), String> {
        match text.strip_prefix(':') {
            None if text.is_empty() => Ok(()),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
            _ => Err(format!("invalid port {:?} after host", shown(text))),
        }
    };
    if host.starts_with('[') {
        let Some(end) = host.rfind(']') else { return Err("missing ']' in host".to_owned()) };
        port(&host[end + 1..])?;
        if host[1..end].split('%').next().is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_err())
        {
            return Err("invalid host: not an IPv6 address".to_owned());
        }
    } else if let Some(colon) = host.find(':') {
        let last = host.rfind(':').unwrap_or(colon);
        port(&host[last..])?;
    }
    let valid =
        |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    if let Some(byte) = host.bytes().find(|byte| !valid(*byte)) {
        return Err(format!("invalid character {:?} in host name", char::from(byte).to_string()));
    }
    let bytes = if host.starts_with('[') { host.as_bytes().to_vec() } else { unescape(host, false)? };
    url.host = String::from_utf8_lossy(&bytes).into_owned();
    Ok(())
}

fn to_url<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(4 * text.len())?;
    match parse(text, true).and_then(|_| parse(text, false)) {
        Ok(url) => Ok(Value::Other(Other::Url(url.into()))),
        Err(error) => failed(format!("URL parse error during conversion from string: {error}")),
    }
}

fn is_url<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    context.budget.work(4 * text.len())?;
    Ok(Value::Bool(parse(text, true).is_ok()))
}

fn field<'a>(arguments: &[Value<'a>], get: impl FnOnce(&Url) -> String) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Url(url))] => Ok(Value::text(get(url))),
        _ => no_overload(),
    }
}

fn query<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Url(url))] = arguments else { return no_overload() };
    let mut found: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for pair in url.query.as_deref().unwrap_or_default().split('&') {
        context.budget.work(32 + pair.len())?;
        if pair.is_empty() || pair.contains(';') {
            continue;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Ok(key), Ok(value)) = (unescape(key, true), unescape(value, true)) else { continue };
        let key = String::from_utf8_lossy(&key).into_owned();
        let value = Value::text(String::from_utf8_lossy(&value).as_ref());
        let place = *places.entry(key.clone()).or_insert_with(|| {
            found.push((key, Vec::new()));
            found.len() - 1
        });
        found[place].1.push(value);
    }
    let entries = found.into_iter().map(|(key, values)| (Value::text(key), Value::list(values)));
    Ok(Value::Map(crate::value::Map::made(entries)))
}
