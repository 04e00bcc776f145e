//! Volumes of a pod's own that may be so large and no larger: a pod that writes more into one is ended.
//!
//! Volumes in memory are limited by the kernel; for those on disk it is looked now and then, as a kubelet does.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Worker;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the containers of such a pod may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// The reason of a pod that is ended for what it uses, and that of its condition: the kubelet's.
pub(super) const EVICTED: &str = "Evicted";
pub(super) const DISRUPTION: &str = "DisruptionTarget";
pub(super) const BY_KUBELET: &str = "TerminationByKubelet";

impl Worker {
    /// The limits of volumes on disk: name, limit as the pod has it, bytes.
    fn limited(&self) -> Vec<(String, String, u64)> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let limited = volumes.filter_map(|volume| {
            let empty = volume.empty_dir.as_ref()?;
            let limit =
                empty.size_limit.as_ref().filter(|_| empty.medium.as_deref().is_none_or(str::is_empty))?;
            let bytes = limit.0.parse::<model::Quantity>().ok()?.value();
            let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)?;
            Some((volume.name.clone(), limit.0.clone(), bytes))
        });
        limited.collect()
    }

    /// Looks how large they are, where that is due, and ends the pod if one is larger than it may be.
    pub(super) async fn check_limits(&mut self) {
        if self.ended || self.evicted.is_some() || self.limits_next.is_none_or(|next| next > self.now()) {
            return;
        }
        let limited = self.limited();
        if limited.is_empty() {
            self.limits_next = None;
            return;
        }
        for (name, limit, bytes) in limited {
            let path = self.volumes.place(&name);
            // A pod that is to go does not wait for its own files.
            let measured = self.shared.files.measure(move || base::tree::size(&path));
            let interrupt = self.interrupt.clone();
            let size = tokio::select! {
                size = measured => size,
                () = interrupt.cancelled() => return,
            };
            let Ok(size) = size else { continue };
            if size.files.saturating_add(size.directories) > bytes {
                let message = format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". ");
                self.event(true, EVICTED, message.clone());
                self.evicted = Some(message);
                return;
            }
        }
        self.limits_next = self.after(PERIOD);
    }

    /// Says in the status of a pod that is being ended that it is.
    pub(super) fn tell_disruption(&self, status: &mut PodStatus) {
        let Some(message) = &self.evicted else { return };
        let conditions = status.conditions.get_or_insert_default();
        if conditions.iter().any(|known| {
            known.type_ == DISRUPTION && known.reason.as_deref() == Some(BY_KUBELET) && known.status == "True"
        }) {
            return;
        }
        conditions.retain(|known| known.type_ != DISRUPTION);
        conditions.push(PodCondition {
            type_: DISRUPTION.to_owned(),
            status: "True".to_owned(),
            reason: Some(BY_KUBELET.to_owned()),
            message: Some(message.clone()),
            last_transition_time: Some(Time(self.shared.clock.now())),
            ..PodCondition::default()
        });
    }
}
