//! Images.

use engine::Container;
use engine::image::{HistoryEntry, Image, ImageConfig};

use super::{health, ports};
use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::container::Config;
use crate::wire::container::config::Words;
use crate::wire::container::inspect::GraphDriver;
use crate::wire::image as document;
use crate::wire::{self, Empty, Map};

/// Writes everything about an image.
pub(crate) fn inspect(image: &Image, version: ApiVersion) -> document::Inspect {
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    document::Inspect {
        id: image.id.to_string(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: image.comment.clone(),
        created: image.created.map(wire::time).unwrap_or_default(),
        container: (version < ApiVersion(1, 45)).then(String::new),
        // Of a container that nobody has any more only what became of it is known, and its command.
        container_config: (version < ApiVersion(1, 45))
            .then(|| config(image.container.as_ref().unwrap_or(&image.config))),
        docker_version: String::new(),
        author: image.author.clone(),
        config: config(&image.config),
        architecture: image.architecture.clone(),
        variant: image.variant.clone().unwrap_or_default(),
        os: image.os.clone(),
        size,
        virtual_size: (version < ApiVersion(1, 44)).then_some(size),
        graph_driver: GraphDriver { data: None, name: "overlay2".to_owned() },
        root_fs: document::RootFs { kind: "layers".to_owned(), layers: image.layers.clone() },
        metadata: document::Metadata { last_tag_time: wire::time_or_zero(image.last_tagged) },
        descriptor: None,
    }
}

/// Writes an image as a list shows it; `containers` and `shared` are -1 where nobody asked.
pub(crate) fn summary(image: &Image, containers: i64, shared: i64, version: ApiVersion) -> document::Summary {
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    // Once a name said that there was none.
    let nameless = version < ApiVersion(1, 43) && image.tags.is_empty() && image.digests.is_empty();
    let names = |names: &[String], none: &str| match nameless {
        true => vec![none.to_owned()],
        false => names.to_vec(),
    };
    document::Summary {
        containers,
        created: image.created.map_or(0, |at| at.as_second()),
        id: image.id.to_string(),
        labels: Some(image.config.labels.clone()),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_digests: names(&image.digests, "<none>@<none>"),
        repo_tags: names(&image.tags, "<none>:<none>"),
        shared_size: shared,
        size,
        virtual_size: (version < ApiVersion(1, 44)).then_some(size),
    }
}

/// Writes a step of an image's history.
pub(crate) fn history(step: &HistoryEntry) -> document::History {
    document::History {
        comment: step.comment.clone(),
        created: step.created.map_or(0, |at| at.as_second()),
        created_by: step.created_by.clone(),
        id: step.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string),
        size: i64::try_from(step.size).unwrap_or(i64::MAX),
        tags: (!step.tags.is_empty()).then(|| step.tags.clone()),
    }
}

/// What an image of a container says, before anybody asks for something else.
pub(crate) fn config_of_container(container: &Container) -> ImageConfig {
    let resolved = &container.resolved;
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    ImageConfig {
        user: resolved.user.clone(),
        exposed_ports: resolved.exposed_ports.clone(),
        env: resolved.env.clone(),
        entrypoint: some(&resolved.entrypoint),
        command: some(&resolved.command),
        volumes: resolved.image_volumes.clone(),
        workdir: resolved.workdir.clone(),
        labels: resolved.labels.clone(),
        stop_signal: container.spec.stop_signal.clone(),
        healthcheck: resolved.healthcheck.clone(),
        on_build: Vec::new(),
        shell: some(&resolved.shell),
    }
}

/// Writes what a client sent over `base`: what it left out stays.
pub(crate) fn merge(base: ImageConfig, document: &Config) -> Result<ImageConfig, Fault> {
    let mut merged = base;
    let words =
        |words: &Option<Words>| words.as_ref().map(|words| words.0.clone()).filter(|words| !words.is_empty());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if let Some(user) = text(&document.user) {
        merged.user = user;
    }
    for port in ports::exposed(&document.exposed_ports)? {
        if !merged.exposed_ports.contains(&port) {
            merged.exposed_ports.push(port);
        }
    }
    for line in document.env.iter().flatten() {
        set_env(&mut merged.env, line);
    }
    merged.entrypoint = words(&document.entrypoint).or(merged.entrypoint);
    merged.command = words(&document.cmd).or(merged.command);
    for path in document.volumes.iter().flatten().map(|(path, _)| path) {
        if !merged.volumes.contains(path) {
            merged.volumes.push(path.clone());
        }
    }
    if let Some(workdir) = text(&document.working_dir) {
        merged.workdir = workdir;
    }
    merged.labels.extend(document.labels.clone().unwrap_or_default());
    merged.stop_signal = text(&document.stop_signal).or(merged.stop_signal);
    if let Some(check) = &document.healthcheck {
        merged.healthcheck = Some(health::check(check)?);
    }
    merged.on_build.extend(document.on_build.clone().unwrap_or_default());
    merged.shell = words(&document.shell).or(merged.shell);
    Ok(merged)
}

/// Applies the instructions of `docker commit --change` and `docker import --change`.
pub(crate) fn change(config: &mut ImageConfig, changes: &[String]) -> Result<(), Fault> {
    build::apply_changes(config, changes)
        .map_err(|error| Fault::invalid(base::error::chain(&error).to_string()))
}

/// Sets a variable, in its old place where it has one.
fn set_env(env: &mut Vec<String>, line: &str) {
    let name = line.split('=').next().unwrap_or_default();
    match env.iter_mut().find(|old| old.split('=').next() == Some(name)) {
        Some(old) => *old = line.to_owned(),
        None => env.push(line.to_owned()),
    }
}

fn config(config: &ImageConfig) -> Config {
    let words = |words: &Option<Vec<String>>| words.clone().map(Words);
    let volumes: Map<Empty> = config.volumes.iter().map(|path| (path.clone(), Empty {})).collect();
    Config {
        user: config.user.clone(),
        exposed_ports: ports::set(&config.exposed_ports),
        env: (!config.env.is_empty()).then(|| config.env.clone()),
        cmd: words(&config.command),
        healthcheck: config.healthcheck.as_ref().map(health::document),
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir: config.workdir.clone(),
        entrypoint: words(&config.entrypoint),
        on_build: (!config.on_build.is_empty()).then(|| config.on_build.clone()),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        shell: words(&config.shell),
        ..Config::default()
    }
}
