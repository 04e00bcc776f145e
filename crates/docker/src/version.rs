//! Versions of the Engine API, and which of them this service speaks.

use std::fmt;
use std::str::FromStr;

/// A version of the Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(pub(crate) u16, pub(crate) u16);

impl ApiVersion {
    /// The oldest that is spoken.
    pub(crate) const OLDEST: Self = Self(1, 24);
    /// The newest that is spoken, and the one that a path without a version means.
    pub(crate) const NEWEST: Self = Self(1, 51);

    /// Refuses what is not spoken, in the words that clients look for when they negotiate.
    pub(crate) fn check(self) -> Result<Self, String> {
        if self < Self::OLDEST {
            return Err(format!(
                "client version {self} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
                Self::OLDEST
            ));
        }
        if self > Self::NEWEST {
            return Err(format!(
                "client version {self} is too new. Maximum supported API version is {}",
                Self::NEWEST
            ));
        }
        Ok(self)
    }

    /// Cuts the version off a path: `/v1.41/info` is `/info` in 1.41.
    pub(crate) fn split(path: &str) -> (Option<Self>, &str) {
        let versioned = path.strip_prefix("/v").and_then(|rest| {
            let end = rest.find('/')?;
            Some((rest[..end].parse().ok()?, &rest[end..]))
        });
        match versioned {
            Some((version, rest)) => (Some(version), rest),
            None => (None, path),
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for ApiVersion {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self(major.parse()?, minor.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: (Option<ApiVersion>, &str)) {
        assert_eq!(ApiVersion::split(path), expected);
    }

    #[test]
    fn the_version_is_cut_off_a_path() {
        check("/v1.41/containers/json", (Some(ApiVersion(1, 41)), "/containers/json"));
        check("/containers/json", (None, "/containers/json"));
        check("/volumes/v1", (None, "/volumes/v1"));
        check("/version", (None, "/version"));
        check("/v1.x/info", (None, "/v1.x/info"));
    }

    #[test]
    fn what_is_not_spoken_is_refused_by_name() {
        let old = ApiVersion(1, 23).check().expect_err("too old");
        assert!(
            old.starts_with("client version 1.23 is too old. Minimum supported API version is 1.24"),
            "{old}"
        );
        let new = ApiVersion(1, 99).check().expect_err("too new");
        assert_eq!(new, "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert_eq!(ApiVersion(1, 30).check(), Ok(ApiVersion(1, 30)));
    }
}
