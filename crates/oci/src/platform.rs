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

/// Why a text is no platform, in the words of containerd's library: clients look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    /// There is a `*` in it.
    #[error("{0:?}: wildcards not yet supported: invalid argument")]
    Wildcard(String),
    /// Its first part is no operating system.
    #[error(
        "{part:?} is an invalid OS component of {text:?}: OSAndVersion specifier component must match {OS_FORM:?}: invalid argument"
    )]
    System {
        /// What stands there.
        part: String,
        /// The whole.
        text: String,
    },
    /// Another part has something in it that none has.
    #[error(
        "{part:?} is an invalid component of {text:?}: platform specifier component must match {PART_FORM:?}: invalid argument"
    )]
    Part {
        /// What stands there.
        part: String,
        /// The whole.
        text: String,
    },
    /// It is one word, and nothing that is known.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// It has too many parts.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Parts(String),
}

/// What an operating system with its version looks like, and what the other parts do.
const OS_FORM: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)\))?$";
const PART_FORM: &str = "^[A-Za-z0-9_-]+$";

/// The operating systems and architectures that Go knows.
const SYSTEMS: &str = "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 \
    solaris windows zos";
const ARCHITECTURES: &str = "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 \
    mips64le mips64p32 mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm";

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
        let whole = || text.to_owned();
        if text.contains('*') {
            return Err(ParsePlatformError::Wildcard(whole()));
        }
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let is_word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let (system, version) = match parts[0].split_once('(') {
            Some((system, version)) => (system, version.strip_suffix(')').unwrap_or("(")),
            None => (parts[0], ""),
        };
        let is_version = version.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.%-".contains(&b));
        if !is_word(system) || !is_version {
            return Err(ParsePlatformError::System { part: parts[0].to_owned(), text: whole() });
        }
        if let Some(part) = parts[1..].iter().find(|part| !is_word(part)) {
            return Err(ParsePlatformError::Part { part: (*part).to_owned(), text: whole() });
        }
        let system = match system.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let platform = match parts[..] {
            [_] if is_among(SYSTEMS, &system) => Platform { os: system, ..Platform::host() },
            [architecture] => {
                let platform = Platform::new("linux", architecture, "");
                if !is_among(ARCHITECTURES, &platform.architecture) {
                    return Err(ParsePlatformError::Unknown(whole()));
                }
                platform
            }
            [_, architecture] => Platform::new(&system, architecture, ""),
            [_, architecture, variant] => Platform::new(&system, architecture, variant),
            _ => return Err(ParsePlatformError::Parts(whole())),
        };
        Ok(Platform { os_version: version.to_owned(), ..platform })
    }
}

fn is_among(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|known| known == word)
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
        let refused = |text: &str, words: &str| {
            let error = text.parse::<Platform>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        };
        refused("", "is an invalid OS component");
        refused("   ", "is an invalid OS component");
        refused("/", "is an invalid OS component");
        refused("foobar", "\"foobar\": unknown operating system or architecture: invalid argument");
        refused("a/b/c/d", "cannot parse platform specifier");
        refused("linux/", "is an invalid component of \"linux/\"");
        refused("linux/am d64", "\"am d64\" is an invalid component");
        refused("linux/*", "wildcards not yet supported");
        let read = |text: &str| text.parse::<Platform>().expect(text).to_string();
        assert_eq!(read("LINUX"), Platform::host().to_string());
        assert_eq!(read("aarch64"), "linux/arm64");
        assert_eq!(read("linux/sparc64"), "linux/sparc64");
        assert_eq!(read("windows(10.0.17763)/amd64"), "windows/amd64");
    }
}
