//! What foreign image documents may hold. Everything in them is kept, copied for each container and
//! passed to each program, so whoever makes an image would else decide what that costs.
//!
//! A registry, an archive and a Dockerfile are held to the same bounds, and so is `docker commit`:
//! what is made here can be pulled again. Documents that a store has taken are read without them.

use std::fmt;

use crate::config::{ContainerConfig, ImageConfig};
use crate::manifest::{Index, Manifest};

/// Bytes of a configuration or manifest. containerd reads 8 MiB of a manifest, Docker 4 MiB.
pub const DOCUMENT_MAX: usize = 8 << 20;
/// Layers of an image. Overlayfs takes 500 lower directories, but as many paths as fit into one page;
/// Docker ends at 125 to 128 ("max depth exceeded").
pub const LAYERS_MAX: usize = 127;
/// Manifests in an index: two for each platform of the largest official images are some thirty.
pub const MANIFESTS_MAX: usize = 1_000;
/// Steps in a history. Each step of a build writes down all before it, so the sum grows by the square.
pub const HISTORY_MAX: usize = 1_000;
/// Bytes of variables and arguments together, as `execve` counts them: a quarter of the usual limit
/// of the stack (8 MiB). A program with more cannot be started.
pub const EXEC_MAX: usize = 2 << 20;
/// Bytes of one variable or argument (Linux' `MAX_ARG_STRLEN`, with the zero at its end).
pub const WORD_MAX: usize = 128 << 10;
/// Variables. Large images have some hundred.
pub const ENV_MAX: usize = 4_096;
/// Labels; the bytes count for the document.
pub const LABELS_MAX: usize = 4_096;
/// Volumes: each becomes a directory, a record and a mount for every container.
pub const VOLUMES_MAX: usize = 256;
/// Ports: all of one protocol, as `EXPOSE 1-65535` has them.
pub const PORTS_MAX: usize = 65_536;
/// Instructions for builds that start from the image.
pub const ON_BUILD_MAX: usize = 256;
/// The shortest interval of a health check in nanoseconds, as Docker has it for requests.
pub const HEALTH_INTERVAL_MIN: i64 = 1_000_000;
/// Bytes of a path, Linux' `PATH_MAX`.
pub const PATH_MAX: usize = 4_096;

/// What the pointer to a string costs in `execve`'s count.
const POINTER: usize = 8;

/// A document holds more than is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooMuch {
    what: &'static str,
    has: usize,
    most: usize,
}

impl std::error::Error for TooMuch {}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, has, most } = self;
        write!(f, "the image has {has} {what}, and at most {most} are taken")
    }
}

impl Manifest {
    /// Whether it stays within the bounds.
    pub fn check(&self) -> Result<(), TooMuch> {
        at_most("layers", self.layers.len(), LAYERS_MAX)
    }
}

impl Index {
    /// Whether it stays within the bounds.
    pub fn check(&self) -> Result<(), TooMuch> {
        at_most("manifests in its index", self.manifests.len(), MANIFESTS_MAX)
    }
}

impl ImageConfig {
    /// Whether it stays within the bounds, except for its length as a document.
    pub fn check(&self) -> Result<(), TooMuch> {
        at_most("layers", self.rootfs.diff_ids.len(), LAYERS_MAX)?;
        at_most("steps in its history", self.history.len(), HISTORY_MAX)?;
        self.config.check()
    }
}

impl ContainerConfig {
    /// Whether it stays within the bounds.
    pub fn check(&self) -> Result<(), TooMuch> {
        at_most("variables", self.env.len(), ENV_MAX)?;
        at_most("labels", self.labels.len(), LABELS_MAX)?;
        at_most("volumes", self.volumes.len(), VOLUMES_MAX)?;
        at_most("exposed ports", self.exposed_ports.len(), PORTS_MAX)?;
        at_most("build triggers", self.on_build.len(), ON_BUILD_MAX)?;
        let paths = self.volumes.iter().chain([&self.working_dir]).map(String::len);
        at_most("bytes in a path", paths.max().unwrap_or_default(), PATH_MAX)?;

        // Each list goes to a program of its own, with the variables; entrypoint and command together.
        let words = |list: Option<&Vec<String>>| list.map_or((0, 0), |list| sizes(list));
        let (env, longest_variable) = words(Some(&self.env));
        let (entrypoint, longest_first) = words(self.entrypoint.as_ref());
        let (command, longest_argument) = words(self.cmd.as_ref());
        let (shell, longest_of_shell) = words(Some(&self.shell));
        let (test, longest_of_test) = words(self.healthcheck.as_ref().map(|check| &check.test));
        let longest = [longest_variable, longest_first, longest_argument, longest_of_shell, longest_of_test];
        at_most("bytes in a variable or argument", longest.into_iter().max().unwrap_or_default(), WORD_MAX)?;
        let largest = (entrypoint + command).max(shell).max(test);
        at_most("bytes of variables and arguments", env + largest, EXEC_MAX)
    }
}

/// Bytes of a list of words as `execve` counts them, and of the longest word.
fn sizes(words: &[String]) -> (usize, usize) {
    let longest = words.iter().map(|word| word.len() + 1).max();
    (words.iter().map(|word| word.len() + 1 + POINTER).sum(), longest.unwrap_or_default())
}

pub(crate) fn at_most(what: &'static str, has: usize, most: usize) -> Result<(), TooMuch> {
    if has > most { Err(TooMuch { what, has, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Healthcheck, History};
    use crate::digest::Digest;

    /// The complaint about an image that was changed like this.
    #[track_caller]
    fn check(change: impl FnOnce(&mut ImageConfig), expected: Result<(), &str>) {
        let mut config = ImageConfig::default();
        change(&mut config);
        let found = ImageConfig::take(&config.to_bytes()).map(drop).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected);
    }

    fn many(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| format!("A{number}=x"))
    }

    #[test]
    fn images_hold_as_much_as_is_taken_and_no_more() {
        let digest = Digest::sha256_of(b"");
        check(|image| image.rootfs.diff_ids = vec![digest.clone(); LAYERS_MAX], Ok(()));
        check(
            |image| image.rootfs.diff_ids = vec![digest.clone(); LAYERS_MAX + 1],
            Err("the image has 128 layers, and at most 127 are taken"),
        );
        check(
            |image| image.history = vec![History::default(); HISTORY_MAX + 1],
            Err("the image has 1001 steps in its history, and at most 1000 are taken"),
        );
        check(|image| image.config.env = many(ENV_MAX).collect(), Ok(()));
        check(
            |image| image.config.env = many(ENV_MAX + 1).collect(),
            Err("the image has 4097 variables, and at most 4096 are taken"),
        );
        check(
            |image| image.config.labels = many(ENV_MAX + 1).map(|name| (name, String::new())).collect(),
            Err("the image has 4097 labels, and at most 4096 are taken"),
        );
        check(
            |image| image.config.volumes = many(VOLUMES_MAX + 1).collect(),
            Err("the image has 257 volumes, and at most 256 are taken"),
        );
        check(
            |image| image.config.exposed_ports = many(PORTS_MAX + 1).collect(),
            Err("the image has 65537 exposed ports, and at most 65536 are taken"),
        );
        check(
            |image| image.config.on_build = many(ON_BUILD_MAX + 1).collect(),
            Err("the image has 257 build triggers, and at most 256 are taken"),
        );
        check(
            |image| image.config.working_dir = "x".repeat(PATH_MAX + 1),
            Err("the image has 4097 bytes in a path, and at most 4096 are taken"),
        );
        check(
            |image| image.author = "x".repeat(DOCUMENT_MAX),
            Err("the image has 8388708 bytes in its configuration, and at most 8388608 are taken"),
        );
    }

    #[test]
    fn what_no_program_could_be_started_with_is_not_taken() {
        let words = |count: usize| vec!["x".repeat(WORD_MAX - 1); count];
        let mut half = ContainerConfig { env: words(8), ..ContainerConfig::default() };
        half.entrypoint = Some(words(7));
        half.shell = words(7);
        half.healthcheck = Some(Healthcheck { test: words(7), ..Healthcheck::default() });
        assert_eq!(half.check(), Ok(()));
        for change in [
            |config: &mut ContainerConfig| config.cmd = config.entrypoint.clone(),
            |config: &mut ContainerConfig| config.shell.extend(config.env.clone()),
            |config: &mut ContainerConfig| {
                let more = config.env.clone();
                if let Some(check) = &mut config.healthcheck {
                    check.test.extend(more);
                }
            },
        ] {
            let mut config = half.clone();
            change(&mut config);
            let error = config.check().expect_err("too much").to_string();
            assert!(error.contains("bytes of variables and arguments, and at most 2097152"), "{error}");
        }
        let long = ContainerConfig { cmd: Some(vec!["x".repeat(WORD_MAX)]), ..ContainerConfig::default() };
        let error = long.check().expect_err("too long").to_string();
        assert!(error.contains("131073 bytes in a variable or argument"), "{error}");
    }
}
