//! Semantic versions.

use std::cmp::Ordering;

use super::{Context, Declaration, Other};
use crate::value::{Evaluated, Value, failed, no_overload, shown};

pub(super) const FUNCTIONS: &[Declaration] = &[
    (
        "semver",
        to_semver,
        &[("string_to_semver", "(string) -> semver"), ("string_bool_to_semver", "(string, bool) -> semver")],
    ),
    (
        "isSemver",
        is_semver,
        &[("is_semver_string", "(string) -> bool"), ("is_semver_string_bool", "(string, bool) -> bool")],
    ),
    (
        "major",
        |arguments, _| number(arguments, |version| version.major),
        &[("semver_major", "semver.() -> int")],
    ),
    (
        "minor",
        |arguments, _| number(arguments, |version| version.minor),
        &[("semver_minor", "semver.() -> int")],
    ),
    (
        "patch",
        |arguments, _| number(arguments, |version| version.patch),
        &[("semver_patch", "semver.() -> int")],
    ),
];

/// A version: `1.2.3-rc.1+build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    before: Vec<Part>,
}

/// A part of what stands behind the hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

impl Version {
    /// How versions compare; what is built from them does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| {
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.before.cmp(&other.before),
            }
        })
    }
}

fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let mut numbers = text.splitn(3, '.');
    let (Some(major), Some(minor), Some(rest)) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (rest, None),
    };
    let (patch, before) = match rest.split_once('-') {
        Some((patch, before)) => (patch, Some(before)),
        None => (rest, None),
    };
    let number = |what: &str, text: &str| -> Result<u64, String> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {what} number {:?}", shown(text)));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!("{what} number must not contain leading zeroes {:?}", shown(text)));
        }
        text.parse().map_err(|_| format!("strconv.ParseUint: parsing {:?}: invalid syntax", shown(text)))
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let mut version = Version {
        major: number("Major", major)?,
        minor: number("Minor", minor)?,
        patch: number("Patch", patch)?,
        before: Vec::new(),
    };
    for part in before.into_iter().flat_map(|before| before.split('.')) {
        if part.is_empty() {
            return Err("Prerelease is empty".to_owned());
        }
        version.before.push(if part.bytes().all(|byte| byte.is_ascii_digit()) {
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
            }
            Part::Number(
                part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: invalid syntax"))?,
            )
        } else if plain(part) {
            Part::Text(part.to_owned())
        } else {
            return Err(format!("Invalid character(s) found in prerelease {part:?}"));
        });
    }
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !plain(part) {
            return Err(format!("Invalid character(s) found in build meta data {part:?}"));
        }
    }
    Ok(version)
}

/// Reads what people write for versions: `v1.2`, `01.2.3`.
fn normalize(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            let cut = part.trim_start_matches('0');
            match part.len() > 1 {
                true if cut.is_empty() || !cut.as_bytes()[0].is_ascii_digit() => format!("0{cut}"),
                true => cut.to_owned(),
                false => part.to_owned(),
            }
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    parse(&parts.join("."))
}

fn read(arguments: &[Value<'_>]) -> Option<Result<Version, String>> {
    match arguments {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Some(parse(text)),
        [Value::String(text), Value::Bool(true)] => Some(normalize(text)),
        _ => None,
    }
}

fn to_semver<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    match read(arguments) {
        Some(Ok(version)) => Ok(Value::Other(Other::Semver(version.into()))),
        Some(Err(error)) => failed(error),
        None => no_overload(),
    }
}

fn is_semver<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    read(arguments).map_or_else(no_overload, |version| Ok(Value::Bool(version.is_ok())))
}

fn number<'a>(arguments: &[Value<'a>], get: impl FnOnce(&Version) -> u64) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Semver(version))] => Ok(Value::Int(get(version) as i64)),
        _ => no_overload(),
    }
}
