//! Fetching what a pod refers to: ConfigMaps, Secrets, service-account tokens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Timestamp};
use client::{Api, Error, Resource, WriteOptions};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
};
use serde_json::json;

use super::Worker;
use crate::pod::env::{self, Sources};
use crate::pod::expand::Room;
use crate::pod::volumes::claims::{self, Claimed, ClaimsError};
use crate::pod::volumes::payload::Tokens;
use crate::pod::volumes::{self, VolumeError};

/// How often volumes made of API objects are brought up to date.
const REFRESH: Duration = Duration::from_secs(60);

/// Tokens that were fetched, and when each is to be replaced.
#[derive(Default)]
pub(super) struct TokenCache {
    tokens: Tokens,
    renew_at: BTreeMap<(String, String), Renewal>,
}

/// When a token is to be replaced: the server goes by the time of day, which somebody may set, so that
/// whichever comes first counts.
struct Renewal {
    time: Timestamp,
    /// On the steady clock.
    moment: Duration,
}

impl Renewal {
    /// When four fifths of a token's life are over that begins now, as clients expect.
    fn of(clock: &dyn Clock, life: Duration) -> Self {
        let time = clock.now();
        let after = life.saturating_mul(4) / 5;
        Self {
            time: time.checked_add(after).unwrap_or(Timestamp::MAX),
            moment: clock.elapsed().saturating_add(after),
        }
    }

    fn is_due(&self, clock: &dyn Clock) -> bool {
        self.time <= clock.now() || self.moment <= clock.elapsed()
    }
}

/// Bytes of all ConfigMaps and Secrets of a pod: they are in memory while a container is started.
const MOST_BYTES: usize = 64 << 20;
/// What an object counts besides what is in it, whether it is there or not: it has to be asked for.
const OF_AN_OBJECT: usize = 4096;

/// Why what a pod refers to is not at hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourcesError {
    /// The API did not give it.
    #[error(transparent)]
    Fetch(#[from] Error),
    /// It is more than a node keeps for a pod.
    #[error(
        "the ConfigMaps and Secrets that the pod refers to are larger than {most} bytes together",
        most = MOST_BYTES
    )]
    TooLarge,
}

/// Why a pod's volumes could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// What it refers to could not be fetched.
    #[error("fetch what the pod refers to")]
    Sources(#[from] SourcesError),
    /// A token could not be had.
    #[error("fetch a token for the pod")]
    Token(#[from] Error),
    /// A claim gives it no volume.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// A file could not be made a device.
    #[error("MountVolume.MapBlockVolume failed for volume \"{volume}\"")]
    Device {
        /// The volume.
        volume: String,
        /// Why.
        source: crate::runtime::Error,
    },
    /// A volume is being removed.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : it is being removed")]
    Going {
        /// The volume.
        volume: String,
    },
    /// A volume could not be made.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl Worker {
    /// Everything that environments and volumes refer to, as it is now.
    pub(super) async fn fetch_sources(&self) -> Result<Sources, SourcesError> {
        let (mut config_maps, mut secrets) = env::references(&self.pod);
        let (more_config_maps, more_secrets) = volumes::references(&self.pod);
        config_maps.extend(more_config_maps);
        secrets.extend(more_secrets);
        let mut sources = Sources::default();
        let mut room = Room::new(MOST_BYTES);
        let mut take = |bytes| room.take(OF_AN_OBJECT + bytes).map_err(|_| SourcesError::TooLarge);
        for name in config_maps {
            let found = self.fetch::<ConfigMap>(&name).await?;
            take(found.as_ref().map_or(0, |found| {
                let text = found.data.iter().flatten().map(|(key, value)| key.len() + value.len());
                let binary = found.binary_data.iter().flatten().map(|(key, value)| key.len() + value.0.len());
                text.chain(binary).sum()
            }))?;
            sources.config_maps.insert(name, found);
        }
        for name in secrets {
            let found = self.fetch::<Secret>(&name).await?;
            take(found.as_ref().map_or(0, |found| {
                found.data.iter().flatten().map(|(key, value)| key.len() + value.0.len()).sum()
            }))?;
            sources.secrets.insert(name, found);
        }
        Ok(sources)
    }

    pub(super) async fn fetch<K: client::Typed>(&self, name: &str) -> Result<Option<K>, Error> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::<K>::namespaced(&self.shared.client, namespace).find(name).await
    }

    /// Makes the pod's volumes or brings them up to date, at most once a minute unless `now`.
    pub(super) async fn prepare_volumes(&mut self, sources: &Arc<Sources>) -> Result<(), PrepareError> {
        self.fetch_tokens().await?;
        let observation = self.observe().await;
        let running = observation.as_ref().is_ok_and(|observation| observation.running().next().is_some());
        let begins = observation.as_ref().is_ok_and(|observation| observation.instances.is_empty());
        let claims = Box::pin(self.fetch_claims(begins)).await?;
        let pod = observation
            .map_or_else(|_| Pod::clone(&self.pod), |observation| self.pod_with_addresses_of(&observation));
        let sources = Arc::clone(sources);
        let (tokens, node) = (self.tokens.tokens.clone(), self.shared.capacity);
        let (shown, devices) = (claims.clone(), Box::pin(self.devices(&claims)).await?);
        let recipes = self.shared.files.quick(move || {
            let (claims, devices) = (&shown, &devices);
            let context =
                volumes::Context { pod: &pod, sources: &sources, tokens: &tokens, node, claims, devices };
            volumes::recipe::recipes(&context)
        });
        let recipes = recipes.await?;
        let mut prepared = self.volumes.publish(&self.shared.files, recipes, running).await?;
        for (name, _) in claims.iter().filter(|(_, claimed)| claimed.read_only) {
            if let Some(volume) = prepared.get_mut(name) {
                volume.read_only = true;
            }
        }
        self.prepared = prepared;
        let refreshes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        });
        self.volumes_refresh = refreshes.then(|| self.now() + REFRESH);
        Ok(())
    }

    /// What the pod has by claims, by the names of its volumes. `begins` says that nothing of it was started yet.
    async fn fetch_claims(&self, begins: bool) -> Result<BTreeMap<String, Claimed>, PrepareError> {
        let mut claimed = BTreeMap::new();
        let mut failed = Vec::new();
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let by_claims: Vec<_> =
            volumes.filter_map(|volume| Some((volume, claims::claim_of(&self.pod, volume)?))).collect();
        if by_claims.is_empty() {
            return Ok(claimed);
        }
        let labels = self.node_labels().await?;
        for (volume, (name, read_only)) in by_claims {
            let claim = self.unless_forbidden(self.fetch::<PersistentVolumeClaim>(&name).await)?;
            let named = match claims::volume_of(&self.pod, volume, claim.as_ref(), begins) {
                Ok(named) => named,
                Err(why) => {
                    failed.push((volume.name.clone(), why));
                    continue;
                }
            };
            let Some(claim) = claim else { continue };
            let found = Api::<PersistentVolume>::all(&self.shared.client).find(&named).await;
            let found = self.unless_forbidden(found)?;
            let (node, others) = (&self.shared.config.name, self.shared.pods_of_node());
            match claims::check(&self.pod, volume, &claim, found.as_ref(), (node, &labels), &others) {
                Ok(()) => {
                    let Some(found) = found else { continue };
                    claimed.insert(volume.name.clone(), Claimed { claim: name, volume: found, read_only });
                }
                Err(why) => failed.push((volume.name.clone(), why)),
            }
        }
        if failed.is_empty() { Ok(claimed) } else { Err(ClaimsError::new(&failed).into()) }
    }

    /// What a node may not read is not there for it, or not there yet: who may read what follows the objects.
    fn unless_forbidden<K>(&self, found: Result<Option<K>, Error>) -> Result<Option<K>, Error> {
        match found {
            Err(Error::Forbidden(_)) => Ok(None),
            other => other,
        }
    }

    async fn node_labels(&self) -> Result<BTreeMap<String, String>, Error> {
        let node = Api::<Node>::all(&self.shared.client).find(&self.shared.config.name).await?;
        Ok(node.and_then(|node| node.metadata.labels).unwrap_or_default())
    }

    /// The devices that stand for files of this node.
    async fn devices(
        &self,
        claims: &BTreeMap<String, Claimed>,
    ) -> Result<BTreeMap<String, PathBuf>, PrepareError> {
        let mut devices = BTreeMap::new();
        for (name, claimed) in claims {
            let spec = claimed.volume.spec.as_ref();
            let is_device = spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block");
            let Some(local) = spec.and_then(|spec| spec.local.as_ref()) else { continue };
            let path = PathBuf::from(&local.path);
            // Files of others are no devices: nobody knows what else is done with them.
            let Some(own) = self.shared.holds.volume_of(&path) else { continue };
            let volume = claimed.volume.name().to_owned();
            // From here on until nothing of the pod runs it is not removed.
            if !self.shared.holds.hold(own, &self.uid) {
                return Err(PrepareError::Going { volume });
            }
            if !is_device {
                continue;
            }
            let attached = self.shared.machine.host.attach_file(&path).await;
            let device = attached.map_err(|source| PrepareError::Device { volume, source })?;
            devices.insert(name.clone(), device);
        }
        Ok(devices)
    }

    /// Brings volumes up to date when that is due.
    pub(super) async fn refresh_volumes(&mut self) {
        let now = self.now();
        let unneeded = self.ended || self.evicted.is_some();
        if unneeded || self.volumes_refresh.is_none_or(|due| due > now) {
            return;
        }
        // Before containers of the pod run, their start makes them. Some may run since before this began.
        if self.prepared.is_empty() {
            let Ok(observation) = self.observe().await else { return };
            if observation.running().next().is_none() {
                self.volumes_refresh = None;
                return;
            }
        }
        self.volumes_refresh = Some(now + REFRESH);
        let interrupt = self.interrupt.clone();
        let refresh = async {
            let sources = self.fetch_sources().await?;
            self.prepare_volumes(&Arc::new(sources)).await
        };
        // A pod that is to end does not wait for a server that does not answer.
        let refreshed = interrupt.run_until_cancelled(refresh).await;
        if let Some(Err(error)) = refreshed {
            self.event(true, "FailedMount", base::error::chain(&error).to_string());
        }
    }

    /// Asks for the tokens that projected volumes show, where they are missing or old.
    async fn fetch_tokens(&mut self) -> Result<(), Error> {
        let clock = Arc::clone(&self.shared.clock);
        let spec = self.pod.spec.clone().unwrap_or_default();
        let account =
            spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        for volume in spec.volumes.iter().flatten() {
            let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            for wanted in projected.filter_map(|source| source.service_account_token.as_ref()) {
                let key = (volume.name.clone(), wanted.path.clone());
                if self.tokens.renew_at.get(&key).is_some_and(|renewal| !renewal.is_due(&*clock)) {
                    continue;
                }
                let seconds = wanted.expiration_seconds.unwrap_or(3600);
                let audience = wanted.audience.clone().filter(|audience| !audience.is_empty());
                let request: serde_json::Value = json!({
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {
                        "audiences": audience.into_iter().collect::<Vec<_>>(),
                        "expirationSeconds": seconds,
                        "boundObjectRef": {
                            "kind": "Pod", "apiVersion": "v1",
                            "name": self.pod.name(), "uid": self.uid,
                        },
                    },
                });
                let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
                let api: Api<ServiceAccount> = Api::namespaced(&self.shared.client, namespace);
                let answer: TokenRequest =
                    api.create_subresource(account, "token", &request, &WriteOptions::default()).await?;
                let token = answer.status.and_then(|status| status.token).unwrap_or_default();
                let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(3600));
                self.tokens.renew_at.insert(key.clone(), Renewal::of(&*clock, life));
                self.tokens.tokens.insert(key, token);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;

    #[test]
    fn a_token_is_replaced_in_time_however_the_time_of_day_is_set() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let life = Duration::from_secs(1000);
        let due_after = |set: Timestamp, seconds: u64| {
            let clock = ManualClock::new(noon);
            let renewal = Renewal::of(&clock, life);
            clock.set(set);
            clock.advance(Duration::from_secs(seconds));
            renewal.is_due(&clock)
        };
        let hour = Duration::from_secs(3600);
        assert!(!due_after(noon, 799) && due_after(noon, 800));
        assert!(due_after(noon - hour, 800), "set back, it is as old as before");
        assert!(due_after(noon + hour, 0), "set forward, the server takes it for expired");
        let clock = ManualClock::new(noon);
        assert!(!Renewal::of(&clock, Duration::from_secs(u64::MAX)).is_due(&clock));
    }
}
