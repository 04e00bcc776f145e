//! Volumes of the class that is always there: directories and files of this node, made for claims.
//!
//! ```text
//! claim, node selected ──▶ room: record, directory, limit ──▶ PersistentVolume, for that claim
//! PersistentVolume, released, policy Delete ──▶ room removed ──▶ PersistentVolume removed
//! ```
//!
//! Each volume has a [room](rooms) of its own, which this module alone makes and removes. What is about to be done to a
//! room is written down in it before, so that whoever comes after a crash goes on from there; and no room is removed
//! that somebody may have written into unless its volume is to go by its own policy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{Action, Api, Client, Controller, Error, Informers, ObjectKey, Resource as _, Store};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::Shared;
use plan::{ClaimStep, Request, VolumeStep};
use rooms::{Phase, Room, RoomError, Rooms};

mod expansion;
pub(crate) mod holds;
mod plan;
pub(crate) mod rooms;

pub(crate) use rooms::{Claim, Form, Recorded};

/// Who makes these volumes.
pub(crate) const PROVISIONER: &str = "gantry.dev/local-path";
/// The class of claims that name none, unless somebody says otherwise.
const CLASS: &str = "local-path";
/// Before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Before a volume that is to go is looked at again which a claim has.
const CLAIMED_AGAIN: Duration = Duration::from_secs(5);

/// The claims that there are, once somebody looks at them.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Option<Store<PersistentVolumeClaim>>>);

impl Claims {
    /// The volume that a claim has now.
    pub(crate) fn volume_of(&self, claim: &ObjectKey) -> Option<String> {
        let claim = self.0.lock().as_ref()?.get(claim)?;
        claim.spec.as_ref()?.volume_name.clone()
    }
}

/// Makes, enlarges and removes volumes until `stop` is cancelled.
pub(crate) async fn run(shared: &Arc<Shared>, client: &Client, stop: CancellationToken) {
    let informers = Informers::new(client);
    let (claims, volumes) = (informers.of::<PersistentVolumeClaim>(), informers.of::<PersistentVolume>());
    *shared.claims.0.lock() = Some(claims.store());
    let (events, writer) =
        Recorder::new(client, PROVISIONER, Some(&shared.config.name), Arc::clone(&shared.clock));
    let provisioner = Arc::new(Provisioner {
        shared: Arc::clone(shared),
        rooms: Rooms::new(shared.config.volumes.clone()),
        client: client.clone(),
        claims: claims.store(),
        volumes: volumes.store(),
        events,
    });
    let of_claims = {
        let provisioner = Arc::clone(&provisioner);
        let controller = Controller::new("local-volume-claims", &claims)
            .watches(&volumes, |volume: &PersistentVolume| plan::claim_key(volume).into_iter().collect());
        // What an earlier run left is looked at, whether its claim is there or not.
        for key in provisioner.claims_with_rooms().await {
            controller.queue().add(key);
        }
        let reconcile = move |key: ObjectKey| {
            let provisioner = Arc::clone(&provisioner);
            async move { settled(provisioner.claim(&key).await) }
        };
        controller.run(reconcile, stop.clone())
    };
    let of_volumes = {
        let provisioner = Arc::clone(&provisioner);
        let reconcile = move |key: ObjectKey| {
            let provisioner = Arc::clone(&provisioner);
            async move { settled(provisioner.volume(&key).await) }
        };
        Controller::new("local-volumes", &volumes).run(reconcile, stop.clone())
    };
    tokio::join!(
        informers.run(stop.clone()),
        writer.run(stop.clone()),
        make_class(client, &stop),
        of_claims,
        of_volumes,
    );
}

/// Makes the class, unless there is one of its name: whoever changed it has it as it is.
async fn make_class(client: &Client, stop: &CancellationToken) {
    let classes: Api<StorageClass> = Api::all(client);
    loop {
        let made = async {
            match classes.find(CLASS).await? {
                Some(_) => Ok(()),
                None => classes.create(&plan::class(CLASS)).await.map(drop),
            }
        };
        match made.await {
            Ok(()) | Err(Error::AlreadyExists(_)) => return,
            Err(error) => warn!(error = %base::error::chain(&error), "cannot make the class `{CLASS}`"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Why something could not be done to a volume.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Api(#[from] Error),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error("limit what is written into the volume")]
    Limit(#[source] crate::runtime::Error),
    /// It is removed when they are gone.
    #[error("the volume is still used on this node by {by}, and is removed when that has ended")]
    InUse { by: String },
    #[error("look who uses the volume")]
    Users(#[source] crate::runtime::Error),
}

/// What others did meanwhile brings the key back, and is no error.
fn settled(done: Result<Action, Failed>) -> Result<Action, Failed> {
    match done {
        Err(Failed::Api(Error::Conflict(_))) => Ok(Action::After(Duration::from_millis(50))),
        Err(Failed::Api(Error::NotFound(_))) => Ok(Action::Done),
        Err(Failed::InUse { .. }) => Ok(Action::After(AGAIN)),
        other => other,
    }
}

struct Provisioner {
    shared: Arc<Shared>,
    rooms: Rooms,
    client: Client,
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    events: Recorder,
}

impl Provisioner {
    /// The claims that rooms were made for.
    async fn claims_with_rooms(&self) -> Vec<ObjectKey> {
        let rooms = self.rooms.clone();
        let found = self.shared.files.quick(move || rooms.all()).await;
        let found = found.unwrap_or_else(|error| {
            warn!(error = %base::error::chain(&error), "cannot look for volumes of this node");
            Vec::new()
        });
        found.into_iter().map(|(_, recorded)| recorded.claim.key()).collect()
    }

    async fn claim(&self, key: &ObjectKey) -> Result<Action, Failed> {
        let Some(claim) = self.claims.get(key) else {
            self.clear(key).await?;
            return Ok(Action::Done);
        };
        if plan::may_want_more(&claim) {
            return self.enlarge(&claim).await;
        }
        if !plan::is_for(&claim, &self.shared.config.name)
            || self.volumes.get(&plan::volume_key(&claim)).is_some()
        {
            return Ok(Action::Done);
        }
        let name = plan::class_of(&claim).to_owned();
        let class = Api::<StorageClass>::all(&self.client).find(&name).await?;
        let request = match plan::claim(&claim, class.as_ref(), &self.shared.config.name) {
            ClaimStep::Nothing => return Ok(Action::Done),
            ClaimStep::Refuse(why) => {
                let message = format!("failed to provision volume with StorageClass \"{name}\": {why}");
                self.events.event(&*claim, EventType::Warning, "ProvisioningFailed", message);
                return Ok(Action::Done);
            }
            ClaimStep::Make(request) => request,
        };
        let message = format!("External provisioner is provisioning volume for claim \"{key}\"");
        self.events.event(&*claim, EventType::Normal, "Provisioning", message);
        match self.make(&claim, &request).await {
            Ok(()) => {
                let message = format!("Successfully provisioned volume {}", request.name);
                self.events.event(&*claim, EventType::Normal, "ProvisioningSucceeded", message);
                Ok(Action::Done)
            }
            Err(failed) => {
                let why = base::error::chain(&failed);
                let message = format!("failed to provision volume with StorageClass \"{name}\": {why}");
                self.events.event(&*claim, EventType::Warning, "ProvisioningFailed", message);
                Err(failed)
            }
        }
    }

    /// Makes a room, and then the volume that tells of it.
    async fn make(&self, claim: &PersistentVolumeClaim, request: &Request) -> Result<(), Failed> {
        let room = self.rooms.room(&request.name)?;
        let wanted = Recorded {
            claim: request.claim.clone(),
            bytes: request.bytes,
            form: request.form,
            limit: None,
            phase: Phase::Making,
        };
        let begun = {
            let (room, wanted) = (room.clone(), wanted.clone());
            self.shared.files.quick(move || room.begin(&wanted)).await?
        };
        if begun.phase == Phase::Removing {
            self.remove(&room, begun).await?;
            // The next turn makes it.
            return Err(Failed::Room(RoomError::Going { name: request.name.clone() }));
        }
        if begun.phase == Phase::Making {
            let path = {
                let (room, wanted) = (room.clone(), wanted.clone());
                self.shared.files.quick(move || room.make(wanted.form, wanted.bytes)).await?
            };
            let limit = match request.form {
                Form::Directory => self.limit(claim, &path, request.bytes).await?,
                // It has its length.
                Form::File => None,
            };
            let made = Recorded { limit, phase: Phase::Made, ..wanted };
            let held = room.clone();
            self.shared.files.quick(move || held.write(&made)).await?;
        }
        let volume = plan::volume_of(request, &room.path(request.form), &self.shared.config.name);
        let volumes = Api::<PersistentVolume>::all(&self.client);
        match volumes.create(&volume).await {
            Ok(_) => {}
            Err(Error::AlreadyExists(_)) => {
                let there = volumes.get(&request.name).await?;
                if !plan::is_as_made(&there, request, &self.shared.config.name) {
                    return Err(Failed::Room(RoomError::Other { name: request.name.clone() }));
                }
            }
            Err(error) => return Err(error.into()),
        }
        info!(volume = request.name, claim = %claim.key(), "volume made");
        Ok(())
    }

    async fn limit(
        &self,
        claim: &PersistentVolumeClaim,
        path: &Path,
        bytes: u64,
    ) -> Result<Option<u32>, Failed> {
        let limit = self.shared.machine.host.limit_directory(path, bytes).await.map_err(Failed::Limit)?;
        if limit.is_none() {
            let message = "the file system of this node's volumes has no project quotas in force: the volume may take \
                           more than the claim asks for";
            self.events.event(claim, EventType::Warning, "StorageLimitNotEnforced", message);
        }
        Ok(limit)
    }

    /// Removes what was made for a claim that is gone, and that no volume tells of: nobody could write into it, and if
    /// somebody has, it stays.
    async fn clear(&self, key: &ObjectKey) -> Result<(), Failed> {
        let rooms = self.rooms.clone();
        let found = self.shared.files.quick(move || rooms.all()).await?;
        for (room, recorded) in found.into_iter().filter(|(_, recorded)| recorded.claim.key() == *key) {
            let volumes: Api<PersistentVolume> = Api::all(&self.client);
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(&self.client, &key.namespace);
            let is_claimed = |claim: PersistentVolumeClaim| claim.uid() == recorded.claim.uid;
            if volumes.find(room.name()).await?.is_some()
                || claims.find(&key.name).await?.is_some_and(is_claimed)
            {
                continue;
            }
            let is_empty = {
                let (room, form) = (room.clone(), recorded.form);
                self.shared.files.quick(move || room.was_never_written(form)).await?
            };
            if recorded.phase == Phase::Removing || is_empty {
                self.remove(&room, recorded).await?;
            }
        }
        Ok(())
    }

    async fn volume(&self, key: &ObjectKey) -> Result<Action, Failed> {
        let Some(volume) = self.volumes.get(key).filter(|volume| self.is_own(volume)) else {
            return Ok(Action::Done);
        };
        if plan::volume(&volume) == VolumeStep::Nothing {
            return Ok(Action::Done);
        }
        // By what the API says now: what is removed does not come back.
        let volumes: Api<PersistentVolume> = Api::all(&self.client);
        let Some(volume) = volumes.find(&key.name).await?.filter(|live| live.uid() == volume.uid()) else {
            return Ok(Action::Done);
        };
        match plan::volume(&volume) {
            VolumeStep::Nothing => return Ok(Action::Done),
            VolumeStep::LetGo => {}
            VolumeStep::Remove => {
                if let Some(claim) = self.claim_that_has(&volume).await? {
                    let message = format!("the claim {claim} has the volume, which stays with it");
                    self.events.event(&volume, EventType::Normal, "VolumeFailedDelete", message);
                    return Ok(Action::After(CLAIMED_AGAIN));
                }
                if let Err(failed) = self.remove_named(volume.name()).await {
                    let message = base::error::chain(&failed).to_string();
                    let kind = match failed {
                        Failed::InUse { .. } => EventType::Normal,
                        _ => EventType::Warning,
                    };
                    self.events.event(&volume, kind, "VolumeFailedDelete", message);
                    return Err(failed);
                }
                info!(volume = volume.name(), "volume removed");
                if !volume.is_being_deleted() {
                    let which = client::DeleteOptions::default().uid(volume.uid());
                    match volumes.delete(volume.name(), &which).await {
                        Ok(()) | Err(Error::NotFound(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        // What holds it is taken away last: others see that it goes.
        let Some(mut left) = volumes.find(&key.name).await?.filter(|left| left.uid() == volume.uid()) else {
            return Ok(Action::Done);
        };
        if let Some(finalizers) = &mut left.metadata.finalizers
            && finalizers.iter().any(|held| held == plan::FINALIZER)
        {
            finalizers.retain(|held| held != plan::FINALIZER);
            volumes.update(&left).await?;
        }
        Ok(Action::Done)
    }

    /// The claim that has a volume which is to be removed, if the API knows one now: the phase is what somebody made of
    /// it earlier, and who gives a volume to another claim says so before that is seen in it.
    async fn claim_that_has(&self, volume: &PersistentVolume) -> Result<Option<ObjectKey>, Failed> {
        let room = self.rooms.room(volume.name())?;
        let recorded = self.shared.files.quick(move || room.read()).await?;
        let recorded = recorded.map(|recorded| recorded.claim);
        for key in plan::claims_to_ask(volume, recorded.as_ref()) {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(&self.client, &key.namespace);
            let found = claims.find(&key.name).await?;
            if found.is_some_and(|found| plan::has(&found, volume, recorded.as_ref())) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Whether a volume is one of this node's rooms.
    fn is_own(&self, volume: &PersistentVolume) -> bool {
        plan::is_of_node(volume, &self.shared.config.name)
    }

    async fn remove_named(&self, name: &str) -> Result<(), Failed> {
        let room = self.rooms.room(name)?;
        let held = room.clone();
        match self.shared.files.quick(move || held.read()).await? {
            Some(recorded) => self.remove(&room, recorded).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, room: &Room, recorded: Recorded) -> Result<(), Failed> {
        let (held, going) = (room.clone(), Recorded { phase: Phase::Removing, ..recorded.clone() });
        let is_noted = recorded.phase == Phase::Removing;
        // A device of another volume must not get the numbers of one that a container still has.
        let _going = match self.shared.holds.take_away(room.name()) {
            Ok(going) => going,
            Err(pods) => {
                return Err(Failed::InUse { by: format!("the pods of the uids {}", pods.join(", ")) });
            }
        };
        let path = room.path(recorded.form);
        let users = self.shared.machine.host.users_of(&path).await.map_err(Failed::Users)?;
        if !users.is_empty() {
            return Err(Failed::InUse { by: format!("the containers {}", users.join(", ")) });
        }
        if recorded.form == Form::File {
            self.shared.machine.host.detach_file(&path).await.map_err(Failed::Limit)?;
        }
        let removed = self.shared.files.removal(move || {
            if !is_noted {
                held.write(&going)?;
            }
            held.remove_content()
        });
        removed.await?;
        let held = room.clone();
        self.shared.files.removal(move || held.remove()).await?;
        // Last, when nothing is left that would have it done once more: by then the number may be another's. One that
        // is not given back, since the daemon ends here, has no files, and is taken back for that.
        if let Some(limit) = recorded.limit
            && let Err(error) = self.shared.machine.host.release_limit(limit).await
        {
            warn!(volume = room.name(), limit, error = %error.full_message(), "the limit of a volume that is gone stays");
        }
        Ok(())
    }
}
