//! Defaults of Deployment and ReplicaSet.

use super::{Fields, inside, missing, pod, text, unset};

pub(super) fn deployment(fields: &mut Fields) {
    inside(fields, "metadata");
    let spec = inside(fields, "spec");
    missing(spec, "replicas", 1);
    pod::template_of(spec);
    let strategy = inside(spec, "strategy");
    unset(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = inside(strategy, "rollingUpdate");
        missing(rolling, "maxUnavailable", "25%");
        missing(rolling, "maxSurge", "25%");
    }
    missing(spec, "revisionHistoryLimit", 10);
    missing(spec, "progressDeadlineSeconds", 600);
    inside(fields, "status");
}

pub(super) fn replica_set(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    missing(spec, "replicas", 1);
    pod::template_of(spec);
    let status = inside(fields, "status");
    missing(status, "replicas", 0);
}
