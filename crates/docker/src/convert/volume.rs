//! Volumes.

use engine::volume::Volume;

use crate::wire::{self, Map, volume as document};

/// Writes a volume.
pub(crate) fn volume(volume: &Volume) -> document::Volume {
    let some = |map: &Map<String>| (!map.is_empty()).then(|| map.clone());
    let mut labels = volume.labels.clone();
    if volume.anonymous {
        labels.entry("com.docker.volume.anonymous".to_owned()).or_default();
    }
    document::Volume {
        created_at: wire::time(volume.created),
        driver: volume.driver.clone(),
        labels: some(&labels),
        mountpoint: volume.path.display().to_string(),
        name: volume.name.clone(),
        options: some(&volume.options),
        scope: "local".to_owned(),
        usage_data: volume.usage.map(|usage| document::Usage {
            ref_count: i64::try_from(usage.containers).unwrap_or(i64::MAX),
            size: i64::try_from(usage.size).unwrap_or(i64::MAX),
        }),
    }
}
