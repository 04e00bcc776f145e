//! As whom containers run, and what more they may become.

use super::{Finding, Pod, of_containers};

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let containers = pod.containers_that(|container| container["securityContext"]["privileged"] == true);
    (!containers.is_empty()).then(|| {
        let containers = of_containers(&containers);
        Finding::new("privileged", format!("{containers} must not set securityContext.privileged=true"))
    })
}

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Finding> {
    let containers =
        pod.containers_that(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    (!containers.is_empty()).then(|| {
        let containers = of_containers(&containers);
        Finding::new(
            "allowPrivilegeEscalation != false",
            format!("{containers} must set securityContext.allowPrivilegeEscalation=false"),
        )
    })
}

pub(super) fn escalation_25(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { escalation(pod) }
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    let setters = pod.setters(|context| context["runAsNonRoot"] == false);
    if !setters.is_empty() {
        let setters = setters.join(" and ");
        return Some(Finding::new(
            REASON,
            format!("{setters} must not set securityContext.runAsNonRoot=false"),
        ));
    }
    if pod.security()["runAsNonRoot"] == true {
        return None;
    }
    let without = pod.containers_that(|container| !container["securityContext"]["runAsNonRoot"].is_boolean());
    (!without.is_empty()).then(|| {
        let containers = of_containers(&without);
        Finding::new(REASON, format!("pod or {containers} must set securityContext.runAsNonRoot=true"))
    })
}

pub(super) fn non_root_of_host_users(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Finding> {
    let setters = pod.setters(|context| context["runAsUser"] == 0);
    (!setters.is_empty())
        .then(|| Finding::new("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and "))))
}

pub(super) fn user_of_host_users(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { user(pod) }
}
