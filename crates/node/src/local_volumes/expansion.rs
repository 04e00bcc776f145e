//! Volumes of this node that are made larger while they are used.

use std::collections::BTreeMap;

use client::recorder::EventType;
use client::{Action, Api, Error, ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::info;

use super::rooms::Form;
use super::{Failed, Provisioner, plan};

const STORAGE: &str = "storage";
const RESIZING: &str = "Resizing";
const IN_PROGRESS: &str = "ControllerResizeInProgress";

impl Provisioner {
    /// Gives a claim the larger volume that it asks for, if its volume is this node's.
    pub(super) async fn enlarge(&self, claim: &PersistentVolumeClaim) -> Result<Action, Failed> {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        let Some(volume) = self.volumes.get(&ObjectKey::cluster(&*name)) else { return Ok(Action::Done) };
        let Some(wanted) = plan::request(claim).cloned() else { return Ok(Action::Done) };
        if !self.is_own(&volume) || plan::claim_key(&volume) != Some(claim.key()) {
            return Ok(Action::Done);
        }
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(&self.client, claim.namespace().unwrap_or_default());
        let begun = match begun(claim, &wanted, Time(self.shared.clock.now())) {
            Some(changed) => {
                let message = format!("External resizer is resizing volume {name}");
                self.events.event(claim, EventType::Normal, "Resizing", message);
                claims.update_status(&changed).await?
            }
            None => claim.clone(),
        };
        if let Err(failed) = self.enlarge_room(&name, &wanted).await {
            let message = format!("resize volume \"{name}\" failed: {}", base::error::chain(&failed));
            self.events.event(claim, EventType::Warning, "VolumeResizeFailed", message);
            return Err(failed);
        }
        self.say_capacity(&name, &wanted).await?;
        claims.update_status(&ended(&begun, &wanted)).await?;
        self.events.event(claim, EventType::Normal, "VolumeResizeSuccessful", "Resize volume succeeded");
        info!(volume = name, size = wanted.0, "volume made larger");
        Ok(Action::Done)
    }

    async fn enlarge_room(&self, name: &str, wanted: &Quantity) -> Result<(), Failed> {
        let bytes = wanted.0.parse::<model::Quantity>().map_or(0, |wanted| wanted.value());
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let room = self.rooms.room(name)?;
        let held = room.clone();
        let Some(mut recorded) = self.shared.files.quick(move || held.read()).await? else {
            return Ok(());
        };
        if recorded.bytes >= bytes {
            return Ok(());
        }
        match (recorded.form, recorded.limit) {
            (Form::File, _) => {
                let held = room.clone();
                self.shared.files.quick(move || held.lengthen(bytes)).await?;
                let path = room.path(Form::File);
                self.shared.machine.host.file_lengthened(&path).await.map_err(Failed::Limit)?;
            }
            (Form::Directory, Some(limit)) => {
                self.shared.machine.host.change_limit(limit, bytes).await.map_err(Failed::Limit)?;
            }
            (Form::Directory, None) => {}
        }
        recorded.bytes = bytes;
        Ok(self.shared.files.quick(move || room.write(&recorded)).await?)
    }

    async fn say_capacity(&self, name: &str, wanted: &Quantity) -> Result<(), Error> {
        let volumes: Api<PersistentVolume> = Api::all(&self.client);
        let mut volume = volumes.get(name).await?;
        let spec = volume.spec.get_or_insert_default();
        let capacity = spec.capacity.get_or_insert_default();
        if capacity.insert(STORAGE.to_owned(), wanted.clone()).as_ref() != Some(wanted) {
            volumes.update(&volume).await?;
        }
        Ok(())
    }
}

/// The claim that is being given more; nothing where that is said.
fn begun(claim: &PersistentVolumeClaim, wanted: &Quantity, now: Time) -> Option<PersistentVolumeClaim> {
    let mut changed = claim.clone();
    let status = changed.status.get_or_insert_default();
    status.allocated_resources.get_or_insert_default().insert(STORAGE.to_owned(), wanted.clone());
    status
        .allocated_resource_statuses
        .get_or_insert_default()
        .insert(STORAGE.to_owned(), IN_PROGRESS.to_owned());
    let conditions = status.conditions.get_or_insert_default();
    if !conditions.iter().any(|known| known.type_ == RESIZING) {
        conditions.push(PersistentVolumeClaimCondition {
            type_: RESIZING.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now),
            ..PersistentVolumeClaimCondition::default()
        });
    }
    (changed != *claim).then_some(changed)
}

/// The claim that has what it asked for.
fn ended(claim: &PersistentVolumeClaim, has: &Quantity) -> PersistentVolumeClaim {
    let mut changed = claim.clone();
    let status = changed.status.get_or_insert_default();
    status.capacity.get_or_insert_default().insert(STORAGE.to_owned(), has.clone());
    status.allocated_resource_statuses = without(status.allocated_resource_statuses.take());
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|known| known.type_ != RESIZING);
    }
    status.conditions = status.conditions.take().filter(|conditions| !conditions.is_empty());
    changed
}

fn without(statuses: Option<BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    let mut statuses = statuses?;
    statuses.remove(STORAGE);
    (!statuses.is_empty()).then_some(statuses)
}
