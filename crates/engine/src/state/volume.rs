//! A volume.

use std::collections::BTreeMap;

use base::Timestamp;
use base::record::Record;
use serde::{Deserialize, Serialize};

use crate::volume;

/// `volumes/<name>/volume.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct VolumeFile {
    name: String,
    created: Timestamp,
    spec: Spec,
    anonymous: bool,
    #[serde(default)]
    filled: bool,
    #[serde(default)]
    filling: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<u32>,
}

impl Record for VolumeFile {
    const KNOWN: u32 = 1;
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Spec {
    name: Option<String>,
    driver: String,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

base::same_fields!(
    VolumeFile = volume::VolumeRecord { name, created, spec: inner, anonymous, filled, filling, project }
);

base::same_fields!(Spec = volume::VolumeSpec { name, driver, labels, options });
