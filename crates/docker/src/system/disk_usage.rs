//! `GET /system/df`: what takes how much disk.

use std::collections::BTreeMap;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::{image, summary, volume};
use crate::fault::Fault;
use crate::wire::system::{BuildCache, DiskUsage};

/// What takes how much disk; with `type` only of the kinds that it names.
pub(crate) async fn disk_usage(call: Call) -> Answer {
    let types = call.query.all("type");
    if let Some(unknown) =
        types.iter().find(|kind| !matches!(kind.as_str(), "container" | "image" | "volume" | "build-cache"))
    {
        return Err(Fault::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| types.is_empty() || types.iter().any(|given| given == kind);
    let usage = call.engine().disk_usage().await?;
    let mut users: BTreeMap<&str, i64> = BTreeMap::new();
    for (container, _) in &usage.containers {
        *users.entry(container.resolved.image_id.as_str()).or_default() += 1;
    }
    let shared = call.engine().image_shared_sizes();
    let now = call.api.now();
    let images = usage.images.iter().map(|found| {
        let containers = users.get(found.id.as_str()).copied().unwrap_or_default();
        let shared = shared.get(&found.id).copied().unwrap_or_default();
        image::summary(found, containers, i64::try_from(shared).unwrap_or(i64::MAX), call.version)
    });
    let containers =
        usage.containers.iter().map(|(container, size)| summary::line(container, Some(*size), now));
    answer::json(&DiskUsage {
        // Of images, as Docker counts them.
        layers_size: if wanted("image") { usage.layers } else { 0 },
        images: wanted("image").then(|| images.collect()),
        containers: wanted("container").then(|| containers.collect()),
        volumes: wanted("volume").then(|| usage.volumes.iter().map(volume::volume).collect()),
        build_cache: match wanted("build-cache") {
            true => Some(build_cache(&call).await?),
            false => None,
        },
    })
}

/// What builds remember.
async fn build_cache(call: &Call) -> Result<Vec<BuildCache>, Fault> {
    let records = call.api.buildkit.solver().disk_usage(&[]).await;
    let records =
        records.map_err(|error| Fault::from(engine::Error::new(error.kind(), error.to_string())))?;
    let cache = records.into_iter().map(|record| BuildCache {
        id: record.id,
        parents: record.parents,
        kind: record.kind.as_str().to_owned(),
        description: record.description,
        in_use: record.in_use,
        shared: record.shared,
        size: record.size,
        created_at: record.created.to_string(),
        last_used_at: record.last_used.map(|used| used.to_string()),
        usage_count: record.uses,
    });
    Ok(cache.collect())
}
