//! Between the image store's terms and the engine's.

use std::time::Duration;

use oci::{ContainerConfig, Reference};

use super::{Image, ImageConfig, ImageId};
use crate::container::{HealthTest, Healthcheck, Port, Protocol};
use crate::error::{Error, Kind, Result};

/// The kind of a failure of the image store.
pub(crate) fn kind(kind: image::Kind) -> Kind {
    match kind {
        image::Kind::NotFound => Kind::NotFound,
        image::Kind::Conflict => Kind::Conflict,
        image::Kind::Invalid => Kind::Invalid,
        image::Kind::Denied => Kind::Denied,
        image::Kind::Unauthorized => Kind::Unauthorized,
        image::Kind::Unavailable => Kind::Unavailable,
        image::Kind::NoSpace => Kind::NoSpace,
        image::Kind::Internal => Kind::Internal,
    }
}

/// A failure of the image store: its own sentence, with its causes.
pub(super) fn error(of: image::Kind, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = source.to_string();
    match source.source() {
        Some(cause) => Error::new(kind(of), message).with_source(base::error::chain(cause).to_string()),
        None => Error::new(kind(of), message),
    }
}

/// Reads an image's name.
pub(crate) fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|source| Error::invalid("invalid reference format").with_source(source))
}

/// The name as it is looked for: with the tag `latest` where it has none. What is no name stays.
pub(crate) fn with_tag(text: &str) -> String {
    match Reference::parse(text) {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => text.to_owned(),
    }
}

/// Reads `80`, `80/tcp`.
pub(crate) fn parse_port(text: &str) -> Option<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some(Port { number: number.parse().ok().filter(|&number| number != 0)?, protocol })
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.as_str())
    }
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

pub(super) fn image(image: &image::Image) -> Image {
    let config = &image.config;
    Image {
        id: ImageId(image.id.to_string()),
        manifest: image
            .digests
            .first()
            .and_then(|name| name.digest())
            .map(ToString::to_string)
            .unwrap_or_default(),
        tags: image.tags.iter().map(Reference::familiar).collect(),
        digests: image.digests.iter().map(Reference::familiar).collect(),
        parent: image.parent.as_ref().map(|parent| ImageId(parent.to_string())),
        created: config.created.as_deref().and_then(|text| text.parse().ok()),
        author: config.author.clone(),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        architecture: config.architecture.clone(),
        variant: Some(config.variant.clone()).filter(|variant| !variant.is_empty()),
        os: config.os.clone(),
        size: image.size,
        config: config_from_oci(&config.config),
        container: config.container().map(|of| container_of(&of, &config.config)),
        layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        last_tagged: image.tagged_at,
    }
}

/// What a container had that an image was made of. What builds write down here is its command alone, and the
/// rest is as the image has it.
fn container_of(container: &ContainerConfig, of_image: &ContainerConfig) -> ImageConfig {
    let is_command_alone =
        *container == ContainerConfig { cmd: container.cmd.clone(), ..ContainerConfig::default() };
    match is_command_alone {
        true => config_from_oci(&ContainerConfig { cmd: container.cmd.clone(), ..of_image.clone() }),
        false => config_from_oci(container),
    }
}

fn config_from_oci(config: &ContainerConfig) -> ImageConfig {
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.iter().filter_map(|text| parse_port(text)).collect(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        command: config.cmd.clone(),
        volumes: config.volumes.iter().cloned().collect(),
        workdir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: Some(config.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        healthcheck: config.healthcheck.as_ref().map(healthcheck_from_oci),
        on_build: config.on_build.clone(),
        shell: Some(config.shell.clone()).filter(|shell| !shell.is_empty()),
    }
}

pub(crate) fn config_to_oci(config: &ImageConfig) -> ContainerConfig {
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.iter().map(ToString::to_string).collect(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.command.clone(),
        healthcheck: config.healthcheck.as_ref().map(healthcheck_to_oci),
        volumes: config.volumes.iter().cloned().collect(),
        working_dir: config.workdir.clone(),
        on_build: config.on_build.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: None,
        args_escaped: false,
        shell: config.shell.clone().unwrap_or_default(),
    }
}

/// An image's health check. Times below what a request may ask for become that: an image must not
/// have a program started without a pause.
pub(crate) fn healthcheck_from_oci(check: &oci::Healthcheck) -> Healthcheck {
    let time = |nanoseconds: i64| {
        let time = (nanoseconds > 0).then(|| nanoseconds.max(oci::limits::HEALTH_INTERVAL_MIN));
        time.map(|time| Duration::from_nanos(time.unsigned_abs()))
    };
    let rest = || check.test.get(1..).unwrap_or_default();
    Healthcheck {
        test: match check.test.first().map(String::as_str) {
            None | Some("") => HealthTest::Inherit,
            Some("NONE") => HealthTest::Disabled,
            Some("CMD") => HealthTest::Command(rest().to_vec()),
            Some("CMD-SHELL") => HealthTest::Shell(rest().join(" ")),
            Some(_) => HealthTest::Command(check.test.clone()),
        },
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: u32::try_from(check.retries).ok().filter(|&retries| retries != 0),
    }
}

fn healthcheck_to_oci(check: &Healthcheck) -> oci::Healthcheck {
    let time =
        |time: Option<Duration>| time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    oci::Healthcheck {
        test: match &check.test {
            HealthTest::Inherit => Vec::new(),
            HealthTest::Disabled => vec!["NONE".to_owned()],
            HealthTest::Command(words) => {
                std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
            }
            HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        },
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: i64::from(check.retries.unwrap_or(0)),
    }
}

impl From<&image::ImageId> for ImageId {
    fn from(id: &image::ImageId) -> Self {
        Self(id.to_string())
    }
}

impl ImageConfig {
    /// The same as an image's document has it.
    pub fn to_document(&self) -> ContainerConfig {
        config_to_oci(self)
    }

    /// What an image's document says.
    pub fn of_document(config: &ContainerConfig) -> Self {
        config_from_oci(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_program_of_health_is_not_started_without_a_pause() {
        let times = |interval, start_interval| {
            let check = oci::Healthcheck { interval, start_interval, ..Default::default() };
            let check = healthcheck_from_oci(&check);
            (check.interval, check.start_interval)
        };
        let millisecond = Some(Duration::from_millis(1));
        assert_eq!(times(1, 999_999), (millisecond, millisecond));
        assert_eq!(times(0, -1), (None, None));
        assert_eq!(times(2_000_000_000, 0), (Some(Duration::from_secs(2)), None));
    }
}
