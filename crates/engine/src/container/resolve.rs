//! What a container really runs with: its creator's wishes over its image's.

use std::collections::HashSet;

use oci::ContainerConfig;

use super::spec::{ContainerSpec, HealthTest, Healthcheck, LogOptions, Port};
use super::view::ResolvedSpec;
use crate::error::{Error, Result};
use crate::image;

/// Merges `spec` over the image's configuration; warnings say what was left out.
pub(super) fn resolve(
    wishes: &ContainerSpec,
    image: &::image::Image,
    hostname: String,
    log: &LogOptions,
) -> Result<(ResolvedSpec, Vec<String>)> {
    let of_image = &image.config.config;
    let (entrypoint, command) = command(wishes, of_image);
    let args: Vec<String> = entrypoint.iter().chain(&command).cloned().collect();
    if args.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    let env = env(&wishes.env, &of_image.env);
    let mut labels = of_image.labels.clone();
    labels.extend(wishes.labels.clone());
    let mut exposed_ports: Vec<Port> =
        of_image.exposed_ports.iter().filter_map(|text| image::parse_port(text)).collect();
    exposed_ports.extend(wishes.exposed_ports.iter().copied());
    exposed_ports.extend(wishes.ports.iter().map(|binding| binding.container));
    exposed_ports.sort_unstable();
    exposed_ports.dedup();
    let workdir =
        wishes.workdir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| of_image.working_dir.clone());
    if !workdir.is_empty() && !workdir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{workdir}' is invalid, it needs to be an absolute path"
        )));
    }
    let workdir = clean(&workdir);
    let platform = image.config.platform();
    let mut warnings = Vec::new();
    let host = oci::Platform::host();
    let is_asked_for = wishes.platform.as_ref().is_some_and(|platform| !platform.is_empty());
    if !is_asked_for && !platform.architecture.is_empty() && platform.architecture != host.architecture {
        warnings.push(format!(
            "The requested image's platform ({platform}) does not match the detected host platform ({host}) and no specific platform was requested"
        ));
    }
    let stop_signal = wishes.stop_signal.clone().filter(|signal| !signal.is_empty());
    let resolved = ResolvedSpec {
        image_id: image.id.to_string(),
        image_manifest: image.digests.first().map(ToString::to_string).unwrap_or_default(),
        platform: format!("{}/{}", platform.os, platform.architecture),
        args,
        entrypoint,
        command,
        env,
        workdir,
        user: wishes.user.clone().filter(|user| !user.is_empty()).unwrap_or_else(|| of_image.user.clone()),
        hostname,
        labels,
        exposed_ports,
        image_volumes: of_image.volumes.iter().cloned().collect(),
        stop_signal: stop_signal.unwrap_or_else(|| of_image.stop_signal.clone()),
        healthcheck: healthcheck(wishes.healthcheck.as_ref(), of_image),
        log: wishes.log.clone().unwrap_or_else(|| log.clone()),
        shell: of_image.shell.clone(),
    };
    Ok((resolved, warnings))
}

/// The entry point and its arguments.
///
/// A new entry point drops the image's command, which was meant for the image's own; one that is
/// empty keeps it.
/// The directory without what says nothing in it: `/tmp/` and `/var/../tmp` are `/tmp`.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    if path.is_empty() { String::new() } else { format!("/{}", parts.join("/")) }
}

fn command(wishes: &ContainerSpec, of_image: &ContainerConfig) -> (Vec<String>, Vec<String>) {
    let own = wishes.command.clone().filter(|command| !command.is_empty());
    let image_command = of_image.cmd.clone().unwrap_or_default();
    match &wishes.entrypoint {
        None => (of_image.entrypoint.clone().unwrap_or_default(), own.unwrap_or(image_command)),
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), own.unwrap_or(image_command)),
        // What the command line sends for `--entrypoint ""`.
        Some(entrypoint) if entrypoint.len() == 1 && entrypoint[0].is_empty() => {
            (Vec::new(), own.unwrap_or_default())
        }
        Some(entrypoint) => (entrypoint.clone(), own.unwrap_or_default()),
    }
}

/// The environment: the creator's lines, then those of the image that they do not touch. A name alone
/// stays here, and takes the variable away when the process is made.
fn env(own: &[String], of_image: &[String]) -> Vec<String> {
    fn name(line: &str) -> &str {
        line.split_once('=').map_or(line, |(name, _)| name)
    }
    let named: HashSet<&str> = own.iter().map(|line| name(line)).collect();
    let untouched = of_image.iter().filter(|line| !named.contains(name(line)));
    own.iter().chain(untouched).cloned().collect()
}

/// The health check: what is not said is the image's.
fn healthcheck(own: Option<&Healthcheck>, of_image: &ContainerConfig) -> Option<Healthcheck> {
    let of_image = of_image.healthcheck.as_ref().map(image::healthcheck_from_oci);
    let check = match (own, of_image) {
        (None, of_image) => of_image?,
        (Some(own), None) => own.clone(),
        (Some(own), Some(of_image)) => Healthcheck {
            test: if own.test == HealthTest::Inherit { of_image.test } else { own.test.clone() },
            interval: own.interval.or(of_image.interval),
            timeout: own.timeout.or(of_image.timeout),
            start_period: own.start_period.or(of_image.start_period),
            start_interval: own.start_interval.or(of_image.start_interval),
            retries: own.retries.or(of_image.retries),
        },
    };
    match check.test {
        HealthTest::Inherit | HealthTest::Disabled => None,
        _ => Some(check),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[track_caller]
    fn check(entrypoint: Option<&[&str]>, arguments: Option<&[&str]>, expected: &[&str]) {
        let of_image = ContainerConfig {
            entrypoint: Some(strings(&["/entry"])),
            cmd: Some(strings(&["default"])),
            ..ContainerConfig::default()
        };
        let wishes = ContainerSpec {
            entrypoint: entrypoint.map(strings),
            command: arguments.map(strings),
            ..ContainerSpec::default()
        };
        let (entrypoint, command) = command(&wishes, &of_image);
        assert_eq!([entrypoint, command].concat(), strings(expected));
    }

    #[test]
    fn the_creator_s_variables_come_first_and_hide_the_image_s() {
        let own = strings(&["A=1", "GONE"]);
        let of_image = strings(&["PATH=/bin", "A=2", "GONE=3"]);
        assert_eq!(env(&own, &of_image), strings(&["A=1", "GONE", "PATH=/bin"]));
    }

    #[test]
    fn what_runs_is_the_image_s_unless_said_otherwise() {
        check(None, None, &["/entry", "default"]);
        check(None, Some(&["own"]), &["/entry", "own"]);
        check(Some(&["sh"]), None, &["sh"]);
        check(Some(&["sh"]), Some(&["-c", "x"]), &["sh", "-c", "x"]);
        check(Some(&[]), None, &["default"]);
        check(Some(&[""]), Some(&["own"]), &["own"]);
    }
}
