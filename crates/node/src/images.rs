//! Images for containers: when to pull, with whose credentials, and what is said about it.

use std::collections::BTreeMap;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use crate::pod::waiting::Reason;
use crate::runtime::{Credentials, Error, Fact, ImageStatus, Kind, Runtime};
use crate::words;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// If it is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// Reads the API's word; without one, `Always` for the tag `latest` (or none) and
    /// `IfNotPresent` for all others.
    pub fn of(text: Option<&str>, image: &str) -> Self {
        match text {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if is_latest(image) => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// An image that a container can be made from.
#[derive(Clone, Debug)]
pub struct Present {
    /// What the image says of its user.
    pub user: String,
    /// What happened, for the event `Pulled`.
    pub message: String,
}

/// Why there is no image, and what to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// One of those [of images](Reason::is_of_image).
    pub reason: Reason,
    /// Why.
    pub message: String,
}

/// Makes sure that `image` is there. `pulling` is called before anything is fetched.
///
/// An image that was built, loaded or imported on this machine has no registry to be pulled from;
/// it is used as it is, whatever the policy: that is what makes `docker build` and
/// `kubectl create deployment` work on the same image.
pub async fn ensure(
    runtime: &dyn Runtime,
    image: &str,
    policy: PullPolicy,
    secrets: &[Secret],
    pulling: impl FnOnce(),
) -> Result<Present, Missing> {
    let local = match runtime.image_status(image).await {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::Invalid => {
            let message =
                format!("Failed to apply default image tag \"{image}\": {}", words::message(&error));
            return Err(Missing { reason: Reason::ImageName, message });
        }
        Err(error) => return Err(Missing { reason: Reason::Pull, message: words::message(&error) }),
    };
    match (local, policy) {
        (Some(found), PullPolicy::IfNotPresent | PullPolicy::Never) => Ok(present(image, found.user)),
        (Some(found), PullPolicy::Always) if found.digests.is_empty() => Ok(present(image, found.user)),
        (None, PullPolicy::Never) => {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            Err(Missing { reason: Reason::NeverPull, message })
        }
        (_, PullPolicy::Always | PullPolicy::IfNotPresent) => {
            pulling();
            pull(runtime, image, secrets).await
        }
    }
}

fn present(image: &str, user: String) -> Present {
    let message =
        format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
    Present { user, message }
}

/// Pulls with each of the fitting credentials in turn, or with none.
async fn pull(runtime: &dyn Runtime, image: &str, secrets: &[Secret]) -> Result<Present, Missing> {
    let began = std::time::Instant::now();
    let mut attempts: Vec<Option<Credentials>> = credentials(image, secrets).into_iter().map(Some).collect();
    if attempts.is_empty() {
        attempts.push(None);
    }
    let mut message = String::new();
    for auth in attempts {
        match pull_once(runtime, image, auth).await {
            Ok(found) => {
                let took = words::duration(began.elapsed());
                let message = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    found.size
                );
                return Ok(Present { user: found.user, message });
            }
            Err(error) => message = words::message(&error),
        }
    }
    Err(Missing {
        reason: Reason::Pull,
        message: format!("failed to pull and unpack image \"{image}\": {message}"),
    })
}

async fn pull_once(
    runtime: &dyn Runtime,
    image: &str,
    credentials: Option<Credentials>,
) -> Result<ImageStatus, Error> {
    runtime.pull_image(image, credentials).await?;
    let gone =
        || Error::new(Kind::NotFound, Some(Fact::NoImage { reference: image.to_owned() }), "it was removed");
    runtime.image_status(image).await?.ok_or_else(gone)
}

/// The credentials that `imagePullSecrets` have for the registry of `image`, most specific first.
fn credentials(image: &str, secrets: &[Secret]) -> Vec<Credentials> {
    let mut fitting: Vec<(usize, Credentials)> = Vec::new();
    for secret in secrets {
        let data = secret.data.clone().unwrap_or_default();
        let entries = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
            (Some(text), _) => serde_json::from_slice::<DockerConfig>(&text.0).map(|config| config.auths),
            (None, Some(text)) => serde_json::from_slice(&text.0),
            (None, None) => continue,
        };
        for (registry, entry) in entries.unwrap_or_default() {
            if covers(&registry, image) {
                fitting.push((registry.len(), entry.auth()));
            }
        }
    }
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    fitting.into_iter().map(|(_, auth)| auth).collect()
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerEntry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

impl DockerEntry {
    fn auth(self) -> Credentials {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&self.auth).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        let (username, password) = match decoded.split_once(':') {
            Some((username, password)) => (username.to_owned(), password.trim_end_matches('\0').to_owned()),
            None => (self.username, self.password),
        };
        Credentials { username, password, identity_token: self.identitytoken }
    }
}

/// Whether credentials for `registry` (a host, perhaps with a path, perhaps a URL) are for `image`.
fn covers(registry: &str, image: &str) -> bool {
    let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
    let registry = registry.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let first = image.split('/').next().unwrap_or_default();
    let named = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if named { image.to_owned() } else { format!("docker.io/{image}") };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    full.strip_prefix(registry).is_some_and(|rest| rest.starts_with(['/', ':', '@']) || rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides_the_policy_where_nothing_is_said() {
        let check = |text, image, expected| assert_eq!(PullPolicy::of(text, image), expected, "{image}");
        check(None, "nginx", PullPolicy::Always);
        check(None, "nginx:latest", PullPolicy::Always);
        check(None, "localhost:5000/nginx", PullPolicy::Always);
        check(None, "nginx:1.2", PullPolicy::IfNotPresent);
        check(None, "localhost:5000/nginx:1", PullPolicy::IfNotPresent);
        check(None, "nginx@sha256:00", PullPolicy::IfNotPresent);
        check(Some("Never"), "nginx", PullPolicy::Never);
    }

    #[test]
    fn credentials_are_taken_for_the_images_registry_the_longest_first() {
        let config = serde_json::json!({"auths": {
            "registry.example.org": {"auth": base64::engine::general_purpose::STANDARD.encode("wide:1")},
            "https://registry.example.org/team": {"username": "narrow", "password": "2"},
            "other.example.org": {"username": "other", "password": "3"},
        }});
        let config = base64::engine::general_purpose::STANDARD.encode(config.to_string());
        let secret = serde_json::json!({"data": {".dockerconfigjson": config}});
        let secret: Secret = serde_json::from_value(secret).expect("a secret");
        let names: Vec<_> = credentials("registry.example.org/team/app:1", &[secret])
            .into_iter()
            .map(|a| a.username)
            .collect();
        assert_eq!(names, ["narrow", "wide"]);
        assert!(covers("https://index.docker.io/v1/", "nginx"));
        assert!(!covers("registry.example.or", "registry.example.org/app"));
    }
}
