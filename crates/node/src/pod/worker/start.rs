//! Starting what a pod consists of: its sandbox, then its containers one by one.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use tracing::{info, warn};

use super::{Waiting, Worker};
use crate::images::{self, PullPolicy};
use crate::local_volumes::rooms::Rooms;
use crate::pod::observe::Observation;
use crate::pod::plan::SandboxState;
use crate::pod::waiting::Reason;
use crate::pod::{admission, back_off, container_spec, env, ephemeral, hosts, sandbox_spec};
use crate::runtime::{ContainerId, Error, Kind};
use crate::words;

/// So many ended instances of a container are kept, for their logs and their last state.
const KEPT_INSTANCES: usize = 2;

/// So many secrets of a pod are tried when its images are pulled: each may be a megabyte, and each of
/// its credentials another try.
const MOST_PULL_SECRETS: usize = 32;

/// Why a container could not be started, and what to say.
struct Refusal {
    reason: Reason,
    message: String,
}

impl Worker {
    /// Makes the pod's sandbox, after clearing away what is left of earlier ones.
    pub(super) async fn create_sandbox(&mut self, observation: &Observation) {
        if observation.sandbox_state() == SandboxState::Down {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.event(false, "SandboxChanged", message.to_owned());
        }
        for instance in observation.running() {
            let stopped = self.shared.runtime().stop_container(&instance.id, Duration::ZERO).await;
            // What lives must not meet what is started in its place.
            if let Err(error) = Self::tolerate(stopped) {
                let message = words::message(&error);
                self.event(true, "FailedKillPod", format!("error killing pod: {message}"));
                self.fail_all(Reason::ContainerCreating, message);
                return;
            }
        }
        let directory = self.directory();
        let path = directory.clone();
        if let Err(error) = self.shared.files.quick(move || std::fs::create_dir_all(path)).await {
            let message = format!("make {}: {error}", directory.display());
            self.event(true, "Failed", format!("error making pod data directories: {message}"));
            self.fail_all(Reason::Sandbox, message);
            return;
        }
        let spec = sandbox_spec::sandbox_spec(
            &sandbox_spec::Context {
                cluster_dns: self.shared.config.cluster_dns,
                cluster_domain: &self.shared.config.cluster_domain,
                host_dns: &self.shared.host_dns(),
            },
            &self.pod,
        );
        let limited = self.shared.runtime().features().storage_limits;
        let of_pod = self.pod.spec.as_ref();
        let unlimited = of_pod.and_then(|of_pod| container_spec::unlimited_storage(of_pod, limited));
        if let Some(message) = unlimited {
            self.event(true, "StorageLimitNotEnforced", message);
        }
        if admission::wants_selinux(&self.pod) {
            self.event(true, "SELinuxNotEnforced", admission::NO_SELINUX.to_owned());
        }
        self.shared.weigh_groups().await;
        let limits = spec.resources.clone();
        match self.shared.runtime().run_pod_sandbox(spec).await {
            Ok(sandbox) => {
                self.resizing.made(sandbox.clone(), &limits);
                info!(pod = %self.name(), sandbox = %sandbox, "sandbox created");
                self.waiting.clear();
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {}", words::message(&error));
                self.event(true, "FailedCreatePodSandBox", message.clone());
                self.fail_all(Reason::ContainerCreating, message);
            }
        }
    }

    /// Every container waits for the same reason; it is tried again after a moment.
    fn fail_all(&mut self, reason: Reason, message: String) {
        let names: Vec<String> = self.containers().map(|(container, _)| container.name.clone()).collect();
        for name in names {
            self.wait(&name, Refusal { reason, message: message.clone() });
        }
    }

    /// Makes and starts instance `number` of a container.
    pub(super) async fn start(&mut self, container: &Container, number: u32, observation: &Observation) {
        let interrupt = self.interrupt.clone();
        let outcome = tokio::select! {
            outcome = self.try_start(container, number, observation) => outcome,
            () = interrupt.cancelled() => return,
        };
        if let Some(&ended_at) = self.ended_at.get(&container.name) {
            self.back_offs.tried(&container.name, ended_at);
        }
        match outcome {
            Ok(id) => {
                self.waiting.remove(&container.name);
                self.replaced.remove(&container.name);
                self.back_offs.reset(&image_key(container));
                self.forget_old_instances(&container.name).await;
                self.run_post_start(container, &id).await;
            }
            // It has ended as any other that fails, and so goes on.
            Err(Refusal { reason: Reason::Run, .. }) => {
                self.waiting.remove(&container.name);
                self.replaced.remove(&container.name);
                self.forget_old_instances(&container.name).await;
            }
            Err(refusal) => self.wait(&container.name, refusal),
        }
    }

    async fn try_start(
        &mut self,
        container: &Container,
        number: u32,
        observation: &Observation,
    ) -> Result<ContainerId, Refusal> {
        let Some(sandbox) = observation.sandbox.clone() else {
            return Err(Refusal {
                reason: Reason::ContainerCreating,
                message: "the pod's sandbox is gone".to_owned(),
            });
        };
        let config_error = |message: String| Refusal { reason: Reason::Config, message };
        if self.ephemeral.iter().any(|added| added.name == container.name)
            && let Err(rejection) = admission::check_added(&self.pod, container, self.abilities())
        {
            return Err(self.failed(container, config_error(rejection.message)));
        }
        let target = match ephemeral::target(&self.pod, &container.name) {
            Some(target) => match observation.latest(target) {
                Some(instance) => Some(instance.id.clone()),
                None => {
                    let message = format!("unable to find target container {target}");
                    return Err(self.failed(container, config_error(message)));
                }
            },
            None => None,
        };
        let sources = match self.fetch_sources().await {
            Ok(sources) => Arc::new(sources),
            Err(error) => {
                let refusal = config_error(base::error::chain(&error).to_string());
                return Err(self.failed(container, refusal));
            }
        };
        if let Err(error) = self.prepare_volumes(&sources).await {
            let message = base::error::chain(&error).to_string();
            self.event(true, "FailedMount", message.clone());
            return Err(Refusal { reason: Reason::ContainerCreating, message });
        }
        let present = self.ensure_image(container).await?;
        self.container_event(container, false, "Pulled", present.message);

        let pod = self.pod_with_addresses_of(observation);
        let services = self.shared.services();
        let variables = env::environment(
            &env::Context { pod: &pod, sources: &sources, services: &services, node: self.shared.capacity },
            container,
        );
        let variables = match variables {
            Ok(variables) => variables,
            Err(error) => return Err(self.failed(container, config_error(error.to_string()))),
        };
        let (message, log) =
            (self.message_path(&container.name, number), self.log_path(&container.name, number));
        let (message_file, log_file) = (message.clone(), log.clone());
        let files = self.shared.files.quick(move || prepare_files(&message_file, &log_file));
        if let Err(error) = files.await {
            let refusal = Refusal { reason: Reason::Create, message: error.to_string() };
            return Err(self.failed(container, refusal));
        }
        let (volumes, wanted, user) = (self.prepared.clone(), container.clone(), present.user.clone());
        let node_memory = self.shared.capacity.memory;
        let profiles = self.shared.config.seccomp_directory();
        let hosts_file = self.directory().join("etc-hosts");
        let cluster_domain = self.shared.config.cluster_domain.clone();
        let storage_limits = self.shared.runtime().features().storage_limits;
        let spec = self.shared.files.quick(move || {
            write_hosts(&hosts_file, &pod, &cluster_domain)
                .map_err(|error| format!("write {}: {error}", hosts_file.display()))?;
            let context = container_spec::Context {
                pod: &pod,
                attempt: number,
                target,
                env: variables,
                volumes: &volumes,
                hosts: hosts_file,
                termination_message: message,
                log,
                image_user: &user,
                node_memory,
                seccomp_directory: &profiles,
                storage_limits,
            };
            container_spec::container_spec(&context, &wanted)
                .map_err(|error| base::error::chain(&error).to_string())
        });
        let spec = spec.await.map_err(|message| self.failed(container, config_error(message)))?;
        let id = match self.shared.runtime().create_container(&sandbox.id, spec).await {
            Ok(id) => id,
            Err(error) => {
                let refusal = Refusal { reason: Reason::Create, message: words::message(&error) };
                return Err(self.failed(container, refusal));
            }
        };
        self.container_event(container, false, "Created", "Container created".to_owned());
        if let Some(name) = self.lifts_limits(container, &id).await {
            let message = format!(
                "the limit of the volume \"{name}\" can be lifted by container \"{}\": it is privileged, or its seccomp \
                 profile lets programs change the project of a file",
                container.name
            );
            self.event(true, "StorageLimitNotEnforced", message);
        }
        if let Err(error) = self.shared.runtime().start_container(&id).await {
            let refusal = Refusal { reason: Reason::Run, message: words::message(&error) };
            return Err(self.failed(container, refusal));
        }
        self.container_event(container, false, "Started", "Container started".to_owned());
        Ok(id)
    }

    /// The volume that a container has whose limit it can lift.
    async fn lifts_limits(&self, container: &Container, id: &ContainerId) -> Option<String> {
        let mounted = container.volume_mounts.iter().flatten().filter_map(|mount| {
            let path = &self.prepared.get(&mount.name)?.path;
            Some((mount.name.clone(), self.shared.holds.volume_of(path)?.to_owned()))
        });
        let mounted: Vec<(String, String)> = mounted.collect();
        if mounted.is_empty() || self.shared.runtime().keeps_storage_limits(id).await.unwrap_or(true) {
            return None;
        }
        let rooms = Rooms::new(self.shared.config.volumes.clone());
        let limited = self.shared.files.quick(move || {
            let is_limited = |volume: &str| {
                let room = rooms.room(volume).and_then(|room| room.read());
                room.ok().flatten().is_some_and(|recorded| recorded.limit.is_some())
            };
            mounted.into_iter().find(|(_, volume)| is_limited(volume))
        });
        limited.await.map(|(name, _)| name)
    }

    async fn ensure_image(&mut self, container: &Container) -> Result<images::Present, Refusal> {
        let image = container.image.clone().unwrap_or_default();
        let policy = PullPolicy::of(container.image_pull_policy.as_deref(), &image);
        let secrets = self.pull_secrets().await;
        let (shared, pod, name) = (Arc::clone(&self.shared), Arc::clone(&self.pod), container.name.clone());
        let announced = image.clone();
        let pulling = move || {
            shared.container_event(&pod, &name, false, "Pulling", format!("Pulling image \"{announced}\""));
        };
        match images::ensure(self.shared.runtime(), &image, policy, &secrets, pulling).await {
            Ok(present) => Ok(present),
            Err(missing) => {
                let (event, message) = match missing.reason {
                    Reason::NeverPull => ("ErrImageNeverPull", missing.message.clone()),
                    Reason::ImageName => ("InspectFailed", missing.message.clone()),
                    _ => ("Failed", format!("Failed to pull image \"{image}\": {}", missing.message)),
                };
                self.container_event(container, true, event, message);
                self.container_event(container, true, "Failed", format!("Error: {}", missing.reason));
                self.back_offs.tried(&image_key(container), self.now());
                Err(Refusal { reason: missing.reason, message: missing.message })
            }
        }
    }

    async fn pull_secrets(&self) -> Vec<Secret> {
        let listed = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let names: BTreeSet<&String> = listed.map(|reference| &reference.name).collect();
        let (mut secrets, mut missing) = (Vec::new(), Vec::new());
        for name in names.into_iter().take(MOST_PULL_SECRETS) {
            // A missing secret is no error: the image may be public.
            match self.fetch::<Secret>(name).await {
                Ok(Some(secret)) => secrets.push(secret),
                Ok(None) | Err(_) => missing.push(name.as_str()),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.event(true, "FailedToRetrieveImagePullSecret", message);
        }
        secrets
    }

    /// Tells of a failure in an event.
    fn failed(&self, container: &Container, refusal: Refusal) -> Refusal {
        self.container_event(container, true, "Failed", format!("Error: {}", refusal.message));
        refusal
    }

    /// Notes why a container waits, and until when.
    fn wait(&mut self, name: &str, refusal: Refusal) {
        let since = self.now();
        let delay = match refusal.reason {
            reason if reason.is_of_image() => self
                .containers()
                .find(|(container, _)| container.name == name)
                .and_then(|(container, _)| self.back_offs.delay(&image_key(container)))
                .unwrap_or(back_off::FIRST),
            _ => Duration::from_secs(2),
        };
        let until = since + delay;
        self.waiting.insert(
            name.to_owned(),
            Waiting { reason: refusal.reason, message: refusal.message, said: since, until },
        );
    }

    /// Says `ImagePullBackOff` where `ErrImagePull` has been shown long enough, and again while it is so.
    pub(super) fn age_messages(&mut self) {
        let now = self.now();
        let images: std::collections::BTreeMap<String, String> = self
            .containers()
            .map(|(container, _)| (container.name.clone(), container.image.clone().unwrap_or_default()))
            .collect();
        let mut aged = Vec::new();
        for (name, waiting) in &mut self.waiting {
            if waiting.says_next().is_none_or(|at| at > now) {
                continue;
            }
            let image = images.get(name).map(String::as_str).unwrap_or_default();
            let backs_off = format!("Back-off pulling image \"{image}\"");
            if waiting.reason == Reason::Pull {
                waiting.reason = Reason::PullBackOff;
                waiting.message = format!("{backs_off}: {}: {}", Reason::Pull, waiting.message);
            }
            waiting.said = now;
            aged.push((name.clone(), backs_off));
        }
        for (name, backs_off) in aged {
            self.shared.container_event(&self.pod, &name, false, "BackOff", backs_off);
            let message = format!("Error: {}", Reason::PullBackOff);
            self.shared.container_event(&self.pod, &name, true, "Failed", message);
        }
    }

    /// Removes all but the newest instances of a container, with their logs.
    async fn forget_old_instances(&self, name: &str) {
        let Ok(observation) = self.observe().await else { return };
        let instances = observation.instances.get(name).map(Vec::as_slice).unwrap_or_default();
        for old in instances.iter().rev().skip(KEPT_INSTANCES).filter(|old| !old.is_running()) {
            match self.shared.runtime().remove_container(&old.id).await {
                Ok(()) => {
                    let files = [self.log_path(name, old.attempt), self.message_path(name, old.attempt)];
                    self.shared
                        .files
                        .quick(move || {
                            for file in files {
                                let _ = std::fs::remove_file(file);
                            }
                        })
                        .await;
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => {
                    warn!(pod = %self.name(), error = %error.full_message(), "cannot remove an old container")
                }
            }
        }
    }

    /// The pod with the sandbox's addresses, for the downward API.
    pub(super) fn pod_with_addresses_of(&self, observation: &Observation) -> Pod {
        let mut pod = Pod::clone(&self.pod);
        let host = self.shared.config.address.to_string();
        let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        let addresses: Vec<String> = match &observation.sandbox {
            _ if host_network => vec![host.clone()],
            Some(sandbox) => sandbox.addresses.iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        let status = pod.status.get_or_insert_default();
        status.host_ip = Some(host.clone());
        status.host_ips = Some(vec![k8s_openapi::api::core::v1::HostIP { ip: host }]);
        status.pod_ip = addresses.first().cloned();
        status.pod_ips =
            Some(addresses.into_iter().map(|ip| k8s_openapi::api::core::v1::PodIP { ip }).collect());
        pod
    }

    pub(super) fn log_path(&self, container: &str, number: u32) -> PathBuf {
        crate::pod::log_path(&self.directory(), container, number)
    }

    pub(super) fn message_path(&self, container: &str, number: u32) -> PathBuf {
        self.directory().join("messages").join(format!("{container}.{number}"))
    }

    pub(super) fn container_event(
        &self,
        container: &Container,
        warning: bool,
        reason: &str,
        message: String,
    ) {
        self.shared.container_event(&self.pod, &container.name, warning, reason, message);
    }

    pub(super) fn event(&self, warning: bool, reason: &str, message: String) {
        self.shared.pod_event(&self.pod, warning, reason, message);
    }

    /// The error of an operation that may find its work done already.
    pub(super) fn tolerate(result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Unchanged) => Ok(()),
            other => other,
        }
    }
}

fn image_key(container: &Container) -> String {
    format!("image {}", container.image.as_deref().unwrap_or_default())
}

/// Writes the pod's `/etc/hosts` into the file that its containers have, each time that one of them starts.
fn write_hosts(file: &Path, pod: &Pod, domain: &str) -> std::io::Result<()> {
    let of_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let host = match std::fs::read(hosts::PATH) {
        Err(error) if of_host && error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        host => host.unwrap_or_default(),
    };
    std::fs::write(file, hosts::text(pod, domain, &String::from_utf8_lossy(&host)))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
}

fn prepare_files(message: &Path, log: &Path) -> std::io::Result<()> {
    for file in [message, log] {
        std::fs::create_dir_all(file.parent().expect("a file in the pod's directory"))?;
    }
    std::fs::File::create(message)?;
    // Whatever user the container runs as may leave a message.
    std::fs::set_permissions(message, std::fs::Permissions::from_mode(0o666))
}
