//! Platforms: operating system, architecture and variant, and which of several fits a machine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The platform that an image is for, in the words of the Go toolchain (`linux/arm64/v8`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Platform {
    /// The processor architecture: `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// The operating system's version, which Windows images carry.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// The operating system's features, which Windows images carry.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform of the form os/architecture[/variant]")]
pub struct ParsePlatformError(String);

impl Platform {
    /// A platform from its parts, in normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self { architecture, os: os.to_lowercase(), variant, ..Self::default() }
    }

    /// The platform of the machine that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::new("linux", architecture, "")
    }

    /// The same platform in normal form: `x86_64` is `amd64`, `arm64/v8` is `arm64`.
    pub fn normalised(&self) -> Self {
        let (architecture, variant) = normalise(&self.architecture, &self.variant);
        Self { architecture, variant, os: self.os.to_lowercase(), ..self.clone() }
    }

    /// How well an image for `self` runs on a machine of platform `host`: `None` for not at all,
    /// otherwise the higher the better.
    pub fn fitness(&self, host: &Platform) -> Option<u8> {
        let (image, host) = (self.normalised(), host.normalised());
        if image.os != host.os {
            return None;
        }
        if image.architecture == host.architecture {
            if image.variant == host.variant {
                return Some(u8::MAX);
            }
            let (have, want) = (variant_number(&host), variant_number(&image));
            // An older variant runs on a newer processor; the closest is best.
            return (want <= have).then(|| 200 - (have - want));
        }
        let falls_back =
            matches!((host.architecture.as_str(), image.architecture.as_str()), ("amd64", "386"))
                || (host.architecture == "arm64" && image.architecture == "arm");
        falls_back.then(|| 50 + variant_number(&image))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `linux/amd64`, `linux/arm/v7`, or an architecture or operating system alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(word) {
            return Err(error());
        }
        match parts[..] {
            ["linux"] => Ok(Platform::host()),
            [architecture] => Ok(Platform::new("linux", architecture, "")),
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(error()),
        }
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686", variant) => ("386", variant),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf" | "arm", "" | "7") => ("arm", "v7"),
        ("armel", "" | "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The number in a variant such as `v7`; the architecture's first one where it is left out.
fn variant_number(platform: &Platform) -> u8 {
    let first = match platform.architecture.as_str() {
        "arm64" => 8,
        _ => 1,
    };
    platform.variant.trim_start_matches('v').parse().map_or(first, |n: u8| n.min(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn best(host: &str, offers: &[&str]) -> Option<String> {
        let host: Platform = host.parse().expect(host);
        offers
            .iter()
            .map(|offer| offer.parse::<Platform>().expect(offer))
            .filter_map(|offer| offer.fitness(&host).map(|fitness| (fitness, offer)))
            .max_by_key(|(fitness, _)| *fitness)
            .map(|(_, offer)| offer.to_string())
    }

    #[test]
    fn the_platform_that_fits_best_is_chosen() {
        assert_eq!(
            best("linux/amd64", &["linux/arm64", "linux/386", "linux/x86_64"]),
            Some("linux/amd64".into())
        );
        assert_eq!(best("linux/amd64", &["linux/arm64", "linux/386"]), Some("linux/386".into()));
        assert_eq!(best("linux/arm64", &["linux/amd64", "linux/arm64/v8"]), Some("linux/arm64".into()));
        assert_eq!(best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]), Some("linux/arm/v6".into()));
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(best("linux/amd64", &["windows/amd64", "linux/s390x"]), None);
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in ["", "a/b/c/d", "linux/", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
