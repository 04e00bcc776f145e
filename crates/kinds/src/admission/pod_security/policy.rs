//! What the labels of a namespace ask of its pods: a level, in a version, for each of three modes.

use std::fmt;

use model::field::{FieldError, Path};

/// What all labels of it begin with, and what is noted of it in the audit log.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much pods may do, from the laxest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Whatever they want.
    Privileged,
    /// Nothing that is known to give them more than they need.
    Baseline,
    /// Only what is known to be good practice.
    Restricted,
}

/// The release of Kubernetes whose checks are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// A minor release: `v1.N`.
    Minor(i64),
    /// Whatever is the newest.
    Latest,
}

/// What is asked of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

/// What is asked of pods, in each mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// What does not hold to it is refused.
    pub(super) enforce: Standard,
    /// What does not hold to it is noted in the audit log.
    pub(super) audit: Standard,
    /// Whoever writes what does not hold to it is warned.
    pub(super) warn: Standard,
}

impl Level {
    /// Reads a level; what is wrong with one that is none.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl Version {
    /// Reads a version; what is wrong with one that is none.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let minor = text.strip_prefix("v1.").filter(|digits| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain && (digits.len() == 1 || !digits.starts_with('0'))
        });
        minor.and_then(|digits| digits.parse().ok()).map(Self::Minor).ok_or(r#"must be "latest" or "v1.x""#)
    }
}

impl Standard {
    /// Nothing is asked.
    pub(super) const PRIVILEGED: Self = Self { level: Level::Privileged, version: Version::Latest };

    /// Whether both ask for the same.
    fn is_as(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl Policy {
    /// Nothing is asked.
    pub(super) const PRIVILEGED: Self =
        Self { enforce: Standard::PRIVILEGED, audit: Standard::PRIVILEGED, warn: Standard::PRIVILEGED };

    /// What labels ask for, and these defaults where they do not say; with what is wrong with them. Where a label
    /// cannot be read the strictest is enforced, and nobody is warned by it.
    pub(super) fn of<'a>(
        label: impl Fn(&str) -> Option<&'a str>,
        defaults: &Self,
    ) -> (Self, Vec<FieldError>) {
        let (mut policy, mut errors) = (*defaults, Vec::new());
        let label = |name: &str| label(&format!("{PREFIX}{name}"));
        let enforced = label("enforce").map(|text| read(&mut errors, "enforce", text, Level::parse));
        if let Some(level) = enforced {
            policy.enforce.level = level.unwrap_or(Level::Restricted);
        }
        if let Some(text) = label("enforce-version") {
            let version = read(&mut errors, "enforce-version", text, Version::parse);
            policy.enforce.version = version.unwrap_or(Version::Latest);
        }
        for (standard, mode, of_version) in
            [(&mut policy.audit, "audit", "audit-version"), (&mut policy.warn, "warn", "warn-version")]
        {
            if let Some(text) = label(mode) {
                standard.level = read(&mut errors, mode, text, Level::parse).unwrap_or(Level::Privileged);
            }
            if let Some(text) = label(of_version) {
                standard.version =
                    read(&mut errors, of_version, text, Version::parse).unwrap_or(Version::Latest);
            }
        }
        // Who says what is enforced, and nothing of warnings, wants to be warned of no less.
        let is_enforced = matches!(enforced, Some(Some(_)));
        if label("warn").is_none() && is_enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether nothing is asked in any mode.
    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }

    /// Whether both ask for the same.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.enforce.is_as(other.enforce) && self.audit.is_as(other.audit) && self.warn.is_as(other.warn)
    }
}

/// Reads the value of a label.
fn read<T>(
    errors: &mut Vec<FieldError>,
    name: &str,
    text: &str,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let wrong = match parse(text) {
        Ok(value) => return Some(value),
        Err(wrong) => wrong,
    };
    let path = Path::root("metadata");
    let path = path.child("labels");
    errors.push(FieldError::invalid(&path.key(&format!("{PREFIX}{name}")), text, wrong));
    None
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(f, "v1.{minor}"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

#[cfg(test)]
mod tests;
