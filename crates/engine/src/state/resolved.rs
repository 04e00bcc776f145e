//! What a container really runs with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Healthcheck, Log, Port};
use crate::container;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Resolved {
    image_id: String,
    image_manifest: String,
    platform: String,
    args: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: Vec<String>,
    workdir: String,
    user: String,
    hostname: String,
    labels: BTreeMap<String, String>,
    exposed_ports: Vec<Port>,
    image_volumes: Vec<String>,
    stop_signal: String,
    healthcheck: Option<Healthcheck>,
    log: Log,
    shell: Vec<String>,
}

base::same_fields!(
    Resolved = container::ResolvedSpec {
        image_id,
        image_manifest,
        platform,
        args,
        entrypoint,
        command,
        env,
        workdir,
        user,
        hostname,
        labels,
        exposed_ports: each,
        image_volumes,
        stop_signal,
        healthcheck: maybe,
        log: inner,
        shell,
    }
);
